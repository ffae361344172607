//! The one place that reads the wall clock. Code that decides what is fetched gets the time as a parameter; this is
//! for stamps, leases and pacing.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};

/// A step backwards that is smaller harms nobody who waits.
const STEP_MIN: TimeDelta = TimeDelta::seconds(1);

/// The time, to the millisecond that stores hold.
#[allow(clippy::disallowed_methods)]
pub fn now() -> DateTime<Utc> {
    let now = Utc::now();
    DateTime::from_timestamp_millis(now.timestamp_millis()).unwrap_or(now)
}

/// Notices that the clock was set back, by one that never is.
#[derive(Debug)]
pub struct Steps {
    wall: DateTime<Utc>,
    steady: Instant,
}

impl Steps {
    /// From now on.
    pub fn new(wall: DateTime<Utc>) -> Self {
        Self { wall, steady: Instant::now() }
    }

    /// By how much the clock was set back since it was asked last, when it says `wall` now.
    pub fn set_back(&mut self, wall: DateTime<Utc>) -> Option<SetBack> {
        let steady = Instant::now();
        self.after(wall, steady.duration_since(self.steady), steady)
    }

    fn after(&mut self, wall: DateTime<Utc>, passed: Duration, steady: Instant) -> Option<SetBack> {
        let expected = self.wall + passed;
        (self.wall, self.steady) = (wall, steady);
        SetBack::between(expected, wall)
    }
}

/// The clock was set back. Whoever waits for a time that it had not reached waits for so long, not until that time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetBack {
    /// By so much.
    pub by: TimeDelta,
    /// What is due later was reckoned before the step, or is far off anyway. In the middle of the step: what was due is
    /// told from what waits since.
    pub from: DateTime<Utc>,
}

impl SetBack {
    /// Where the clock should say one thing and says another.
    pub fn between(expected: DateTime<Utc>, said: DateTime<Utc>) -> Option<Self> {
        let by = expected - said;
        (by >= STEP_MIN).then(|| Self { by, from: said + by / 2 })
    }

    /// When somebody is due who was due then.
    pub fn moved(&self, due: DateTime<Utc>) -> DateTime<Utc> {
        if due >= self.from { due - self.by } else { due }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_waits_as_long_though_the_clock_is_set_back() {
        let at = |seconds| DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds);
        let mut steps = Steps::new(at(10_000));
        let mut look = |wall, passed| steps.after(at(wall), Duration::from_secs(passed), Instant::now());
        // A jump forwards, and a clock that goes a little slowly.
        for (wall, passed) in [(10_001, 1), (96_401, 1), (96_402, 1)] {
            assert_eq!(look(wall, passed), None, "{wall}");
        }
        let set_back = look(92_803, 1).unwrap();
        assert_eq!((set_back.by, set_back.from), (TimeDelta::hours(1), at(94_603)));
        for (due, moved) in [(96_405, 92_805), (96_400, 92_800), (92_863, 92_863), (90_000, 90_000)] {
            assert_eq!(set_back.moved(at(due)), at(moved), "{due}");
        }
        assert_eq!(look(92_804, 1), None, "it is told once");
    }
}
