//! The `Retry-After` header in the forms a server may send it.

use std::time::{Duration, UNIX_EPOCH};

use crate::config::RetryAfter;

impl RetryAfter {
    /// The header's value for the `turn`-th 429 (from 0) of the simulator.
    pub(crate) fn header(self, turn: u64, now_us: u64) -> Option<String> {
        match self {
            Self::None => None,
            Self::Alternate(seconds) if turn.is_multiple_of(2) => Some(seconds.to_string()),
            Self::Seconds(seconds) => Some(seconds.to_string()),
            Self::Alternate(seconds) | Self::Date(seconds) => Some(date(seconds, now_us)),
        }
    }
}

/// An HTTP date has whole seconds: rounding up never calls a client back too early.
fn date(seconds: u64, now_us: u64) -> String {
    let at_s = now_us.div_ceil(1_000_000).saturating_add(seconds).min(LAST_HTTP_DATE_S);
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(at_s))
}

/// The end of the year 9999, beyond which HTTP has no dates.
const LAST_HTTP_DATE_S: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_US: u64 = 1_790_000_000_000_001; // 2026-09-21T14:13:20.000001Z

    #[test]
    fn every_form() {
        assert_eq!(RetryAfter::None.header(0, NOW_US), None);
        assert_eq!(RetryAfter::Seconds(7).header(0, NOW_US).as_deref(), Some("7"));
        let date = "Mon, 21 Sep 2026 14:13:26 GMT";
        assert_eq!(RetryAfter::Date(5).header(0, NOW_US).as_deref(), Some(date));
        let by_turns: Vec<_> = (0..3).map(|turn| RetryAfter::Alternate(5).header(turn, NOW_US)).collect();
        assert_eq!(by_turns, [Some("5".to_owned()), Some(date.to_owned()), Some("5".to_owned())]);
    }

    #[test]
    fn a_wait_beyond_the_last_http_date_is_cut() {
        assert_eq!(
            RetryAfter::Date(u64::MAX).header(0, NOW_US).as_deref(),
            Some("Fri, 31 Dec 9999 23:59:59 GMT")
        );
    }
}
