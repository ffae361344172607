//! Times and durations for people, in the zone that the caller's `now` is in.

use chrono::{DateTime, FixedOffset, TimeDelta, Utc};
use chrono_tz::Tz;
use prost_types::Timestamp;

/// A duration in its two largest units: `850ms`, `4.2s`, `1m 23s`, `2h 05m`, `3d 4h`.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(haul_client::cli::time::duration(Duration::from_secs(83)), "1m 23s");
/// ```
pub fn duration(duration: std::time::Duration) -> String {
    let ms = duration.as_millis();
    let seconds = duration.as_secs();
    match seconds {
        0 if ms == 0 => "0s".to_owned(),
        0 => format!("{ms}ms"),
        1..10 => format!("{seconds}.{}s", ms % 1000 / 100),
        10..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// A duration as people write it, one or more of a number and its unit: `90s`, `10m`, `1h30m`, `2d`.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(haul_client::cli::time::span("1h30m"), Ok(Duration::from_secs(5_400)));
/// assert!(haul_client::cli::time::span("90").is_err());
/// ```
pub fn span(text: &str) -> Result<std::time::Duration, String> {
    let problem = || "it must be a duration such as 90s, 10m, 2h, 1h30m or 1d".to_owned();
    let (mut seconds, mut rest) = (0_u64, text);
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(problem)?;
        let number: u64 = rest[..unit_at].parse().map_err(|_| problem())?;
        let (unit_s, unit) = match rest[unit_at..].chars().next() {
            Some('s') => (1, "s"),
            Some('m') => (60, "m"),
            Some('h') => (3_600, "h"),
            Some('d') => (86_400, "d"),
            _ => return Err(problem()),
        };
        let part = number.checked_mul(unit_s);
        seconds = part.and_then(|part| seconds.checked_add(part)).ok_or_else(problem)?;
        rest = &rest[unit_at + unit.len()..];
    }
    if text.is_empty() { Err(problem()) } else { Ok(std::time::Duration::from_secs(seconds)) }
}

/// A duration from the wire; `-` where it is absent or negative.
pub fn wire_duration(wire: Option<prost_types::Duration>) -> String {
    wire.and_then(|wire| std::time::Duration::try_from(wire).ok()).map_or_else(|| "-".to_owned(), duration)
}

/// How long ago, in one unit: `12s`, `5m`, `3h`, `2d`.
pub fn age(since: Option<&Timestamp>, now: DateTime<FixedOffset>) -> String {
    let Some(since) = since.and_then(instant) else {
        return "-".to_owned();
    };
    let seconds = (now.to_utc() - since).num_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// An instant as a date and a time: `2026-02-28 12:03:04 +09:00`.
pub fn date_time(wire: Option<&Timestamp>, now: DateTime<FixedOffset>) -> Option<String> {
    let local = wire.and_then(instant)?.with_timezone(&now.timezone());
    Some(local.format("%Y-%m-%d %H:%M:%S %:z").to_string())
}

/// An instant that a date stands for as that date, any other with the time and the offset of `zone`: `2019-09-30`,
/// `2019-09-30 09:00:00 +09:00`.
pub(crate) fn logical(wire: &Timestamp, zone: Tz) -> Option<String> {
    let time = instant(wire)?;
    let local = time.with_timezone(&zone);
    let before = time.checked_sub_signed(TimeDelta::nanoseconds(1))?.with_timezone(&zone);
    let is_date = before.date_naive() != local.date_naive();
    Some(local.format(if is_date { "%Y-%m-%d" } else { "%Y-%m-%d %H:%M:%S %:z" }).to_string())
}

/// An instant as a time of day, with the date where it is another one than today's: `12:05:10`, `03-01 00:10:00`.
pub fn clock_time(wire: Option<&Timestamp>, now: DateTime<FixedOffset>) -> Option<String> {
    let local = wire.and_then(instant)?.with_timezone(&now.timezone());
    let format = if local.date_naive() == now.date_naive() { "%H:%M:%S" } else { "%m-%d %H:%M:%S" };
    Some(local.format(format).to_string())
}

/// A time from the wire; `None` outside what a calendar can hold.
pub fn instant(wire: &Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(wire.seconds, u32::try_from(wire.nanos).ok()?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn durations_have_two_units() {
        for (ms, text) in [
            (0, "0s"),
            (850, "850ms"),
            (4_250, "4.2s"),
            (59_999, "59s"),
            (83_000, "1m 23s"),
            (7_500_000, "2h 05m"),
            (273_600_000, "3d 4h"),
        ] {
            assert_eq!(duration(Duration::from_millis(ms)), text);
        }
        assert_eq!(wire_duration(None), "-");
    }

    #[test]
    fn durations_are_read_as_they_are_written() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("2h", 7_200), ("1d12h", 129_600), ("0s", 0)] {
            assert_eq!(span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "10",
            "m",
            "1.5h",
            "-1s",
            "10 m",
            "1h30",
            "5y",
            "99999999999999999999s",
            "300000000000000000d",
        ] {
            assert!(span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_first_instant_of_a_day_is_that_day() {
        for (at, zone, text) in [
            ("2019-09-29T15:00:00Z", Tz::Asia__Tokyo, "2019-09-30"),
            ("2019-09-29T15:00:00Z", Tz::UTC, "2019-09-29 15:00:00 +00:00"),
            ("2019-09-30T00:00:01Z", Tz::Asia__Tokyo, "2019-09-30 09:00:01 +09:00"),
            // No midnight on that day: clocks go from 24:00 to 01:00.
            ("2018-11-04T03:00:00Z", Tz::America__Sao_Paulo, "2018-11-04"),
        ] {
            let time = DateTime::parse_from_rfc3339(at).unwrap();
            let wire = Timestamp { seconds: time.timestamp(), nanos: 0 };
            assert_eq!(logical(&wire, zone).unwrap(), text);
        }
    }

    #[test]
    fn instants_are_shown_in_the_readers_zone() {
        let now = DateTime::parse_from_rfc3339("2026-02-28T12:03:04+09:00").unwrap();
        let at = |text: &str| {
            let time = DateTime::parse_from_rfc3339(text).unwrap();
            Some(Timestamp { seconds: time.timestamp(), nanos: 0 })
        };
        assert_eq!(clock_time(at("2026-02-28T03:05:10Z").as_ref(), now).unwrap(), "12:05:10");
        assert_eq!(clock_time(at("2026-02-28T15:10:00Z").as_ref(), now).unwrap(), "03-01 00:10:00");
        assert_eq!(
            date_time(at("2026-02-28T03:05:10Z").as_ref(), now).unwrap(),
            "2026-02-28 12:05:10 +09:00"
        );
        assert_eq!(age(at("2026-02-28T00:00:00Z").as_ref(), now), "3h");
        assert_eq!(age(None, now), "-");
    }
}
