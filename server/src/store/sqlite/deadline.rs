//! The deadline of items: one that comes back too late is FAILED in place of open.

use std::{borrow::Cow, collections::HashSet};

use sqlx::SqliteConnection;

use super::item;
use crate::{
    domain::{
        batch::{Batch, State},
        failure::{Failure, FailureClass},
        id::SliceNo,
        item::{Next, Outcome},
    },
    store::{Commit, Recording},
};

const DEADLINE: &str = "DEADLINE";

/// The group, with what comes back too late FAILED. A failure of class SYSTEM is not the item's, and what comes back to a
/// batch on its way to an end is canceled.
pub(super) async fn enforced<'a>(
    conn: &mut SqliteConnection,
    batch: &Batch,
    commit: &'a Commit,
) -> Result<Cow<'a, Commit>, sqlx::Error> {
    let limit = batch.spec.fetch.item_deadline;
    let Some(latest) = batch.active_until(commit.now).checked_sub(limit) else {
        return Ok(Cow::Borrowed(commit));
    };
    let mut enforced = Cow::Borrowed(commit);
    for (n, recording) in commit.attempts.iter().enumerate() {
        let comes_back = matches!(recording.next, Next::Open { system: false, .. });
        if batch.state == State::Stopping || !comes_back || item::is_untouched(recording) {
            continue;
        }
        let late: bool = sqlx::query_scalar(
            "SELECT coalesce(first_active_ms < $3, 0) FROM batch_execution_details WHERE batch_seq = $1 AND item_index = $2",
        )
        .bind(commit.batch.0)
        .bind(recording.item.index)
        .bind(latest.as_millis() as i64)
        .fetch_one(&mut *conn)
        .await?;
        if late {
            fail(&mut enforced.to_mut().attempts[n], limit.as_secs());
        }
    }
    Ok(enforced)
}

fn fail(recording: &mut Recording, limit_s: u64) {
    let mut message = format!("open for more than its item_deadline, {limit_s} s in which the batch ran");
    let mut http_status = None;
    if let Outcome::Failed(last) = &recording.attempt.outcome {
        message = format!("{message}; the last attempt: {}: {}", last.reason, last.message);
        http_status = last.http_status;
    }
    let failure = Failure::new(FailureClass::Temporary, DEADLINE, &message);
    recording.attempt.outcome = Outcome::Failed(Failure { http_status, ..failure });
    recording.next = Next::Failed;
}

/// The items of an enforced group that were too late.
pub(super) fn late(commit: &Commit, fenced: &HashSet<SliceNo>) -> Vec<i64> {
    let is_late = |recording: &&Recording| {
        matches!(&recording.attempt.outcome, Outcome::Failed(failure) if failure.reason == DEADLINE)
            && !fenced.contains(&recording.slice)
    };
    commit.attempts.iter().filter(is_late).map(|recording| recording.item.index).collect()
}
