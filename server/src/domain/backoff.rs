//! How long a failed item waits: exponential, capped, with equal jitter (half fixed, half random).

use std::time::Duration;

/// Longest wait that an upstream may ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// The limits of the waits between an item's attempts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// Longest wait before the second attempt.
    pub initial: Duration,
    /// Factor from attempt to attempt.
    pub multiplier: f64,
    /// Ceiling of the limit.
    pub max: Duration,
}

impl Backoff {
    /// The wait after the `charged`-th charged attempt (from 1). `draw` is a random number in `0.0..1.0`.
    pub fn wait(&self, charged: u32, draw: f64) -> Duration {
        let exponent = charged.saturating_sub(1).min(1_000);
        let grown = self.initial.as_secs_f64() * self.multiplier.powi(exponent as i32);
        let limit = grown.min(self.max.as_secs_f64());
        Duration::from_secs_f64(limit / 2.0 + limit / 2.0 * draw.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TOKYO: Backoff =
        Backoff { initial: Duration::from_secs(2), multiplier: 2.0, max: Duration::from_secs(300) };

    #[test]
    fn the_defaults_wait_one_to_two_seconds_then_twice_that() {
        assert_eq!(TOKYO.wait(1, 0.0), Duration::from_secs(1));
        assert_eq!(TOKYO.wait(1, 1.0), Duration::from_secs(2));
        assert_eq!(TOKYO.wait(2, 0.0), Duration::from_secs(2));
        assert_eq!(TOKYO.wait(3, 0.5), Duration::from_secs(6));
        assert_eq!(TOKYO.wait(u32::MAX, 1.0), Duration::from_secs(300));
    }

    proptest! {
        #[test]
        fn a_wait_is_between_half_its_limit_and_its_limit(
            initial_ms in 0u64..3_600_000, multiplier in 1.0f64..10.0, charged in 1u32..20, draw in 0.0f64..1.0,
        ) {
            let backoff = Backoff { initial: Duration::from_millis(initial_ms), multiplier, max: Duration::from_secs(86_400) };
            let low = backoff.wait(charged, 0.0);
            let wait = backoff.wait(charged, draw);
            let high = backoff.wait(charged, 1.0);
            prop_assert!(low <= wait && wait <= high && high <= backoff.max);
            prop_assert!((high.as_secs_f64() - 2.0 * low.as_secs_f64()).abs() < 1e-6);
            prop_assert!(backoff.wait(charged + 1, 0.0) >= low);
        }
    }
}
