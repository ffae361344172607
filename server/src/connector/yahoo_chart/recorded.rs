//! What other people recorded, read through the decoder: a line of expectations for each file. The files are no part of
//! the source: see `data` in the project's shared folder, or name another place in `HAUL_SHARED_DATA`.

use std::{fs, path::PathBuf};

use chrono::DateTime;
use serde_json::Value;

use super::{Asked, decode, fixture};
use crate::{
    domain::{
        datum::{EventKind, PriceHistory},
        request::Fault,
        spec::ChartEvent,
    },
    fetch::classify,
};

/// File; symbol, bar length, currency; first and last day; bars; of these provisional ones; rows that are null and rows
/// outside the window; dividends, splits and capital gains. Or class and reason of the failure, and what it
/// does to the upstream's gate. Bars, nulls, events and days were counted without any of the server's code.
const EXPECTED: &str = "\
bodies/bradjacobs_aapl_chart_5d_cl: AAPL 1d USD, 2021-04-19 to 2021-04-23, 5 bars, 0 provisional, 0 null, 0 outside, 0/0/0
bodies/bradjacobs_aapl_chart_5d_cl_adjcl: AAPL 1d USD, 2021-04-19 to 2021-04-23, 5 bars, 0 provisional, 0 null, 0 outside, 0/0/0
bodies/bradjacobs_aapl_chart_5d_formatted: AAPL 1d USD, 2021-04-19 to 2021-04-23, 5 bars, 0 provisional, 0 null, 0 outside, 0/0/0
bodies/bradjacobs_aapl_chart_no_results: AAPL 1h USD, empty, 0 bars, 0 provisional, 0 null, 0 outside, 0/0/0
bodies/bradjacobs_aapl_spark_5d_v7: PERMANENT UNDECODABLE, lives
bodies/lukinkratas_chart_META_1y: META 1d USD, 2024-10-17 to 2025-10-16, 250 bars, 0 provisional, 0 null, 0 outside, 4/0/0
bodies/pricehist_inrx-with-null: INR=X 1d INR, 2017-07-10 to 2017-07-13, 3 bars, 0 provisional, 1 null, 0 outside, 0/0/0
bodies/pricehist_tsla-recent: TSLA 1d USD, 2021-01-04 to 2021-01-08, 5 bars, 0 provisional, 0 null, 0 outside, 0/0/0
bodies/scheb_dividendData: AAPL 1mo USD, 2019-11-01 to 2024-10-11, 61 bars, 2 provisional, 0 null, 0 outside, 20/0/0
bodies/scheb_historicalData: AAPL 1d USD, 2024-09-30 to 2024-10-11, 10 bars, 0 provisional, 0 null, 0 outside, 0/0/0
bodies/scheb_noData: PERMANENT NOT_FOUND, lives
bodies/yfinance-rs_history_chart_AAPL: AAPL 1d USD, 2025-04-30 to 2025-10-29, 127 bars, 1 provisional, 0 null, 0 outside, 2/0/0
bodies/yfinance-rs_history_chart_VFINX: VFINX 3mo USD, 1985-01-01 to 2025-10-01, 164 bars, 1 provisional, 0 null, 0 outside, 164/0/21
recorded/chart-0P000071W8.TO-2020-01-01-to-2020-01-03: 0P000071W8.TO 1d CAD, 2020-01-02 to 2020-01-02, 1 bars, 0 provisional, 0 null, 0 outside, 0/0/0
recorded/chart-AAPL: AAPL 1d USD, 2022-02-22 to 2022-02-22, 1 bars, 0 provisional, 0 null, 0 outside, 0/0/0
recorded/chart-AAPL-2020-01-01-to-2020-01-03: AAPL 1d USD, 2020-01-02 to 2020-01-02, 1 bars, 0 provisional, 0 null, 0 outside, 0/0/0
recorded/chart-AAPL-2020-08-31-to-2020-11-07: AAPL 1d USD, 2020-08-31 to 2020-11-06, 49 bars, 0 provisional, 0 null, 0 outside, 1/1/0
recorded/chart-AAPL-2025-02-01-to-2025-02-02-includePrePost-false-interval-1m: AAPL 1m USD, empty, 0 bars, 0 provisional, 0 null, 0 outside, 0/0/0
recorded/chart-ABBV-2020-01-01-to-2020-01-03: ABBV 1d USD, 2020-01-02 to 2020-01-02, 1 bars, 0 provisional, 0 null, 0 outside, 0/0/0
recorded/chart-AMZN-2020-01-01-to-2020-01-03: AMZN 1d USD, 2020-01-02 to 2020-01-02, 1 bars, 0 provisional, 0 null, 0 outside, 0/0/0
recorded/chart-AZT.OL-2020-01-01-to-2020-01-03: AZT.OL 1d NOK, 2020-01-02 to 2020-01-02, 1 bars, 0 provisional, 0 null, 0 outside, 0/0/0
recorded/chart-BABA-2020-01-01-to-2020-01-03: BABA 1d USD, 2020-01-02 to 2020-01-02, 1 bars, 0 provisional, 0 null, 0 outside, 0/0/0
recorded/chart-BTC-USD-2020-01-01-to-2020-01-03: BTC-USD 1d USD, 2020-01-01 to 2020-01-02, 2 bars, 0 provisional, 0 null, 1 outside, 0/0/0
recorded/chart-CRON-2020-01-01-to-2020-01-03: CRON 1d USD, 2020-01-02 to 2020-01-02, 1 bars, 0 provisional, 0 null, 0 outside, 0/0/0
recorded/chart-EURUSD=X-2020-01-01-to-2020-01-03: EURUSD=X 1d USD, 2020-01-01 to 2020-01-02, 2 bars, 0 provisional, 0 null, 1 outside, 0/0/0
recorded/chart-GOOG-2020-01-01-to-2020-01-03: GOOG 1d USD, 2020-01-02 to 2020-01-02, 1 bars, 0 provisional, 0 null, 0 outside, 0/0/0
recorded/chart-OCDO.L-2020-01-01-to-2020-01-03: OCDO.L 1d GBp, 2020-01-02 to 2020-01-02, 1 bars, 0 provisional, 0 null, 0 outside, 0/0/0
recorded/chart-QQQ-2020-01-01-to-2020-01-03: QQQ 1d USD, 2020-01-02 to 2020-01-02, 1 bars, 0 provisional, 0 null, 0 outside, 0/0/0
recorded/chart-SPOT-2020-01-01-to-2020-01-03: SPOT 1d USD, 2020-01-02 to 2020-01-02, 1 bars, 0 provisional, 0 null, 0 outside, 0/0/0
recorded/chart-TSLA-2025-01-01-to-2025-01-02-interval-1h.fake: TSLA 1h USD, empty, 0 bars, 0 provisional, 0 null, 0 outside, 0/0/0
recorded/chart-WSKT.JK-2020-01-01-to-2020-01-03: WSKT.JK 1d IDR, 2020-01-02 to 2020-01-02, 1 bars, 0 provisional, 0 null, 0 outside, 0/0/0
recorded/chart-notimestamp-quotes-length.fake: PERMANENT UNDECODABLE, lives
recorded/chart-notimestamp-weird-quote.fake: PERMANENT UNDECODABLE, lives
recorded/getCrumb-getcrumb: TEMPORARY GARBAGE_BODY, counts against the breaker
recorded/getCrumb-quote-AAPL-collectConsentSubmit: PERMANENT HTTP_STATUS, lives
recorded/getCrumb-quote-AAPL-consent.html: PERMANENT HTTP_STATUS, lives
recorded/getCrumb-quote-AAPL-copyConsent: PERMANENT HTTP_STATUS, lives
recorded/getCrumb-quote-AAPL.json: PERMANENT HTTP_STATUS, lives
recorded/historical-via-chart-MSFT-dividends-2021-02-01-to-2022-01-31.csv: MSFT 1d USD, 2021-02-01 to 2022-01-28, 252 bars, 0 provisional, 0 null, 0 outside, 4/0/0
recorded/historical-via-chart-NVDA-split-2021-02-01-to-2022-01-31.csv: NVDA 1d USD, 2021-02-01 to 2022-01-28, 252 bars, 0 provisional, 0 null, 0 outside, 0/1/0
transcribed/1301.T_1mo_1d: 1301.T 1d JPY, 2024-11-06 to 2024-12-06, 23 bars, 0 provisional, 0 null, 0 outside, 0/0/0
transcribed/7203.T_1d_5m_cut_to_10_bars: 7203.T 5m JPY, 2026-10-05 to 2026-10-05, 6 bars, 1 provisional, 4 null, 0 outside, 0/0/0
transcribed/AAPL_1mo_1wk_live_last_bar: AAPL 1wk USD, 2024-08-19 to 2024-09-19, 6 bars, 2 provisional, 0 null, 0 outside, 0/0/0
";

const ERRORS_EXPECTED: &str = "\
unknown_or_delisted_symbol: PERMANENT NOT_FOUND, lives
unknown_symbol_newer_wording: PERMANENT NOT_FOUND, lives
window_before_first_trade: X.T 1d -, empty, 0 bars, 0 provisional, 0 null, 0 outside, 0/0/0
bad_interval: PERMANENT REFUSED, lives
intraday_too_old: PERMANENT REFUSED, lives
rate_limited_edge: TEMPORARY RATE_LIMITED, gate held
rate_limited_plain: TEMPORARY RATE_LIMITED, gate held
crumb_endpoint_required_elsewhere: SYSTEM CREDENTIALS_REFUSED, lives, item held back
empty_quote_object_no_timestamp: AMD 1m USD, empty, 0 bars, 0 provisional, 0 null, 0 outside, 0/0/0
";

/// A recorded exchange.
pub(super) struct Exchange {
    /// Folder and name.
    pub(super) name: String,
    /// The symbol that the recorded URL asks for, else the one that the body names.
    pub(super) symbol: String,
    pub(super) asked: Asked,
    pub(super) status: u16,
    pub(super) body: String,
}

impl Exchange {
    fn of(name: String, symbol: Option<String>, window: [i64; 2], status: u16, body: String) -> Self {
        let meta: Value = serde_json::from_str(&body).unwrap_or_default();
        let meta = meta.pointer("/chart/result/0/meta").cloned().unwrap_or_default();
        let said = |field: &str, or: &str| meta[field].as_str().unwrap_or(or).to_owned();
        Self {
            name,
            symbol: symbol.unwrap_or_else(|| said("symbol", "X.T")),
            asked: fixture::asked(&said("dataGranularity", "1d"), window[0], window[1]),
            status,
            body,
        }
    }

    fn decoded(&self) -> Result<PriceHistory, Fault> {
        decode::history(&self.asked, &self.symbol, &fixture::response(self.status, self.body.as_str()))
    }

    fn line(&self) -> String {
        let name = &self.name;
        let history = match self.decoded() {
            Ok(history) => history,
            Err(fault) => {
                let response = fixture::response(self.status, "");
                let failure = classify::reply(&fault, &response, DateTime::UNIX_EPOCH);
                return format!("{name}: {}\n", classify::told(&failure));
            }
        };
        let PriceHistory { symbol, interval, currency, prices, events, left_out } = &history;
        let days = match &prices[..] {
            [first, .., last] => format!("{} to {}", first.session_date, last.session_date),
            [only] => format!("{0} to {0}", only.session_date),
            [] => "empty".to_owned(),
        };
        let provisional = prices.iter().filter(|price| price.provisional).count();
        let of = |kind| events.iter().filter(|event| event.kind == kind).count();
        assert_eq!(left_out.total() - left_out.null_rows - left_out.outside_rows, 0, "{name}");
        format!(
            "{name}: {symbol} {interval} {}, {days}, {} bars, {provisional} provisional, {} null, {} outside, {}/{}/{}\n",
            currency.as_deref().unwrap_or("-"),
            prices.len(),
            left_out.null_rows,
            left_out.outside_rows,
            of(EventKind::Dividend),
            of(EventKind::Split),
            of(EventKind::CapitalGain),
        )
    }
}

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

const ALL_TIME: [i64; 2] = [i64::MIN, i64::MAX];

/// All recordings, by name.
pub(super) fn exchanges() -> Vec<Exchange> {
    let Some(folder) = folder() else { return Vec::new() };
    let mut exchanges = Vec::new();
    for kind in ["bodies", "recorded", "transcribed"] {
        for entry in fs::read_dir(folder.join(kind)).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{kind}/{}", path.file_stem().unwrap().to_str().unwrap());
            let text = fs::read_to_string(&path).unwrap();
            exchanges.push(if kind == "recorded" {
                recorded(name, &text)
            } else {
                Exchange::of(name, None, ALL_TIME, 200, text)
            });
        }
    }
    exchanges.sort_by(|a, b| a.name.cmp(&b.name));
    exchanges
}

/// An envelope with request and response; its URL says what was asked for.
fn recorded(name: String, envelope: &str) -> Exchange {
    let envelope: Value = serde_json::from_str(envelope).unwrap();
    let (request, response) = (&envelope["request"], &envelope["response"]);
    let body = match &response["bodyJson"] {
        Value::Null => response["bodyText"].as_str().unwrap_or_default().to_owned(),
        json => json.to_string(),
    };
    let url = url::Url::parse(request["url"].as_str().unwrap()).unwrap();
    let instant =
        |name| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.parse().unwrap());
    let window = ["period1", "period2"].map(instant);
    let window = [window[0].unwrap_or(ALL_TIME[0]), window[1].unwrap_or(ALL_TIME[1])];
    let symbol = url.path().strip_prefix("/v8/finance/chart/").map(|symbol| symbol.replace("%3D", "="));
    Exchange::of(name, symbol, window, response["status"].as_u64().unwrap().try_into().unwrap(), body)
}

fn assert_lines(found: &str, expected: &str) {
    for line in found.lines() {
        assert!(expected.lines().any(|expected| expected == line), "no such expectation: {line}");
    }
    assert_eq!(found, expected, "an expectation without its file");
}

#[test]
fn every_recorded_reply_is_what_its_line_says() {
    let exchanges = exchanges();
    if !exchanges.is_empty() {
        assert_lines(&exchanges.iter().map(Exchange::line).collect::<String>(), EXPECTED);
    }
}

#[test]
fn every_observed_error_is_what_its_line_says() {
    let Some(folder) = folder() else { return };
    let errors = fs::read_to_string(folder.join("observed_errors.jsonl")).unwrap();
    let line = |line: &str| {
        let observed: Value = serde_json::from_str(line).unwrap();
        let [name, body] = ["case", "body"].map(|field| observed[field].as_str().unwrap().to_owned());
        let status = observed["status"].as_u64().unwrap().try_into().unwrap();
        Exchange::of(name, None, ALL_TIME, status, body).line()
    };
    assert_lines(&errors.lines().map(line).collect::<String>(), ERRORS_EXPECTED);
}

#[test]
fn there_are_no_recordings_of_which_nothing_is_expected() {
    let Some(folder) = folder() else { return };
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    // The tables are a user's repair of bad data, no replies.
    assert_eq!(names, ["bodies", "observed_errors.jsonl", "recorded", "tables", "transcribed"]);
}

#[test]
fn particulars_of_the_recordings_come_through() {
    for exchange in exchanges() {
        let history = || exchange.decoded().unwrap();
        match exchange.name.as_str() {
            "recorded/chart-AAPL-2020-08-31-to-2020-11-07" => {
                let split = &history().events[0];
                assert_eq!((split.numerator, split.date.to_string().as_str()), (Some(4.0), "2020-08-31"));
                // The window's end is exclusive.
                let asked = Asked { end_s: 1_604_673_000, ..exchange.asked.clone() };
                let exchange = Exchange { asked, ..exchange };
                assert_eq!(exchange.decoded().unwrap().prices.len(), 48);
            }
            "bodies/yfinance-rs_history_chart_VFINX" => {
                // Dated by itself, not by the quarter that it is filed under.
                assert_eq!(history().events[0].date.to_string(), "1980-06-27");
                let asked = Asked { events: vec![ChartEvent::CapitalGains], ..exchange.asked.clone() };
                let gains = Exchange { asked, ..exchange };
                assert_eq!(gains.decoded().unwrap().events.len(), 21);
                let asked = Asked { interval: "1d".into(), ..gains.asked.clone() };
                let daily = Exchange { asked, ..gains }.decoded();
                assert!(matches!(daily, Err(Fault::GranularityMismatch { .. })), "{daily:?}");
            }
            "transcribed/1301.T_1mo_1d" => {
                let other = Exchange { symbol: "1302.T".into(), ..exchange }.decoded();
                let fault = Fault::SymbolMismatch { asked: "1302.T".into(), got: "1301.T".into() };
                assert_eq!(other, Err(fault));
            }
            _ => {}
        }
    }
}
