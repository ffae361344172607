//! Repeats of calls that may be repeated: a few, further and further apart, and none at all while most calls fail.

use std::{
    future::Future,
    sync::atomic::{AtomicI32, Ordering},
    time::Duration,
};

use tokio::time::Instant;

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

/// Calls until it works, until the failure is one that a repeat cannot mend, or until the deadline: `call` is given
/// what is left of it. A wait that would pass the deadline is not begun.
pub(crate) async fn repeat<T, F, Fut>(
    options: &ClientOptions,
    throttle: &Throttle,
    deadline: Duration,
    mut call: F,
) -> Result<T, Error>
where
    F: FnMut(Duration) -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    let end = Instant::now() + deadline;
    let mut attempt = 1;
    loop {
        let error = match call(end.saturating_duration_since(Instant::now())).await {
            Ok(answer) => {
                throttle.succeeded();
                return Ok(answer);
            }
            Err(error) => error,
        };
        if !error.is_transient() || !throttle.failed() || attempt >= options.retry_attempts {
            return Err(error);
        }
        let wait = error
            .retry_after()
            .unwrap_or_else(|| backoff::call(options.backoff_min, options.retry_backoff_max, attempt));
        if Instant::now() + wait >= end {
            return Err(error);
        }
        tokio::time::sleep(wait).await;
        attempt += 1;
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
