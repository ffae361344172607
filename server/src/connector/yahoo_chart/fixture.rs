//! Replies made up for tests.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Asked, YahooChart, decode};
use crate::{
    connector::Origin,
    domain::{
        datum::PriceHistory,
        request::{Fault, FileHead, Response},
        spec::ChartEvent,
    },
};

/// Tokyo's open of 2026-02-24 (a Tuesday), 09:00 local.
pub(super) const OPEN: i64 = 1_771_891_200;
pub(super) const DAY: i64 = 86_400;
/// From the open to the close, 15:30 local.
pub(super) const SESSION: i64 = 23_400;

pub(super) fn asked(interval: &str, start_s: i64, end_s: i64) -> Asked {
    let events = vec![ChartEvent::Dividends, ChartEvent::Splits, ChartEvent::CapitalGains];
    Asked { interval: interval.into(), start_s, end_s, events }
}

/// The week of [`OPEN`] and the one before.
pub(super) fn fortnight(interval: &str) -> Asked {
    asked(interval, OPEN - 8 * DAY, OPEN + 6 * DAY)
}

pub(super) fn chart() -> YahooChart {
    let base_url = "https://query1.finance.yahoo.com".to_owned();
    YahooChart {
        origin: Origin::of_url(&base_url).unwrap(),
        base_url,
        symbol_suffix: ".T".into(),
        asked: fortnight("1d"),
    }
}

pub(super) fn no_origin() -> Origin {
    Origin { scheme: String::new(), host: String::new(), port: 0 }
}

pub(super) fn response(status: u16, body: impl Into<Vec<u8>>) -> Response {
    Response {
        status,
        content_type: "application/json".into(),
        retry_after: None,
        date: None,
        body: body.into().into(),
        digest: None,
        bytes_received: 0,
        latency: Duration::ZERO,
        file: FileHead::default(),
    }
}

pub(super) fn decoded(asked: &Asked, status: u16, body: impl Into<Vec<u8>>) -> Result<PriceHistory, Fault> {
    decode::history(asked, "7203.T", &response(status, body))
}

/// A Tokyo share on the evening of [`OPEN`]'s day.
pub(super) fn meta() -> Value {
    json!({
        "currency": "JPY", "symbol": "7203.T", "exchangeName": "JPX", "instrumentType": "EQUITY",
        "firstTradeDate": 925_948_800, "regularMarketTime": OPEN + SESSION, "gmtoffset": 32_400,
        "exchangeTimezoneName": "Asia/Tokyo", "dataGranularity": "1d", "validRanges": ["1d"],
        "currentTradingPeriod": {"regular": {"timezone": "JST", "start": OPEN, "end": OPEN + SESSION}},
    })
}

/// One chart. `series` holds what stands beside `meta`.
pub(super) fn body(meta: &Value, mut series: Value) -> String {
    series["meta"] = meta.clone();
    json!({"chart": {"result": [series], "error": null}}).to_string()
}

/// Bars whose prices tell their place in the arrays.
pub(super) fn bars(times: &[i64]) -> Value {
    let column = |base: f64| (0..times.len()).map(|row| base + row as f64).collect::<Vec<_>>();
    json!({
        "timestamp": times,
        "indicators": {
            "quote": [{"open": column(100.0), "high": column(200.0), "low": column(50.0), "close": column(150.0),
                       "volume": vec![1_000; times.len()]}],
            "adjclose": [{"adjclose": column(140.0)}],
        },
    })
}

pub(super) fn error(code: &str, description: &str) -> String {
    json!({"chart": {"result": null, "error": {"code": code, "description": description}}}).to_string()
}
