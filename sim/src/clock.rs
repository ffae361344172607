//! The only reader of the clock.
//!
//! The wall clock is read once; from then on time is that reading plus monotonic time, so it never runs backwards and
//! the request log and the limiter count by the same microseconds.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Time since the epoch, never going backwards.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started_us: u64,
    started: Instant,
}

impl Clock {
    /// Starts now.
    #[allow(clippy::disallowed_methods, reason = "this is the clock module")]
    pub(crate) fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            started_us: u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX),
            started: Instant::now(),
        }
    }

    /// Microseconds since the epoch.
    pub(crate) fn now_us(&self) -> u64 {
        self.started_us
            + u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX - self.started_us)
    }

    /// Microseconds since the epoch at the start of the simulator.
    pub(crate) fn started_us(&self) -> u64 {
        self.started_us
    }

    /// Seconds since the epoch.
    pub(crate) fn now_s(&self) -> i64 {
        (self.now_us() / 1_000_000) as i64
    }
}
