//! Repeats of calls that may be repeated: a few, further and further apart, and none at all while most calls fail.
//!
//! A [`tower::retry::Policy`] over one call. Each call takes a policy of its own, and all of them share the throttle.

use std::sync::{
    Arc,
    atomic::{AtomicI32, Ordering},
};

use tokio::time::{Instant, Sleep};
use tower::retry::Policy;

use crate::{ClientOptions, Error, backoff};

/// Counts what fails against what works (gRPC's retry throttling): a failure costs one token, a success gives back a
/// tenth, and nothing is repeated while half of the ten tokens are gone. Counted in tenths.
#[derive(Debug)]
pub(crate) struct Throttle(AtomicI32);

const TOKENS_MAX: i32 = 100;
const FAILURE_COST: i32 = 10;

impl Throttle {
    pub(crate) fn new() -> Self {
        Self(AtomicI32::new(TOKENS_MAX))
    }

    fn succeeded(&self) {
        self.add(1);
    }

    /// Counts a failure, and says whether it may be repeated.
    fn failed(&self) -> bool {
        self.add(-FAILURE_COST) > TOKENS_MAX / 2
    }

    fn add(&self, tenths: i32) -> i32 {
        let next = |tokens: i32| (tokens + tenths).clamp(0, TOKENS_MAX);
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| Some(next(tokens))) {
            Ok(before) | Err(before) => next(before),
        }
    }
}

/// Repeats one call until it works, until the failure is one that a repeat cannot mend, or until the deadline: a wait
/// that would pass it is not begun.
#[derive(Clone, Debug)]
pub(crate) struct Repeats {
    options: ClientOptions,
    throttle: Arc<Throttle>,
    deadline: Instant,
    attempt: u32,
}

impl Repeats {
    pub(crate) fn new(options: ClientOptions, throttle: Arc<Throttle>, deadline: Instant) -> Self {
        Self { options, throttle, deadline, attempt: 1 }
    }
}

impl<M: Clone, R> Policy<M, R, Error> for Repeats {
    type Future = Sleep;

    fn retry(&mut self, _: &mut M, result: &mut Result<R, Error>) -> Option<Sleep> {
        let Err(error) = result else {
            self.throttle.succeeded();
            return None;
        };
        if !error.is_transient() || !self.throttle.failed() || self.attempt >= self.options.retry_attempts {
            return None;
        }
        let wait = error.retry_after().unwrap_or_else(|| {
            backoff::call(self.options.backoff_min, self.options.retry_backoff_max, self.attempt)
        });
        // A wait that no clock can hold is longer than any deadline.
        let next = Instant::now().checked_add(wait).filter(|next| *next < self.deadline)?;
        self.attempt += 1;
        Some(tokio::time::sleep_until(next))
    }

    fn clone_request(&mut self, message: &M) -> Option<M> {
        Some(message.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_stop_while_most_calls_fail() {
        let throttle = Throttle::new();
        let allowed: Vec<bool> = (0..6).map(|_| throttle.failed()).collect();
        assert_eq!(allowed, [true, true, true, true, false, false]);
        for _ in 0..21 {
            throttle.succeeded();
        }
        assert!(throttle.failed());
    }
}
