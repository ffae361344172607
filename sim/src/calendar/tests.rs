use std::collections::BTreeSet;

use super::*;

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn is_open(calendar: &Calendar, text: &str) -> bool {
    let day = EpochDay::of(date(text));
    calendar.day(calendar.on_or_after(day)) == day
}

#[test]
fn well_known_days() {
    let calendar = Calendar::new();
    for closed in [
        "2000-05-04", // between two holidays
        "2009-09-22", // likewise
        "2015-09-22",
        "2019-04-30",
        "2019-05-02", // likewise
        "2019-05-01",
        "2019-10-22", // enthronement
        "2020-07-24",
        "2021-07-23",
        "2021-08-09", // moved, the last a substitute
        "2020-10-01", // halt
        "2024-12-31",
        "2025-01-02",
        "2025-01-03",
        "2026-05-06",
        "2028-03-20",
    ] {
        assert!(!is_open(&calendar, closed), "{closed}");
    }
    for open in
        ["2020-10-12", "2021-10-11", "2019-12-23", "2020-01-06", "2024-12-30", "2026-11-20", "2040-05-03"]
    {
        assert!(is_open(&calendar, open), "{open}");
    }
}

#[test]
fn the_close_moved_in_november_2024() {
    let close = |text| EpochDay::of(date(text)).close_s() % DAY_S;
    assert_eq!(close("2024-11-04"), 21_600);
    assert_eq!(close("2024-11-05"), 23_400);
}

#[test]
fn days_weeks_months() {
    let sunday = EpochDay::of(date("2026-11-22"));
    assert_eq!(sunday.monday().date(), date("2026-11-16"));
    assert_eq!(sunday.month_start().date(), date("2026-11-01"));
    assert_eq!(sunday.quarter_start().date(), date("2026-10-01"));
    assert_eq!(EpochDay::at(sunday.midnight_s()), sunday);
    assert_eq!(EpochDay::at(sunday.midnight_s() - 1).0, sunday.0 - 1);
}

/// Against the sessions that two public calendar packages agree on. Set `HAUL_SHARED_DATA` to a folder holding
/// `calendar/xtks_sessions_2015_2026.csv` with a header and the session's date in the first column.
#[test]
#[allow(clippy::print_stderr, reason = "a skipped check must be seen")]
fn sessions_of_2015_to_2026_agree_with_a_published_calendar() {
    let folder = std::env::var_os("HAUL_SHARED_DATA").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        std::path::PathBuf::from,
    );
    let file = folder.join("calendar/xtks_sessions_2015_2026.csv");
    let Ok(text) = std::fs::read_to_string(&file) else {
        eprintln!("SKIPPED: no {}; set HAUL_SHARED_DATA to check the calendar against it", file.display());
        return;
    };
    let published: BTreeSet<NaiveDate> = text.lines().skip(1).map(|line| date(&line[..10])).collect();
    let (first, last) = (published.first().copied().unwrap(), published.last().copied().unwrap());
    let ours: BTreeSet<NaiveDate> = Calendar::new()
        .sessions
        .iter()
        .map(|day| day.date())
        .filter(|day| (first..=last).contains(day))
        .collect();
    let differing: Vec<_> = ours.symmetric_difference(&published).collect();
    assert!(differing.is_empty(), "{differing:?}");
    assert_eq!(ours.len(), published.len());
}
