//! An issue as the provider shows it once a given session is over: with all its past splits and dividends worked in.

use super::path::Traded;
use super::{Bar, Event, EventKind, Issue, Quote};
use crate::calendar::Calendar;

/// Sessions of about a year.
const YEAR_SESSIONS: usize = 245;

/// Adjusted history up to a session.
#[derive(Debug)]
pub(crate) struct View {
    /// The last session shown.
    pub(crate) last: usize,
    /// All events so far, in order; amounts are adjusted for later splits.
    pub(crate) events: Vec<Event>,
    /// Highest and lowest price of a year.
    pub(crate) year_high: f32,
    pub(crate) year_low: f32,
    /// The last session's prices.
    pub(crate) latest: Quote,
    steps: Vec<Step>,
}

/// What bars before a session are multiplied with.
#[derive(Debug, Clone, Copy)]
struct Step {
    before: usize,
    /// Prices are divided by it, volumes multiplied.
    shares: f64,
    /// Adjusted closes are multiplied with it as well.
    dividends: f64,
}

const UNADJUSTED: Step = Step { before: usize::MAX, shares: 1.0, dividends: 1.0 };

impl View {
    pub(super) fn new(issue: &Issue, last: usize, calendar: &Calendar) -> Self {
        let mut events = issue.events(last, calendar);
        let mut steps = Vec::with_capacity(events.len());
        let mut step = UNADJUSTED;
        for event in events.iter_mut().rev() {
            step.before = event.session;
            match &mut event.kind {
                EventKind::Split(ratio) => step.shares *= f64::from(*ratio),
                EventKind::Dividend(yen) => {
                    *yen = (*yen / step.shares * 1e6).round() / 1e6;
                    // A split of the same day comes next in this order, and has divided the close already.
                    let ratio = issue.splits.iter().find(|split| split.session == event.session);
                    let shares = step.shares * ratio.map_or(1.0, |split| f64::from(split.ratio));
                    let before = f64::from((issue.close(event.session - 1) / shares) as f32);
                    step.dividends *= 1.0 - *yen / before;
                }
            }
            steps.push(step);
        }
        steps.reverse();
        let mut view = Self { last, events, year_high: 0.0, year_low: 0.0, latest: Quote::default(), steps };
        let year = last.saturating_sub(YEAR_SESSIONS).max(issue.first)..=last;
        let quotes = || year.clone().map(|session| view.adjusted(issue, session));
        let high = quotes().map(|quote| quote.high).fold(f32::MIN, f32::max);
        let low = quotes().map(|quote| quote.low).fold(f32::MAX, f32::min);
        (view.year_high, view.year_low) = (high, low);
        view.latest = view.adjusted(issue, last);
        view
    }

    /// The bar of a session up to `last`.
    pub(crate) fn bar(&self, issue: &Issue, session: usize, calendar: &Calendar) -> Bar {
        let quote = (!issue.is_lost(session)).then(|| self.adjusted(issue, session));
        Bar { at_s: calendar.day(session).open_s(), quote }
    }

    /// The adjusted close of a session, whether or not its row was lost.
    pub(crate) fn close(&self, issue: &Issue, session: usize) -> f32 {
        (issue.close(session) / self.step(session).shares) as f32
    }

    pub(super) fn adjusted(&self, issue: &Issue, session: usize) -> Quote {
        let step = self.step(session);
        let Traded { open, high, low, close, volume } = issue.traded(session);
        let shown = |yen: f64| (yen / step.shares) as f32;
        Quote {
            open: shown(open),
            high: shown(high),
            low: shown(low),
            close: shown(close),
            adjclose: (f64::from(shown(close)) * step.dividends) as f32,
            volume: volume * step.shares as u64,
        }
    }

    fn step(&self, session: usize) -> Step {
        let next = self.steps.partition_point(|step| step.before <= session);
        self.steps.get(next).copied().unwrap_or(UNADJUSTED)
    }
}
