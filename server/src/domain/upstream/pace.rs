//! Adaptive pace: how much of its limit an upstream is asked for.
//!
//! Additive increase, multiplicative decrease, as TCP's congestion avoidance has it (RFC 5681, section 3.1): a push-back
//! halves the share, time gives it back little by little. It is the one of the linear policies that settles (Chiu and
//! Jain, 1989). The increase goes by time alone, so that all that must be remembered is the last halving.

use std::time::Duration;

/// From nothing to the whole limit.
const RECOVERY: Duration = Duration::from_secs(10 * 60);
/// A share below which nothing is halved any more.
const SHARE_MIN: f64 = 1.0 / 64.0;
/// Nor is a rate halved to less than this, or than the limit if that is lower: one request a minute starves nobody.
const RATE_MIN_PER_S: f64 = 1.0 / 60.0;

/// A share of a limit, growing. Times are since some fixed moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    share: f64,
    /// It grows from then on.
    from: Duration,
}

impl Pace {
    /// The whole limit.
    pub const FULL: Self = Self { share: 1.0, from: Duration::ZERO };

    /// A share that began to grow `ago`.
    pub fn grown(share: f64, ago: Duration, now: Duration) -> Self {
        let share = share.clamp(SHARE_MIN, 1.0);
        Self { share: Self { share, from: Duration::ZERO }.share(ago), from: now }
    }

    /// A share that will begin to grow `from` on.
    pub fn waiting(share: f64, from: Duration) -> Self {
        Self { share: share.clamp(SHARE_MIN, 1.0), from }
    }

    /// The share at a time.
    pub fn share(self, now: Duration) -> f64 {
        let grown = now.saturating_sub(self.from).as_secs_f64() / RECOVERY.as_secs_f64();
        (self.share + grown).min(1.0)
    }

    /// When it is the whole limit again.
    pub fn whole_at(self) -> Duration {
        self.from + RECOVERY.mul_f64(1.0 - self.share)
    }

    /// When it begins to grow.
    pub fn grows_from(self) -> Duration {
        self.from
    }

    /// After a push-back whose hold ends at `opens`.
    #[must_use]
    pub fn halved(self, now: Duration, opens: Duration) -> Self {
        Self { share: (self.share(now) / 2.0).max(SHARE_MIN), from: opens }
    }

    /// The same after a hold that turns out longer.
    #[must_use]
    pub fn held_until(self, opens: Duration) -> Self {
        Self { from: self.from.max(opens), ..self }
    }

    /// The same after a hold that ends before its time.
    #[must_use]
    pub fn released(self, now: Duration) -> Self {
        Self { from: self.from.min(now), ..self }
    }

    /// The rate that is permitted of a limit.
    pub fn rate_per_s(self, limit_per_s: f64, now: Duration) -> f64 {
        (limit_per_s * self.share(now)).max(limit_per_s.min(RATE_MIN_PER_S))
    }

    /// The burst that is permitted of a limit.
    pub fn burst(self, limit: u32, now: Duration) -> u32 {
        ((f64::from(limit) * self.share(now)).round() as u32).clamp(1, limit.max(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_push_back_halves_it_and_five_minutes_after_the_hold_it_is_whole() {
        let opens = 60 * SECOND;
        let halved = Pace::FULL.halved(SECOND, opens);
        assert_eq!((halved.rate_per_s(8.0, SECOND), halved.burst(20, SECOND)), (4.0, 10));
        assert!((halved.rate_per_s(8.0, opens) - 4.0).abs() < 1e-9, "a hold mends nothing");
        assert!((halved.rate_per_s(8.0, opens + 150 * SECOND) - 6.0).abs() < 1e-9);
        assert!((halved.rate_per_s(8.0, opens + 300 * SECOND) - 8.0).abs() < 1e-9);
        let longer = halved.held_until(2 * opens).held_until(SECOND);
        assert!((longer.rate_per_s(8.0, 2 * opens) - 4.0).abs() < 1e-9);
    }

    #[test]
    fn however_often_it_is_halved_something_goes_out() {
        let mut pace = Pace::FULL;
        for _ in 0..100 {
            pace = pace.halved(SECOND, SECOND);
        }
        assert!((pace.rate_per_s(640.0, SECOND) - 10.0).abs() < 1e-9);
        assert!((pace.rate_per_s(0.5, SECOND) - 1.0 / 60.0).abs() < 1e-9);
        assert!((pace.rate_per_s(0.001, SECOND) - 0.001).abs() < 1e-12, "a limit is no floor's slave");
        assert_eq!(pace.burst(20, SECOND), 1);
    }

    #[test]
    fn one_that_was_stored_goes_on_as_if_nothing_had_been() {
        let pace = Pace::FULL.halved(SECOND, 100 * SECOND);
        // Another process, whose time began at 160 s, and one that began before the hold's end.
        let after = Pace::grown(0.5, 60 * SECOND, Duration::ZERO);
        assert!((pace.share(160 * SECOND) - after.share(Duration::ZERO)).abs() < 1e-9);
        let before = Pace::waiting(0.5, 40 * SECOND);
        assert!((pace.share(130 * SECOND) - before.share(70 * SECOND)).abs() < 1e-9);
    }

    /// What happens: time that goes by, and a push-back with a hold.
    fn history() -> impl Strategy<Value = Vec<(u32, Option<u32>)>> {
        prop::collection::vec((0u32..400, prop::option::of(0u32..900)), 0..60)
    }

    proptest! {
        #[test]
        fn it_is_never_above_the_limit_and_never_below_the_floor(
            history in history(), limit in 0.001f64..1e6, burst in 1u32..100_000,
        ) {
            let (mut pace, mut now) = (Pace::FULL, Duration::ZERO);
            for (passes, hold) in history {
                now += passes * SECOND;
                if let Some(hold) = hold {
                    pace = pace.halved(now, now + hold * SECOND);
                }
                let rate = pace.rate_per_s(limit, now);
                prop_assert!(rate <= limit);
                prop_assert!(rate >= (limit / 64.0).max(limit.min(1.0 / 60.0)) - 1e-12);
                prop_assert!((1..=burst).contains(&pace.burst(burst, now)));
            }
            // Whatever was, ten minutes of quiet after the last hold mend it.
            let quiet = pace.grows_from().max(now) + RECOVERY;
            prop_assert!((pace.rate_per_s(limit, quiet) - limit).abs() < 1e-9);
        }

        #[test]
        fn a_push_back_never_raises_it_and_halves_where_it_may(history in history(), limit in 1.0f64..1e6) {
            let (mut pace, mut now) = (Pace::FULL, Duration::ZERO);
            for (passes, hold) in history {
                now += passes * SECOND;
                let before = pace.share(now);
                if let Some(hold) = hold {
                    pace = pace.halved(now, now + hold * SECOND);
                    prop_assert!((pace.share(now) - (before / 2.0).max(SHARE_MIN)).abs() < 1e-12);
                }
                prop_assert!(pace.rate_per_s(limit, now) <= limit * before.max(SHARE_MIN) + 1e-9);
            }
        }

        /// An upstream that bears `capacity` pushes back whenever it is asked for more: after a while it is asked for
        /// between a half of it and all of it, but for the moment before each push-back.
        #[test]
        fn it_settles_between_half_of_what_is_borne_and_all_of_it(capacity in 0.1f64..0.95) {
            let mut pace = Pace::FULL;
            let mut shares = Vec::new();
            for second in 0..7_200 {
                let now = second * SECOND;
                if pace.share(now) > capacity && pace.grows_from() <= now {
                    pace = pace.halved(now, now + 10 * SECOND);
                }
                if second > 1_800 {
                    shares.push(pace.share(now));
                }
            }
            let most = shares.iter().copied().fold(0.0, f64::max);
            let least = shares.iter().copied().fold(1.0, f64::min);
            prop_assert!(most <= capacity + 1.0 / 600.0 + 1e-9, "{most} of {capacity}");
            prop_assert!(least >= capacity / 2.0 - 1e-9, "{least} of {capacity}");
        }
    }
}
