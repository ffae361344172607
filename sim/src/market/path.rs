//! The price path: a rough walk that can be read at any session without reading the others.
//!
//! The logarithm of the price is a sum of noises whose cells are 1, 2, 4, … sessions long and whose size grows with the
//! root of that length, which looks like a random walk near by and stays within bounds far off.

use super::Issue;

/// Lengths of the noise cells: 1 to 2^11 sessions, eight years.
const OCTAVES: u32 = 12;
/// No issue rests longer than this.
const REST_SESSIONS_MAX: usize = 20;

/// What was traded in a session, in yen and shares of that day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Traded {
    pub(super) open: f64,
    pub(super) high: f64,
    pub(super) low: f64,
    pub(super) close: f64,
    pub(super) volume: u64,
}

impl Issue {
    /// The session's trades; one without any repeats the last close with volume 0.
    pub(super) fn traded(&self, session: usize) -> Traded {
        let shares = self.shares(session);
        let worth = |value: f64| self.on_tick(value / shares);
        let latest = self.latest_trade(session);
        let end = self.worth(latest);
        if latest != session {
            let close = worth(end);
            return Traded { open: close, high: close, low: close, close, volume: 0 };
        }
        let draw = self.hash.with(0xba5).with(session as u64);
        let before = if session == self.first { end } else { self.worth(self.latest_trade(session - 1)) };
        let start =
            before + (end - before) * 0.5 * draw.unit() + before * self.sigma * 0.3 * draw.with(1).signed();
        let high = start.max(end) * (1.0 + self.sigma * 0.6 * draw.with(2).unit());
        let low = start.min(end) * (1.0 - self.sigma * 0.6 * draw.with(3).unit());
        let lively = (1.2 * draw.with(4).signed()).exp() * (1.0 + 20.0 * (end / before - 1.0).abs());
        let volume = ((self.volume * shares * lively / 100.0) as u64).max(1) * 100;
        Traded { open: worth(start), high: worth(high), low: worth(low), close: worth(end), volume }
    }

    /// The close alone: what `traded` has as its close.
    pub(super) fn close(&self, session: usize) -> f64 {
        self.on_tick(self.worth(self.latest_trade(session)) / self.shares(session))
    }

    /// Whether the provider lost this row: it has the time and null for everything else.
    pub(super) fn is_lost(&self, session: usize) -> bool {
        session != self.first && self.hash.with(0x10_57).with(session as u64).below(1_200) == 0
    }

    /// What one share of the first day has become worth, in yen.
    fn worth(&self, session: usize) -> f64 {
        let mut ln = self.base_ln + self.drift * (session - self.first) as f64;
        let mut size = self.sigma * 0.8;
        for octave in 0..OCTAVES {
            let cell = session >> octave;
            let within = (session - (cell << octave)) as f64 / (1u64 << octave) as f64;
            let noise = |cell: usize| self.hash.with((u64::from(octave) << 48) | cell as u64).signed();
            let left = noise(cell);
            ln += size * if within > 0.0 { left + (noise(cell + 1) - left) * within } else { left };
            size *= std::f64::consts::SQRT_2;
        }
        ln.exp()
    }

    /// Shares that one share of the first day has become.
    fn shares(&self, session: usize) -> f64 {
        self.splits
            .iter()
            .filter(|split| split.session <= session)
            .map(|split| f64::from(split.ratio))
            .product()
    }

    fn latest_trade(&self, session: usize) -> usize {
        if self.idle == 0.0 {
            return session;
        }
        let rests = |session: usize| {
            session > self.first && self.hash.with(0x1d1e).with(session as u64).unit() < self.idle
        };
        (session.saturating_sub(REST_SESSIONS_MAX)..=session).rev().find(|s| !rests(*s)).unwrap_or(session)
    }

    /// Rounds to the exchange's price steps: those of the large issues, or of all others. Every boundary is a multiple of the steps on both sides, so order is kept.
    fn on_tick(&self, yen: f64) -> f64 {
        let tick = match (self.fine_ticks, yen) {
            (true, ..1_000.0) => return ((yen * 10.0).round() / 10.0).max(1.0),
            (true, ..3_000.0) => 0.5,
            (true, ..10_000.0) | (false, ..3_000.0) => 1.0,
            (true, ..30_000.0) | (false, ..5_000.0) => 5.0,
            (false, ..30_000.0) => 10.0,
            _ => 50.0,
        };
        ((yen / tick).round() * tick).max(1.0)
    }
}
