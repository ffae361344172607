//! How long to wait before the next try. Limits double from try to try; chance spreads clients that failed together.

use std::time::Duration;

use rand::Rng;

/// The limit before repeat `attempt` (from 1): `min`, doubled each time, at most `max`.
fn limit(min: Duration, max: Duration, attempt: u32) -> Duration {
    let factor = 2u32.saturating_pow(attempt.saturating_sub(1));
    min.saturating_mul(factor).min(max.max(min))
}

/// The wait before repeat `attempt` of a call: its limit, give or take a fifth.
pub(crate) fn call(min: Duration, max: Duration, attempt: u32) -> Duration {
    limit(min, max, attempt).mul_f64(rand::rng().random_range(0.8..=1.2))
}

/// The wait before reconnect `attempt` of a stream: anything from `min` to twice its limit (full jitter), at most `max`.
pub(crate) fn stream(min: Duration, max: Duration, attempt: u32) -> Duration {
    let ceiling = limit(min, max, attempt.saturating_add(1));
    if ceiling <= min {
        return min;
    }
    rand::rng().random_range(min..=ceiling)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(200);

    #[test]
    fn limits_double_up_to_the_ceiling() {
        let limits: Vec<_> = [1, 2, 3, 5, 6, 60]
            .into_iter()
            .map(|attempt| limit(MIN, Duration::from_secs(5), attempt).as_millis())
            .collect();
        assert_eq!(limits, [200, 400, 800, 3200, 5000, 5000]);
    }

    #[test]
    fn waits_keep_to_their_bounds() {
        let max = Duration::from_secs(10);
        for attempt in 1..100 {
            let wait = stream(MIN, max, attempt);
            assert!(wait >= MIN && wait <= max, "{attempt}: {wait:?}");
            let wait = call(MIN, max, attempt);
            assert!(wait >= MIN.mul_f64(0.8) && wait <= max.mul_f64(1.2), "{attempt}: {wait:?}");
        }
    }
}
