//! The request of one symbol.

use std::fmt::Write;

use super::YahooChart;
use crate::domain::{
    failure::{Failure, FailureClass},
    request::{Request, URL_BYTES_MAX},
    spec::ChartEvent,
};

/// `GET /v8/finance/chart/{symbol}` with the window as two instants: the upstream's own `range` would count from its
/// present.
pub(super) fn of(chart: &YahooChart, key: &str) -> Result<Request, Failure> {
    let refuse = |reason: &str, message: &str| Failure::new(FailureClass::Permanent, reason, message);
    if chart.origin.host.is_empty() {
        return Err(refuse("INVALID_URL", &format!("{:?} is no http or https URL", chart.base_url)));
    }
    let symbol = chart.symbol(key);
    if let Some(fault) = symbol_fault(&symbol) {
        return Err(refuse("INVALID_KEY", &format!("{symbol:?} {fault}")));
    }
    let asked = &chart.asked;
    let mut url = format!("{}/v8/finance/chart/", chart.base_url);
    push_encoded(&mut url, &symbol);
    // Writing to a String does not fail.
    let _ = write!(url, "?period1={}&period2={}&interval=", asked.start_s, asked.end_s);
    push_encoded(&mut url, &asked.interval);
    for (nth, event) in asked.events.iter().enumerate() {
        url.push_str(if nth == 0 { "&events=" } else { "," });
        url.push_str(match event {
            ChartEvent::Dividends => "div",
            ChartEvent::Splits => "split",
            ChartEvent::CapitalGains => "capitalGains",
        });
    }
    url.push_str("&includePrePost=false");
    if url.len() > URL_BYTES_MAX {
        let message = format!("the URL has {} bytes, more than {URL_BYTES_MAX}", url.len());
        return Err(refuse("INVALID_KEY", &message));
    }
    Ok(Request::get(url, "application/json"))
}

/// Why a text is no symbol. Whatever else it holds, the upstream may judge.
fn symbol_fault(symbol: &str) -> Option<&'static str> {
    if symbol.chars().all(|c| c == '.') {
        // A URL parser would take "." and ".." for steps in the path, encoded or not.
        Some("makes no symbol: it has nothing but dots")
    } else if symbol.contains(|c: char| c.is_whitespace() || c.is_control()) {
        Some("makes no symbol: it has a blank")
    } else if symbol.contains(['/', '\\']) {
        Some("makes no symbol: it has a slash")
    } else {
        None
    }
}

/// Percent-encodes what has a meaning in a URL. `=` has none in a path and stands in symbols of futures and currencies.
fn push_encoded(url: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~=".contains(&byte) {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Asked, YahooChart, fixture};
    use super::*;
    use crate::{connector::Connector, domain::item::Subject};

    fn chart(suffix: &str, events: &[ChartEvent]) -> YahooChart {
        YahooChart {
            symbol_suffix: suffix.into(),
            asked: Asked { events: events.to_vec(), ..fixture::asked("1d", -86_400, 1_700_000_000) },
            ..fixture::chart()
        }
    }

    #[test]
    fn the_window_goes_as_two_instants_and_the_symbol_encoded() {
        let all = [ChartEvent::Dividends, ChartEvent::Splits, ChartEvent::CapitalGains];
        for (suffix, key, events, rest) in [
            (
                ".T",
                "130A",
                &all[..],
                "130A.T?period1=-86400&period2=1700000000&interval=1d\
              &events=div,split,capitalGains&includePrePost=false",
            ),
            (
                "",
                "^N225",
                &all[1..2],
                "%5EN225?period1=-86400&period2=1700000000&interval=1d\
              &events=split&includePrePost=false",
            ),
            (
                "",
                "EURUSD=X",
                &[],
                "EURUSD=X?period1=-86400&period2=1700000000&interval=1d&includePrePost=false",
            ),
            (
                "",
                "M&M?#%極",
                &[],
                "M%26M%3F%23%25%E6%A5%B5?period1=-86400&period2=1700000000&interval=1d\
              &includePrePost=false",
            ),
        ] {
            let request = chart(suffix, events).request(Subject::keyed(key)).unwrap();
            assert_eq!(request.url, format!("https://query1.finance.yahoo.com/v8/finance/chart/{rest}"));
        }
    }

    #[test]
    fn a_key_that_makes_no_symbol_fails_for_good() {
        for (suffix, key) in
            [("", ""), (".", "."), ("", ".."), ("", "7203 T"), ("", "a/b"), ("", "a\\b"), ("", "a\tb")]
        {
            let failure = chart(suffix, &[]).request(Subject::keyed(key)).unwrap_err();
            assert_eq!(
                (failure.class, failure.reason.as_str()),
                (FailureClass::Permanent, "INVALID_KEY"),
                "{key:?}"
            );
        }
    }

    #[test]
    fn a_url_has_a_bound() {
        let long = "%".repeat(3_000);
        let failure = chart("", &[]).request(Subject::keyed(&long)).unwrap_err();
        assert!(failure.message.contains("more than 8192"), "{}", failure.message);
    }

    #[test]
    fn without_a_host_nothing_is_asked() {
        let chart = YahooChart { origin: fixture::no_origin(), ..chart("", &[]) };
        assert_eq!(chart.request(Subject::keyed("7203")).unwrap_err().reason, "INVALID_URL");
    }
}
