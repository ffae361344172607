//! When to ask again what failed: only after something failed, and not too often.

use std::time::Duration;

use haul_proto::v1::{Batch, FailureGroup};
use tokio::time::Instant;

use super::ProgressMode;
use crate::{Client, Error};

const INTERVAL_MIN: Duration = Duration::from_secs(2);

/// Failed items and repeated attempts, as a batch tells them.
type Figures = (i64, i64);

pub(super) struct FailurePoll {
    quiet: bool,
    latest: Figures,
    asked_for: Figures,
    asked: Option<Instant>,
}

impl FailurePoll {
    pub(super) fn new(mode: ProgressMode) -> Self {
        Self { quiet: mode == ProgressMode::Quiet, latest: (0, 0), asked_for: (0, 0), asked: None }
    }

    pub(super) fn observe(&mut self, batch: &Batch) {
        if let Some(progress) = &batch.progress {
            self.latest = (progress.failed_items, progress.retried_attempts);
        }
    }

    pub(super) fn is_due(&self) -> bool {
        !self.quiet
            && self.latest != self.asked_for
            && self.asked.is_none_or(|asked| asked.elapsed() >= INTERVAL_MIN)
    }

    pub(super) fn begin(&mut self) {
        self.asked_for = self.latest;
        self.asked = Some(Instant::now());
    }
}

pub(super) async fn groups(client: &Client, name: &str) -> Result<Vec<FailureGroup>, Error> {
    Ok(client.get_report(name).await?.failures)
}

#[cfg(test)]
mod tests {
    use haul_proto::v1::Progress;

    use super::*;

    #[test]
    fn asked_only_after_something_failed() {
        let batch = |failed_items| Batch {
            progress: Some(Progress { failed_items, ..Progress::default() }),
            ..Batch::default()
        };
        let mut poll = FailurePoll::new(ProgressMode::Plain);
        poll.observe(&batch(0));
        assert!(!poll.is_due());
        poll.observe(&batch(1));
        assert!(poll.is_due());
        poll.begin();
        assert!(!poll.is_due());
        poll.observe(&batch(2));
        assert!(!poll.is_due(), "two seconds have not passed");
    }
}
