//! A look at a store's file that changes nothing: not the file, not those beside it.

use std::{
    ffi::OsString,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};
use url::Url;

use super::{connection::BUSY_TIMEOUT, error, instant, migration, migration::Schema};
use crate::{
    domain::upstream::{HoldCause, UpstreamId},
    store::StoreError,
};

/// What is where a store's file should be.
#[derive(Debug)]
pub enum Found {
    /// Nothing.
    Absent,
    /// An empty file, or a database without tables.
    Empty,
    /// Something else: a folder, or a file that SQLite did not write.
    NoDatabase,
    /// A database that hauld did not make.
    Foreign,
    /// A store.
    Store(Box<Inspection>),
}

/// What a look at a store found.
#[derive(Debug)]
pub struct Inspection {
    /// Its version.
    pub schema: Schema,
    /// A version that another build made under the same number.
    pub differs: Option<i64>,
    /// Readers and the writer do not wait for each other.
    pub wal: bool,
    /// Of the file and of its journal.
    pub bytes: u64,
    /// What is wrong with the file; nothing is known of it if the time did not suffice.
    pub faults: Option<Vec<String>>,
    /// How many batches are in which state, those at their end left out. Like all that follows,
    /// empty where the schema is newer or the file is damaged.
    pub live: Vec<(String, i64)>,
    /// The batch that is paused longest.
    pub paused: Option<Paused>,
    /// The batch that stands still longest though nothing holds it back, and since when.
    pub stalled: Option<(String, DateTime<Utc>)>,
    /// Upstreams that are not asked until later.
    pub holds: Vec<Hold>,
}

/// A batch that waits for somebody.
#[derive(Debug)]
pub struct Paused {
    /// Its id.
    pub id: String,
    /// Why: the contract's word.
    pub cause: String,
    /// Reason and message, as far as there are any.
    pub reason: String,
    /// Since when.
    pub since: DateTime<Utc>,
}

/// Until when an upstream is not asked.
#[derive(Debug, Clone)]
pub struct Hold {
    /// Which one.
    pub upstream: UpstreamId,
    /// When it may be asked again, if that is known.
    pub until: Option<DateTime<Utc>>,
    /// Why not before.
    pub cause: HoldCause,
}

const MAGIC: &[u8] = b"SQLite format 3\0";
/// Of the header, for reading and for writing: 2 is WAL.
const FILE_FORMAT: std::ops::Range<usize> = 18..20;
/// Virtual instructions between two looks at the clock.
const OPCODES_PER_LOOK: i32 = 10_000;
const FAULTS_MAX: usize = 5;
/// The schema's version from which on it knows what stands still.
const STALLS: i64 = 16;

/// Looks. `held`: a process has the store open. The check of the file's pages is given up after `check_max`, if there is
/// one.
pub async fn inspect(path: &Path, held: bool, check_max: Option<Duration>) -> Result<Found, StoreError> {
    let header = match header(path) {
        Ok(header) => header,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Absent),
        Err(error) if error.kind() == std::io::ErrorKind::IsADirectory => return Ok(Found::NoDatabase),
        Err(error) => return Err(StoreError::Damaged(error.to_string())),
    };
    if header.is_empty() {
        return Ok(Found::Empty);
    }
    if !header.starts_with(MAGIC) {
        return Ok(Found::NoDatabase);
    }
    let wal = header.get(FILE_FORMAT) == Some(&[2, 2]);
    let journal_bytes = size(&beside(path, "-wal"));
    let mut conn =
        SqliteConnection::connect_with(&options(path, held, journal_bytes)?).await.map_err(error::store)?;
    let looked = look(&mut conn, check_max).await;
    // Nothing was written that a failing close could lose.
    let _ = conn.close().await;
    Ok(match looked.map_err(error::store)? {
        Found::Store(mut found) => {
            found.wal = wal;
            found.bytes = size(path) + journal_bytes;
            Found::Store(found)
        }
        other => other,
    })
}

fn header(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut header = Vec::new();
    File::open(path)?.take(100).read_to_end(&mut header)?;
    Ok(header)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// SQLite makes a journal and its index for a reader too, unless somebody has made them, or it is told that nobody
/// writes, or that the index of a journal that a crash has left is not to be written.
fn options(path: &Path, held: bool, journal_bytes: u64) -> Result<SqliteConnectOptions, StoreError> {
    let options = SqliteConnectOptions::new().read_only(true).busy_timeout(BUSY_TIMEOUT);
    if held {
        return Ok(options.filename(path));
    }
    if journal_bytes == 0 {
        return Ok(options.filename(path).immutable(true));
    }
    let path = std::fs::canonicalize(path).map_err(|error| StoreError::Damaged(error.to_string()))?;
    let uri = Url::from_file_path(&path)
        .map_err(|()| StoreError::Fault(format!("{} is no path", path.display())))?;
    Ok(options.filename(format!("{uri}?readonly_shm=1")))
}

async fn look(conn: &mut SqliteConnection, check_max: Option<Duration>) -> Result<Found, sqlx::Error> {
    let tables: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .fetch_all(&mut *conn)
        .await?;
    if tables.is_empty() {
        return Ok(Found::Empty);
    }
    if !["_sqlx_migrations", "batch_executions"].iter().all(|own| tables.iter().any(|table| table == own)) {
        return Ok(Found::Foreign);
    }
    let schema = migration::schema(&mut *conn).await?;
    let differs = migration::differs(&mut *conn).await?;
    let mut found = Inspection {
        schema,
        differs,
        wal: false,
        bytes: 0,
        faults: check(conn, check_max).await?,
        live: Vec::new(),
        paused: None,
        stalled: None,
        holds: Vec::new(),
    };
    let is_sound = found.faults.as_ref().is_none_or(Vec::is_empty);
    if is_sound && schema.store <= schema.known {
        found.live = live(conn).await?;
        found.paused = paused(conn).await?;
        found.stalled = if schema.store >= STALLS { stalled(conn).await? } else { None };
        found.holds = holds(conn).await?;
    }
    Ok(Found::Store(Box::new(found)))
}

/// The file's own check, without that of its indexes: it reads every page once.
async fn check(
    conn: &mut SqliteConnection,
    check_max: Option<Duration>,
) -> Result<Option<Vec<String>>, sqlx::Error> {
    let deadline = check_max.map(|max| Instant::now() + max);
    if let Some(deadline) = deadline {
        conn.lock_handle().await?.set_progress_handler(OPCODES_PER_LOOK, move || Instant::now() < deadline);
    }
    let pragma = format!("PRAGMA quick_check({FAULTS_MAX})");
    let checked: Result<Vec<String>, _> =
        sqlx::query_scalar(AssertSqlSafe(pragma)).fetch_all(&mut *conn).await;
    conn.lock_handle().await?.remove_progress_handler();
    match checked {
        Ok(mut lines) => {
            lines.retain(|line| line != "ok");
            Ok(Some(lines))
        }
        Err(_) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => Ok(None),
        // Damage of some kinds ends the check itself.
        Err(error) => Ok(Some(vec![error.to_string()])),
    }
}

async fn live(conn: &mut SqliteConnection) -> Result<Vec<(String, i64)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT status, count(*) FROM batch_executions WHERE status NOT IN ('COMPLETED', 'FAILED', 'STOPPED')
         GROUP BY status ORDER BY status",
    )
    .fetch_all(conn)
    .await
}

async fn paused(conn: &mut SqliteConnection) -> Result<Option<Paused>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT name, pause_cause, coalesce(pause_reason, '') AS reason, coalesce(pause_message, '') AS message,
           state_since_at
         FROM batch_executions WHERE status = 'PAUSED' ORDER BY state_since_at, seq LIMIT 1",
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| {
        let (reason, message): (String, String) = (row.get("reason"), row.get("message"));
        Paused {
            id: row.get("name"),
            cause: row.get("pause_cause"),
            reason: if message.is_empty() { reason } else { format!("{reason}: {message}") },
            since: instant(row.get("state_since_at")),
        }
    }))
}

async fn stalled(conn: &mut SqliteConnection) -> Result<Option<(String, DateTime<Utc>)>, sqlx::Error> {
    let row: Option<(String, i64)> = sqlx::query_as(
        "SELECT name, stalled_at FROM batch_executions WHERE stalled_at IS NOT NULL ORDER BY stalled_at, seq LIMIT 1",
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|(id, since)| (id, instant(since))))
}

async fn holds(conn: &mut SqliteConnection) -> Result<Vec<Hold>, sqlx::Error> {
    let rows = sqlx::query("SELECT * FROM upstreams ORDER BY upstream").fetch_all(conn).await?;
    let hold = |row: &sqlx::sqlite::SqliteRow| {
        // Version 1 has no breaker, those before 13 no operator.
        let at = |column: &str| row.try_get::<Option<i64>, _>(column).ok().flatten();
        let operator = at("operator_since_at").map(|_| (at("operator_until_at"), HoldCause::Operator));
        let asked = at("held_until_at").map(|until| (Some(until), HoldCause::RetryAfter));
        let probe = at("probe_at").map(|until| (Some(until), HoldCause::Breaker));
        let holds = [operator, asked, probe].into_iter().flatten();
        let (until, cause) = holds.max_by_key(|(until, _)| until.unwrap_or(i64::MAX))?;
        let upstream = UpstreamId::stored(row.get("upstream"));
        Some(Hold { upstream, until: until.map(instant), cause })
    };
    Ok(rows.iter().filter_map(hold).collect())
}
