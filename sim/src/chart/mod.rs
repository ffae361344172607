//! The chart endpoint: `GET /v8/finance/chart/{symbol}` (and `/v7/…`).
//!
//! A request is first planned, which is cheap and tells the status, then written, which costs what its rows cost. The shapes
//! are those of public recordings of the provider's answers; only daily and longer bars are simulated.

mod json;
mod meta;
mod query;
mod refusal;
mod writer;

pub(crate) use refusal::{Refusal, error_body};

use std::ops::Range;
use std::sync::Arc;

use crate::market::{Granularity, Issue, Market, View};
use query::{Query, Window};

/// What a request would be answered without any fault.
#[derive(Debug)]
pub(crate) enum Plan {
    Series(Box<Series>),
    Refuse(Refusal),
}

/// A chart to write.
#[derive(Debug)]
pub(crate) struct Series {
    issue: Arc<Issue>,
    view: Arc<View>,
    query: Query,
    window_s: Range<i64>,
    sessions: Range<usize>,
    now_s: i64,
}

/// Plans the answer to a request for `symbol` at a time.
pub(crate) fn plan(market: &Market, symbol: &str, query: &str, now_s: i64) -> Plan {
    series(market, symbol, query, now_s).map_or_else(Plan::Refuse, |series| Plan::Series(Box::new(series)))
}

fn series(market: &Market, symbol: &str, query: &str, now_s: i64) -> Result<Series, Refusal> {
    let query = Query::parse(query)?;
    let issue = symbol.strip_suffix(".T").and_then(|code| market.issue(code)).ok_or(Refusal::NoSuchSymbol)?;
    let over = market.calendar.over_at(now_s);
    let window_s = query.window.span_s(now_s, over, &market.calendar);
    let (from_s, to_s) = (window_s.start, window_s.end);
    if from_s >= to_s {
        return Err(Refusal::Backwards { from_s, to_s });
    }
    let listed_s = query.granularity.stamp_s(market.calendar.day(issue.first));
    let unlisted = Refusal::BeforeListing { from_s, to_s };
    let Some(view) = issue.view(over, &market.calendar).filter(|_| to_s > listed_s) else {
        return Err(unlisted);
    };
    let Range { start, end } = query.granularity.sessions(&window_s, &market.calendar);
    let start = start.max(issue.first);
    let sessions = start..end.min(view.last + 1).max(start);
    Ok(Series { issue: Arc::clone(issue), view, query, window_s, sessions, now_s })
}

impl Plan {
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Series(_) => 200,
            Self::Refuse(refusal) => refusal.status(),
        }
    }

    /// The JSON body.
    pub(crate) fn body(&self, market: &Market) -> Vec<u8> {
        match self {
            Self::Series(series) => series.body(market),
            Self::Refuse(refusal) => refusal.body(),
        }
    }
}

impl Series {
    fn body(&self, market: &Market) -> Vec<u8> {
        let mut bars =
            self.view.bars(&self.issue, self.sessions.clone(), self.granularity(), &market.calendar);
        // The row of the running week is stamped later than its week.
        bars.retain(|bar| bar.at_s < self.window_s.end);
        writer::body(self, &bars, &market.calendar)
    }

    fn granularity(&self) -> Granularity {
        self.query.granularity
    }

    /// The range as the answer repeats it: empty where the request gave two times.
    fn range(&self) -> &str {
        match &self.query.window {
            Window::Between { .. } => "",
            Window::Range { name, .. } => name,
        }
    }
}

#[cfg(test)]
mod tests;
