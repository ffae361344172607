//! Transitions: what [`decide`] says, carried out. Everything here runs inside a writing transaction.

use chrono::{DateTime, Utc};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{SqliteStore, error, ms, overlap, purge, request, result};
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
    settle(&mut tx, seq, None, now).await.map_err(error::store)?;
    let is_current = match &guard.etag {
        Some(known) => etag::of(&store.load(&mut tx, seq).await?) == *known,
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
        Some(apply(&mut tx, seq, command.input(), why, now).await.map_err(error::store)?)
    } else {
        None
    };
    let admitted =
        overlap::admit_after(&mut tx, seq, store.limits.running_batches, now).await.map_err(error::store)?;
    let batch = store.load(&mut tx, seq).await?;
    let mut admitted = store.load_all(&mut tx, &admitted).await?;
    if matches!(decision, None | Some(Decision::Refuse(_))) {
        if batch.revision > revision {
            admitted.push(batch.clone());
        }
    } else if let Some(key) = &guard.request {
        request::remember(&mut tx, key, id).await?;
    }
    failpoint::tried("command.written").await.map_err(StoreError::from)?;
    tx.commit().await.map_err(error::store)?;
    failpoint::reached("command.done").await;
    match decision {
        None => Err(CommandError::EtagMismatch { batch: Box::new(batch), moved: admitted }),
        Some(Decision::Refuse(refusal)) => {
            Err(CommandError::Refused { id: id.clone(), state: batch.state, refusal, moved: admitted })
        }
        Some(_) => Ok(Changed { batch, admitted }),
    }
}

/// Decides on one input and carries the decision out. Answers with it.
pub(super) async fn apply(
    conn: &mut SqliteConnection,
    seq: BatchSeq,
    input: Input,
    why: Why<'_>,
    now: DateTime<Utc>,
) -> Result<Decision, sqlx::Error> {
    let row = sqlx::query(
        "SELECT status, pause_cause, end_reason, drain_mode FROM batch_executions WHERE seq = $1",
    )
    .bind(seq.0)
    .fetch_one(&mut *conn)
    .await?;
    let state = state_of(&row)?;
    let cause = row.get::<Option<&str>, _>("pause_cause").and_then(PauseCause::parse);
    let drain = row.get::<Option<&str>, _>("drain_mode").and_then(DrainMode::parse);
    let leases = leases(conn, seq, now).await?;
    let decision = match input {
        // Somebody or something else has its say by now.
        Input::OutageOver if cause != Some(PauseCause::UpstreamOutage) => Decision::Stay,
        // A command came between the finding and its record.
        Input::OutageDeclared if !matches!(state, State::Running | State::Pausing | State::Stopping) => {
            Decision::Stay
        }
        _ => decide(state, input, leases),
    };
    if decision == Decision::Enter(State::Paused) {
        void_leases(conn, seq).await?;
    }
    let message = text::message(why.message);
    let step = Step { seq, from: state, now, drain: drain.max(Some(why.drain)) };
    match decision {
        Decision::Enter(next @ (State::Pausing | State::Paused)) if state != State::Pausing => {
            let cause = match input {
                Input::SystemFailure => PauseCause::SystemFailure,
                Input::OutageDeclared => PauseCause::UpstreamOutage,
                _ => PauseCause::User,
            };
            step.enter(conn, next, Some((cause, why.reason, &message)), None).await?;
        }
        Decision::Enter(next) => step.enter(conn, next, None, None).await?,
        Decision::End(reason) => {
            cancel_open(conn, seq, now).await?;
            let next = match leases {
                Leases::Live if reason != EndReason::AllItemsFinal => State::Stopping,
                Leases::Live | Leases::None => reason.end(),
            };
            step.enter(conn, next, None, Some((reason, &message))).await?;
        }
        Decision::Finish => {
            let reason = EndReason::parse(row.get::<Option<&str>, _>("end_reason").unwrap_or_default())
                .ok_or_else(|| sqlx::Error::Decode("end_reason".into()))?;
            cancel_open(conn, seq, now).await?;
            step.enter(conn, reason.end(), None, None).await?;
        }
        Decision::RaiseCause(higher) => {
            if cause < Some(higher) {
                raise_cause(conn, seq, higher, why.reason, &message).await?;
            }
            raise_drain(conn, seq, drain, why.drain).await?;
        }
        Decision::Stay => raise_drain(conn, seq, drain, why.drain).await?,
        Decision::Refuse(_) => {}
        Decision::Illegal => {
            tracing::error!(
                batch_seq = seq.0,
                state = state.as_str(),
                ?input,
                "illegal event: nothing was changed"
            );
        }
    }
    Ok(decision)
}

/// Whether a lease is live on a slice or on the source. An expired one counts as gone.
async fn leases(
    conn: &mut SqliteConnection,
    seq: BatchSeq,
    now: DateTime<Utc>,
) -> Result<Leases, sqlx::Error> {
    let live: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM batch_slices WHERE batch_seq = $1 AND status = 'LEASED' AND lease_until_at > $2)
             OR EXISTS (SELECT 1 FROM batch_executions WHERE seq = $1 AND source_lease_at > $2)",
    )
    .bind(seq.0)
    .bind(ms(now))
    .fetch_one(conn)
    .await?;
    Ok(if live { Leases::Live } else { Leases::None })
}

/// What a commit, a page or the time has brought about. Of what is there together the first counts, in this order: the
/// failure budget, exhausted, the deadline, and what the caller found. Then whether the batch has drained.
pub(super) async fn settle(
    conn: &mut SqliteConnection,
    seq: BatchSeq,
    found: Option<(Input, Why<'_>)>,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let row = sqlx::query(
        "SELECT status, processed_count, failed_count, coalesce(deadline_at <= $2, 0) AS late,
           expanded = 1 AND processed_count = total_count AS exhausted,
           CASE WHEN failed_count > 0 THEN json_extract(spec, '$.failure') END AS failure
         FROM batch_executions WHERE seq = $1",
    )
    .bind(seq.0)
    .bind(ms(now))
    .fetch_one(&mut *conn)
    .await?;
    let mut state = state_of(&row)?;
    let at_work = matches!(state, State::Running | State::Pausing);
    let spent = match row.get::<Option<&str>, _>("failure").filter(|_| at_work) {
        None => None,
        Some(policy) => serde_json::from_str::<FailurePolicy>(policy)
            .map_err(|error| sqlx::Error::Decode(error.into()))?
            .spent(row.get("processed_count"), row.get("failed_count")),
    };
    let first = if let Some(message) = &spent {
        Some((Input::BudgetSpent, Why::event("", message)))
    } else if at_work && row.get("exhausted") {
        Some((Input::Exhausted, Why::default()))
    } else if row.get("late") && !state.is_terminal() && state != State::Stopping {
        let message = match state {
            State::Open => "it was not sealed within its open_ttl",
            _ => "it was not done within its max_duration",
        };
        Some((Input::DeadlinePassed, Why::event("", message)))
    } else {
        found
    };
    if let Some((input, why)) = first {
        apply(conn, seq, input, why, now).await?;
        state = self::state(conn, seq).await?;
    }
    if matches!(state, State::Pausing | State::Stopping) && leases(conn, seq, now).await? == Leases::None {
        apply(conn, seq, Input::Drained, Why::default(), now).await?;
    }
    Ok(())
}

/// Where a batch stands.
pub(super) async fn state(conn: &mut SqliteConnection, seq: BatchSeq) -> Result<State, sqlx::Error> {
    let row = sqlx::query("SELECT status FROM batch_executions WHERE seq = $1").bind(seq.0);
    state_of(&row.fetch_one(conn).await?)
}

fn state_of(row: &SqliteRow) -> Result<State, sqlx::Error> {
    State::parse(row.get("status")).ok_or_else(|| sqlx::Error::Decode("status".into()))
}

/// A step of one batch out of one state.
struct Step {
    seq: BatchSeq,
    from: State,
    now: DateTime<Utc>,
    /// How it drains, if it has to.
    drain: Option<DrainMode>,
}

impl Step {
    async fn enter(
        &self,
        conn: &mut SqliteConnection,
        to: State,
        pause: Option<(PauseCause, &str, &str)>,
        end: Option<(EndReason, &str)>,
    ) -> Result<(), sqlx::Error> {
        let entered = sqlx::query(
            "UPDATE batch_executions SET
               active_ms = active_ms + CASE WHEN status = 'RUNNING' THEN max($4 - state_since_at, 0) ELSE 0 END,
               paused_ms = paused_ms
                 + CASE WHEN status IN ('PAUSING', 'PAUSED') THEN max($4 - state_since_at, 0) ELSE 0 END,
               state_since_at = $4,
               status = $3,
               stalled_at = NULL,
               started_at = CASE WHEN $3 = 'RUNNING' THEN coalesce(started_at, $4) ELSE started_at END,
               ended_at = CASE WHEN $5 THEN $4 END,
               returned_count = CASE WHEN $5 THEN 0 ELSE returned_count END,
               -- A reader whose lease ran out adds nothing to what is paused or over.
               source_lease_at = CASE WHEN $5 OR $3 = 'PAUSED' THEN NULL ELSE source_lease_at END,
               deadline_at = CASE
                 WHEN $3 = 'RUNNING' AND started_at IS NULL THEN $4 + json_extract(spec, '$.max_duration_ms')
                 WHEN status = 'OPEN' THEN NULL
                 ELSE deadline_at
               END,
               purge_at = CASE WHEN $5 THEN $4 + coalesce(json_extract(spec, '$.retention_ms'), 2592000000) END,
               bodies_expire_at = CASE WHEN $5 THEN $4 + json_extract(spec, '$.fetch.keep_bodies_ms') END,
               has_stale_chunks = max(has_stale_chunks, status = 'OPEN'),
               pause_cause = CASE WHEN $6 THEN coalesce($7, pause_cause) END,
               pause_reason = CASE WHEN $6 THEN coalesce($8, pause_reason) END,
               pause_message = CASE WHEN $6 THEN coalesce($9, pause_message) END,
               end_reason = coalesce($10, end_reason),
               end_message = coalesce($11, end_message),
               drain_mode = CASE WHEN $3 IN ('PAUSING', 'STOPPING') THEN $12 END,
               control_revision = control_revision + 1,
               revision = revision + 1
             WHERE seq = $1 AND status = $2",
        )
        .bind(self.seq.0)
        .bind(self.from.as_str())
        .bind(to.as_str())
        .bind(ms(self.now))
        .bind(to.is_terminal())
        .bind(matches!(to, State::Pausing | State::Paused))
        .bind(pause.map(|(cause, ..)| cause.as_str()))
        .bind(pause.map(|(_, reason, _)| reason))
        .bind(pause.map(|(.., message)| message))
        .bind(end.map(|(reason, _)| reason.as_str()))
        .bind(end.map(|(_, message)| message))
        .bind(self.drain.map(DrainMode::as_str))
        .execute(&mut *conn)
        .await?;
        debug_assert_eq!(entered.rows_affected(), 1, "the state was read in this transaction");
        Ok(())
    }
}

async fn raise_cause(
    conn: &mut SqliteConnection,
    seq: BatchSeq,
    cause: PauseCause,
    reason: &str,
    message: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE batch_executions SET pause_cause = $2, pause_reason = $3, pause_message = $4,
           control_revision = control_revision + 1, revision = revision + 1
         WHERE seq = $1",
    )
    .bind(seq.0)
    .bind(cause.as_str())
    .bind(reason)
    .bind(message)
    .execute(conn)
    .await?;
    Ok(())
}

/// While a batch drains the mode only rises. Where it does not, there is none.
async fn raise_drain(
    conn: &mut SqliteConnection,
    seq: BatchSeq,
    present: Option<DrainMode>,
    asked: DrainMode,
) -> Result<(), sqlx::Error> {
    if present.is_none_or(|present| present >= asked) {
        return Ok(());
    }
    sqlx::query(
        "UPDATE batch_executions SET drain_mode = $2, control_revision = control_revision + 1, revision = revision + 1
         WHERE seq = $1",
    )
    .bind(seq.0)
    .bind(asked.as_str())
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes back the leases that ran out, so that a late commit cannot make one of them live again.
async fn void_leases(conn: &mut SqliteConnection, seq: BatchSeq) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE batch_slices SET status = 'READY', owner = NULL, lease_until_at = NULL, lost_count = lost_count + 1,
           lost_in_row = lost_in_row + 1
         WHERE batch_seq = $1 AND status = 'LEASED'",
    )
    .bind(seq.0)
    .execute(conn)
    .await?;
    Ok(())
}

/// Cancels what no live lease holds. Recorded per slice: the cost does not grow with items.
async fn cancel_open(
    conn: &mut SqliteConnection,
    seq: BatchSeq,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let mut canceled: Vec<(i64, i64)> = sqlx::query_as(
        "UPDATE batch_slices SET lost_count = lost_count + (status = 'LEASED'), status = 'CANCELED', owner = NULL,
           lease_until_at = NULL, canceled_at = $2
         WHERE batch_seq = $1 AND (status = 'READY' OR (status = 'LEASED' AND lease_until_at <= $2))
         RETURNING slice_no, open_count",
    )
    .bind(seq.0)
    .bind(ms(now))
    .fetch_all(&mut *conn)
    .await?;
    sqlx::query("UPDATE batch_executions SET canceled_count = canceled_count + $2 WHERE seq = $1")
        .bind(seq.0)
        .bind(canceled.iter().map(|(_, open)| open).sum::<i64>())
        .execute(&mut *conn)
        .await?;
    result::append_canceled(conn, seq, &mut canceled).await
}
