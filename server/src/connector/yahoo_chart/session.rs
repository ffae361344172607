//! The exchange's days, and which bars are still growing.
//!
//! A reply has no clock of its own, but `meta.regularMarketTime`, the time of the last trade, tells how far the market had
//! come. Where it is missing, no bar is taken for growing.

use chrono::{DateTime, Days, Months, NaiveDate, NaiveTime};
use chrono_tz::Tz;

use super::body::{Meta, Period, Whole};

pub(super) struct Session {
    zone: Tz,
    length: Length,
    market: Option<Market>,
}

/// How far the market had come.
struct Market {
    time: i64,
    day: NaiveDate,
    /// The regular session that the reply calls the current one. Over the night that is the coming one.
    regular: Option<Period>,
    /// Local time at which it opens.
    opens_at: Option<NaiveTime>,
}

/// Length of a bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    /// Parts of a day.
    Seconds(i64),
    /// One session.
    Day,
    /// Calendar days.
    Days(u64),
    /// Calendar months.
    Months(u32),
}

impl Session {
    pub(super) fn of(meta: &Meta, zone: Tz, interval: &str) -> Self {
        let regular = meta.current_trading_period.as_ref().and_then(|periods| periods.regular);
        let market = meta.regular_market_time.and_then(|Whole(time)| {
            let opens = regular.and_then(|period| local(period.start.0, zone));
            let day = local(time, zone)?.0;
            Some(Market { time, day, regular, opens_at: opens.map(|(_, opens_at)| opens_at) })
        });
        Self { zone, length: Length::of(interval), market }
    }

    /// The exchange's day of an instant, or nothing if there is no such instant.
    pub(super) fn day(&self, ts: i64) -> Option<NaiveDate> {
        local(ts, self.zone).map(|(day, _)| day)
    }

    /// The bar that begins at `ts`, on that day, will change.
    pub(super) fn is_provisional(&self, ts: i64, day: NaiveDate, volume: Option<i64>) -> bool {
        let Some(market) = &self.market else { return false };
        match self.length {
            // The bar that the last trade falls into, and the row that stands for the trade itself: seen with 7203.T,
            // without volume, at the close. A bar may begin at that very second, but then it has a volume.
            Length::Seconds(seconds) => {
                (market.is_in_session() && ts.saturating_add(seconds) > market.time)
                    || (ts == market.time && volume.unwrap_or_default() == 0)
            }
            Length::Day => (day == market.day && market.is_in_session()) || self.is_trade(ts, market),
            Length::Days(days) => {
                market.is_before(day.checked_add_days(Days::new(days))) || self.is_trade(ts, market)
            }
            Length::Months(months) => {
                market.is_before(day.checked_add_months(Months::new(months))) || self.is_trade(ts, market)
            }
        }
    }

    /// The row is stamped with the last trade in place of its period's start: its values may be final, its time is not,
    /// and the next reply has it elsewhere. Seen with AAPL, daily, weekly and monthly, in 2024 and 2025.
    fn is_trade(&self, ts: i64, market: &Market) -> bool {
        // Of all rows one is asked for more.
        if ts != market.time {
            return false;
        }
        let at = local(ts, self.zone).map(|(_, at)| at);
        at != Some(NaiveTime::MIN) && (self.length != Length::Day || at != market.opens_at)
    }
}

impl Market {
    fn is_in_session(&self) -> bool {
        self.regular.is_some_and(|period| (period.start.0..period.end.0).contains(&self.time))
    }

    fn is_before(&self, day: Option<NaiveDate>) -> bool {
        day.is_some_and(|day| self.day < day)
    }
}

impl Length {
    fn of(interval: &str) -> Self {
        let unit_at = interval.find(|c: char| !c.is_ascii_digit()).unwrap_or(interval.len());
        let (number, unit) = interval.split_at(unit_at);
        let number: u32 = number.parse().unwrap_or(1);
        match unit {
            "m" => Self::Seconds(i64::from(number) * 60),
            "h" => Self::Seconds(i64::from(number) * 3_600),
            "wk" => Self::Days(u64::from(number) * 7),
            "mo" => Self::Months(number),
            // Five sessions are a week.
            "d" if number > 1 => Self::Days(7),
            _ => Self::Day,
        }
    }
}

fn local(ts: i64, zone: Tz) -> Option<(NaiveDate, NaiveTime)> {
    let time = DateTime::from_timestamp(ts, 0)?.with_timezone(&zone);
    Some((time.date_naive(), time.time()))
}
