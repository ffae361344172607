//! For how long the store has failed, by what the tasks meet that write to it.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Failures that are further apart are not of one trouble.
const APART: Duration = Duration::from_secs(10);

/// A trouble with the store, if there is one.
#[derive(Debug, Default)]
pub(super) struct StoreTrouble(Mutex<Option<Met>>);

#[derive(Debug, Clone, Copy)]
struct Met {
    first: Instant,
    last: Instant,
}

impl StoreTrouble {
    /// It failed.
    pub(super) fn met(&self) {
        let last = Instant::now();
        let first = self.now().map_or(last, |met| met.first);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Met { first, last });
    }

    /// Something was written.
    pub(super) fn over(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// How long it has lasted.
    pub(super) fn lasts(&self) -> Option<Duration> {
        self.now().map(|met| met.first.elapsed())
    }

    fn now(&self) -> Option<Met> {
        let met = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        met.filter(|met| met.last.elapsed() < APART)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_trouble_lasts_from_its_first_failure_until_something_is_written() {
        const SECOND: Duration = Duration::from_secs(1);
        let trouble = StoreTrouble::default();
        assert_eq!(trouble.lasts(), None);
        for _ in 0..20 {
            trouble.met();
            tokio::time::advance(4 * SECOND).await;
        }
        assert_eq!(trouble.lasts(), Some(80 * SECOND));
        tokio::time::advance(APART).await;
        assert_eq!(trouble.lasts(), None, "nobody has met it for a while");
        trouble.met();
        assert_eq!(trouble.lasts(), Some(Duration::ZERO), "this is another one");
        trouble.over();
        assert_eq!(trouble.lasts(), None);
    }
}
