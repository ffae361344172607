//! The query of a chart request.

use std::ops::Range;

use chrono::{Datelike, Months, NaiveDate};

use super::Refusal;
use crate::calendar::{Calendar, EpochDay};
use crate::market::Granularity;

/// Times further than this from the epoch (some 3,000 years) are cut.
const TIME_S_MAX: i64 = 100_000_000_000;

/// A request that makes sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) window: Window,
    pub(super) interval: &'static str,
    pub(super) granularity: Granularity,
    pub(super) dividends: bool,
    pub(super) splits: bool,
}

/// The stretch of time asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Window {
    /// `period1` and `period2`, epoch seconds; the second is exclusive.
    Between { from_s: i64, to_s: i64 },
    /// `range`, ending now.
    Range { name: String, back: Back },
}

/// How far back a range reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Back {
    Sessions(usize),
    Months(u32),
    YearStart,
    All,
}

/// Intervals with their bars; none for those within a session.
const INTERVALS: [(&str, Option<Granularity>); 14] = [
    ("1m", None),
    ("2m", None),
    ("5m", None),
    ("15m", None),
    ("30m", None),
    ("60m", None),
    ("90m", None),
    ("1h", None),
    ("4h", None),
    ("1d", Some(Granularity::Session)),
    ("5d", Some(Granularity::Week)),
    ("1wk", Some(Granularity::Week)),
    ("1mo", Some(Granularity::Month)),
    ("3mo", Some(Granularity::Quarter)),
];

impl Query {
    pub(super) fn parse(query: &str) -> Result<Self, Refusal> {
        let (mut period1, mut period2, mut range) = (None, None, None);
        let (mut interval, mut events) = (None, String::new());
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "period1" => period1 = Some(time("period1", &value)?),
                "period2" => period2 = Some(time("period2", &value)?),
                "range" => range = Some(value.into_owned()),
                "interval" => interval = Some(value.into_owned()),
                "events" => events = value.into_owned(),
                _ => {}
            }
        }
        let window = match (period1, period2, range) {
            (Some(from_s), Some(to_s), _) => Window::Between { from_s, to_s },
            (_, _, range) => {
                let name = range.unwrap_or_else(|| "1d".to_owned());
                let Some(back) = Back::parse(&name) else { return Err(Refusal::BadRange(name)) };
                Window::Range { name, back }
            }
        };
        let asked = interval.unwrap_or_else(|| "1d".to_owned());
        let Some(&(interval, granularity)) = INTERVALS.iter().find(|(name, _)| *name == asked) else {
            return Err(Refusal::BadInterval { asked, valid: INTERVALS.map(|(name, _)| name).join(", ") });
        };
        let Some(granularity) = granularity else {
            return Err(Refusal::Intraday { interval, window: window.named() });
        };
        let wants = |kind: &str| events.split(['|', ',']).any(|event| event.starts_with(kind));
        Ok(Self { window, interval, granularity, dividends: wants("div"), splits: wants("split") })
    }
}

fn time(name: &'static str, value: &str) -> Result<i64, Refusal> {
    let parsed = value.parse::<i64>().map_err(|_| Refusal::BadTime { name, value: value.to_owned() })?;
    Ok(parsed.clamp(-TIME_S_MAX, TIME_S_MAX))
}

impl Window {
    /// The window in epoch seconds, the end exclusive; `over` is the number of sessions that are over.
    pub(super) fn span_s(&self, now_s: i64, over: usize, calendar: &Calendar) -> Range<i64> {
        let back = match self {
            Self::Between { from_s, to_s } => return *from_s..*to_s,
            Self::Range { back, .. } => *back,
        };
        let today = EpochDay::at(now_s).date();
        let midnight = |date: Option<NaiveDate>| date.map_or(0, |date| EpochDay::of(date).midnight_s());
        let from_s = match back {
            Back::Sessions(count) => calendar.day(over.saturating_sub(count)).midnight_s(),
            Back::Months(count) => midnight(today.checked_sub_months(Months::new(count))),
            Back::YearStart => midnight(NaiveDate::from_ymd_opt(today.year(), 1, 1)),
            Back::All => -TIME_S_MAX,
        };
        from_s..now_s + 1
    }

    fn named(&self) -> (String, String) {
        match self {
            Self::Between { from_s, to_s } => (from_s.to_string(), to_s.to_string()),
            Self::Range { name, .. } => (format!("now-{name}"), "now".to_owned()),
        }
    }
}

impl Back {
    /// `ytd`, `max`, or a number of days, weeks, months or years. Days are sessions.
    fn parse(range: &str) -> Option<Self> {
        match range {
            "ytd" => return Some(Self::YearStart),
            "max" => return Some(Self::All),
            _ => {}
        }
        let unit_at = range.find(|c: char| !c.is_ascii_digit())?;
        let (count, unit) = range.split_at(unit_at);
        let count: u32 = count.parse().ok().filter(|count| (1..=1_000).contains(count))?;
        match unit {
            "d" => Some(Self::Sessions(count as usize)),
            "w" | "wk" => Some(Self::Sessions(count as usize * 5)),
            "mo" => Some(Self::Months(count)),
            "y" => Some(Self::Months(count * 12)),
            _ => None,
        }
    }
}
