use std::sync::LazyLock;

use serde_json::Value;

use super::*;
use crate::list;

/// 2026-11-20 07:00:00Z, a Friday after the close.
const NOW_S: i64 = 1_795_158_000;
const DAY_S: i64 = 86_400;

static MARKET: LazyLock<Market> =
    LazyLock::new(|| Market::new(1, &list::generate(list::SERVED_SEED, list::ISSUES)));

fn ask_at(symbol: &str, query: &str, now_s: i64) -> (u16, Value) {
    let plan = plan(&MARKET, symbol, query, now_s);
    (plan.status(), serde_json::from_slice(&plan.body(&MARKET)).unwrap())
}

fn ask(symbol: &str, query: &str) -> (u16, Value) {
    ask_at(symbol, query, NOW_S)
}

fn chart(query: &str) -> Value {
    let (status, body) = ask("1301.T", query);
    assert_eq!(status, 200, "{body}");
    assert!(body["chart"]["error"].is_null());
    body["chart"]["result"][0].clone()
}

fn refused(symbol: &str, query: &str) -> (u16, String) {
    let (status, body) = ask(symbol, query);
    assert!(body["chart"]["result"].is_null());
    (status, body["chart"]["error"]["description"].as_str().unwrap().to_owned())
}

fn times(chart: &Value) -> Vec<i64> {
    chart["timestamp"].as_array().unwrap().iter().map(|time| time.as_i64().unwrap()).collect()
}

#[test]
fn every_column_has_a_row_for_every_time() {
    let chart = chart("range=1y&interval=1d&events=div%7Csplit");
    let rows = times(&chart).len();
    assert!((240..250).contains(&rows), "{rows}");
    for column in ["open", "high", "low", "close", "volume"] {
        assert_eq!(chart["indicators"]["quote"][0][column].as_array().unwrap().len(), rows);
    }
    assert_eq!(chart["indicators"]["adjclose"][0]["adjclose"].as_array().unwrap().len(), rows);
    assert!(times(&chart).iter().all(|time| time % DAY_S == 0), "bars are stamped 00:00Z");
    let meta = &chart["meta"];
    assert_eq!((meta["currency"].as_str(), meta["exchangeName"].as_str()), (Some("JPY"), Some("JPX")));
    assert_eq!((meta["range"].as_str(), meta["dataGranularity"].as_str()), (Some("1y"), Some("1d")));
    assert_eq!(meta["regularMarketTime"], 1_795_156_200);
}

#[test]
fn prices_are_single_precision() {
    let chart = chart("range=max&interval=1d");
    let adjusted = chart["indicators"]["adjclose"][0]["adjclose"].as_array().unwrap();
    for price in adjusted.iter().filter_map(Value::as_f64) {
        assert_eq!(f64::from(price as f32).to_bits(), price.to_bits());
    }
}

#[test]
fn the_second_period_is_exclusive_and_the_range_then_empty() {
    let friday_s = 1_795_132_800; // 2026-11-20
    let window = |from_s: i64, to_s: i64| chart(&format!("period1={from_s}&period2={to_s}&interval=1d"));
    assert_eq!(times(&window(friday_s - DAY_S, friday_s)), [friday_s - DAY_S]);
    let both = window(friday_s - DAY_S, friday_s + 1);
    assert_eq!(times(&both), [friday_s - DAY_S, friday_s]);
    assert_eq!(both["meta"]["range"], "");
}

#[test]
fn a_bar_is_the_same_in_every_window() {
    let long = chart("period1=-2208988800&period2=1795158000&interval=1d");
    let short = chart("period1=1700000000&period2=1702000000&interval=1d");
    let at = times(&long).iter().position(|time| *time == times(&short)[0]).unwrap();
    for column in ["open", "high", "low", "close", "volume"] {
        let of = |chart: &Value| chart["indicators"]["quote"][0][column].as_array().unwrap().clone();
        assert_eq!(of(&long)[at..at + times(&short).len()], of(&short));
    }
}

#[test]
fn a_session_is_not_shown_before_it_is_over() {
    let close_s = 1_795_156_200;
    let latest = |now_s| times(&ask_at("1301.T", "range=5d", now_s).1["chart"]["result"][0]).last().copied();
    assert_eq!(latest(close_s - 1), Some(1_795_046_400));
    assert_eq!(latest(close_s), Some(1_795_132_800));
}

#[test]
fn a_window_without_bars_has_no_times() {
    // A weekend.
    let chart = chart("period1=1794614400&period2=1794700800&interval=1d");
    assert!(chart.get("timestamp").is_none());
    assert_eq!(chart["indicators"], serde_json::json!({"quote": [{}], "adjclose": [{}]}));
}

#[test]
fn refusals_in_the_providers_words() {
    assert_eq!(refused("0000.T", "range=1d"), (404, "No data found, symbol may be delisted".to_owned()));
    assert_eq!(refused("1301", "range=1d").0, 404);
    assert_eq!(
        refused("1301.T", "period1=-100&period2=100"),
        (400, "Data doesn't exist for startDate = -100, endDate = 100".to_owned())
    );
    assert_eq!(
        refused("1301.T", "interval=1s").1,
        "Invalid input - interval=1s is not supported. Valid intervals: [1m, 2m, 5m, 15m, 30m, 60m, 90m, 1h, 4h, 1d, 5d, 1wk, 1mo, 3mo]"
    );
    assert_eq!(
        refused("1301.T", "interval=5m&period1=1&period2=2"),
        (422, "5m data not available for startTime=1 and endTime=2. The requested range must be within the last 60 days.".to_owned())
    );
    for bad in ["period1=5&period2=5", "period1=x&period2=5", "range=1q", "range=0d", "range=d", "range="] {
        assert_eq!(refused("1301.T", bad).0, 400, "{bad}");
    }
}

#[test]
fn times_beyond_all_calendars_are_no_trouble() {
    let whole = chart(&format!("period1={}&period2={}", i64::MIN, i64::MAX));
    assert_eq!(times(&whole), times(&chart("range=max")));
    let (status, _) = ask_at("1301.T", "range=1y&interval=3mo", i64::MAX / 4);
    assert_eq!(status, 200);
    assert_eq!(ask_at("1301.T", "range=1y", 0).0, 400);
}

#[test]
fn events_only_when_asked_for_and_under_their_bars_time() {
    let paying = MARKET
        .issue("1301")
        .into_iter()
        .map(|issue| issue.code.clone())
        .find(|code| {
            let (_, body) = ask(&format!("{code}.T"), "range=2y&interval=1mo&events=div,splits");
            body["chart"]["result"][0]["events"]["dividends"].is_object()
        })
        .unwrap();
    let symbol = format!("{paying}.T");
    assert!(ask(&symbol, "range=2y&interval=1mo").1["chart"]["result"][0].get("events").is_none());
    let (_, body) = ask(&symbol, "range=2y&interval=1mo&events=div%7Csplit%7Cearn");
    let chart = &body["chart"]["result"][0];
    for (key, dividend) in chart["events"]["dividends"].as_object().unwrap() {
        let key: i64 = key.parse().unwrap();
        assert!(times(chart).contains(&key));
        assert!(dividend["date"].as_i64().unwrap() > key);
        assert!(dividend["amount"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn the_running_week_ends_with_a_row_of_its_own() {
    let wednesday_s = 1_794_967_200; // 2026-11-18 02:00Z: Monday and Tuesday are over
    let (_, body) = ask_at("1301.T", "range=1mo&interval=1wk", wednesday_s);
    let times = times(&body["chart"]["result"][0]);
    let [.., before, running, latest] = times.as_slice() else { panic!("{times:?}") };
    assert_eq!(running - before, 7 * DAY_S);
    assert_eq!(*latest, 1_794_897_000); // Tuesday's close
    // After Friday's close the week is one row.
    let (_, body) = ask("1301.T", "range=1mo&interval=1wk");
    assert_eq!(self::times(&body["chart"]["result"][0]).last(), Some(running));
}
