//! Settings as they are written, on the command line and at the control endpoint. An error says what to write.

use std::time::Duration;

use crate::config::{DenyStatus, Outage, OutageKind, Refuse, RetryAfter};

/// A number from 0 to 1.
pub fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("give a share from 0 to 1, such as 0.05 for one in twenty".to_owned()),
    }
}

/// Requests a second.
pub fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (1e-6..=1e6).contains(&rate) => Ok(rate),
        _ => Err("give requests a second, above 0 and up to 1000000, or leave the flag out for no limit"
            .to_owned()),
    }
}

/// A number and a unit: `20ms`, `1.5s`, `2m`, `1h`.
pub fn duration(text: &str) -> Result<Duration, String> {
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

/// `5`, `date:5`, `alternate:5`, `none`.
pub fn retry_after(text: &str) -> Result<RetryAfter, String> {
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

/// `START+LENGTH:KIND`, such as `10s+5s:503`.
pub fn outage(text: &str) -> Result<Outage, String> {
    let form = || "give START+LENGTH:KIND with KIND 503, html or reset, such as 10s+5s:503".to_owned();
    let (times, kind) = text.split_once(':').ok_or_else(form)?;
    let (start, length) = times.split_once('+').ok_or_else(form)?;
    let kind = outage_kind(kind).ok_or_else(form)?;
    Ok(Outage { start_after: duration(start)?, duration: duration(length)?, kind })
}

/// `all`, `after:N/WINDOW/HOLD`, `down:KIND` or `deny:STATUS`; to the first two `,RETRY_AFTER` may be added, to the last
/// one `/CODE+CODE` and `@TIME`.
pub fn refuse(text: &str) -> Result<Refuse, String> {
    let form = || {
        "give all, after:N/WINDOW/HOLD (such as after:40/40m/15m), either with ,RETRY_AFTER behind it if a 429 is to say one; \
         down:KIND with KIND 503, html or reset; or deny:STATUS with STATUS 401 or 403, for some codes (deny:403/1301+1332) or \
         for a time (deny:401@30s)"
            .to_owned()
    };
    if let Some(text) = text.strip_prefix("deny:") {
        let (text, lasts) = match text.split_once('@') {
            Some((text, lasts)) => (text, Some(duration(lasts)?)),
            None => (text, None),
        };
        let (status, keys) = text.split_once('/').map_or((text, None), |(status, keys)| (status, Some(keys)));
        let status = match status {
            "401" => DenyStatus::Unauthorized,
            "403" => DenyStatus::Forbidden,
            _ => return Err(form()),
        };
        let keys: Vec<String> = keys.iter().flat_map(|keys| keys.split('+')).map(str::to_owned).collect();
        return if keys.iter().any(String::is_empty) {
            Err(form())
        } else {
            Ok(Refuse::Deny { status, keys, lasts })
        };
    }
    if let Some(kind) = text.strip_prefix("down:") {
        return outage_kind(kind).map(Refuse::Down).ok_or_else(form);
    }
    let (text, after) = text.split_once(',').unwrap_or((text, "none"));
    let after = retry_after(after)?;
    if text == "all" {
        return Ok(Refuse::All { retry_after: after });
    }
    let limit = text.strip_prefix("after:").ok_or_else(form)?;
    let [requests, window, hold] = limit.split('/').collect::<Vec<_>>()[..] else { return Err(form()) };
    Ok(Refuse::After {
        requests: requests.parse().map_err(|_| form())?,
        window: duration(window)?,
        hold: duration(hold)?,
        retry_after: after,
    })
}

fn outage_kind(text: &str) -> Option<OutageKind> {
    match text {
        "503" => Some(OutageKind::Status503),
        "html" => Some(OutageKind::HtmlPage),
        "reset" => Some(OutageKind::Reset),
        _ => None,
    }
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
        assert_eq!(refuse("all"), Ok(Refuse::All { retry_after: RetryAfter::None }));
        assert_eq!(refuse("all,date:5"), Ok(Refuse::All { retry_after: RetryAfter::Date(5) }));
        assert_eq!(refuse("down:html"), Ok(Refuse::Down(OutageKind::HtmlPage)));
        let (status, lasts) = (DenyStatus::Unauthorized, Some(Duration::from_secs(30)));
        assert_eq!(refuse("deny:401@30s"), Ok(Refuse::Deny { status, keys: Vec::new(), lasts }));
        let keys = vec!["1301".to_owned(), "130A".to_owned()];
        let deny = Refuse::Deny { status: DenyStatus::Forbidden, keys, lasts: None };
        assert_eq!(refuse("deny:403/1301+130A"), Ok(deny));
        let (window, hold) = (Duration::from_mins(40), Duration::from_mins(15));
        let retry_after = RetryAfter::Seconds(9);
        let limit = Refuse::After { requests: 40, window, hold, retry_after };
        assert_eq!(refuse("after:40/40m/15m,9"), Ok(limit));
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
        for text in [
            "",
            "none",
            "all,",
            "all,soon",
            "after:40",
            "after:x/1s/1s",
            "after:1/1/1s",
            "down",
            "down:404",
            "down:503,5",
            "deny",
            "deny:404",
            "deny:401/",
            "deny:401/1301+",
            "deny:401@",
        ] {
            assert!(refuse(text).is_err(), "{text}");
        }
        assert!(share("1.01").is_err() && share("NaN").is_err() && share("-0.1").is_err());
        assert!(rate("0").is_err() && rate("-1").is_err() && rate("inf").is_err());
    }
}
