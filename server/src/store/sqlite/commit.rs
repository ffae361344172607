//! The commit: fence, outcomes, records, kept bodies, counters and lease renewal in one transaction.
//!
//! A group that the store refuses because of a row is rolled back and written again with a savepoint per item, so that
//! the refused row fails its own item and no other. Savepoints are not taken otherwise: they cost.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::{
    SqliteStore, deadline, error,
    item::{self, Recorded},
    missing, ms, overlap, record,
    response::{self, Came},
    result,
    script::{Ran, Script},
    transition::{self, STANDING, Standing},
    writer::Tx,
};
use crate::{
    domain::{
        batch::{Batch, Input, State},
        datum::Records,
        failure::{Failure, FailureClass},
        id::{BatchSeq, SliceNo},
        item::{Next, Outcome},
    },
    failpoint,
    store::{Changed, Commit, Committed, Hold, Recording, StoreError},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Isolation {
    Group,
    PerItem,
}

/// Attempts in a group from which on it is written as [`commit`] says.
const GROUP_BESIDE: usize = 8;

/// Writes a large group on this thread, while the runtime's other tasks go on on another one. Each item is a way to the
/// engine's thread and back: woken through the runtime, the group would each time wait for its turn among all that is
/// ready, and the engine with it.
pub(super) async fn commit(store: &SqliteStore, commit: &Commit) -> Result<Committed, StoreError> {
    let runtime = Handle::current();
    if commit.attempts.len() >= GROUP_BESIDE && runtime.runtime_flavor() == RuntimeFlavor::MultiThread {
        tokio::task::block_in_place(|| runtime.block_on(retried(store, commit)))
    } else {
        retried(store, commit).await
    }
}

async fn retried(store: &SqliteStore, commit: &Commit) -> Result<Committed, StoreError> {
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
    let Begun { mut tx, before, mut standing, has_missing, held } = begin(store, commit).await?;
    let commit = &*deadline::enforced(&mut tx, &before, commit).await?;
    let fenced: HashSet<SliceNo> =
        commit.leases.iter().map(|lease| lease.slice).filter(|slice| !held.contains_key(slice)).collect();
    let mut rejected = deadline::late(commit, &fenced);
    let mut recorded = Vec::with_capacity(commit.attempts.len());
    for recording in commit.attempts.iter().filter(|recording| !fenced.contains(&recording.slice)) {
        recorded.push(match isolation {
            Isolation::Group => write_records(&mut tx, commit, Cow::Borrowed(recording)).await?,
            Isolation::PerItem => {
                let (written, refused) = write_isolated(&mut tx, commit, recording).await?;
                rejected.extend(refused.then_some(recording.item.index));
                written
            }
        });
    }
    if isolation == Isolation::Group {
        write_replies(&mut tx, commit.batch, &mut recorded).await?;
    }

    let mut script = Script::default();
    item::record(&mut script, &before, commit, &recorded);
    missing::record(&mut script, &before, &recorded, has_missing, commit.now);
    let canceled = write_leases(&mut script, &before, commit, &held, &recorded);
    let tally = Tally::of(&recorded, canceled.iter().map(|(_, open)| open).sum());
    let finals: Vec<i64> = recorded
        .iter()
        .filter(|recorded| recorded.recording.next.is_final())
        .map(|recorded| recorded.recording.item.index)
        .collect();
    if tally.changed {
        tally.write(&mut script, commit, &finals);
    }
    // Its items came back, so the batch is not exhausted by this commit.
    let found = system_failure(commit, &fenced)
        .map(|failure| (Input::SystemFailure, transition::Why::event(&failure.reason, &failure.message)));

    // Most commits change figures and nothing else: then the row that they wrote is the batch, and nobody is let in.
    if tally.changed && found.is_none() && !standing.is_late && !tally.brings_about(&before) {
        failpoint::tried("commit.written").await.map_err(StoreError::from)?;
        let mut ran = tx.commit_with(script).await?;
        failpoint::reached("commit.done").await;
        ran.pop();
        let batch = store.decode(&written(ran)?)?;
        return Ok(Committed { batch, admitted: Vec::new(), fenced: fenced.into_iter().collect(), rejected });
    }
    if !canceled.is_empty() {
        result::append_canceled(&mut script, commit.batch)
            .then("SELECT value ->> 0, value ->> 1 FROM json_each(?))")
            .bind(result::json(&canceled));
    }
    let slots = store.limits.running_batches;
    let (admitted, script) = if tally.exhausts(&before) {
        // That ends the batch, whatever else is there and whoever holds what: nothing more need be read.
        standing.apply(&mut script, Input::Exhausted, transition::Why::default())?;
        overlap::admit_after(&mut tx, script, &standing, slots, commit.now).await?
    } else {
        transition::settled(&mut tx, script, commit.batch, found, slots, commit.now).await?
    };
    failpoint::tried("commit.written").await.map_err(StoreError::from)?;
    let Changed { batch, admitted } = store.commit_change(tx, script, commit.batch, &admitted).await?;
    failpoint::reached("commit.done").await;
    Ok(Committed { batch, admitted, fenced: fenced.into_iter().collect(), rejected })
}

/// A commit's transaction, and what it finds.
struct Begun {
    tx: Tx,
    before: Batch,
    standing: Standing,
    /// Keys are remembered as missing.
    has_missing: bool,
    /// The leases that are the caller's still, with the open items of each. This is the fence.
    held: HashMap<SliceNo, i64>,
}

async fn begin(store: &SqliteStore, commit: &Commit) -> Result<Begun, Trouble> {
    let leases: Vec<(i64, i64)> = commit.leases.iter().map(|lease| (lease.slice.0, lease.epoch.0)).collect();
    let mut script = Script::default();
    script
        .add("SELECT *, EXISTS (SELECT 1 FROM missing_keys) AS has_missing FROM batch_executions WHERE seq = ?")
        .bind(commit.batch.0)
        .add(STANDING)
        .then("= ?")
        .bind(ms(commit.now))
        .bind(commit.batch.0)
        .add(
            "SELECT slice_no, open_count FROM batch_slices
             WHERE batch_seq = ? AND status = 'LEASED' AND owner = ?
               AND (slice_no, epoch) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))",
        )
        .bind(commit.batch.0)
        .bind(commit.node.as_str())
        .bind(result::json(&leases));
    let (tx, ran) = store.begin_with(script).await?;
    let [batch, standing, held] = &ran[..] else { return Err(sqlx::Error::RowNotFound.into()) };
    let row = batch.first().ok_or(sqlx::Error::RowNotFound)?;
    let held = held.iter().map(|row| (SliceNo(row.get("slice_no")), row.get("open_count"))).collect();
    Ok(Begun {
        tx,
        before: store.decode(row)?,
        standing: Standing::of(standing.first().ok_or(sqlx::Error::RowNotFound)?, commit.now)?,
        has_missing: row.get("has_missing"),
        held,
    })
}

/// The batch's row, which the last statement wrote.
fn written(mut ran: Vec<Ran>) -> Result<SqliteRow, sqlx::Error> {
    ran.pop().and_then(|mut ran| ran.pop()).ok_or(sqlx::Error::RowNotFound)
}

/// Leases per statement.
const LEASES_PER_UPDATE: usize = 32;

/// The statement for one to [`LEASES_PER_UPDATE`] leases. Its text is made once.
static UPDATE_LEASES: LazyLock<Vec<String>> = LazyLock::new(|| {
    (0..=LEASES_PER_UPDATE)
        .map(|leases| {
            format!(
                "WITH shared (given_back, now) AS (VALUES (?, ?)), \
                 lease (slice_no, finals, until, ready_at, moved) AS (VALUES {}) \
                 UPDATE batch_slices AS slice SET \
                   open_count = open_count - finals, \
                   status = CASE WHEN open_count = finals THEN 'DONE' WHEN until IS NULL THEN given_back ELSE 'LEASED' END, \
                   owner = CASE WHEN open_count > finals AND until IS NOT NULL THEN owner END, \
                   lease_until_at = CASE WHEN open_count > finals THEN until END, \
                   ready_at = CASE WHEN until IS NULL THEN lease.ready_at ELSE slice.ready_at END, \
                   lost_in_row = CASE WHEN moved THEN 0 ELSE lost_in_row END, \
                   canceled_at = CASE WHEN until IS NULL AND open_count > finals AND given_back = 'CANCELED' THEN now END \
                 FROM lease CROSS JOIN shared \
                 WHERE slice.batch_seq = ? AND slice.slice_no = lease.slice_no",
                vec!["(?, ?, ?, ?, ?)"; leases].join(", ")
            )
        })
        .collect()
});

/// Adds the renewal of the leases that are the caller's. Answers with the slices that it cancels, because the batch is on
/// its way to an end, each with its open items.
fn write_leases(
    script: &mut Script,
    batch: &Batch,
    commit: &Commit,
    held: &HashMap<SliceNo, i64>,
    recorded: &[Recorded<'_>],
) -> Vec<(i64, i64)> {
    let mut finals: HashMap<SliceNo, i64> = HashMap::new();
    // Slices whose worker has got somewhere.
    let mut moved: HashSet<SliceNo> = HashSet::new();
    for Recorded { recording, .. } in recorded {
        *finals.entry(recording.slice).or_default() += i64::from(recording.next.is_final());
        if recording.next.is_charged() {
            moved.insert(recording.slice);
        }
    }
    let given_back = if batch.state == State::Stopping { "CANCELED" } else { "READY" };

    let mut leases = Vec::new();
    let mut canceled = Vec::new();
    for lease in &commit.leases {
        let Some(open) = held.get(&lease.slice) else { continue };
        let finals = finals.get(&lease.slice).copied().unwrap_or(0);
        let (until, ready_at) = match lease.hold {
            Hold::Until(until) => (Some(ms(until)), 0),
            Hold::Release { ready_at } => (None, ready_at.map_or(0, ms)),
        };
        if until.is_none() && batch.state == State::Stopping && *open > finals {
            canceled.push((lease.slice.0, open - finals));
        }
        leases.push((lease.slice.0, finals, until, ready_at, moved.contains(&lease.slice)));
    }
    for leases in leases.chunks(LEASES_PER_UPDATE) {
        script.add(&UPDATE_LEASES[leases.len()]).bind(given_back).bind(ms(commit.now));
        for (slice, finals, until, ready_at, moved) in leases {
            script.bind(slice).bind(finals).bind(until).bind(ready_at).bind(moved);
        }
        script.bind(commit.batch.0);
    }
    canceled
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

/// Writes an item's records but for its reply, and keeps its body.
async fn write_records<'a>(
    conn: &mut SqliteConnection,
    commit: &Commit,
    recording: Cow<'a, Recording>,
) -> Result<Recorded<'a>, sqlx::Error> {
    let (batch, item, attempt) = (commit.batch, &recording.item, &recording.attempt);
    let (mut written, mut changed, mut history) = (0, 0, None);
    let mut script = Script::default();
    match (&attempt.outcome, attempt.redecoded) {
        (Outcome::Succeeded { records, .. }, None) => {
            written = records.len() as i64;
            if let Records::PriceHistory(prices) = records {
                record::write(&mut script, batch, &item.key, prices, attempt.ended_at);
                history = Some(prices);
            }
        }
        (Outcome::Succeeded { records, .. }, Some(fetched_at)) => {
            (written, changed) = record::rewrite(conn, batch, &item.key, records, fetched_at).await?;
        }
        (Outcome::Failed(_), Some(fetched_at)) => {
            record::retract(conn, batch, &item.key, fetched_at).await?;
        }
        (Outcome::Failed(_), None) | (Outcome::Released { .. }, _) => {}
    }
    // An item that goes back, for it met an upstream that is down, will have another reply.
    if let Some(body) = attempt.body.as_ref().filter(|_| recording.next.is_final()) {
        record::keep_body(&mut script, batch, item.index, body, attempt.ended_at);
    }
    let ran = script.run(conn).await?;
    if let Some(history) = history {
        changed = record::changed(history, &ran);
    }
    Ok(Recorded { recording, records: written, changed })
}

/// Writes what [`write_records`] leaves out.
async fn write_replies(
    conn: &mut SqliteConnection,
    batch: BatchSeq,
    recorded: &mut [Recorded<'_>],
) -> Result<(), sqlx::Error> {
    let (places, came): (Vec<usize>, Vec<Came<'_>>) = recorded
        .iter()
        .enumerate()
        .filter_map(|(n, recorded)| Some((n, reply(&recorded.recording)?)))
        .unzip();
    let changed = response::write(conn, batch, &came).await?;
    for (n, changed) in places.into_iter().zip(changed) {
        recorded[n].changed = i64::from(changed);
    }
    Ok(())
}

/// The reply of an attempt, if that is what it has for a record.
fn reply(recording: &Recording) -> Option<Came<'_>> {
    let attempt = &recording.attempt;
    match (&attempt.outcome, attempt.redecoded) {
        (Outcome::Succeeded { records: Records::Response(response), .. }, None) => {
            Some(Came { key: &recording.item.key, response, fetched_at: attempt.ended_at })
        }
        _ => None,
    }
}

async fn write_isolated<'a>(
    conn: &mut SqliteConnection,
    commit: &Commit,
    recording: &'a Recording,
) -> Result<(Recorded<'a>, bool), sqlx::Error> {
    sqlx::query("SAVEPOINT item").execute(&mut *conn).await?;
    let written = async {
        let mut written = write_records(conn, commit, Cow::Borrowed(recording)).await?;
        write_replies(conn, commit.batch, std::slice::from_mut(&mut written)).await?;
        Ok(written)
    };
    let refusal = match written.await {
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
    Ok((write_records(conn, commit, Cow::Owned(failed)).await?, true))
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
    fn of(recorded: &[Recorded<'_>], canceled: i64) -> Self {
        let mut tally = Self { changed: canceled > 0, canceled, ..Self::default() };
        for recorded in recorded {
            tally.add(recorded);
        }
        tally
    }

    fn add(&mut self, Recorded { recording, records, changed }: &Recorded<'_>) {
        self.changed |= !item::is_untouched(recording);
        self.requests += i64::from(recording.attempt.requests);
        self.bytes_received += recording.attempt.bytes_received;
        self.records += records;
        self.records_changed += changed;
        let was_returned = i64::from(recording.item.not_before.is_some());
        let (charged, is_returned) = match recording.next {
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
        if let Outcome::Failed(failure) = &recording.attempt.outcome {
            let class_at = failure.class as usize;
            self.attempts_by_class[class_at] += 1;
            self.items_by_class[class_at] += i64::from(recording.next == Next::Failed);
        }
    }

    /// Whether the batch may change its state by these figures: [`Standing::settle`] says how.
    fn brings_about(&self, before: &Batch) -> bool {
        before.state != State::Running || self.exhausts(before) || self.is_spent(before)
    }

    /// Whether its last item is final, and its failure budget not used up: that counts before.
    fn exhausts(&self, before: &Batch) -> bool {
        matches!(before.state, State::Running | State::Pausing)
            && before.expanded
            && self.processed(before) == before.counts.total
            && !self.is_spent(before)
    }

    fn is_spent(&self, before: &Batch) -> bool {
        let failed = before.counts.failed + self.failed;
        failed > 0 && before.spec.failure.spent(self.processed(before), failed).is_some()
    }

    fn processed(&self, before: &Batch) -> i64 {
        before.counts.processed() + self.succeeded + self.failed + self.canceled
    }

    /// Adds what becomes final to its order: one run, as a group has so many items at most. Then the figures, which
    /// answer with the batch's row.
    fn write(&self, script: &mut Script, commit: &Commit, finals: &[i64]) {
        result::append(script, commit.batch, finals);
        script
            .add(
                "UPDATE batch_executions SET
                   successful_count = successful_count + ?, failed_count = failed_count + ?,
                   canceled_count = canceled_count + ?, returned_count = returned_count + ?,
                   records_count = records_count + ?, records_changed = records_changed + ?,
                   bytes_received = bytes_received + ?, requests_count = requests_count + ?,
                   retried_attempts = retried_attempts + ?,
                   temporary_items = temporary_items + ?, permanent_items = permanent_items + ?,
                   system_items = system_items + ?,
                   temporary_attempts = temporary_attempts + ?, permanent_attempts = permanent_attempts + ?,
                   system_attempts = system_attempts + ?,
                   revision = revision + 1
                 WHERE seq = ? RETURNING *",
            )
            .bind(self.succeeded)
            .bind(self.failed)
            .bind(self.canceled)
            .bind(self.returned)
            .bind(self.records)
            .bind(self.records_changed)
            .bind(self.bytes_received)
            .bind(self.requests)
            .bind(self.retried);
        for count in self.items_by_class.iter().chain(&self.attempts_by_class) {
            script.bind(count);
        }
        script.bind(commit.batch.0);
    }
}
