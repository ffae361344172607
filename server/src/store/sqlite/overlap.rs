//! Batches of one overlap key, and admission: who may run, and who goes first.

use chrono::{DateTime, Utc};
use sqlx::{Row, SqliteConnection, SqliteExecutor};

use super::{ms, transition};
use crate::{
    domain::{
        batch::{Input, State},
        id::{BatchId, BatchSeq},
        overlap::{BUFFERED_MAX, Meeting, meet},
        spec::Overlap,
    },
    failpoint,
    store::InTheWay,
};

/// A live batch of a newcomer's key.
pub(super) struct Other {
    pub(super) seq: BatchSeq,
    id: BatchId,
    is_stopping: bool,
    holds: bool,
}

impl Other {
    /// What a newcomer does about it, as it is told in a plan.
    pub(super) fn in_the_way(&self, meeting: Meeting) -> InTheWay {
        let meeting = match meeting {
            // Its end is decided: there is nothing to stop.
            Meeting::Replace if self.is_stopping => Meeting::Wait,
            other => other,
        };
        InTheWay { batch: self.id.clone(), meeting }
    }
}

/// Live batches of the newcomer's key, those that hold it before those that wait, each by age; and what it does.
pub(super) async fn others(
    conn: &mut SqliteConnection,
    newcomer: BatchSeq,
    overlap: &Overlap,
) -> Result<(Vec<Other>, Meeting), sqlx::Error> {
    let rows = sqlx::query(
        "SELECT seq, name, status, started_at IS NOT NULL OR overlap_policy = 'ALLOW_ALL' AS holds
         FROM batch_executions
         WHERE overlap_key = $1 AND seq <> $2 AND status NOT IN ('COMPLETED', 'FAILED', 'STOPPED')
         ORDER BY holds DESC, seq",
    )
    .bind(&overlap.key)
    .bind(newcomer.0)
    .fetch_all(conn)
    .await?;
    let others: Vec<Other> = rows
        .iter()
        .map(|row| Other {
            seq: BatchSeq(row.get("seq")),
            id: BatchId::stored(row.get("name")),
            is_stopping: row.get::<&str, _>("status") == State::Stopping.as_str(),
            holds: row.get("holds"),
        })
        .collect();
    let holders = others.iter().filter(|other| other.holds).count();
    let meeting = meet(overlap.policy, holders, others.len() - holders);
    Ok((others, meeting))
}

/// Stops those that were there. Answers whether the newcomer has to wait for one of them.
pub(super) async fn replace(
    conn: &mut SqliteConnection,
    others: &[Other],
    newcomer: &BatchId,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let message = format!("replaced by {}", newcomer.name());
    let why = transition::Why::event("", &message);
    let mut waits = false;
    for other in others {
        // Its time may have passed since the last commit, or that of its last lease: that counts first.
        transition::settle(conn, other.seq, None, now).await?;
        if !transition::state(conn, other.seq).await?.is_terminal() {
            transition::apply(conn, other.seq, Input::Replaced, why, now).await?;
        }
        waits |= !transition::state(conn, other.seq).await?.is_terminal();
    }
    Ok(waits)
}

/// The next batch to be let in. Its time has come, a slot is free, and so is its key: no older batch is live under it,
/// and none that has run. Of batches that wait for one key only the oldest is looked at, whatever their priorities.
pub(super) const NEXT: &str = "
    SELECT b.seq FROM batch_executions b
    WHERE b.status = 'QUEUED' AND (b.not_before_at IS NULL OR b.not_before_at <= $1)
      AND (SELECT count(*) FROM batch_executions WHERE status IN ('RUNNING', 'PAUSING', 'STOPPING')) < $2
      AND (b.overlap_key IS NULL OR b.overlap_policy = 'ALLOW_ALL' OR b.started_at IS NOT NULL
        OR NOT EXISTS (
          SELECT 1 FROM batch_executions x
          WHERE x.overlap_key = b.overlap_key AND x.seq <> b.seq
            AND x.status NOT IN ('COMPLETED', 'FAILED', 'STOPPED')
            AND (x.seq < b.seq OR x.started_at IS NOT NULL)))
    ORDER BY b.priority DESC, b.seq LIMIT 1";

/// Who is next, if anybody is.
pub(super) async fn next(
    db: impl SqliteExecutor<'_>,
    running_batches: usize,
    now: DateTime<Utc>,
) -> Result<Option<BatchSeq>, sqlx::Error> {
    let next: Option<i64> =
        sqlx::query_scalar(NEXT).bind(ms(now)).bind(running_batches as i64).fetch_optional(db).await?;
    Ok(next.map(BatchSeq))
}

/// Lets QUEUED batches run as long as there is a next one. Answers with those it let in.
pub(super) async fn admit(
    conn: &mut SqliteConnection,
    running_batches: usize,
    now: DateTime<Utc>,
) -> Result<Vec<BatchSeq>, sqlx::Error> {
    let mut admitted = Vec::new();
    while let Some(seq) = next(&mut *conn, running_batches, now).await? {
        transition::apply(conn, seq, Input::Admitted, transition::Why::default(), now).await?;
        // A batch without items is over as soon as its source is read, and makes room again.
        transition::settle(conn, seq, None, now).await?;
        failpoint::reached("batch.admitted").await;
        admitted.push(seq);
    }
    Ok(admitted)
}

/// The same after a change of one batch: nobody is let in by one that keeps its slot, and most commits are such.
pub(super) async fn admit_after(
    conn: &mut SqliteConnection,
    changed: BatchSeq,
    running_batches: usize,
    now: DateTime<Utc>,
) -> Result<Vec<BatchSeq>, sqlx::Error> {
    match transition::state(conn, changed).await? {
        State::Running | State::Pausing | State::Stopping => Ok(Vec::new()),
        State::Open | State::Queued | State::Paused | State::Completed | State::Failed | State::Stopped => {
            admit(conn, running_batches, now).await
        }
    }
}

/// What is said of a key that takes no more.
pub(super) fn full(overlap: &Overlap) -> crate::store::CreateError {
    crate::store::CreateError::OverlapBufferFull { key: overlap.key.clone(), limit: BUFFERED_MAX }
}
