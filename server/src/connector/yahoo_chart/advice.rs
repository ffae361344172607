//! What is known of the endpoint's limits, for people who are about to use it.
//!
//! The provider publishes none. What users report: about 40 requests within 40 minutes from one address had it turned
//! away (429) for more than 15 minutes, whatever was asked for next and at either host (2026; `yfinance` issues and
//! forum threads say the like of a window per address); the default User-Agents of HTTP libraries get 429 at once
//! (2026-10). How far back each bar length reaches, and that one call for `1m` spans 8 days at most, is in the
//! endpoint's own error texts (`yfinance` #356, #636, #1389, #2903).

use chrono::{DateTime, TimeDelta, Utc};

use super::YahooChart;
use crate::domain::spec::FetchPolicy;

/// The provider's own hosts. What a simulator or a proxy bears is its operator's to say.
const HOSTS: [&str; 2] = ["query1.finance.yahoo.com", "query2.finance.yahoo.com"];
/// So many requests from one address within [`REPORTED_S`] had it turned away.
const REPORTED_REQUESTS: f64 = 40.0;
const REPORTED_S: f64 = 40.0 * 60.0;
/// 30 requests in that time.
const ADVISED_PER_S: f64 = 0.0125;
const DAY_S: f64 = 86_400.0;
const MINUTE_SPAN: TimeDelta = TimeDelta::days(8);

pub(super) fn of(chart: &YahooChart, fetch: &FetchPolicy, requests: i64, now: DateTime<Utc>) -> Vec<String> {
    let mut advice = Vec::new();
    if HOSTS.contains(&chart.origin.host.as_str()) {
        advice.extend(rate(&chart.origin.host, fetch, requests));
        advice.extend(burst(&chart.origin.host, fetch, requests));
        advice.extend(user_agent(&chart.origin.host, &fetch.user_agent));
    }
    advice.extend(window(chart, now));
    advice
}

fn rate(host: &str, fetch: &FetchPolicy, requests: i64) -> Option<String> {
    let within = (f64::from(fetch.burst) + fetch.rate_per_s * REPORTED_S).min(requests as f64);
    if within < REPORTED_REQUESTS {
        return None;
    }
    let days = requests as f64 / ADVISED_PER_S / DAY_S;
    Some(format!(
        "{} requests/s with a burst of {} is more than {host} is reported to bear: about {REPORTED_REQUESTS} requests \
         within 40 minutes from one address had it turned away (429), and no limit is published. Lower \
         fetch.requestsPerSecond to {ADVISED_PER_S} and fetch.burst to 1, which takes {days:.1} days for {requests} \
         requests; examples/tokyo-real.yaml is such a spec",
        fetch.rate_per_s, fetch.burst,
    ))
}

fn burst(host: &str, fetch: &FetchPolicy, requests: i64) -> Option<String> {
    (fetch.burst > 1 && requests > 1).then(|| {
        format!(
            "a burst of {} sends that many requests to {host} at once, as no person's browser would: set fetch.burst to 1",
            fetch.burst
        )
    })
}

fn user_agent(host: &str, agent: &str) -> Option<String> {
    let names_somebody = (agent.contains('@') || agent.contains("://")) && !agent.contains("example.");
    (!names_somebody && !agent.starts_with("Mozilla/")).then(|| {
        format!(
            "the User-Agent {agent:?} is not a browser's and names nobody: {host} is reported to answer 429 at once to \
             default agents of programs. Name yourself and a contact in fetch.userAgent"
        )
    })
}

/// How far back a bar length reaches from the day on which it is asked for.
fn reach(interval: &str) -> Option<TimeDelta> {
    match interval {
        "1m" => Some(TimeDelta::days(30)),
        "1h" | "60m" => Some(TimeDelta::days(730)),
        "2m" | "5m" | "15m" | "30m" | "90m" | "4h" => Some(TimeDelta::days(60)),
        _ => None,
    }
}

fn window(chart: &YahooChart, now: DateTime<Utc>) -> Option<String> {
    let asked = &chart.asked;
    let reach = reach(&asked.interval)?;
    let back = TimeDelta::seconds(now.timestamp() - asked.start_s);
    let span = TimeDelta::seconds(asked.end_s - asked.start_s);
    let interval = &asked.interval;
    if back > reach {
        return Some(format!(
            "bars of {interval} reach back {} days, and the window begins {} days ago: every request would be refused \
             (422). Shorten yahooChart.range, or take a longer yahooChart.interval",
            reach.num_days(),
            back.num_days()
        ));
    }
    (interval == "1m" && span > MINUTE_SPAN).then(|| {
        format!(
            "one request for bars of 1m spans {} days at most, and the window has {}: every request would be refused \
             (422). Shorten yahooChart.range",
            MINUTE_SPAN.num_days(),
            span.num_days()
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        connector::Connector,
        domain::{
            spec::{self, AsOf, ChartEvent, Window},
            window::Range,
        },
    };

    const NOW: &str = "2026-11-20T12:00:00Z";
    const NAMED: &str = "prices/1 (+https://somebody.test/contact)";

    fn fetch(rate_per_s: f64, burst: u32, user_agent: &str) -> FetchPolicy {
        let policy = json!({
            "workers": 1, "attempt_timeout_ms": 30_000, "attempts_max": 4, "initial_backoff_ms": 2_000,
            "backoff_multiplier": 2.0, "max_backoff_ms": 300_000, "rate_per_s": rate_per_s, "burst": burst,
            "body_bytes_max": 1 << 20, "commit_group_size": 10, "commit_group_interval_ms": 250,
            "user_agent": user_agent, "keep_bodies_ms": 0,
        });
        serde_json::from_value(policy).unwrap()
    }

    fn chart(base_url: &str, interval: &str, range: &str) -> YahooChart {
        let settings = spec::YahooChart {
            interval: interval.to_owned(),
            window: Window::Range(Range::parse(range).unwrap()),
            events: vec![ChartEvent::Splits],
            symbol_suffix: ".T".to_owned(),
            base_url: base_url.to_owned(),
        };
        YahooChart::new(&settings, &AsOf { time: NOW.parse().unwrap(), zone: chrono_tz::Asia::Tokyo })
    }

    #[test]
    fn what_the_provider_is_reported_to_refuse_is_said_of_its_own_hosts_only() {
        const REAL: &str = "https://query1.finance.yahoo.com";
        for (base_url, rate, burst, agent, requests, expected) in [
            (REAL, 5.0, 20, "haul/0.1.0", 4_433, &["5 requests/s", "a burst of 20", "the User-Agent"][..]),
            ("https://QUERY2.Finance.Yahoo.COM:8443", 5.0, 1, NAMED, 4_433, &["5 requests/s"]),
            (REAL, 1.0 / 60.0, 1, NAMED, 4_433, &["0.01666"]),
            (REAL, 0.0125, 1, NAMED, 4_433, &[]),
            // 20 at once and 30 in the same 40 minutes.
            (REAL, 0.0125, 20, NAMED, 4_433, &["0.0125 requests/s with a burst of 20", "a burst of 20"]),
            // Over before it is too many.
            (REAL, 5.0, 1, NAMED, 39, &[]),
            (REAL, 5.0, 1, NAMED, 40, &["5 requests/s"]),
            (REAL, 0.0125, 1, "Mozilla/5.0 (X11; Linux x86_64)", 4_433, &[]),
            (REAL, 0.0125, 1, "prices/1 (+https://example.org/contact)", 4_433, &["the User-Agent"]),
            ("http://127.0.0.1:8090", 500.0, 100, "haul/0.1.0", 4_433, &[]),
            ("https://query1.finance.yahoo.com.proxy.test", 500.0, 100, "haul/0.1.0", 4_433, &[]),
        ] {
            let advice = chart(base_url, "1d", "1y").advice(
                &fetch(rate, burst, agent),
                requests,
                NOW.parse().unwrap(),
            );
            assert_eq!(advice.len(), expected.len(), "{base_url} {rate} {burst} {agent}: {advice:?}");
            for (said, begin) in advice.iter().zip(expected) {
                assert!(said.starts_with(begin), "{said}");
            }
        }
        let advice = chart(REAL, "1d", "1y").advice(&fetch(5.0, 1, NAMED), 4_433, NOW.parse().unwrap());
        assert!(advice[0].contains("to 0.0125") && advice[0].contains("4.1 days"), "{advice:?}");
    }

    #[test]
    fn a_window_that_begins_before_the_bar_lengths_reach_is_told_whatever_the_host() {
        for (interval, range, expected) in [
            ("1m", "8d", None),
            ("1m", "9d", Some("one request for bars of 1m spans 8 days at most, and the window has 9")),
            ("1m", "2mo", Some("bars of 1m reach back 30 days, and the window begins 60 days ago")),
            ("5m", "60d", None),
            ("5m", "61d", Some("bars of 5m reach back 60 days")),
            ("1h", "730d", None),
            ("60m", "3y", Some("bars of 60m reach back 730 days")),
            ("1d", "max", None),
            ("1mo", "max", None),
        ] {
            let chart = chart("http://127.0.0.1:8090", interval, range);
            let advice = chart.advice(&fetch(5.0, 1, NAMED), 1, NOW.parse().unwrap());
            assert_eq!(advice.len(), usize::from(expected.is_some()), "{interval} {range}: {advice:?}");
            assert!(expected.is_none_or(|begin| advice[0].starts_with(begin)), "{advice:?}");
        }
    }
}
