//! What an issue is like: since when it trades, how dear, how lively, what it pays.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::NaiveDate;

use super::View;
use crate::calendar::{Calendar, EpochDay};
use crate::hash::Hash;
use crate::list::{Row, Scale, Segment};

/// One issue of the market.
#[derive(Debug)]
pub(crate) struct Issue {
    pub(crate) code: String,
    pub(crate) name: String,
    pub(crate) instrument: Instrument,
    pub(super) hash: Hash,
    /// Number of its first session.
    pub(crate) first: usize,
    /// Natural logarithm of the first price in yen.
    pub(super) base_ln: f64,
    /// Mean growth a session, as a logarithm.
    pub(super) drift: f64,
    /// Size of a session's move.
    pub(super) sigma: f64,
    /// Shares traded in a usual session.
    pub(super) volume: f64,
    /// Share of sessions without a trade.
    pub(super) idle: f64,
    /// Whether it trades in fractions of a yen, as the large issues do.
    pub(super) fine_ticks: bool,
    /// Dividends of a year over the price; 0 pays none.
    pub(super) dividend_yield: f64,
    /// Dividends a year, 1 or 2.
    pub(super) payouts: u8,
    pub(super) splits: Vec<Split>,
    view: Mutex<Option<Arc<View>>>,
}

/// What the provider calls the kind of an issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instrument {
    Equity,
    Etf,
}

/// One share becomes `ratio` shares from `session` on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Split {
    pub(super) session: usize,
    pub(super) ratio: u32,
}

impl Issue {
    pub(super) fn new(market: Hash, row: &Row, calendar: &Calendar) -> Self {
        let hash = market.with_text(&row.code);
        let draw = |about: &str| hash.with_text(about);
        let first = calendar.on_or_after(listed_on(row, draw("listed")));
        let large = matches!(row.scale, Some(Scale::Core30 | Scale::Large70 | Scale::Mid400));
        let liquidity =
            if large { 0.6 + 0.4 * draw("liquidity").unit() } else { 0.8 * draw("liquidity").unit() };
        let pays = matches!(row.segment, Segment::Prime | Segment::Standard | Segment::Etf | Segment::Reit);
        Self {
            code: row.code.clone(),
            name: row.name.clone(),
            instrument: if row.segment == Segment::Etf { Instrument::Etf } else { Instrument::Equity },
            hash,
            first,
            base_ln: (250.0f64.ln()) + draw("base").unit() * (24.0f64.ln()), // 250 to 6,000 yen
            drift: (draw("drift").unit() * 0.05 - 0.01) / 245.0,
            sigma: if large { 0.014 } else { 0.012 + 0.016 * draw("sigma").unit() },
            volume: 10f64.powf(2.5 + 4.5 * liquidity),
            idle: if liquidity < 0.12 { 0.4 * (1.0 - liquidity / 0.12) } else { 0.0 },
            fine_ticks: large,
            dividend_yield: if pays && draw("pays").unit() < 0.85 {
                0.005 + 0.035 * draw("yield").unit()
            } else {
                0.0
            },
            payouts: if draw("payouts").unit() < 0.7 { 2 } else { 1 },
            splits: splits(hash.with_text("splits"), first, large, calendar),
            view: Mutex::new(None),
        }
    }

    /// The issue as it looks once `over` sessions are over; `None` before its first session is. Kept until the next
    /// session is over.
    pub(crate) fn view(&self, over: usize, calendar: &Calendar) -> Option<Arc<View>> {
        let last = over.checked_sub(1).filter(|last| *last >= self.first)?;
        let mut kept = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(view) = kept.as_ref().filter(|view| view.last == last) {
            return Some(Arc::clone(view));
        }
        let view = Arc::new(View::new(self, last, calendar));
        *kept = Some(Arc::clone(&view));
        Some(view)
    }
}

/// Most numeric codes are old, some were listed since. Lettered codes began with 130A in January 2024 and were given
/// out in order, some 160 a year.
fn listed_on(row: &Row, hash: Hash) -> EpochDay {
    let from = |year, month, days| {
        let start = NaiveDate::from_ymd_opt(year, month, 4).unwrap_or_default();
        EpochDay(EpochDay::of(start).0 + days)
    };
    let lettered = row.code.strip_suffix('A').and_then(|number| number.parse::<i64>().ok());
    match lettered {
        Some(number) => from(2024, 1, (number - 130).max(0) * 365 / 130 / 5 * 4 + hash.below(30) as i64),
        None if hash.unit() < 0.65 => from(2000, 1, 0),
        None => from(2000, 1, hash.with(1).below(26 * 365) as i64),
    }
}

/// About every sixth issue has split once or more; the day is the ex-dividend day of March or September.
fn splits(hash: Hash, first: usize, large: bool, calendar: &Calendar) -> Vec<Split> {
    let likely = if large { 0.45 } else { 0.15 };
    let mut splits = Vec::new();
    for n in 0..2 {
        let draw = hash.with(n);
        if draw.unit() >= likely {
            continue;
        }
        let near = first + 250 + draw.with(1).below(6_500) as usize;
        let Some(session) = super::event::ex_session_near(calendar, near) else { continue };
        let ratio = [2, 2, 2, 3, 3, 5][draw.with(2).below(6) as usize];
        if splits.iter().all(|earlier: &Split| earlier.session != session) {
            splits.push(Split { session, ratio });
        }
    }
    splits.sort_by_key(|split| split.session);
    splits
}
