//! Damaged replies: whatever comes, the decoder answers, and invents nothing.

use std::collections::HashMap;

use chrono::DateTime;
use serde_json::{Value, json};

use super::{
    Asked, decode,
    fixture::{DAY, OPEN, SESSION, bars, body, fortnight, meta, response},
    recorded,
};
use crate::{
    damage,
    domain::{
        datum::{EventKind, Price, PriceHistory, StockEvent},
        spec::ChartEvent,
    },
};

/// What a reply was asked for, and its body.
struct Case {
    symbol: String,
    asked: Asked,
    body: String,
}

/// Replies of our own, and the recorded ones where they are. Only the smaller ones: many are damaged a second.
fn cases() -> Vec<Case> {
    let own = |interval: &str, series: Value| {
        let mut meta = meta();
        meta["dataGranularity"] = json!(interval);
        Case { symbol: "7203.T".into(), asked: fortnight(interval), body: body(&meta, series) }
    };
    let mut week = bars(&[OPEN - 2 * DAY, OPEN - DAY, OPEN, OPEN + DAY, OPEN + SESSION]);
    week["events"] = json!({
        "dividends": {"1": {"amount": 12.5, "date": OPEN - DAY}, "2": {"amount": 2.5, "date": OPEN - DAY + 60}},
        "splits": {"3": {"date": OPEN, "numerator": 3, "denominator": 1, "splitRatio": "3:1"}},
        "capitalGains": {"4": {"amount": 0.25, "date": OPEN - DAY}},
    });
    for name in ["open", "high", "low", "close", "volume"] {
        week["indicators"]["quote"][0][name][1] = Value::Null;
    }
    let mut minutes = bars(&[OPEN, OPEN + 300, OPEN + 600, OPEN + SESSION]);
    minutes["indicators"].as_object_mut().unwrap().remove("adjclose");
    let mut cases = vec![
        own("1d", week),
        own("5m", minutes),
        own("1wk", bars(&[OPEN - 8 * DAY, OPEN - DAY, OPEN])),
        own("1d", json!({"indicators": {"quote": [{}], "adjclose": [{}]}})),
    ];
    let recorded = recorded::exchanges().into_iter().filter(|recorded| recorded.body.len() < 12_000);
    cases.extend(recorded.map(|recorded| Case {
        symbol: recorded.symbol,
        asked: recorded.asked,
        body: recorded.body,
    }));
    cases
}

#[test]
fn a_damaged_reply_is_a_fault_or_holds_nothing_that_the_body_does_not() {
    let cases = cases();
    damage::run("chart", 2_000, |damage| {
        let case = damage.one(&cases);
        let mut tree: Option<Value> = serde_json::from_str(&case.body).ok();
        if let Some(tree) = tree.as_mut().filter(|_| damage.chance(80)) {
            damage.json(tree);
        }
        let mut bytes = tree.map_or_else(|| case.body.clone(), |tree| tree.to_string()).into_bytes();
        // A damaged text may name a member twice, which a tree does not show.
        let is_tree = damage.chance(70);
        if !is_tree {
            bytes = damage.bytes(&bytes);
        }
        let status = *damage.one(&[200, 200, 200, 200, 404, 400, 422, 429, 500]);
        let result = decode::history(&case.asked, &case.symbol, &response(status, bytes.clone()));
        if let Ok(history) = result {
            let text = String::from_utf8_lossy(&bytes);
            let text = text.trim_start().trim_start_matches('\u{feff}');
            let said: Value = serde_json::from_str(text).unwrap();
            if status == 200 && said["chart"]["error"].is_null() {
                assert_told(&history, &case.asked, &said["chart"]["result"][0], is_tree);
            } else {
                assert!(history.prices.is_empty() && history.events.is_empty(), "an error with records");
            }
        }
    });
}

#[test]
fn a_body_cut_anywhere_is_no_chart() {
    for case in cases().iter().take(4) {
        for at in 0..case.body.len() {
            let cut = &case.body.as_bytes()[..at];
            let result = decode::history(&case.asked, &case.symbol, &response(200, cut));
            assert!(result.is_err(), "{}", String::from_utf8_lossy(cut));
        }
    }
}

#[test]
fn a_bomb_of_brackets_and_a_flood_of_rows_are_answered() {
    let asked = fortnight("1d");
    for bomb in ["[", "{\"a\":", "{\"chart\":[", "{\"chart\":{\"result\":[{\"unknown\":["] {
        let body = bomb.repeat(1_000_000 / bomb.len());
        assert!(decode::history(&asked, "7203.T", &response(200, body)).is_err(), "{bomb}");
    }
    let flood = body(&meta(), bars(&vec![OPEN; 200_000]));
    let history = decode::history(&asked, "7203.T", &response(200, flood)).unwrap();
    assert_eq!((history.prices.len(), history.left_out.repeated_rows), (1, 199_999));
}

/// Every record stands in the series, and every row and event of the series is a record or has a reason.
fn assert_told(history: &PriceHistory, asked: &Asked, series: &Value, is_tree: bool) {
    let times: Vec<i64> = values(&series["timestamp"]).iter().map(whole).collect();
    let mut rows: HashMap<i64, Vec<usize>> = HashMap::new();
    times.iter().enumerate().for_each(|(row, ts)| rows.entry(*ts).or_default().push(row));
    for price in &history.prices {
        let stands =
            rows.get(&price.ts).is_some_and(|rows| rows.iter().any(|row| is_row(price, series, *row)));
        assert!(stands, "{price:?} is not in the body");
        assert!((asked.start_s..asked.end_s).contains(&price.ts), "{price:?} is outside");
        let utc = DateTime::from_timestamp(price.ts, 0).unwrap().date_naive();
        assert!((price.session_date - utc).num_days().abs() <= 1, "{price:?} is of another day");
    }
    assert!(history.prices.is_sorted_by(|a, b| a.ts < b.ts), "rows of one time, or out of order");
    let left_out = history.left_out;
    let told = left_out.null_rows + left_out.outside_rows + left_out.repeated_rows;
    assert_eq!(history.prices.len() + told, times.len(), "rows without a reason: {left_out:?}");
    let kinds = asked.events.iter().map(|kind| match kind {
        ChartEvent::Dividends => (EventKind::Dividend, "dividends"),
        ChartEvent::Splits => (EventKind::Split, "splits"),
        ChartEvent::CapitalGains => (EventKind::CapitalGain, "capitalGains"),
    });
    let given: Vec<(EventKind, &Value)> = kinds
        .flat_map(|(kind, name)| {
            let entries = &series["events"][name];
            let members = entries.as_object().into_iter().flat_map(|entries| entries.values());
            members.chain(entries.as_array().into_iter().flatten()).map(move |entry| (kind, entry))
        })
        .collect();
    if is_tree {
        let told = left_out.outside_events + left_out.merged_events + left_out.void_events;
        assert_eq!(history.events.len() + told, given.len(), "events without a reason: {left_out:?}");
        for event in history.events.iter().filter(|_| left_out.merged_events == 0) {
            assert!(given.iter().any(|(kind, entry)| is_event(event, *kind, entry)), "{event:?}");
        }
    }
}

fn is_row(price: &Price, series: &Value, row: usize) -> bool {
    let quote = &series["indicators"]["quote"][0];
    let adjusted = &series["indicators"]["adjclose"][0]["adjclose"];
    let columns = [
        (&quote["open"], price.open),
        (&quote["high"], price.high),
        (&quote["low"], price.low),
        (&quote["close"], price.close),
        (adjusted, price.adj_close),
        (&quote["volume"], price.volume.map(|volume| volume as f64)),
    ];
    columns.into_iter().all(|(column, value)| column[row].as_f64() == value)
}

fn is_event(event: &StockEvent, kind: EventKind, entry: &Value) -> bool {
    let values =
        [("amount", event.amount), ("numerator", event.numerator), ("denominator", event.denominator)];
    event.kind == kind
        && entry["date"].is_number()
        && whole(&entry["date"]) == event.ts
        && values.iter().all(|(name, value)| value.is_none() || entry[name].as_f64() == *value)
}

fn values(array: &Value) -> &[Value] {
    array.as_array().map_or(&[], Vec::as_slice)
}

fn whole(number: &Value) -> i64 {
    number.as_i64().unwrap_or_else(|| number.as_f64().unwrap() as i64)
}
