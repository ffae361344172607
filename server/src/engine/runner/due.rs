//! When to look again, by a clock that does not jump.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use super::POLL;

/// Longest wait before the store is asked again for what is not due yet. It is due at a time of day, and the clock that
/// said how far off that is may be put right meanwhile.
const CLAIM_POLL: Duration = Duration::from_secs(10);

/// When to claim again, after nothing was there before `ready_at`.
pub(super) fn asked_again(ready_at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Instant {
    ready_at.map_or(Instant::now() + POLL, |at| from_now(at, now).min(Instant::now() + CLAIM_POLL))
}

pub(super) fn from_now(at: DateTime<Utc>, now: DateTime<Utc>) -> Instant {
    // A millisecond more, so that it is past when looked at.
    Instant::now() + (at - now + TimeDelta::milliseconds(1)).to_std().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[tokio::test(start_paused = true)]
    async fn what_is_due_far_off_is_asked_for_again_before_since_the_clock_may_be_put_right() {
        let now = clock::now();
        for (ready_in, wait) in [
            (None, POLL),
            (Some(TimeDelta::seconds(-5)), Duration::ZERO),
            (Some(TimeDelta::seconds(4)), Duration::from_millis(4_001)),
            (Some(TimeDelta::days(2)), CLAIM_POLL),
        ] {
            let claim_at = asked_again(ready_in.map(|ready_in| now + ready_in), now);
            assert_eq!(claim_at - Instant::now(), wait, "{ready_in:?}");
        }
    }
}
