//! Windows of time, counted back from the close of a logical date's calendar day in its zone.

use std::fmt;

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, TimeZone, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::spec::{AsOf, Window};

/// A length in the upstream's own words: `5d`, `2wk`, `6mo`, `1y`, `ytd`, `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Range {
    /// Days.
    Days(u32),
    /// Months; a year is twelve.
    Months(u32),
    /// From the first day of the year.
    YearToDate,
    /// From 1900 on.
    Max,
}

/// Most days of a window, about a hundred years.
pub const DAYS_MAX: u32 = 36_500;

impl Range {
    /// What a range must look like.
    pub const PATTERN: &str = "a number with d, wk, mo or y (up to 100 years), or \"ytd\", or \"max\"";

    /// Reads a range, or nothing if it is not of [`Self::PATTERN`].
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "ytd" => return Some(Self::YearToDate),
            "max" => return Some(Self::Max),
            _ => {}
        }
        let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(unit_at);
        let number: u32 = number.parse().ok().filter(|n| *n > 0)?;
        let range = match unit {
            "d" => Self::Days(number),
            "wk" => Self::Days(number.checked_mul(7)?),
            "mo" => Self::Months(number),
            "y" => Self::Months(number.checked_mul(12)?),
            _ => return None,
        };
        match range {
            Self::Days(days) if days > DAYS_MAX => None,
            Self::Months(months) if months > 1_200 => None,
            _ => Some(range),
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Days(days) => write!(f, "{days}d"),
            Self::Months(months) if months % 12 == 0 => write!(f, "{}y", months / 12),
            Self::Months(months) => write!(f, "{months}mo"),
            Self::YearToDate => f.write_str("ytd"),
            Self::Max => f.write_str("max"),
        }
    }
}

impl From<Range> for String {
    fn from(range: Range) -> Self {
        range.to_string()
    }
}

impl TryFrom<String> for Range {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is not {}", Self::PATTERN))
    }
}

/// Two instants: from the first one on, before the second one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// The first instant.
    pub start: DateTime<Utc>,
    /// The first instant after it.
    pub end: DateTime<Utc>,
}

/// The instants of `window` for the logical date `as_of`. The end is the midnight that closes its calendar day.
pub fn resolve(window: Window, as_of: &AsOf) -> Interval {
    let zone = as_of.zone;
    let close = as_of.date().checked_add_days(Days::new(1)).unwrap_or(NaiveDate::MAX);
    let back =
        |date: NaiveDate, days: u32| date.checked_sub_days(Days::new(days.into())).unwrap_or(EPOCH_1900);
    let (start, end) = match window {
        Window::Days { days, offset_days } => {
            let end = back(close, offset_days);
            (back(end, days), end)
        }
        Window::Range(Range::Days(days)) => (back(close, days), close),
        Window::Range(Range::Months(months)) => {
            (close.checked_sub_months(Months::new(months)).unwrap_or(EPOCH_1900), close)
        }
        Window::Range(Range::YearToDate) => {
            (NaiveDate::from_ymd_opt(as_of.date().year(), 1, 1).unwrap_or(EPOCH_1900), close)
        }
        Window::Range(Range::Max) => (EPOCH_1900, close),
    };
    Interval { start: midnight(start.max(EPOCH_1900), zone), end: midnight(end, zone) }
}

const EPOCH_1900: NaiveDate = match NaiveDate::from_ymd_opt(1900, 1, 1) {
    Some(date) => date,
    None => NaiveDate::MIN,
};

/// The first instant of a day in a zone; where the clock skips midnight, the first one after the gap.
pub fn midnight(date: NaiveDate, zone: Tz) -> DateTime<Utc> {
    let mut local = date.and_time(chrono::NaiveTime::MIN);
    // Zones have skipped up to a whole day (Samoa, 2011-12-30).
    for _ in 0..=48 {
        if let Some(instant) = zone.from_local_datetime(&local).earliest() {
            return instant.with_timezone(&Utc);
        }
        local += chrono::TimeDelta::minutes(30);
    }
    date.and_time(chrono::NaiveTime::MIN).and_utc()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_of(instant: &str, zone: Tz) -> AsOf {
        AsOf { time: instant.parse().unwrap(), zone }
    }

    fn resolved(window: Window, as_of: &AsOf) -> (String, String) {
        let interval = resolve(window, as_of);
        (interval.start.to_rfc3339(), interval.end.to_rfc3339())
    }

    #[test]
    fn a_year_ends_with_the_logical_day_in_its_zone() {
        // 23:30 UTC is already the 28th in Tokyo.
        let tokyo = as_of("2026-02-27T23:30:00Z", chrono_tz::Asia::Tokyo);
        assert_eq!(
            resolved(Window::Range(Range::Months(12)), &tokyo),
            ("2025-02-28T15:00:00+00:00".into(), "2026-02-28T15:00:00+00:00".into()),
        );
        assert_eq!(
            resolved(Window::Days { days: 2, offset_days: 1 }, &tokyo),
            ("2026-02-25T15:00:00+00:00".into(), "2026-02-27T15:00:00+00:00".into()),
        );
        assert_eq!(resolved(Window::Range(Range::YearToDate), &tokyo).0, "2025-12-31T15:00:00+00:00");
    }

    #[test]
    fn days_have_the_length_that_the_zone_gives_them() {
        let new_york = as_of("2026-03-08T12:00:00Z", chrono_tz::America::New_York);
        assert_eq!(
            resolved(Window::Range(Range::Days(1)), &new_york),
            ("2026-03-08T05:00:00+00:00".into(), "2026-03-09T04:00:00+00:00".into()),
        );
    }

    #[test]
    fn a_skipped_day_begins_after_the_gap() {
        let date = NaiveDate::from_ymd_opt(2011, 12, 30).unwrap();
        assert_eq!(midnight(date, chrono_tz::Pacific::Apia).to_rfc3339(), "2011-12-30T10:00:00+00:00");
    }

    #[test]
    fn max_reaches_back_to_1900() {
        let tokyo = as_of("2026-02-28T00:00:00Z", chrono_tz::Asia::Tokyo);
        assert!(resolve(Window::Range(Range::Max), &tokyo).start.timestamp() < -2_000_000_000);
    }

    #[test]
    fn ranges_read_back() {
        for text in ["1d", "14d", "6mo", "1y", "100y", "ytd", "max"] {
            assert_eq!(Range::parse(text).map(|range| range.to_string()).as_deref(), Some(text));
        }
        assert_eq!(Range::parse("2wk"), Some(Range::Days(14)));
        for bad in ["", "d", "0d", "-1d", "1", "1 d", "1w", "1Y", "101y", "36501d", "99999999999d"] {
            assert_eq!(Range::parse(bad), None, "{bad}");
        }
    }
}
