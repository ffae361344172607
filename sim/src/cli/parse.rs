//! The forms of flags.

use std::time::Duration;

use haul_sim::{Outage, OutageKind, RetryAfter};

pub(super) fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("give a share from 0 to 1, such as 0.05 for one in twenty".to_owned()),
    }
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (1e-6..=1e6).contains(&rate) => Ok(rate),
        _ => Err("give requests a second, above 0 and up to 1000000, or leave the flag out for no limit"
            .to_owned()),
    }
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let form = || "give a number and a unit (ms, s, m or h), such as 20ms or 1.5s".to_owned();
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(form)?;
    let (number, unit) = text.split_at(unit_at);
    let unit_s = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(form()),
    };
    let number: f64 = number.parse().map_err(|_| form())?;
    Duration::try_from_secs_f64(number * unit_s).map_err(|_| form())
}

pub(super) fn retry_after(text: &str) -> Result<RetryAfter, String> {
    let form = || "give seconds (1), date:SECONDS, alternate:SECONDS, or none".to_owned();
    let seconds = |text: &str| text.parse::<u64>().map_err(|_| form());
    match text.split_once(':') {
        None if text == "none" => Ok(RetryAfter::None),
        None => seconds(text).map(RetryAfter::Seconds),
        Some(("date", of)) => seconds(of).map(RetryAfter::Date),
        Some(("alternate", of)) => seconds(of).map(RetryAfter::Alternate),
        Some(_) => Err(form()),
    }
}

pub(super) fn outage(text: &str) -> Result<Outage, String> {
    let form = || "give START+LENGTH:KIND with KIND 503, html or reset, such as 10s+5s:503".to_owned();
    let (times, kind) = text.split_once(':').ok_or_else(form)?;
    let (start, length) = times.split_once('+').ok_or_else(form)?;
    let kind = match kind {
        "503" => OutageKind::Status503,
        "html" => OutageKind::HtmlPage,
        "reset" => OutageKind::Reset,
        _ => return Err(form()),
    };
    Ok(Outage { start_after: duration(start)?, duration: duration(length)?, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_in_every_form() {
        assert_eq!(duration("20ms"), Ok(Duration::from_millis(20)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        assert_eq!(retry_after("none"), Ok(RetryAfter::None));
        assert_eq!(retry_after("3"), Ok(RetryAfter::Seconds(3)));
        assert_eq!(retry_after("date:5"), Ok(RetryAfter::Date(5)));
        assert_eq!(retry_after("alternate:2"), Ok(RetryAfter::Alternate(2)));
        let (start_after, duration) = (Duration::from_secs(10), Duration::from_secs(5));
        assert_eq!(outage("10s+5s:503"), Ok(Outage { start_after, duration, kind: OutageKind::Status503 }));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "5", "s", "-1s", "1d", "NaNs"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["", "-1", "date", "date:x", "soon:1"] {
            assert!(retry_after(text).is_err(), "{text}");
        }
        for text in ["", "10s:503", "10s+5s", "10s+5s:500"] {
            assert!(outage(text).is_err(), "{text}");
        }
        assert!(share("1.01").is_err() && share("NaN").is_err() && share("-0.1").is_err());
        assert!(rate("0").is_err() && rate("-1").is_err() && rate("inf").is_err());
    }
}
