//! Batches of one overlap key, and admission: who may run, and who goes first.

use chrono::{DateTime, Utc};
use sqlx::{Row, SqliteConnection, SqliteExecutor};

use super::{
    ms,
    script::{Ran, Script},
    transition::{self, STANDING, Standing},
};
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

/// Adds the question for the live batches of the newcomer's key, those that hold it before those that wait, each by age.
pub(super) fn ask(script: &mut Script, newcomer: &BatchId, overlap: &Overlap) {
    script
        .add(
            "SELECT seq, name, status, started_at IS NOT NULL OR overlap_policy = 'ALLOW_ALL' AS holds
             FROM batch_executions
             WHERE overlap_key = ? AND name <> ? AND status NOT IN ('COMPLETED', 'FAILED', 'STOPPED')
             ORDER BY holds DESC, seq",
        )
        .bind(&overlap.key)
        .bind(newcomer.as_str());
}

/// What came of it; and what the newcomer does.
pub(super) fn answer(rows: &Ran, overlap: &Overlap) -> (Vec<Other>, Meeting) {
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
    (others, meeting)
}

/// Stops those that were there. Answers for how many of them the newcomer has to wait.
pub(super) async fn replace(
    conn: &mut SqliteConnection,
    others: &[Other],
    newcomer: &BatchId,
    now: DateTime<Utc>,
) -> Result<usize, sqlx::Error> {
    let message = format!("replaced by {}", newcomer.name());
    let why = transition::Why::event("", &message);
    let mut live = 0;
    for other in others {
        let mut standing = Standing::read(conn, Script::default(), other.seq, now).await?;
        let mut script = Script::default();
        // Its time may have passed since the last commit, or that of its last lease: that counts first.
        standing.settle(&mut script, None)?;
        if !standing.state.is_terminal() {
            standing.apply(&mut script, Input::Replaced, why)?;
        }
        live += usize::from(!standing.state.is_terminal());
        script.run(conn).await?;
    }
    Ok(live)
}

/// The next batch to be let in, and the one after it. Its time has come, a slot is free, and so is its key: no older batch is live under it,
/// and none that has run. Of batches that wait for one key only the oldest is looked at, whatever their priorities.
pub(super) const NEXT: &str = "
    SELECT b.seq FROM batch_executions b
    WHERE b.status = 'QUEUED' AND (b.not_before_at IS NULL OR b.not_before_at <= ?)
      AND (SELECT count(*) FROM batch_executions WHERE status IN ('RUNNING', 'PAUSING', 'STOPPING')) < ?
      AND (b.overlap_key IS NULL OR b.overlap_policy = 'ALLOW_ALL' OR b.started_at IS NOT NULL
        OR NOT EXISTS (
          SELECT 1 FROM batch_executions x
          WHERE x.overlap_key = b.overlap_key AND x.seq <> b.seq
            AND x.status NOT IN ('COMPLETED', 'FAILED', 'STOPPED')
            AND (x.seq < b.seq OR x.started_at IS NOT NULL)))
    ORDER BY b.priority DESC, b.seq LIMIT 2";

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

/// Lets QUEUED batches run as long as there is a next one, after a script. Answers with those it let in, and with what is
/// yet to be run for the last of them.
pub(super) async fn admit(
    conn: &mut SqliteConnection,
    mut script: Script,
    running_batches: usize,
    now: DateTime<Utc>,
) -> Result<(Vec<BatchSeq>, Script), sqlx::Error> {
    let mut admitted = Vec::new();
    loop {
        script.add(STANDING).bind(ms(now)).then("IN (").then(NEXT).bind(ms(now)).bind(running_batches as i64);
        script.then(") ORDER BY priority DESC, seq");
        let ran = script.run(conn).await?;
        let next = ran.last().map_or(&[][..], Vec::as_slice);
        script = Script::default();
        let Some(first) = next.first() else { return Ok((admitted, script)) };
        let mut standing = Standing::of(first, now)?;
        standing.apply(&mut script, Input::Admitted, transition::Why::default())?;
        // A batch without items is over as soon as its source is read, and makes room again.
        standing.settle(&mut script, None)?;
        failpoint::reached("batch.admitted").await;
        admitted.push(standing.seq);
        if next.len() == 1 && standing.state == State::Running {
            return Ok((admitted, script));
        }
    }
}

/// The same after a change of one batch: nobody is let in by one that keeps its slot, and most commits are such.
pub(super) async fn admit_after(
    conn: &mut SqliteConnection,
    script: Script,
    changed: &Standing,
    running_batches: usize,
    now: DateTime<Utc>,
) -> Result<(Vec<BatchSeq>, Script), sqlx::Error> {
    match changed.state {
        State::Running | State::Pausing | State::Stopping => Ok((Vec::new(), script)),
        State::Queued => admit(conn, script, running_batches, now).await,
        State::Open | State::Paused | State::Completed | State::Failed | State::Stopped => {
            if changed.has_queue {
                admit(conn, script, running_batches, now).await
            } else {
                Ok((Vec::new(), script))
            }
        }
    }
}

/// What is said of a key that takes no more.
pub(super) fn full(overlap: &Overlap) -> crate::store::CreateError {
    crate::store::CreateError::OverlapBufferFull { key: overlap.key.clone(), limit: BUFFERED_MAX }
}
