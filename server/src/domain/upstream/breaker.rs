//! The guard against an upstream that is down.

use std::time::Duration;

/// Failures in a row that trip a breaker.
const FAILURES_MAX: u32 = 10;
/// Holds by push-back in a row that trip it.
const PUSH_BACKS_MAX: u32 = 5;
/// From the trip to the first probe.
pub const FIRST_PROBE: Duration = Duration::from_secs(5);

/// The guard against an upstream that is down. Times are since some fixed moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breaker {
    /// Requests pass.
    Closed {
        /// TEMPORARY failures in a row, push-back left out.
        failures: u32,
    },
    /// Nothing passes until the next probe is due.
    Tripped {
        /// Since when.
        since: Duration,
        /// When the next probe is due.
        probe_at: Duration,
        /// The wait that led there.
        wait: Duration,
    },
    /// One request is on its way, to see.
    Probing {
        /// Since when the breaker is not closed.
        since: Duration,
        /// The wait before this probe.
        wait: Duration,
        /// It is given up by then, and another may be sent.
        until: Duration,
    },
}

/// What a breaker learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// A reply that is no TEMPORARY failure: it lives.
    Answer,
    /// A TEMPORARY failure other than push-back.
    Failure,
    /// A push-back.
    PushBack {
        /// Holds by push-back in a row, this one included.
        in_a_row: u32,
    },
    /// A batch's first items were all refused, or met nobody.
    Refused,
    /// A probe is sent, and given up by then.
    Probe {
        /// When it is given up.
        until: Duration,
    },
    /// The probe was given up before anything was heard of it.
    Abandoned,
    /// Somebody wants it asked at once.
    Released,
}

impl Breaker {
    /// As it begins.
    pub const CLOSED: Self = Self::Closed { failures: 0 };

    /// What it becomes. `probe_interval` is the longest wait between probes.
    #[must_use]
    pub fn next(self, signal: Signal, now: Duration, probe_interval: Duration) -> Self {
        let tripped = |since, wait: Duration| {
            let wait = wait.min(probe_interval);
            Self::Tripped { since, probe_at: now + wait, wait }
        };
        match (self, signal) {
            (_, Signal::Answer) => Self::CLOSED,
            (Self::Closed { failures }, Signal::Failure) if failures + 1 < FAILURES_MAX => {
                Self::Closed { failures: failures + 1 }
            }
            (Self::Closed { .. }, Signal::PushBack { in_a_row }) if in_a_row < PUSH_BACKS_MAX => self,
            (Self::Closed { .. }, Signal::Failure | Signal::PushBack { .. } | Signal::Refused) => {
                tripped(now, FIRST_PROBE)
            }
            (
                Self::Tripped { since, wait, .. } | Self::Probing { since, wait, .. },
                Signal::Probe { until },
            ) => Self::Probing { since, wait, until },
            (Self::Probing { since, wait, .. }, Signal::Failure | Signal::PushBack { .. }) => {
                tripped(since, wait * 2)
            }
            // It was due, and still is.
            (Self::Probing { since, wait, .. }, Signal::Abandoned) => {
                Self::Tripped { since, probe_at: now, wait }
            }
            (Self::Tripped { since, probe_at, wait }, Signal::Released) => {
                Self::Tripped { since, probe_at: probe_at.min(now), wait }
            }
            // What was on its way when it tripped says nothing new.
            (Self::Closed { .. }, Signal::Probe { .. } | Signal::Abandoned | Signal::Released)
            | (
                Self::Tripped { .. },
                Signal::Failure | Signal::PushBack { .. } | Signal::Refused | Signal::Abandoned,
            )
            | (Self::Probing { .. }, Signal::Refused | Signal::Released) => self,
        }
    }

    /// Since when it is not closed.
    pub fn tripped_since(self) -> Option<Duration> {
        match self {
            Self::Closed { .. } => None,
            Self::Tripped { since, .. } | Self::Probing { since, .. } => Some(since),
        }
    }

    /// Until when nothing may pass: until the probe is due, or answered or given up.
    pub fn shut_until(self) -> Option<Duration> {
        match self {
            Self::Closed { .. } => None,
            Self::Tripped { probe_at, .. } => Some(probe_at),
            Self::Probing { until, .. } => Some(until),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    fn after(breaker: Breaker, signals: &[Signal], now: Duration) -> Breaker {
        signals.iter().fold(breaker, |breaker, signal| breaker.next(*signal, now, MINUTE))
    }

    #[test]
    fn ten_failures_in_a_row_trip_it_and_nine_do_not() {
        let nine = after(Breaker::CLOSED, &[Signal::Failure; 9], SECOND);
        assert_eq!(nine, Breaker::Closed { failures: 9 });
        assert_eq!(nine.next(Signal::Answer, SECOND, MINUTE), Breaker::CLOSED);
        let tripped = nine.next(Signal::Failure, SECOND, MINUTE);
        assert_eq!(tripped, Breaker::Tripped { since: SECOND, probe_at: 6 * SECOND, wait: FIRST_PROBE });
    }

    #[test]
    fn five_push_backs_in_a_row_trip_it_and_a_refused_start_at_once() {
        for in_a_row in 1..=4 {
            let breaker = Breaker::CLOSED.next(Signal::PushBack { in_a_row }, SECOND, MINUTE);
            assert_eq!(breaker, Breaker::CLOSED);
        }
        for signal in [Signal::PushBack { in_a_row: 5 }, Signal::Refused] {
            assert_eq!(Breaker::CLOSED.next(signal, SECOND, MINUTE).tripped_since(), Some(SECOND));
        }
    }

    #[test]
    fn probes_wait_twice_as_long_each_time_up_to_the_interval_and_an_answer_ends_it() {
        let mut breaker = Breaker::CLOSED.next(Signal::Refused, Duration::ZERO, MINUTE);
        let mut waits = Vec::new();
        for _ in 0..6 {
            let due = breaker.shut_until().unwrap();
            let probing = breaker.next(Signal::Probe { until: due + SECOND }, due, MINUTE);
            assert_eq!(probing.shut_until(), Some(due + SECOND));
            assert_eq!(probing.next(Signal::Answer, due, MINUTE), Breaker::CLOSED);
            breaker = probing.next(Signal::Failure, due, MINUTE);
            waits.push(breaker.shut_until().unwrap().saturating_sub(due).as_secs());
        }
        assert_eq!(waits, [10, 20, 40, 60, 60, 60]);
        assert_eq!(breaker.tripped_since(), Some(Duration::ZERO));
    }

    #[test]
    fn an_abandoned_probe_is_due_again_at_once_and_makes_the_wait_no_longer() {
        let tripped = Breaker::CLOSED.next(Signal::Refused, Duration::ZERO, MINUTE);
        let probing = tripped.next(Signal::Probe { until: MINUTE }, 6 * SECOND, MINUTE);
        let again = probing.next(Signal::Abandoned, 7 * SECOND, MINUTE);
        let due = Breaker::Tripped { since: Duration::ZERO, probe_at: 7 * SECOND, wait: FIRST_PROBE };
        assert_eq!(again, due);
        for other in [Breaker::CLOSED, tripped] {
            assert_eq!(other.next(Signal::Abandoned, SECOND, MINUTE), other);
        }
    }

    #[test]
    fn a_release_makes_a_probe_due_and_changes_nothing_else() {
        let tripped = Breaker::CLOSED.next(Signal::Refused, Duration::ZERO, MINUTE);
        let due = Breaker::Tripped { since: Duration::ZERO, probe_at: SECOND, wait: FIRST_PROBE };
        assert_eq!(tripped.next(Signal::Released, SECOND, MINUTE), due);
        assert_eq!(due.next(Signal::Released, 9 * SECOND, MINUTE), due, "it was due already");
        let probing = tripped.next(Signal::Probe { until: MINUTE }, 6 * SECOND, MINUTE);
        for other in [Breaker::CLOSED, probing] {
            assert_eq!(other.next(Signal::Released, 7 * SECOND, MINUTE), other);
        }
    }

    #[test]
    fn a_short_probe_interval_holds_from_the_first_probe_on() {
        let breaker = Breaker::CLOSED.next(Signal::Refused, Duration::ZERO, SECOND);
        assert_eq!(breaker.shut_until(), Some(SECOND));
    }

    proptest! {
        /// Whatever comes in whatever order: it is closed only by an answer, and never shut longer than the interval.
        #[test]
        fn only_an_answer_closes_it(signals in prop::collection::vec(0u8..7, 0..60)) {
            let (mut breaker, mut now) = (Breaker::CLOSED, Duration::ZERO);
            for signal in signals {
                now += SECOND;
                let signal = match signal {
                    0 => Signal::Answer,
                    1 => Signal::Failure,
                    2 => Signal::PushBack { in_a_row: 5 },
                    3 => Signal::Refused,
                    4 => Signal::Abandoned,
                    5 => Signal::Released,
                    _ => Signal::Probe { until: now + MINUTE },
                };
                let was_open = breaker.tripped_since().is_some();
                breaker = breaker.next(signal, now, MINUTE);
                prop_assert!(!was_open || breaker.tripped_since().is_some() || signal == Signal::Answer);
                prop_assert!(breaker.shut_until().is_none_or(|until| until <= now + MINUTE));
            }
        }
    }
}
