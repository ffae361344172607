//! A line of the log for each attempt.

use super::Runner;
use crate::{
    domain::item::{Next, Outcome},
    store::Recording,
};

impl Runner {
    pub(super) fn log(&self, worker: u32, recording: &Recording) {
        let Recording { item, attempt, next, .. } = recording;
        let (records_count, left_out) = match &attempt.outcome {
            Outcome::Succeeded { records, .. } => (records.len(), records.left_out()),
            Outcome::Failed(_) | Outcome::Released { .. } => (0, 0),
        };
        let status = match next {
            Next::Succeeded => "success",
            Next::Failed => "failed",
            Next::HeldBack => "held_back",
            Next::Open { .. } => "retry",
        };
        let error = match &attempt.outcome {
            Outcome::Succeeded { .. } => None,
            Outcome::Failed(failure) => Some(format!("{}: {}", failure.reason, failure.message)),
            Outcome::Released { .. } => {
                Some("RELEASED: given back after a request; the gate is held, or it was cut off".to_owned())
            }
        };
        tracing::info!(
            batch_id = %self.batch,
            worker_id = worker,
            item_key = item.key,
            action = if self.workshop.replies.lanes().is_some() { "data_fetch" } else { "data_decode" },
            status,
            duration_ms = (attempt.ended_at - attempt.started_at).num_milliseconds(),
            records_count,
            left_out,
            retry_count = item.attempts,
            error,
        );
    }
}
