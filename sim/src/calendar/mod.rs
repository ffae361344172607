//! Trading days of the Tokyo Stock Exchange.
//!
//! A session is a weekday that is no public holiday and none of 31 December and 1 to 3 January (rule 19 of the
//! exchange's Business Regulations, "Trading days and holidays"). 2020-10-01 is left out: an all-day halt of the trading system.
//! Public holidays are computed for 2000 to 2028 ([`holiday`]); outside those years every weekday but the turn of the
//! year counts, which is wrong by some fifteen days a year and near enough for prices that are invented anyway.

mod holiday;

use chrono::{Datelike, NaiveDate, TimeDelta};

/// Seconds of a day.
pub(crate) const DAY_S: i64 = 86_400;
/// Japan is nine hours ahead of UTC all year.
pub(crate) const JST_S: i64 = 9 * 3600;

const FIRST_YEAR: i32 = 1990;
const LAST_YEAR: i32 = 2060;
/// From this day on the session ends at 15:30 instead of 15:00.
const LATER_CLOSE: EpochDay = EpochDay(20_032); // 2024-11-05

/// A day, counted from 1970-01-01, in Japan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EpochDay(pub(crate) i64);

impl EpochDay {
    pub(crate) fn of(date: NaiveDate) -> Self {
        Self(date.signed_duration_since(NaiveDate::default()).num_days())
    }

    /// The day in Japan at a time.
    pub(crate) fn at(epoch_s: i64) -> Self {
        Self((epoch_s.saturating_add(JST_S)).div_euclid(DAY_S))
    }

    pub(crate) fn date(self) -> NaiveDate {
        TimeDelta::try_days(self.0)
            .and_then(|days| NaiveDate::default().checked_add_signed(days))
            .unwrap_or_default()
    }

    /// Local midnight, epoch seconds.
    pub(crate) fn midnight_s(self) -> i64 {
        self.0 * DAY_S - JST_S
    }

    /// The opening bell at 09:00, epoch seconds.
    pub(crate) fn open_s(self) -> i64 {
        self.0 * DAY_S
    }

    /// The closing bell, epoch seconds.
    pub(crate) fn close_s(self) -> i64 {
        self.open_s() + if self < LATER_CLOSE { 6 * 3600 } else { 6 * 3600 + 1800 }
    }

    /// The Monday of its week.
    pub(crate) fn monday(self) -> Self {
        Self(self.0 - (self.0 + 3).rem_euclid(7))
    }

    /// The first day of its month.
    pub(crate) fn month_start(self) -> Self {
        Self(self.0 - i64::from(self.date().day0()))
    }

    /// The first day of its quarter.
    pub(crate) fn quarter_start(self) -> Self {
        let date = self.date();
        NaiveDate::from_ymd_opt(date.year(), date.month0() / 3 * 3 + 1, 1).map_or(self, Self::of)
    }
}

/// All sessions of the years it covers, numbered from 0.
#[derive(Debug)]
pub(crate) struct Calendar {
    sessions: Vec<EpochDay>,
}

impl Calendar {
    pub(crate) fn new() -> Self {
        let mut sessions = Vec::new();
        for year in FIRST_YEAR..=LAST_YEAR {
            let holidays = holiday::of_year(year);
            let days = NaiveDate::from_ymd_opt(year, 1, 1).into_iter().flat_map(|first| first.iter_days());
            sessions.extend(
                days.take_while(|day| day.year() == year)
                    .filter(|day| is_session(*day) && !holidays.contains(day))
                    .map(EpochDay::of),
            );
        }
        Self { sessions }
    }

    /// The day of a session. Numbers beyond the calendar give its last day.
    pub(crate) fn day(&self, session: usize) -> EpochDay {
        self.sessions[session.min(self.sessions.len() - 1)]
    }

    /// The first session on or after a day.
    pub(crate) fn on_or_after(&self, day: EpochDay) -> usize {
        self.sessions.partition_point(|session| *session < day)
    }

    /// The first session whose opening is at or after a time.
    pub(crate) fn opening_from(&self, epoch_s: i64) -> usize {
        self.sessions.partition_point(|session| session.open_s() < epoch_s)
    }

    /// How many sessions are over at a time: the number of the first that is not.
    pub(crate) fn over_at(&self, epoch_s: i64) -> usize {
        self.sessions.partition_point(|session| session.close_s() <= epoch_s)
    }
}

fn is_session(day: NaiveDate) -> bool {
    let weekend = day.weekday().num_days_from_monday() >= 5;
    let turn_of_year = matches!((day.month(), day.day()), (12, 31) | (1, 1..=3));
    let halted = (day.year(), day.month(), day.day()) == (2020, 10, 1);
    !weekend && !turn_of_year && !halted
}

#[cfg(test)]
mod tests;
