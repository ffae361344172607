//! Dividends and splits.

use super::Issue;
use crate::calendar::{Calendar, EpochDay};

/// Something that changes what earlier prices are worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Event {
    /// The first session traded without it.
    pub(crate) session: usize,
    pub(crate) kind: EventKind,
}

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum EventKind {
    /// Yen a share, adjusted for later splits.
    Dividend(f64),
    /// Shares for one.
    Split(u32),
}

impl Issue {
    /// Events from the second session to `last`, in order, a split before a dividend of the same day. Amounts are in
    /// yen of their day, not adjusted.
    pub(super) fn events(&self, last: usize, calendar: &Calendar) -> Vec<Event> {
        let mut events: Vec<Event> = self
            .splits
            .iter()
            .filter(|split| (self.first + 1..=last).contains(&split.session))
            .map(|split| Event { session: split.session, kind: EventKind::Split(split.ratio) })
            .collect();
        if self.dividend_yield > 0.0 {
            let mut month = calendar.day(self.first).month_start();
            while month <= calendar.day(last) {
                let next = EpochDay(month.0 + 31).month_start();
                let pays = match chrono::Datelike::month(&month.date()) {
                    3 => true,
                    9 => self.payouts == 2,
                    _ => false,
                };
                let session = ex_session(calendar, next);
                if pays && (self.first + 1..=last).contains(&session) {
                    events.push(Event { session, kind: EventKind::Dividend(self.dividend(session)) });
                }
                month = next;
            }
        }
        events.sort_by_key(|event| (event.session, matches!(event.kind, EventKind::Dividend(_))));
        events
    }

    /// Paid on each share of the ex-dividend day; whole yen, or tenths where it would be less than ten.
    fn dividend(&self, session: usize) -> f64 {
        let split: u32 =
            self.splits.iter().filter(|split| split.session == session).map(|split| split.ratio).product();
        let before = self.close(session - 1) / f64::from(split);
        let yen = before * self.dividend_yield / f64::from(self.payouts);
        if yen < 10.0 { (yen * 10.0).round().max(1.0) / 10.0 } else { yen.round() }
    }
}

/// Settlement took three days before this day, two since.
const SHORTER_SETTLEMENT: EpochDay = EpochDay(18_093); // 2019-07-16

/// The first session without the right to what is paid for the month before `next_month`: the record day is the
/// month's last session, and who buys one session earlier (two before 2019-07-16) settles too late.
fn ex_session(calendar: &Calendar, next_month: EpochDay) -> usize {
    let record = calendar.on_or_after(next_month).saturating_sub(1);
    record.saturating_sub(if calendar.day(record) < SHORTER_SETTLEMENT { 2 } else { 1 })
}

/// The ex-dividend session of March or September following a session.
pub(super) fn ex_session_near(calendar: &Calendar, session: usize) -> Option<usize> {
    let mut month = calendar.day(session).month_start();
    for _ in 0..12 {
        let next = EpochDay(month.0 + 31).month_start();
        if matches!(chrono::Datelike::month(&month.date()), 3 | 9) {
            return Some(ex_session(calendar, next)).filter(|ex| *ex >= session);
        }
        month = next;
    }
    None
}
