//! The commit: fence, outcomes, records, kept bodies, counters and lease renewal in one transaction.
//!
//! A group that the store refuses because of a row is rolled back and written again with a savepoint per item, so that
//! the refused row fails its own item and no other. Savepoints are not taken otherwise: they cost.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    SqliteStore, deadline, error, item, ms, overlap, record, result,
    transition::{self, STANDING},
};
use crate::{
    domain::{
        batch::{Batch, Input, State},
        failure::{Failure, FailureClass},
        id::SliceNo,
        item::{Next, Outcome},
    },
    store::{Commit, Committed, Hold, Recording, StoreError},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Isolation {
    Group,
    PerItem,
}

pub(super) async fn commit(store: &SqliteStore, commit: &Commit) -> Result<Committed, StoreError> {
    match try_commit(store, commit, Isolation::Group).await {
        Err(Trouble::RefusedRow) => match try_commit(store, commit, Isolation::PerItem).await {
            Err(Trouble::RefusedRow) => {
                Err(StoreError::Fault("a row was refused outside its savepoint".to_owned()))
            }
            Err(Trouble::Store(error)) => Err(error),
            Ok(committed) => Ok(committed),
        },
        Err(Trouble::Store(error)) => Err(error),
        Ok(committed) => Ok(committed),
    }
}

enum Trouble {
    RefusedRow,
    Store(StoreError),
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        if error::is_refused_row(&error) { Self::RefusedRow } else { Self::Store(error::store(error)) }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

async fn try_commit(
    store: &SqliteStore,
    commit: &Commit,
    isolation: Isolation,
) -> Result<Committed, Trouble> {
    let mut tx = store.begin().await?;
    let before = store.load(&mut tx, commit.batch).await?;
    let commit = &*deadline::enforced(&mut tx, &before, commit).await?;
    let (fenced, mut slices) = write_leases(&mut tx, &before, commit).await?;
    let canceled: i64 = slices.iter().map(|(_, open)| open).sum();
    let mut tally = Tally { changed: canceled > 0, canceled, ..Tally::default() };
    let mut rejected = deadline::late(commit, &fenced);
    let mut finals = Vec::new();
    for recording in commit.attempts.iter().filter(|recording| !fenced.contains(&recording.slice)) {
        let written = match isolation {
            Isolation::Group => write_item(&mut tx, commit, recording).await?,
            Isolation::PerItem => {
                let (written, refused) = write_isolated(&mut tx, commit, recording).await?;
                rejected.extend(refused.then_some(recording.item.index));
                written
            }
        };
        finals.extend(written.next.is_final().then_some(recording.item.index));
        tally.add(recording, &written);
    }
    // Its items came back, so the batch is not exhausted by this commit.
    let found = system_failure(commit, &fenced)
        .map(|failure| (Input::SystemFailure, transition::Why::event(&failure.reason, &failure.message)));
    let written = if tally.changed { Some(tally.write(&mut tx, commit, &finals).await?) } else { None };
    result::append_canceled(&mut tx, commit.batch, &mut slices).await?;
    let settled = if let Some(row) = &written {
        transition::settle_standing(&mut tx, commit.batch, row, found, commit.now).await?
    } else {
        transition::settle(&mut tx, commit.batch, found, commit.now).await?;
        true
    };
    // Most commits change figures and nothing else: then the row that was written is the batch, and nobody is let in.
    let (batch, admitted) = if let Some(row) = written.filter(|_| !settled) {
        (store.decode(&row)?, Vec::new())
    } else {
        let slots = store.limits.running_batches;
        let admitted = overlap::admit_after(&mut tx, commit.batch, slots, commit.now).await?;
        (store.load(&mut tx, commit.batch).await?, admitted)
    };
    let admitted = store.load_all(&mut tx, &admitted).await?;
    tx.commit().await?;
    Ok(Committed { batch, admitted, fenced: fenced.into_iter().collect(), rejected })
}

/// Fence and renewal. Answers with the slices that were not the caller's any more, and those canceled because the batch is
/// on its way to an end, each with its open items.
async fn write_leases(
    conn: &mut SqliteConnection,
    batch: &Batch,
    commit: &Commit,
) -> Result<(HashSet<SliceNo>, Vec<(i64, i64)>), sqlx::Error> {
    let mut finals: HashMap<SliceNo, i64> = HashMap::new();
    // Slices whose worker has got somewhere.
    let mut moved: HashSet<SliceNo> = HashSet::new();
    for recording in &commit.attempts {
        *finals.entry(recording.slice).or_default() += i64::from(recording.next.is_final());
        if recording.next.is_charged() {
            moved.insert(recording.slice);
        }
    }
    let given_back = if batch.state == State::Stopping { "CANCELED" } else { "READY" };

    let mut fenced = HashSet::new();
    let mut canceled = Vec::new();
    for lease in &commit.leases {
        let (until, ready_at) = match lease.hold {
            Hold::Until(until) => (Some(ms(until)), 0),
            Hold::Release { ready_at } => (None, ready_at.map_or(0, ms)),
        };
        let row = sqlx::query(
            "UPDATE batch_slices SET
               open_count = open_count - $5,
               status = CASE WHEN open_count = $5 THEN 'DONE' WHEN $6 IS NULL THEN $8 ELSE 'LEASED' END,
               owner = CASE WHEN open_count > $5 AND $6 IS NOT NULL THEN owner END,
               lease_until_at = CASE WHEN open_count > $5 THEN $6 END,
               ready_at = CASE WHEN $6 IS NULL THEN $7 ELSE ready_at END,
               lost_in_row = CASE WHEN $9 THEN 0 ELSE lost_in_row END,
               canceled_at = CASE WHEN $6 IS NULL AND open_count > $5 AND $8 = 'CANCELED' THEN $10 END
             WHERE batch_seq = $1 AND slice_no = $2 AND epoch = $3 AND owner = $4 AND status = 'LEASED'
             RETURNING status, open_count",
        )
        .bind(commit.batch.0)
        .bind(lease.slice.0)
        .bind(lease.epoch.0)
        .bind(commit.node.as_str())
        .bind(finals.get(&lease.slice).copied().unwrap_or(0))
        .bind(until)
        .bind(ready_at)
        .bind(given_back)
        .bind(moved.contains(&lease.slice))
        .bind(ms(commit.now))
        .fetch_optional(&mut *conn)
        .await?;
        match row {
            None => {
                fenced.insert(lease.slice);
            }
            Some(row) if row.get::<&str, _>("status") == "CANCELED" => {
                canceled.push((lease.slice.0, row.get("open_count")));
            }
            Some(_) => {}
        }
    }
    Ok((fenced, canceled))
}

/// The first failure in the group that is not its item's, if there is one.
fn system_failure<'a>(commit: &'a Commit, fenced: &HashSet<SliceNo>) -> Option<&'a Failure> {
    commit.attempts.iter().filter(|recording| !fenced.contains(&recording.slice)).find_map(
        |recording| match (&recording.attempt.outcome, recording.next) {
            (Outcome::Failed(failure), Next::Open { system: true, .. }) => Some(failure),
            _ => None,
        },
    )
}

/// What writing one item came to.
pub(super) struct Written {
    /// As it was recorded: a refused row makes a success a failure.
    next: Next,
    failed_class: Option<FailureClass>,
    records: i64,
    changed: i64,
}

async fn write_item(
    conn: &mut SqliteConnection,
    commit: &Commit,
    recording: &Recording,
) -> Result<Written, sqlx::Error> {
    let mut written = Written { next: recording.next, failed_class: None, records: 0, changed: 0 };
    match &recording.attempt.outcome {
        Outcome::Succeeded { records, .. } => {
            let (batch, key) = (commit.batch, &recording.item.key);
            (written.records, written.changed) = match recording.attempt.redecoded {
                None => record::write(conn, batch, key, records, recording.attempt.ended_at).await?,
                Some(fetched_at) => record::rewrite(conn, batch, key, records, fetched_at).await?,
            };
        }
        Outcome::Failed(failure) => {
            written.failed_class = Some(failure.class);
            if let Some(fetched_at) = recording.attempt.redecoded {
                record::retract(conn, commit.batch, &recording.item.key, fetched_at).await?;
            }
        }
        Outcome::Released { .. } => {}
    }
    // An item that goes back, for it met an upstream that is down, will have another reply.
    if let Some(body) = recording.attempt.body.as_ref().filter(|_| recording.next.is_final()) {
        record::keep_body(conn, commit.batch, recording.item.index, body, recording.attempt.ended_at).await?;
    }
    item::record(conn, commit, recording, written.records, written.changed).await?;
    Ok(written)
}

async fn write_isolated(
    conn: &mut SqliteConnection,
    commit: &Commit,
    recording: &Recording,
) -> Result<(Written, bool), sqlx::Error> {
    sqlx::query("SAVEPOINT item").execute(&mut *conn).await?;
    let written = write_item(conn, commit, recording).await;
    let refusal = match written {
        Ok(written) => {
            sqlx::query("RELEASE item").execute(&mut *conn).await?;
            return Ok((written, false));
        }
        Err(e) if error::is_refused_row(&e) => e.to_string(),
        Err(e) => return Err(e),
    };
    sqlx::query("ROLLBACK TO item").execute(&mut *conn).await?;
    sqlx::query("RELEASE item").execute(&mut *conn).await?;
    let mut failed = recording.clone();
    failed.next = Next::Failed;
    failed.attempt.outcome = Outcome::Failed(Failure::new(
        FailureClass::Permanent,
        "ROW_REJECTED",
        &format!("the store refused a record: {refusal}"),
    ));
    Ok((write_item(conn, commit, &failed).await?, true))
}

/// What a group adds to the batch's figures.
#[derive(Default)]
struct Tally {
    changed: bool,
    succeeded: i64,
    failed: i64,
    canceled: i64,
    returned: i64,
    records: i64,
    records_changed: i64,
    bytes_received: i64,
    requests: i64,
    retried: i64,
    items_by_class: [i64; 3],
    attempts_by_class: [i64; 3],
}

impl Tally {
    fn add(&mut self, recording: &Recording, written: &Written) {
        self.changed |= !item::is_untouched(recording);
        self.requests += i64::from(recording.attempt.requests);
        self.bytes_received += recording.attempt.bytes_received;
        self.records += written.records;
        self.records_changed += written.changed;
        let was_returned = i64::from(recording.item.not_before.is_some());
        let (charged, is_returned) = match written.next {
            Next::Succeeded => {
                self.succeeded += 1;
                (true, 0)
            }
            Next::Failed => {
                self.failed += 1;
                (true, 0)
            }
            Next::HeldBack => (false, 0),
            Next::Open { charged, not_before, .. } => (charged, not_before.map_or(was_returned, |_| 1)),
        };
        self.returned += is_returned - was_returned;
        self.retried += i64::from(charged && recording.item.attempts > 0);
        if let Some(class) = written.failed_class {
            let class_at = class as usize;
            self.attempts_by_class[class_at] += 1;
            self.items_by_class[class_at] += i64::from(written.next == Next::Failed);
        }
    }

    /// Also appends what became final to its order: one run, as a group has so many items at most. Answers with the
    /// batch's row, and how it stands.
    async fn write(
        &self,
        conn: &mut SqliteConnection,
        commit: &Commit,
        finals: &[i64],
    ) -> Result<SqliteRow, sqlx::Error> {
        // Both on one way to the engine's thread.
        static WRITE: LazyLock<String> = LazyLock::new(|| {
            let append = result::appending("$2", "$18", "$19");
            format!(
                "{append};
                 UPDATE batch_executions SET
                   successful_count = successful_count + $3, failed_count = failed_count + $4,
                   canceled_count = canceled_count + $5, returned_count = returned_count + $6,
                   records_count = records_count + $7, records_changed = records_changed + $8,
                   bytes_received = bytes_received + $9, requests_count = requests_count + $10,
                   retried_attempts = retried_attempts + $11,
                   temporary_items = temporary_items + $12, permanent_items = permanent_items + $13,
                   system_items = system_items + $14,
                   temporary_attempts = temporary_attempts + $15, permanent_attempts = permanent_attempts + $16,
                   system_attempts = system_attempts + $17,
                   revision = revision + 1
                 WHERE seq = $2 RETURNING *, {STANDING}"
            )
        });
        sqlx::query(WRITE.as_str())
            .bind(ms(commit.now))
            .bind(commit.batch.0)
            .bind(self.succeeded)
            .bind(self.failed)
            .bind(self.canceled)
            .bind(self.returned)
            .bind(self.records)
            .bind(self.records_changed)
            .bind(self.bytes_received)
            .bind(self.requests)
            .bind(self.retried)
            .bind(self.items_by_class[0])
            .bind(self.items_by_class[1])
            .bind(self.items_by_class[2])
            .bind(self.attempts_by_class[0])
            .bind(self.attempts_by_class[1])
            .bind(self.attempts_by_class[2])
            .bind(finals.len() as i64)
            .bind(result::json(finals))
            .fetch_one(conn)
            .await
    }
}
