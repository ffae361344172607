//! Japanese public holidays of 2000 to 2028, computed.
//!
//! Source: the Act on National Holidays (Act 178 of 1948) with its amendments, the special measures acts that moved
//! three days for the Games in 2020 and 2021, and the act on the enthronement in 2019. The equinoxes, which the law
//! leaves to astronomy, follow the usual approximation for 1980 to 2099.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use chrono::{Datelike, Days, NaiveDate, Weekday};

/// Years with computed holidays.
pub(super) const YEARS: RangeInclusive<i32> = 2000..=2028;

/// The public holidays of a year, none outside [`YEARS`].
pub(super) fn of_year(year: i32) -> BTreeSet<NaiveDate> {
    if !YEARS.contains(&year) {
        return BTreeSet::new();
    }
    let named: BTreeSet<NaiveDate> = named(year)
        .into_iter()
        .filter_map(|day| match day {
            Named::On(month, day) => NaiveDate::from_ymd_opt(year, month, day),
            Named::Monday(month, nth) => NaiveDate::from_weekday_of_month_opt(year, month, Weekday::Mon, nth),
        })
        .collect();
    let mut all = named.clone();
    all.extend(
        named
            .iter()
            .filter(|day| day.weekday() == Weekday::Sun)
            .filter_map(|day| substitute(year, *day, &named)),
    );
    let between = named.iter().filter_map(|day| sandwiched(*day, &named)).collect::<Vec<_>>();
    all.extend(between);
    all
}

enum Named {
    On(u32, u32),
    Monday(u32, u8),
}

fn named(year: i32) -> Vec<Named> {
    use Named::{Monday, On};
    let mut days = vec![
        On(1, 1),                  // New Year's Day
        Monday(1, 2),              // Coming of Age Day
        On(2, 11),                 // National Foundation Day
        On(3, vernal_day(year)),   // Vernal Equinox
        On(4, 29),                 // Greenery Day, since 2007 Showa Day
        On(5, 3),                  // Constitution Day
        On(5, 5),                  // Children's Day
        On(9, autumnal_day(year)), // Autumnal Equinox
        On(11, 3),                 // Culture Day
        On(11, 23),                // Labour Thanksgiving Day
    ];
    // The Emperor's birthday; none in the year of the change.
    match year {
        ..=2018 => days.push(On(12, 23)),
        2019 => days.extend([On(5, 1), On(10, 22)]), // enthronement and its ceremony
        _ => days.push(On(2, 23)),
    }
    if year >= 2007 {
        days.push(On(5, 4)); // Greenery Day
    }
    // Marine, Mountain and Sports Day, moved about the Games.
    match year {
        ..=2002 => days.extend([On(7, 20), Monday(10, 2)]),
        2003..=2015 => days.extend([Monday(7, 3), Monday(10, 2)]),
        2020 => days.extend([On(7, 23), On(8, 10), On(7, 24)]),
        2021 => days.extend([On(7, 22), On(8, 8), On(7, 23)]),
        _ => days.extend([Monday(7, 3), On(8, 11), Monday(10, 2)]),
    }
    days.push(if year <= 2002 { On(9, 15) } else { Monday(9, 3) }); // Respect for the Aged Day
    days
}

/// A holiday on a Sunday moves to the next day; since 2007 to the next day that is no holiday itself.
fn substitute(year: i32, sunday: NaiveDate, named: &BTreeSet<NaiveDate>) -> Option<NaiveDate> {
    let mut next = sunday.checked_add_days(Days::new(1))?;
    while year >= 2007 && named.contains(&next) {
        next = next.checked_add_days(Days::new(1))?;
    }
    Some(next)
}

/// A day between two holidays is one too.
fn sandwiched(before: NaiveDate, named: &BTreeSet<NaiveDate>) -> Option<NaiveDate> {
    let between = before.checked_add_days(Days::new(1))?;
    let after = before.checked_add_days(Days::new(2))?;
    (named.contains(&after) && !named.contains(&between)).then_some(between)
}

fn vernal_day(year: i32) -> u32 {
    equinox_day(year, 208_431)
}

fn autumnal_day(year: i32) -> u32 {
    equinox_day(year, 232_488)
}

/// Day of the month, from its mean in 1980 in ten-thousandths.
fn equinox_day(year: i32, mean_1980: i32) -> u32 {
    let years = year - 1980;
    // 0.242194 days a year beyond 365, less the leap days.
    ((f64::from(mean_1980) / 1e4 + 0.242_194 * f64::from(years)).floor() as i32 - years / 4) as u32
}
