//! What other people recorded, read through the decoder. The files are no part of the source: see `data` in the
//! project's shared folder, or name another place in `HAUL_SHARED_DATA`.

use std::{fs, path::PathBuf};

use serde_json::Value;

use super::{Asked, decode, fixture};
use crate::domain::{datum::PriceHistory, request::Fault, spec::ChartEvent};

#[allow(clippy::print_stderr, reason = "a test that is left out says so")]
fn folder() -> Option<PathBuf> {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("HAUL_SHARED_DATA").map_or_else(default, PathBuf::from).join("yahoo_chart");
    if !folder.is_dir() {
        eprintln!("SKIPPED: no recordings at {}", folder.display());
        return None;
    }
    Some(folder)
}

/// Name, status, body.
fn chart_files() -> Vec<(String, u16, String)> {
    let Some(folder) = folder() else { return Vec::new() };
    let mut files = Vec::new();
    for kind in ["bodies", "recorded", "transcribed"] {
        for entry in fs::read_dir(folder.join(kind)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            if name.starts_with("getCrumb") {
                continue;
            }
            if kind != "recorded" {
                files.push((name, 200, text));
                continue;
            }
            let envelope: Value = serde_json::from_str(&text).unwrap();
            let response = &envelope["response"];
            let body =
                response["bodyText"].as_str().map_or_else(|| response["bodyJson"].to_string(), str::to_owned);
            files.push((name, response["status"].as_u64().unwrap().try_into().unwrap(), body));
        }
    }
    files.sort();
    files
}

/// What the body itself says that it was asked.
fn asked_of(body: &str) -> Asked {
    let body: Value = serde_json::from_str(body).unwrap();
    let interval =
        body.pointer("/chart/result/0/meta/dataGranularity").and_then(Value::as_str).unwrap_or("1d");
    fixture::asked(interval, i64::MIN, i64::MAX)
}

fn decoded(asked: &Asked, status: u16, body: &str) -> Result<PriceHistory, Fault> {
    decode::history(asked, "ASKED", &fixture::response(status, body))
}

#[test]
fn every_recorded_chart_decodes_or_has_the_fault_that_it_should_have() {
    // Bars, events, provisional bars; a name that is not here has one bar and nothing else.
    let odd = [
        ("bradjacobs_aapl_chart_5d_cl", Ok((5, 0, 0))),
        ("bradjacobs_aapl_chart_5d_cl_adjcl", Ok((5, 0, 0))),
        ("bradjacobs_aapl_chart_5d_formatted", Ok((5, 0, 0))),
        ("bradjacobs_aapl_chart_no_results", Ok((0, 0, 0))),
        ("bradjacobs_aapl_spark_5d_v7", Err("the reply has no chart")),
        ("lukinkratas_chart_META_1y", Ok((250, 4, 0))),
        ("pricehist_inrx-with-null", Ok((3, 0, 0))),
        ("pricehist_tsla-recent", Ok((5, 0, 0))),
        // The running month's own row and the last trade's.
        ("scheb_dividendData", Ok((61, 20, 2))),
        ("scheb_historicalData", Ok((10, 0, 0))),
        ("scheb_noData", Err("delisted")),
        // The session is over, yet its bar still stands at the last trade.
        ("yfinance-rs_history_chart_AAPL", Ok((127, 2, 1))),
        ("yfinance-rs_history_chart_VFINX", Ok((164, 185, 1))),
        ("chart-AAPL-2020-08-31-to-2020-11-07", Ok((49, 2, 0))),
        ("chart-AAPL-2025-02-01-to-2025-02-02-includePrePost-false-interval-1m", Ok((0, 0, 0))),
        ("chart-BTC-USD-2020-01-01-to-2020-01-03", Ok((3, 0, 0))),
        ("chart-EURUSD=X-2020-01-01-to-2020-01-03", Ok((3, 0, 0))),
        ("chart-TSLA-2025-01-01-to-2025-01-02-interval-1h.fake", Ok((0, 0, 0))),
        ("chart-notimestamp-quotes-length.fake", Err("0 timestamps")),
        ("chart-notimestamp-weird-quote.fake", Err("0 timestamps")),
        ("historical-via-chart-MSFT-dividends-2021-02-01-to-2022-01-31.csv", Ok((252, 4, 0))),
        ("historical-via-chart-NVDA-split-2021-02-01-to-2022-01-31.csv", Ok((252, 1, 0))),
        ("1301.T_1mo_1d", Ok((23, 0, 0))),
        ("7203.T_1d_5m_cut_to_10_bars", Ok((6, 0, 0))),
        ("AAPL_1mo_1wk_live_last_bar", Ok((6, 0, 2))),
    ];
    for (name, status, body) in chart_files() {
        let result = decoded(&asked_of(&body), status, &body);
        let expected =
            odd.iter().find(|(odd, _)| *odd == name).map_or(Ok((1, 0, 0)), |(_, expected)| *expected);
        match (&result, expected) {
            (Ok(history), Ok(expected)) => {
                let provisional = history.prices.iter().filter(|price| price.provisional).count();
                assert_eq!((history.prices.len(), history.events.len(), provisional), expected, "{name}");
                assert!(history.prices.is_sorted_by(|a, b| a.ts < b.ts), "{name}");
            }
            (Err(Fault::Undecodable(said) | Fault::NotFound(said)), Err(expected))
                if said.contains(expected) => {}
            _ => panic!("{name}: {result:?}"),
        }
    }
}

#[test]
fn particulars_of_the_recordings_come_through() {
    for (name, status, body) in chart_files() {
        let history = || decoded(&asked_of(&body), status, &body).unwrap();
        match name.as_str() {
            "chart-AAPL-2020-08-31-to-2020-11-07" => {
                let (dates, split) = (history(), &history().events[0]);
                // The first bars are of summer time, whatever the offset of the fetch day.
                assert_eq!(dates.prices[0].session_date.to_string(), "2020-08-31");
                assert_eq!((split.numerator, split.date.to_string().as_str()), (Some(4.0), "2020-08-31"));
                // The window's end is exclusive.
                let asked = Asked { end_s: 1_604_673_000, ..asked_of(&body) };
                assert_eq!(decoded(&asked, status, &body).unwrap().prices.len(), 48);
            }
            "chart-OCDO.L-2020-01-01-to-2020-01-03" => assert_eq!(history().currency.as_deref(), Some("GBp")),
            "1301.T_1mo_1d" => assert_eq!(history().prices[22].session_date.to_string(), "2024-12-06"),
            "yfinance-rs_history_chart_VFINX" => {
                let fault = decoded(&Asked { interval: "1d".into(), ..asked_of(&body) }, status, &body);
                assert!(matches!(fault, Err(Fault::GranularityMismatch { .. })), "{fault:?}");
                // Dated by itself, not by the quarter that it is filed under.
                assert_eq!(history().events[0].date.to_string(), "1980-06-27");
                let asked = Asked { events: vec![ChartEvent::CapitalGains], ..asked_of(&body) };
                assert_eq!(decoded(&asked, status, &body).unwrap().events.len(), 21);
            }
            _ => {}
        }
    }
}

#[test]
fn every_observed_error_gives_its_fault() {
    let Some(folder) = folder() else { return };
    let mut cases = 0;
    for line in fs::read_to_string(folder.join("observed_errors.jsonl")).unwrap().lines() {
        let observed: Value = serde_json::from_str(line).unwrap();
        let case = observed["case"].as_str().unwrap();
        let (status, body) = (observed["status"].as_u64().unwrap(), observed["body"].as_str().unwrap());
        let asked = fixture::asked(if case.starts_with("empty_quote") { "1m" } else { "1d" }, 0, i64::MAX);
        let result = decoded(&asked, status.try_into().unwrap(), body);
        let as_expected = match case {
            "unknown_or_delisted_symbol" | "unknown_symbol_newer_wording" => {
                matches!(&result, Err(Fault::NotFound(said)) if said.starts_with("No data found"))
            }
            "window_before_first_trade" | "empty_quote_object_no_timestamp" => {
                matches!(&result, Ok(history) if history.prices.is_empty())
            }
            "bad_interval" => {
                matches!(&result, Err(Fault::Refused(said)) if said.starts_with("Invalid input"))
            }
            "intraday_too_old" => matches!(&result, Err(Fault::Refused(said)) if said.starts_with("5m data")),
            "rate_limited_edge" | "rate_limited_plain" | "crumb_endpoint_required_elsewhere" => {
                matches!(result, Err(Fault::Status))
            }
            other => panic!("no expectation for {other}"),
        };
        assert!(as_expected, "{case}: {result:?}");
        cases += 1;
    }
    assert_eq!(cases, 9);
}
