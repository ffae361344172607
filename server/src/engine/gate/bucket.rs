//! The limiter's arithmetic: GCRA, the generic cell rate algorithm (ITU-T I.371), on a clock that is given.
//!
//! It grants at most `rate · t + burst` permits in any window of length `t`. A little of the burst is held back for
//! jitter on the way, `⌈rate × 50 ms⌉`, half of it at most: requests that leave evenly may arrive bunched, and an
//! upstream that counts strictly counts arrivals.

use std::{collections::VecDeque, time::Duration};

/// Jitter between the grant and the arrival that the held back permits make up for.
const JITTER_S: f64 = 0.05;
/// How late a waiter may wake without losing the permits of that time. Timers have a grain of a millisecond; it comes
/// out of what is held back.
const LATENESS_S: f64 = 0.002;
/// As many of the last permits can be given back; one that was taken before them is lost.
const RETURNABLE: usize = 256;

/// A bucket of permits.
#[derive(Debug, Clone)]
pub struct Bucket {
    rate_per_s: f64,
    burst: u32,
    /// Time between permits.
    interval_s: f64,
    /// How far ahead of the clock the theoretical arrival time may run.
    tolerance_s: f64,
    /// Theoretical arrival time of the next request; nothing before the first.
    tat_s: f64,
    /// What it was before the oldest permit that can be given back.
    settled_s: f64,
    /// When the permits were taken that can be given back. None was before the bucket was last full: those are back.
    taken: VecDeque<Duration>,
}

impl Bucket {
    /// A bucket with its whole burst.
    pub fn full(rate_per_s: f64, burst: u32) -> Self {
        let mut bucket = Self {
            rate_per_s,
            burst,
            interval_s: 0.0,
            tolerance_s: 0.0,
            tat_s: f64::NEG_INFINITY,
            settled_s: f64::NEG_INFINITY,
            taken: VecDeque::new(),
        };
        bucket.set(Duration::ZERO, rate_per_s, burst);
        bucket
    }

    /// A bucket that was emptied at time zero, and not used since.
    pub fn empty(rate_per_s: f64, burst: u32) -> Self {
        let mut bucket = Self::full(rate_per_s, burst);
        bucket.tat_s = bucket.tolerance_s + bucket.interval_s;
        bucket.settle();
        bucket
    }

    /// Changes rate and burst. Permits that were granted stay granted: as many as were missing from the burst at `now` are
    /// missing still, so that a lower rate earns no second burst and a higher one pays none of the old one's time.
    pub fn set(&mut self, now: Duration, rate_per_s: f64, burst: u32) {
        let (now_s, before_s) = (now.as_secs_f64(), self.interval_s);
        if self.tat_s > now_s {
            self.tat_s = now_s + (self.tat_s - now_s) / before_s / rate_per_s;
        }
        self.settle();
        let held_back = (rate_per_s * JITTER_S).ceil().min(f64::from(burst / 2));
        self.rate_per_s = rate_per_s;
        self.burst = burst;
        self.interval_s = 1.0 / rate_per_s;
        let lateness_s = LATENESS_S.min(held_back * self.interval_s);
        self.tolerance_s = (f64::from(burst) - held_back - 1.0).max(0.0) * self.interval_s + lateness_s;
    }

    /// Permits per second.
    pub fn rate_per_s(&self) -> f64 {
        self.rate_per_s
    }

    /// Permits at once after idleness.
    pub fn burst(&self) -> u32 {
        self.burst
    }

    /// Time from `now` until a permit is there; zero if one is.
    pub fn wait(&self, now: Duration) -> Duration {
        let due_s = self.tat_s - self.tolerance_s;
        Duration::try_from_secs_f64(due_s - now.as_secs_f64()).unwrap_or_default()
    }

    /// It has its whole burst, as a new one has.
    pub fn is_full(&self, now: Duration) -> bool {
        self.tat_s <= now.as_secs_f64()
    }

    /// Leaves one permit at `now`; the others come at the rate.
    pub fn drain(&mut self, now: Duration) {
        self.tat_s = self.tat_s.max(now.as_secs_f64() + self.tolerance_s);
        self.settle();
    }

    /// Takes a permit that is there.
    pub fn take(&mut self, now: Duration) {
        if self.is_full(now) {
            self.settle();
        } else if self.taken.len() == RETURNABLE
            && let Some(oldest) = self.taken.pop_front()
        {
            self.settled_s = self.after(self.settled_s, oldest);
        }
        self.taken.push_back(now);
        self.tat_s = self.after(self.tat_s, now);
    }

    /// Gives back a permit that was taken at a time and not used: the bucket is as if it had never been taken. What would
    /// have been lost to a full bucket since then stays lost, however many are given back.
    pub fn give_back(&mut self, taken_at: Duration) {
        if let Some(place) = self.taken.iter().rposition(|taken| *taken == taken_at) {
            self.taken.remove(place);
            self.tat_s = self.taken.iter().fold(self.settled_s, |tat_s, taken| self.after(tat_s, *taken));
        }
    }

    /// The theoretical arrival time after one more was taken.
    fn after(&self, tat_s: f64, taken: Duration) -> f64 {
        tat_s.max(taken.as_secs_f64()) + self.interval_s
    }

    /// What was taken so far cannot be given back.
    fn settle(&mut self) {
        self.settled_s = self.tat_s;
        self.taken.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Grants as many permits as there are, at each of the times.
    fn grants(bucket: &mut Bucket, times: &[Duration]) -> Vec<Duration> {
        let mut granted = Vec::new();
        for &now in times {
            while bucket.wait(now).is_zero() && granted.len() < 5_000 {
                bucket.take(now);
                granted.push(now);
            }
        }
        granted
    }

    #[test]
    fn the_burst_less_what_is_held_back_goes_at_once() {
        let mut bucket = Bucket::full(5.0, 20);
        assert_eq!(grants(&mut bucket, &[Duration::ZERO]).len(), 19);
        assert_eq!(bucket.wait(Duration::ZERO), Duration::from_millis(198));
        // Half of the burst at most is held back.
        assert_eq!(grants(&mut Bucket::full(400.0, 20), &[Duration::ZERO]).len(), 10);
        assert_eq!(grants(&mut Bucket::full(500.0, 1), &[Duration::ZERO]).len(), 1);
    }

    #[test]
    fn a_permit_that_is_given_back_at_once_is_there_again() {
        let mut bucket = Bucket::full(1.0, 4);
        let now = Duration::from_secs(9);
        assert_eq!(grants(&mut bucket, &[now]).len(), 3);
        bucket.give_back(now);
        assert_eq!(grants(&mut bucket, &[now]).len(), 1);
        let later = Duration::from_secs(60);
        bucket.take(later);
        bucket.give_back(now);
        assert_eq!(grants(&mut bucket, &[later]).len(), 2, "it was lost when the bucket was full");
    }

    #[test]
    fn what_the_full_bucket_would_have_lost_is_not_given_back() {
        let (begin, later) = (Duration::ZERO, Duration::from_millis(400));
        let mut bucket = Bucket::full(10.0, 21);
        for _ in 0..8 {
            bucket.take(begin);
        }
        // Without the eight it is full here: what they delayed by 400 ms is not theirs to give.
        assert_eq!(grants(&mut bucket, &[later]).len(), 16);
        for _ in 0..8 {
            bucket.give_back(begin);
        }
        assert_eq!(grants(&mut bucket, &[later]).len(), 4);
    }

    #[test]
    fn only_the_last_permits_are_remembered() {
        let at = |step: usize| Duration::from_millis(step as u64);
        let mut bucket = Bucket::full(100.0, 1_000);
        (0..RETURNABLE).for_each(|step| bucket.take(at(step)));
        let mut older = bucket.clone();
        older.take(at(RETURNABLE));
        for (bucket, is_given_back) in [(&mut bucket, true), (&mut older, false)] {
            let before_s = bucket.tat_s;
            bucket.give_back(at(0));
            assert_eq!(bucket.tat_s < before_s, is_given_back);
        }
    }

    #[test]
    fn a_drained_bucket_has_one_permit() {
        let mut bucket = Bucket::full(5.0, 20);
        bucket.drain(Duration::from_secs(9));
        assert_eq!(grants(&mut bucket, &[Duration::from_secs(9)]).len(), 1);
        assert_eq!(bucket.wait(Duration::from_secs(9)), Duration::from_millis(200));
    }

    #[test]
    fn an_empty_bucket_refills_at_its_rate() {
        let mut bucket = Bucket::empty(5.0, 20);
        assert_eq!(bucket.wait(Duration::ZERO), Duration::from_millis(200));
        assert_eq!(grants(&mut bucket, &[Duration::from_millis(999)]).len(), 4);
        assert_eq!(grants(&mut bucket, &[Duration::from_millis(1_001)]).len(), 1);
    }

    #[test]
    fn a_lower_rate_earns_no_second_burst_and_a_higher_one_does_not_wait_for_the_old() {
        let now = Duration::from_secs(3);
        let mut bucket = Bucket::full(10.0, 20);
        assert!(grants(&mut bucket, &[now]).len() >= 19);
        bucket.set(now, 1.0, 20);
        assert!(grants(&mut bucket, &[now]).len() <= 1);
        let mut bucket = Bucket::full(4.0, 20);
        grants(&mut bucket, &[now]);
        bucket.set(now, 60.0, 20);
        assert!(bucket.wait(now) <= Duration::from_secs_f64(4.0 / 60.0), "{:?}", bucket.wait(now));
    }

    proptest! {
        #[test]
        fn however_often_the_rate_changes_no_window_holds_more_than_the_larger_ones(
            rates in prop::collection::vec(0.5f64..500.0, 1..20), burst in 1u32..100, step_ms in 0u64..700,
        ) {
            let largest = rates.iter().copied().fold(0.0, f64::max);
            let mut bucket = Bucket::full(rates[0], burst);
            let mut now = Duration::ZERO;
            let mut granted = Vec::new();
            for rate in rates {
                bucket.set(now, rate, burst);
                granted.extend(grants(&mut bucket, &[now, now + Duration::from_millis(step_ms)]));
                now += Duration::from_millis(step_ms);
            }
            for (first, from) in granted.iter().enumerate().step_by(5) {
                for (last, to) in granted.iter().enumerate().skip(first) {
                    let window = to.as_secs_f64() - from.as_secs_f64();
                    prop_assert!((last - first + 1) as f64 <= largest * window + f64::from(burst) + 1e-6);
                }
            }
        }

        #[test]
        fn no_window_holds_more_than_rate_times_length_plus_burst(
            rate in 0.5f64..2_000.0, burst in 1u32..200, steps_ms in prop::collection::vec(0u64..400, 1..60),
        ) {
            let mut bucket = Bucket::full(rate, burst);
            let mut now = Duration::ZERO;
            let times: Vec<Duration> = steps_ms.iter().map(|step| { now += Duration::from_millis(*step); now }).collect();
            let granted = grants(&mut bucket, &times);
            for (first, from) in granted.iter().enumerate().step_by(7) {
                for (last, to) in granted.iter().enumerate().skip(first) {
                    let window = to.as_secs_f64() - from.as_secs_f64();
                    prop_assert!((last - first + 1) as f64 <= rate * window + f64::from(burst) + 1e-6);
                }
            }
        }

        #[test]
        fn what_is_given_back_and_used_by_others_makes_no_window_larger(
            rate in 0.5f64..200.0, burst in 1u32..50, steps in prop::collection::vec((0u64..300, 0u32..4), 1..80),
        ) {
            let mut bucket = Bucket::full(rate, burst);
            let mut now = Duration::ZERO;
            let (mut used, mut unused) = (Vec::new(), Vec::new());
            for (step, what) in steps {
                now += Duration::from_millis(step);
                match what {
                    // One is given back, some time after it was taken.
                    0 => {
                        if let Some(taken_at) = unused.pop() {
                            bucket.give_back(taken_at);
                        }
                    }
                    1 if bucket.wait(now).is_zero() => {
                        bucket.take(now);
                        unused.push(now);
                    }
                    _ => used.extend(grants(&mut bucket, &[now])),
                }
            }
            for (first, from) in used.iter().enumerate() {
                for (last, to) in used.iter().enumerate().skip(first) {
                    let window = to.as_secs_f64() - from.as_secs_f64();
                    prop_assert!((last - first + 1) as f64 <= rate * window + f64::from(burst) + 1e-6);
                }
            }
        }

        #[test]
        fn whoever_waits_as_told_gets_the_whole_rate(rate in 0.5f64..2_000.0, burst in 1u32..200) {
            let mut bucket = Bucket::full(rate, burst);
            let mut now = Duration::ZERO;
            for _ in 0..300 {
                // A nanosecond more, for rounding.
                let wait = bucket.wait(now);
                now += if wait.is_zero() { wait } else { wait + Duration::from_nanos(1) };
                prop_assert!(bucket.wait(now) <= Duration::from_nanos(1));
                bucket.take(now);
            }
            let ideal = (300.0 - f64::from(burst)).max(0.0) / rate;
            let held_back = (rate * 0.05).ceil().min(f64::from(burst / 2)) / rate;
            prop_assert!(now.as_secs_f64() <= ideal + held_back + 1e-3, "{now:?} {ideal}");
        }

        #[test]
        fn a_change_of_rate_never_takes_permits_back(rate in 0.5f64..100.0, other in 0.5f64..100.0) {
            let mut bucket = Bucket::full(rate, 10);
            bucket.take(Duration::ZERO);
            bucket.set(Duration::ZERO, other, 10);
            prop_assert!(bucket.wait(Duration::ZERO) <= Duration::from_secs_f64(1.0 / rate + 1.0 / other));
        }
    }
}
