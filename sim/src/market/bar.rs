//! Bars of a session, a week, a month or a quarter.

use std::ops::Range;

use super::{Issue, View};
use crate::calendar::{Calendar, EpochDay};

/// One row of a chart. A row without a quote is one the provider lost: null in every column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bar {
    /// Time it is stamped with, epoch seconds.
    pub(crate) at_s: i64,
    pub(crate) quote: Option<Quote>,
}

/// Prices in yen, adjusted for splits; `adjclose` for dividends too.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Quote {
    pub(crate) open: f32,
    pub(crate) high: f32,
    pub(crate) low: f32,
    pub(crate) close: f32,
    pub(crate) adjclose: f32,
    pub(crate) volume: u64,
}

/// How much time a bar covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Granularity {
    Session,
    Week,
    Month,
    Quarter,
}

impl Granularity {
    /// The bar's time for a session's day: its opening, or local midnight of the first day of the longer span.
    pub(crate) fn stamp_s(self, day: EpochDay) -> i64 {
        match self {
            Self::Session => day.open_s(),
            Self::Week => day.monday().midnight_s(),
            Self::Month => day.month_start().midnight_s(),
            Self::Quarter => day.quarter_start().midnight_s(),
        }
    }

    /// The sessions whose bars are stamped within a window. A window that begins inside a longer span takes that span
    /// whole, so a bar is the same whatever window it is seen through.
    pub(crate) fn sessions(self, window_s: &Range<i64>, calendar: &Calendar) -> Range<usize> {
        if self == Self::Session {
            let from = calendar.opening_from(window_s.start);
            return from..calendar.opening_from(window_s.end).max(from);
        }
        let day_s = |epoch_s: i64| match self {
            Self::Week => EpochDay::at(epoch_s).monday(),
            Self::Month => EpochDay::at(epoch_s).month_start(),
            _ => EpochDay::at(epoch_s).quarter_start(),
        };
        let from = calendar.on_or_after(day_s(window_s.start));
        // The last moment within the window belongs to the last span.
        let end = self.next_span(EpochDay::at(window_s.end.saturating_sub(1)));
        from..calendar.on_or_after(end).max(from)
    }

    /// The first day after the span a day is in.
    pub(crate) fn next_span(self, day: EpochDay) -> EpochDay {
        match self {
            Self::Session => EpochDay(day.0 + 1),
            Self::Week => EpochDay(day.monday().0 + 7),
            Self::Month => EpochDay(day.month_start().0 + 31).month_start(),
            Self::Quarter => EpochDay(day.quarter_start().0 + 95).quarter_start(),
        }
    }
}

impl View {
    /// The bars of a range of sessions, which lies between the first and the last one shown.
    ///
    /// A week or month still running ends with its last session in a row of its own, stamped with the last trade.
    pub(crate) fn bars(
        &self,
        issue: &Issue,
        sessions: Range<usize>,
        granularity: Granularity,
        calendar: &Calendar,
    ) -> Vec<Bar> {
        if granularity == Granularity::Session {
            return sessions.map(|session| self.bar(issue, session, calendar)).collect();
        }
        let last_day = calendar.day(self.last);
        let running_s = (calendar.day(self.last + 1) < granularity.next_span(last_day))
            .then(|| granularity.stamp_s(last_day));
        let mut bars: Vec<Bar> = Vec::new();
        for session in sessions {
            let mut bar = self.bar(issue, session, calendar);
            bar.at_s = granularity.stamp_s(calendar.day(session));
            match bars.last_mut().filter(|span| span.at_s == bar.at_s) {
                Some(_) if session == self.last && running_s == Some(bar.at_s) => {
                    bars.push(Bar { at_s: last_day.close_s(), ..bar });
                }
                Some(span) => span.quote = joined(span.quote, bar.quote),
                None => bars.push(bar),
            }
        }
        bars
    }
}

fn joined(earlier: Option<Quote>, later: Option<Quote>) -> Option<Quote> {
    let (Some(earlier), Some(later)) = (earlier, later) else { return earlier.or(later) };
    Some(Quote {
        open: earlier.open,
        high: earlier.high.max(later.high),
        low: earlier.low.min(later.low),
        close: later.close,
        adjclose: later.adjclose,
        volume: earlier.volume + later.volume,
    })
}
