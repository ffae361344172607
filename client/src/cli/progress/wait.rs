//! When to ask what a QUEUED batch waits for: once it waits, and now and then as long as it does.

use std::time::Duration;

use haul_proto::v1::{Batch, batch::State};
use tokio::time::Instant;

use super::ProgressMode;

const INTERVAL_MIN: Duration = Duration::from_secs(10);

pub(super) struct WaitPoll {
    quiet: bool,
    queued: Option<Batch>,
    asked: Option<Instant>,
}

impl WaitPoll {
    pub(super) fn new(mode: ProgressMode) -> Self {
        Self { quiet: mode == ProgressMode::Quiet, queued: None, asked: None }
    }

    pub(super) fn observe(&mut self, batch: &Batch) {
        self.queued = (!self.quiet && batch.state() == State::Queued).then(|| batch.clone());
        if self.queued.is_none() {
            self.asked = None;
        }
    }

    /// The batch to ask about, where it is time to.
    pub(super) fn begin(&mut self) -> Option<Batch> {
        if self.asked.is_some_and(|asked| asked.elapsed() < INTERVAL_MIN) {
            return None;
        }
        let queued = self.queued.clone()?;
        self.asked = Some(Instant::now());
        Some(queued)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asked_as_soon_as_it_waits_and_not_too_often() {
        let batch = |state: State| Batch { state: state.into(), ..Batch::default() };
        let mut poll = WaitPoll::new(ProgressMode::Plain);
        poll.observe(&batch(State::Running));
        assert_eq!(poll.begin(), None);
        poll.observe(&batch(State::Queued));
        assert_eq!(poll.begin().unwrap().state(), State::Queued);
        poll.observe(&batch(State::Queued));
        assert_eq!(poll.begin(), None, "ten seconds have not passed");
        poll.observe(&batch(State::Running));
        poll.observe(&batch(State::Queued));
        assert!(poll.begin().is_some(), "it waits anew");
    }
}
