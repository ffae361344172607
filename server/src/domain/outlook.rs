//! When the last item of a batch is expected to be final.
//!
//! The outlook is a fluid model: requests still needed, sent at a speed that may still grow, plus what is waited for.
//! What is known counts at once: the rate that the gate permits, how it grows back, the batch's share of it, when the
//! gate opens, when items that wait are due. What can only be learned comes from what was seen lately: about the
//! last minute for requests per item and how much of what could be sent was, the last requests for the time of one.

use std::time::Duration;

use super::item::RetryPolicy;

/// Outcomes before which nothing is estimated.
const OUTCOMES_MIN: i64 = 10;
/// A time beyond a century is no estimate.
const WAIT_MAX: Duration = Duration::from_secs(100 * 366 * 86_400);
/// Items that are expected to need yet another attempt count from here on.
const HALF_AN_ITEM: f64 = 0.5;

/// Requests per second: now, and once what was lowered has grown back, evenly over time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    /// Now; where the gate is held, when it opens.
    pub per_s: f64,
    /// Then.
    pub full_per_s: f64,
    /// Time in between.
    pub full_in: Duration,
}

impl Speed {
    /// Of who asks nobody.
    pub const UNLIMITED: Self =
        Self { per_s: f64::INFINITY, full_per_s: f64::INFINITY, full_in: Duration::ZERO };

    /// One that stays as it is.
    pub fn steady(per_s: f64) -> Self {
        Self { per_s, full_per_s: per_s, full_in: Duration::ZERO }
    }

    /// At most this much, and this share of that.
    #[must_use]
    pub fn within(self, per_s_max: f64, share: f64) -> Self {
        let within = |per_s: f64| per_s.min(per_s_max) * share;
        Self { per_s: within(self.per_s), full_per_s: within(self.full_per_s), ..self }
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            per_s: self.per_s + other.per_s,
            full_per_s: self.full_per_s + other.full_per_s,
            full_in: self.full_in.max(other.full_in),
        }
    }

    /// Seconds until so many requests are sent; nothing where they never are.
    fn seconds_for(self, requests: f64) -> Option<f64> {
        if requests <= 0.0 {
            return Some(0.0);
        }
        let (from, to, time) = (self.per_s, self.full_per_s, self.full_in.as_secs_f64());
        let grown = f64::midpoint(from, to) * time;
        let seconds = if to <= from {
            requests / from
        } else if requests < grown {
            // The root of from · t + growth · t² / 2 = requests, in the form that does not cancel out.
            let growth = (to - from) / time;
            2.0 * requests / ((from * from + 2.0 * growth * requests).sqrt() + from)
        } else {
            time + (requests - grown) / to
        };
        seconds.is_finite().then_some(seconds)
    }
}

/// What the outlook is made from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    /// Items not yet final.
    pub open: i64,
    /// Items with an outcome.
    pub outcomes: i64,
    /// Attempts per item with an outcome, lately.
    pub attempts_per_item: f64,
    /// Requests that wait for nothing but their answer.
    pub on_the_way: i64,
    /// How fast requests can be sent.
    pub speed: Speed,
    /// What remains of a held gate.
    pub gate_wait: Duration,
    /// What a request takes.
    pub request_time: Duration,
    /// When the last of the items that wait is due.
    pub last_due: Option<Duration>,
    /// The waits between an item's attempts.
    pub retry: RetryPolicy,
}

impl Outlook {
    /// Time until the last item is expected to be final. Nothing before ten outcomes, or where nothing is known of the
    /// speed.
    pub fn wait(&self) -> Option<Duration> {
        if self.outcomes < OUTCOMES_MIN || self.open < 0 {
            return None;
        }
        let per_item = self.attempts_per_item.max(1.0);
        let needed = (self.open as f64 * per_item - self.on_the_way as f64).max(0.0);
        let sent = self.gate_wait + seconds(self.speed.seconds_for(needed)?)?;
        // The last one that waits may be sent after all others, not before its time.
        let sent = (sent + self.tail(1.0 - 1.0 / per_item)).max(self.last_due.unwrap_or_default());
        let wait = if self.open > 0 { sent + self.request_time } else { Duration::ZERO };
        (wait < WAIT_MAX).then_some(wait)
    }

    /// What the last requests add whose items fail and wait, where `failing` is the share of attempts that fails: while
    /// one waits, only those that are sent after it can hide that.
    fn tail(&self, failing: f64) -> Duration {
        let mut tail = Duration::ZERO;
        let mut failed = self.open as f64;
        for attempt in 1..self.retry.attempts_max {
            let wait = self.retry.backoff.wait(attempt, 0.5);
            failed = failed.min(self.speed.full_per_s * wait.as_secs_f64()) * failing;
            if failed < HALF_AN_ITEM {
                break;
            }
            tail += wait;
        }
        tail
    }
}

fn seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok().filter(|wait| *wait < WAIT_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::backoff::Backoff;

    const SECOND: Duration = Duration::from_secs(1);

    fn outlook() -> Outlook {
        let backoff = Backoff { initial: 2 * SECOND, multiplier: 2.0, max: 300 * SECOND };
        Outlook {
            open: 100,
            outcomes: 50,
            attempts_per_item: 1.0,
            on_the_way: 0,
            speed: Speed::steady(5.0),
            gate_wait: Duration::ZERO,
            request_time: Duration::ZERO,
            last_due: None,
            retry: RetryPolicy { attempts_max: 4, backoff },
        }
    }

    #[test]
    fn each_thing_that_is_known_adds_what_it_costs() {
        let growing = Speed { per_s: 1.0, full_per_s: 5.0, full_in: 10 * SECOND };
        for (case, outlook, seconds) in [
            ("the rate alone", outlook(), Some(20.0)),
            ("a held gate", Outlook { gate_wait: 7 * SECOND, ..outlook() }, Some(27.0)),
            ("answers to come", Outlook { request_time: 3 * SECOND, ..outlook() }, Some(23.0)),
            ("sent already", Outlook { on_the_way: 10, ..outlook() }, Some(18.0)),
            ("more on the way than open", Outlook { on_the_way: 999, ..outlook() }, Some(0.0)),
            // 125 requests in 25 s; of the last 7.5 of them 1.5 fail for 1.5 s, and of these too few again.
            ("every fifth fails", Outlook { attempts_per_item: 1.25, ..outlook() }, Some(26.5)),
            ("one waits for long", Outlook { last_due: Some(60 * SECOND), ..outlook() }, Some(60.0)),
            ("one waits for less", Outlook { last_due: Some(6 * SECOND), ..outlook() }, Some(20.0)),
            // 30 while it grows, 70 at 5 a second.
            ("a pace that grows back", Outlook { speed: growing, ..outlook() }, Some(24.0)),
            ("the same, sent before", Outlook { open: 12, speed: growing, ..outlook() }, Some(5.639)),
            ("nothing open", Outlook { open: 0, request_time: SECOND, ..outlook() }, Some(0.0)),
            ("too few outcomes", Outlook { outcomes: 9, ..outlook() }, None),
            ("nothing is permitted", Outlook { speed: Speed::steady(0.0), ..outlook() }, None),
            ("not in this life", Outlook { speed: Speed::steady(1e-9), ..outlook() }, None),
        ] {
            let wait = outlook.wait().map(|wait| wait.as_secs_f64());
            assert_eq!(wait.is_some(), seconds.is_some(), "{case}: {wait:?}");
            let off = wait.unwrap_or_default() - seconds.unwrap_or_default();
            assert!(off.abs() < 1e-3, "{case}: {wait:?}");
        }
    }

    #[test]
    fn a_speed_is_bounded_by_what_workers_can_do_and_by_the_share_of_it_that_they_did() {
        let growing = Speed { per_s: 1.0, full_per_s: 5.0, full_in: SECOND };
        let within = growing.within(4.0, 0.5);
        assert_eq!(within, Speed { per_s: 0.5, full_per_s: 2.0, full_in: SECOND });
        assert_eq!(Speed::UNLIMITED.within(8.0, 1.0), Speed::steady(8.0));
        assert_eq!(growing.and(Speed::steady(2.0)), Speed { per_s: 3.0, full_per_s: 7.0, full_in: SECOND });
    }

    fn speeds() -> impl Strategy<Value = Speed> {
        (1e-3f64..1e5, 1.0f64..64.0, 0u64..1_200).prop_map(|(per_s, factor, full_in)| Speed {
            per_s,
            full_per_s: per_s * factor,
            full_in: Duration::from_secs(full_in),
        })
    }

    proptest! {
        #[test]
        fn it_never_promises_more_than_the_permitted_rate(
            open in 0i64..10_000_000, per_item in 1.0f64..4.0, speed in speeds(), gate_s in 0u64..100_000,
        ) {
            let gate_wait = Duration::from_secs(gate_s);
            let given = Outlook { open, attempts_per_item: per_item, speed, gate_wait, ..outlook() };
            if let Some(wait) = given.wait().filter(|_| open > 0) {
                let least = gate_s as f64 + open as f64 * per_item / speed.full_per_s;
                prop_assert!(wait.as_secs_f64() * (1.0 + 1e-9) + 1e-6 >= least);
            }
        }

        #[test]
        fn more_to_do_never_ends_sooner_and_a_faster_gate_never_later(
            open in 0i64..1_000_000, more in 0i64..1_000_000, speed in speeds(), faster in 1.0f64..10.0,
        ) {
            let given = Outlook { open, speed, ..outlook() };
            let longer = Outlook { open: open + more, ..given };
            let fast = Speed { per_s: speed.per_s * faster, full_per_s: speed.full_per_s * faster, ..speed };
            let faster = Outlook { speed: fast, ..given };
            let grain = Duration::from_micros(1);
            if let (Some(wait), Some(longer)) = (given.wait(), longer.wait()) {
                prop_assert!(longer + grain >= wait);
            }
            if let Some(wait) = given.wait() {
                prop_assert!(faster.wait().is_some_and(|faster| faster <= wait + grain));
            }
        }

        #[test]
        fn what_grows_evenly_has_sent_what_was_asked_for(speed in speeds(), requests in 1.0f64..1e6) {
            let seconds = speed.seconds_for(requests).unwrap();
            let time = speed.full_in.as_secs_f64();
            let grows = seconds.min(time);
            let growth = if time > 0.0 { (speed.full_per_s - speed.per_s) / time } else { 0.0 };
            let sent = speed.per_s * grows + growth * grows * grows / 2.0 + speed.full_per_s * (seconds - grows);
            prop_assert!((sent / requests - 1.0).abs() < 1e-6, "{} of {}", sent, requests);
        }
    }
}
