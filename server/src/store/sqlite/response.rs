//! Replies as they came, a row each.

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{ms, script::Script};
use crate::domain::{datum::StoredResponse, id::BatchSeq};

/// A reply on its way to its row.
pub(super) struct Came<'a> {
    pub(super) key: &'a str,
    pub(super) response: &'a StoredResponse,
    pub(super) fetched_at: DateTime<Utc>,
}

/// Replies per statement, and with bodies, of which the engine gets a copy.
const REPLIES_PER_STATEMENT: usize = 64;
const BODIES_PER_STATEMENT: usize = 8;

/// The statement that reads the rows that are there, for one to [`REPLIES_PER_STATEMENT`] replies. Its text is made once.
static PRESENT: LazyLock<Vec<String>> = LazyLock::new(|| {
    texts("(?, ?)", |came| {
        format!(
            "SELECT reply.item_key, reply.http_status, reply.content_type, reply.sha256, reply.body IS NULL AS is_bare \
             FROM (VALUES {came}) AS came CROSS JOIN responses AS reply \
             WHERE reply.item_key = came.column1 AND reply.url = came.column2 AND reply.as_of_at = ? AND reply.method = ?"
        )
    })
});

static UPSERT: LazyLock<Vec<String>> = LazyLock::new(|| {
    texts("(?, ?, ?, ?, ?, ?, ?, ?)", |came| {
        format!(
            "INSERT INTO responses (as_of_at, method, batch_seq, fetched_at, item_key, url, http_status, content_type, \
             size_bytes, sha256, body) SELECT ?, ?, ?, came.* FROM (VALUES {came}) AS came WHERE true \
             ON CONFLICT (item_key, as_of_at, method, url) DO UPDATE SET http_status = excluded.http_status, \
             content_type = excluded.content_type, size_bytes = excluded.size_bytes, sha256 = excluded.sha256, \
             body = excluded.body, batch_seq = excluded.batch_seq, fetched_at = excluded.fetched_at"
        )
    })
});

fn texts(row: &str, text: impl Fn(&str) -> String) -> Vec<String> {
    (0..=REPLIES_PER_STATEMENT).map(|rows| text(&vec![row; rows].join(", "))).collect()
}

/// Writes replies, each of another item. Answers for each whether it was there with other values.
pub(super) async fn write(
    conn: &mut SqliteConnection,
    batch: BatchSeq,
    replies: &[Came<'_>],
) -> Result<Vec<bool>, sqlx::Error> {
    let is_stored = replies.iter().any(|came| came.response.zstd.is_some());
    let rows = if is_stored { BODIES_PER_STATEMENT } else { REPLIES_PER_STATEMENT };
    let mut changed = Vec::with_capacity(replies.len());
    for replies in replies.chunk_by(Came::is_asked_like).flat_map(|alike| alike.chunks(rows)) {
        let mut script = Script::default();
        add(&mut script, batch, replies);
        let ran = script.run(conn).await?;
        let present = ran.first().map_or(&[][..], Vec::as_slice);
        changed.extend(replies.iter().map(|came| present.iter().any(|row| came.changes(row))));
    }
    Ok(changed)
}

impl Came<'_> {
    /// Time and method are the same.
    fn is_asked_like(&self, other: &Self) -> bool {
        (self.response.as_of, self.response.method) == (other.response.as_of, other.response.method)
    }

    /// The row is of the same item, and has other values.
    fn changes(&self, row: &SqliteRow) -> bool {
        let response = self.response;
        row.get::<&str, _>("item_key") == self.key
            && (row.get::<u16, _>("http_status") != response.http_status
                || row.get::<&str, _>("content_type") != response.content_type
                || row.get::<&[u8], _>("sha256") != response.sha256
                || row.get::<bool, _>("is_bare") != response.zstd.is_none())
    }
}

/// Adds what reads the rows that are there, and what writes. The replies differ neither in time nor in method.
fn add(script: &mut Script, batch: BatchSeq, replies: &[Came<'_>]) {
    let Some(Came { response: first, .. }) = replies.first() else { return };
    let (as_of_at, method) = (ms(first.as_of), first.method.as_str());
    script.add(&PRESENT[replies.len()]);
    for came in replies {
        script.bind(came.key).bind(&came.response.url);
    }
    script.bind(as_of_at).bind(method);
    script.add(&UPSERT[replies.len()]).bind(as_of_at).bind(method).bind(batch.0);
    for Came { key, response, fetched_at } in replies {
        script
            .bind(ms(*fetched_at))
            .bind(key)
            .bind(&response.url)
            .bind(i64::from(response.http_status))
            .bind(&response.content_type)
            .bind(response.size_bytes)
            .bind(response.sha256.as_slice())
            .bind(response.zstd.as_deref());
    }
}

/// Whether a later fetch has written the same row.
pub(super) async fn has_later(
    conn: &mut SqliteConnection,
    key: &str,
    response: &StoredResponse,
    fetched_at: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM responses WHERE item_key = $1 AND as_of_at = $2 AND method = $3 AND url = $4
           AND fetched_at > $5)",
    )
    .bind(key)
    .bind(ms(response.as_of))
    .bind(response.method.as_str())
    .bind(&response.url)
    .bind(ms(fetched_at))
    .fetch_one(conn)
    .await
}
