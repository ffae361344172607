//! Transitions: what [`decide`] says, carried out. Everything here runs inside a writing transaction.

use chrono::{DateTime, Utc};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{SqliteStore, error, ms, overlap, purge, request, result, script::Script};
use crate::{
    domain::{
        batch::{Command, Decision, DrainMode, EndReason, Input, Leases, PauseCause, State, decide},
        etag,
        id::{BatchId, BatchSeq},
        spec::FailurePolicy,
        text,
    },
    failpoint,
    store::{Changed, CommandError, Guard, StoreError},
};

/// What a pause or an end is shown with, and how the batch drains for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Why<'a> {
    /// Stable word, of pauses.
    pub(super) reason: &'a str,
    /// For people.
    pub(super) message: &'a str,
    /// What becomes of attempts in flight.
    pub(super) drain: DrainMode,
}

impl<'a> Why<'a> {
    /// An event: what is in flight ends.
    pub(super) fn event(reason: &'a str, message: &'a str) -> Self {
        Self { reason, message, drain: DrainMode::Finish }
    }
}

impl Default for Why<'_> {
    fn default() -> Self {
        Self::event("", "")
    }
}

const USER_PAUSE: &str = "USER_PAUSE";

pub(super) async fn command(
    store: &SqliteStore,
    id: &BatchId,
    command: &Command,
    guard: &Guard,
    now: DateTime<Utc>,
) -> Result<Changed, CommandError> {
    let mut tx = store.begin().await?;
    let found: Option<(i64, i64)> =
        sqlx::query_as("SELECT seq, revision FROM batch_executions WHERE name = $1")
            .bind(id.as_str())
            .fetch_optional(&mut *tx)
            .await
            .map_err(error::store)?;
    let Some((seq, revision)) = found.map(|(seq, revision)| (BatchSeq(seq), revision)) else {
        return Err(match purge::purged(&mut tx, id).await.map_err(error::store)? {
            Some(purged) => CommandError::Purged(purged),
            None => CommandError::NotFound(id.clone()),
        });
    };
    if let Some(key) = &guard.request
        && let Some(before) = request::before(&mut tx, key, now).await?
    {
        if !before.is_same {
            return Err(CommandError::RequestIdReused(key.id.clone()));
        }
        let batch = store.load(&mut tx, seq).await?;
        return Ok(Changed { batch, admitted: Vec::new() });
    }
    // Its last lease may have run out since the last commit, or its time: that counts first.
    let mut standing = Standing::read(&mut tx, Script::default(), seq, now).await.map_err(error::store)?;
    let mut script = Script::default();
    standing.settle(&mut script, None).map_err(error::store)?;
    let is_current = match &guard.etag {
        Some(known) => {
            std::mem::take(&mut script).run(&mut tx).await.map_err(error::store)?;
            etag::of(&store.load(&mut tx, seq).await?) == *known
        }
        None => true,
    };
    // None of a stale etag.
    let decision = if is_current {
        let (reason, message) = match command {
            Command::Pause { reason, .. } => (USER_PAUSE, reason.as_str()),
            Command::Resume => ("", ""),
            Command::Stop { reason, .. } => ("", reason.as_str()),
        };
        let why = Why { reason, message, drain: command.drain() };
        Some(standing.apply(&mut script, command.input(), why).map_err(error::store)?)
    } else {
        None
    };
    let has_effect = !matches!(decision, None | Some(Decision::Refuse(_)));
    if has_effect && let Some(key) = &guard.request {
        request::remember(&mut script, key, id);
    }
    let slots = store.limits.running_batches;
    let (admitted, script) =
        overlap::admit_after(&mut tx, script, &standing, slots, now).await.map_err(error::store)?;
    failpoint::tried("command.written").await.map_err(StoreError::from)?;
    let Changed { batch, mut admitted } = store.commit_change(tx, script, seq, &admitted).await?;
    if !has_effect && batch.revision > revision {
        admitted.push(batch.clone());
    }
    failpoint::reached("command.done").await;
    match decision {
        None => Err(CommandError::EtagMismatch { batch: Box::new(batch), moved: admitted }),
        Some(Decision::Refuse(refusal)) => {
            Err(CommandError::Refused { id: id.clone(), state: batch.state, refusal, moved: admitted })
        }
        Some(_) => Ok(Changed { batch, admitted }),
    }
}

/// What a commit, a page or the time has brought about: see [`Standing::settle`].
pub(super) async fn settle(
    conn: &mut SqliteConnection,
    seq: BatchSeq,
    found: Option<(Input, Why<'_>)>,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let mut standing = Standing::read(conn, Script::default(), seq, now).await?;
    let mut script = Script::default();
    standing.settle(&mut script, found)?;
    script.run(conn).await?;
    Ok(())
}

/// The same after a script, of the last batch that a transaction changes: then whoever is let in. Answers with those, and
/// with what is yet to be run.
pub(super) async fn settled(
    conn: &mut SqliteConnection,
    script: Script,
    seq: BatchSeq,
    found: Option<(Input, Why<'_>)>,
    running_batches: usize,
    now: DateTime<Utc>,
) -> Result<(Vec<BatchSeq>, Script), sqlx::Error> {
    let mut standing = Standing::read(conn, script, seq, now).await?;
    let mut script = Script::default();
    standing.settle(&mut script, found)?;
    overlap::admit_after(conn, script, &standing, running_batches, now).await
}

/// Where a batch stands: all that is decided on. Read once; each step of the batch changes it with the row.
pub(super) struct Standing {
    pub(super) seq: BatchSeq,
    pub(super) state: State,
    /// Batches wait to be let in.
    pub(super) has_queue: bool,
    now: DateTime<Utc>,
    cause: Option<PauseCause>,
    drain: Option<DrainMode>,
    end: Option<EndReason>,
    /// On a slice or on the source. An expired one counts as gone.
    leases: Leases,
    /// What is said of a failure budget that is used up.
    spent: Option<String>,
    is_exhausted: bool,
    /// Its time is up.
    pub(super) is_late: bool,
}

/// Reads where batches stand at a time; ends where their numbers are to follow.
pub(super) const STANDING: &str = "
    SELECT seq, status, pause_cause, end_reason, drain_mode, processed_count, failed_count,
      coalesce(deadline_at <= now, 0) AS late, expanded = 1 AND processed_count = total_count AS exhausted,
      CASE WHEN failed_count > 0 THEN json_extract(spec, '$.failure') END AS failure,
      coalesce(source_lease_at > now, 0) OR EXISTS (
        SELECT 1 FROM batch_slices WHERE batch_seq = seq AND status = 'LEASED' AND lease_until_at > now) AS leased,
      EXISTS (SELECT 1 FROM batch_executions WHERE status = 'QUEUED') AS queued
    FROM (SELECT ? AS now) CROSS JOIN batch_executions WHERE seq ";

impl Standing {
    /// Runs a script and reads where a batch stands after it, on one way.
    pub(super) async fn read(
        conn: &mut SqliteConnection,
        mut script: Script,
        seq: BatchSeq,
        now: DateTime<Utc>,
    ) -> Result<Self, sqlx::Error> {
        script.add(STANDING).then("= ?").bind(ms(now)).bind(seq.0);
        let ran = script.run(conn).await?;
        Self::of(ran.last().and_then(|rows| rows.first()).ok_or(sqlx::Error::RowNotFound)?, now)
    }

    pub(super) fn of(row: &SqliteRow, now: DateTime<Utc>) -> Result<Self, sqlx::Error> {
        let spent = match row.get::<Option<&str>, _>("failure") {
            None => None,
            Some(policy) => serde_json::from_str::<FailurePolicy>(policy)
                .map_err(|error| sqlx::Error::Decode(error.into()))?
                .spent(row.get("processed_count"), row.get("failed_count")),
        };
        Ok(Self {
            seq: BatchSeq(row.get("seq")),
            state: State::parse(row.get("status")).ok_or_else(|| sqlx::Error::Decode("status".into()))?,
            has_queue: row.get("queued"),
            now,
            cause: row.get::<Option<&str>, _>("pause_cause").and_then(PauseCause::parse),
            drain: row.get::<Option<&str>, _>("drain_mode").and_then(DrainMode::parse),
            end: row.get::<Option<&str>, _>("end_reason").and_then(EndReason::parse),
            leases: if row.get("leased") { Leases::Live } else { Leases::None },
            spent,
            is_exhausted: row.get("exhausted"),
            is_late: row.get("late"),
        })
    }

    /// Decides on one input and adds what carries the decision out. Answers with it.
    pub(super) fn apply(
        &mut self,
        script: &mut Script,
        input: Input,
        why: Why<'_>,
    ) -> Result<Decision, sqlx::Error> {
        let decision = match input {
            // Somebody or something else has its say by now.
            Input::OutageOver if self.cause != Some(PauseCause::UpstreamOutage) => Decision::Stay,
            // A command came between the finding and its record.
            Input::OutageDeclared
                if !matches!(self.state, State::Running | State::Pausing | State::Stopping) =>
            {
                Decision::Stay
            }
            _ => decide(self.state, input, self.leases),
        };
        let message = text::message(why.message);
        let drain = self.drain.max(Some(why.drain));
        match decision {
            Decision::Enter(next @ (State::Pausing | State::Paused)) if self.state != State::Pausing => {
                let cause = match input {
                    Input::SystemFailure => PauseCause::SystemFailure,
                    Input::OutageDeclared => PauseCause::UpstreamOutage,
                    _ => PauseCause::User,
                };
                self.enter(script, next, drain, Some((cause, why.reason, &message)), None);
            }
            Decision::Enter(next) => self.enter(script, next, drain, None, None),
            Decision::End(reason) => {
                self.cancel_open(script);
                let next = match self.leases {
                    Leases::Live if reason != EndReason::AllItemsFinal => State::Stopping,
                    Leases::Live | Leases::None => reason.end(),
                };
                self.enter(script, next, drain, None, Some((reason, &message)));
            }
            Decision::Finish => {
                let reason = self.end.ok_or_else(|| sqlx::Error::Decode("end_reason".into()))?;
                self.cancel_open(script);
                self.enter(script, reason.end(), drain, None, None);
            }
            Decision::RaiseCause(higher) => {
                if self.cause < Some(higher) {
                    self.raise_cause(script, higher, why.reason, &message);
                }
                self.raise_drain(script, why.drain);
            }
            Decision::Stay => self.raise_drain(script, why.drain),
            Decision::Refuse(_) => {}
            Decision::Illegal => {
                tracing::error!(
                    batch_seq = self.seq.0,
                    state = self.state.as_str(),
                    ?input,
                    "illegal event: nothing was changed"
                );
            }
        }
        Ok(decision)
    }

    /// Adds what a commit, a page or the time has brought about. Of what is there together the first counts, in this
    /// order: the failure budget, exhausted, the deadline, and what the caller found. Then whether the batch has drained.
    pub(super) fn settle(
        &mut self,
        script: &mut Script,
        found: Option<(Input, Why<'_>)>,
    ) -> Result<(), sqlx::Error> {
        let at_work = matches!(self.state, State::Running | State::Pausing);
        let spent = self.spent.take().filter(|_| at_work);
        let first = if let Some(message) = &spent {
            Some((Input::BudgetSpent, Why::event("", message)))
        } else if at_work && self.is_exhausted {
            Some((Input::Exhausted, Why::default()))
        } else if self.is_late && !self.state.is_terminal() && self.state != State::Stopping {
            let message = match self.state {
                State::Open => "it was not sealed within its open_ttl",
                _ => "it was not done within its max_duration",
            };
            Some((Input::DeadlinePassed, Why::event("", message)))
        } else {
            found
        };
        if let Some((input, why)) = first {
            self.apply(script, input, why)?;
        }
        if matches!(self.state, State::Pausing | State::Stopping) && self.leases == Leases::None {
            self.apply(script, Input::Drained, Why::default())?;
        }
        Ok(())
    }

    fn enter(
        &mut self,
        script: &mut Script,
        to: State,
        drain: Option<DrainMode>,
        pause: Option<(PauseCause, &str, &str)>,
        end: Option<(EndReason, &str)>,
    ) {
        if to == State::Paused {
            self.void_leases(script);
        }
        script
            .add(
                "WITH step (leaves, enters, at, ends, rests, cause, reason, message, end_with, end_words, drains)
                   AS (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?))
                 UPDATE batch_executions AS batch SET
                   active_ms = active_ms + CASE WHEN status = 'RUNNING' THEN max(at - state_since_at, 0) ELSE 0 END,
                   paused_ms = paused_ms
                     + CASE WHEN status IN ('PAUSING', 'PAUSED') THEN max(at - state_since_at, 0) ELSE 0 END,
                   state_since_at = at,
                   status = enters,
                   stalled_at = NULL,
                   started_at = CASE WHEN enters = 'RUNNING' THEN coalesce(started_at, at) ELSE started_at END,
                   ended_at = CASE WHEN ends THEN at END,
                   returned_count = CASE WHEN ends THEN 0 ELSE returned_count END,
                   -- A reader whose lease ran out adds nothing to what is paused or over.
                   source_lease_at = CASE WHEN ends OR enters = 'PAUSED' THEN NULL ELSE source_lease_at END,
                   deadline_at = CASE
                     WHEN enters = 'RUNNING' AND started_at IS NULL THEN at + json_extract(spec, '$.max_duration_ms')
                     WHEN status = 'OPEN' THEN NULL
                     ELSE deadline_at
                   END,
                   purge_at = CASE WHEN ends THEN at + coalesce(json_extract(spec, '$.retention_ms'), 2592000000) END,
                   bodies_expire_at = CASE WHEN ends THEN at + json_extract(spec, '$.fetch.keep_bodies_ms') END,
                   has_stale_chunks = max(has_stale_chunks, status = 'OPEN'),
                   pause_cause = CASE WHEN rests THEN coalesce(cause, pause_cause) END,
                   pause_reason = CASE WHEN rests THEN coalesce(reason, pause_reason) END,
                   pause_message = CASE WHEN rests THEN coalesce(message, pause_message) END,
                   end_reason = coalesce(end_with, end_reason),
                   end_message = coalesce(end_words, end_message),
                   drain_mode = CASE WHEN enters IN ('PAUSING', 'STOPPING') THEN drains END,
                   control_revision = control_revision + 1,
                   revision = revision + 1
                 FROM step WHERE batch.seq = ? AND batch.status = leaves",
            )
            // A parameter held against `status` would have SQLite plan the statement anew each time: there are indexes on
            // some states alone.
            .bind(self.state.as_str())
            .bind(to.as_str())
            .bind(ms(self.now))
            .bind(to.is_terminal())
            .bind(matches!(to, State::Pausing | State::Paused))
            .bind(pause.map(|(cause, ..)| cause.as_str()))
            .bind(pause.map(|(_, reason, _)| reason))
            .bind(pause.map(|(.., message)| message))
            .bind(end.map(|(reason, _)| reason.as_str()))
            .bind(end.map(|(_, message)| message))
            .bind(drain.map(DrainMode::as_str))
            .bind(self.seq.0);
        self.is_late &= self.state != State::Open;
        self.drain = drain;
        self.cause = pause.map(|(cause, ..)| cause).or(self.cause);
        self.end = end.map(|(reason, _)| reason).or(self.end);
        self.state = to;
    }

    fn raise_cause(&mut self, script: &mut Script, cause: PauseCause, reason: &str, message: &str) {
        script
            .add(
                "UPDATE batch_executions SET pause_cause = ?, pause_reason = ?, pause_message = ?,
                   control_revision = control_revision + 1, revision = revision + 1
                 WHERE seq = ?",
            )
            .bind(cause.as_str())
            .bind(reason)
            .bind(message)
            .bind(self.seq.0);
        self.cause = Some(cause);
    }

    /// While a batch drains the mode only rises. Where it does not, there is none.
    fn raise_drain(&mut self, script: &mut Script, asked: DrainMode) {
        if self.drain.is_none_or(|present| present >= asked) {
            return;
        }
        script
            .add(
                "UPDATE batch_executions SET drain_mode = ?, control_revision = control_revision + 1,
                   revision = revision + 1
                 WHERE seq = ?",
            )
            .bind(asked.as_str())
            .bind(self.seq.0);
        self.drain = Some(asked);
    }

    /// Takes back the leases that ran out, so that a late commit cannot make one of them live again.
    fn void_leases(&self, script: &mut Script) {
        script
            .add(
                "UPDATE batch_slices SET status = 'READY', owner = NULL, lease_until_at = NULL,
                   lost_count = lost_count + 1, lost_in_row = lost_in_row + 1
                 WHERE batch_seq = ? AND status = 'LEASED'",
            )
            .bind(self.seq.0);
    }

    /// Cancels what no live lease holds. Recorded per slice: the cost does not grow with items.
    fn cancel_open(&self, script: &mut Script) {
        let (seq, now) = (self.seq.0, ms(self.now));
        let open = "(status = 'READY' OR (status = 'LEASED' AND lease_until_at <= ?))";
        result::append_canceled(script, self.seq)
            .then("SELECT slice_no, open_count FROM batch_slices WHERE batch_seq = ? AND ")
            .then(open)
            .then(")")
            .bind(seq)
            .bind(now);
        script
            .add(
                "UPDATE batch_executions SET canceled_count = canceled_count + (
                   SELECT coalesce(sum(open_count), 0) FROM batch_slices WHERE batch_seq = seq AND ",
            )
            .then(open)
            .then(") WHERE seq = ?")
            .bind(now)
            .bind(seq);
        script
            .add(
                "UPDATE batch_slices SET lost_count = lost_count + (status = 'LEASED'), status = 'CANCELED', owner = NULL,
                   lease_until_at = NULL, canceled_at = ?
                 WHERE batch_seq = ? AND ",
            )
            .then(open)
            .bind(now)
            .bind(seq)
            .bind(now);
    }
}
