//! A table for each rule, over replies made up here.

use chrono::NaiveDate;
use serde_json::{Value, json};

use super::super::fixture::{DAY, OPEN, SESSION, asked, bars, body, decoded, error, fortnight, meta};
use crate::domain::{datum::PriceHistory, request::Fault};

mod event;

fn times(history: &PriceHistory) -> Vec<i64> {
    history.prices.iter().map(|price| price.ts).collect()
}

fn with(mut value: Value, pointer: &str, new: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = value.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(values) => values[name.parse::<usize>().unwrap()] = new,
        parent => parent[name] = new,
    }
    value
}

fn without(mut value: Value, pointer: &str) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    value.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
    value
}

fn is_undecodable(fault: Result<PriceHistory, Fault>, what: &str) {
    match fault {
        Err(Fault::Undecodable(said)) if said.contains(what) => {}
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn a_chart_becomes_rows() {
    let history = decoded(&fortnight("1d"), 200, body(&meta(), bars(&[OPEN - DAY, OPEN]))).unwrap();
    assert_eq!((history.symbol.as_str(), history.interval.as_str()), ("7203.T", "1d"));
    assert_eq!(history.currency.as_deref(), Some("JPY"));
    let last = &history.prices[1];
    assert_eq!(last.session_date, NaiveDate::from_ymd_opt(2026, 2, 24).unwrap());
    assert_eq!(
        (last.open, last.high, last.low, last.close),
        (Some(101.0), Some(201.0), Some(51.0), Some(151.0))
    );
    assert_eq!((last.adj_close, last.volume, last.provisional), (Some(141.0), Some(1_000), false));
}

#[test]
fn the_status_and_the_error_object_decide_together() {
    let not_found = error("Not Found", "No data found, symbol may be delisted");
    let no_start = error("Bad Request", "Data doesn't exist for startDate = 1, endDate = 2");
    let refused = error("Bad Request", "Invalid input");
    let too_old = error("Unprocessable Entity", "5m data not available");
    let gone = || Err(Fault::NotFound("No data found, symbol may be delisted".into()));
    let words = |words: &str| Err(Fault::Refused(words.into()));
    let empty =
        || Ok(PriceHistory { symbol: "7203.T".into(), interval: "1d".into(), ..PriceHistory::default() });
    for (status, body, expected) in [
        (404, not_found.as_str(), gone()),
        (200, &not_found, gone()),
        (400, &no_start, empty()),
        (422, &no_start, empty()),
        (200, &no_start, empty()),
        (400, &refused, words("Invalid input")),
        (422, &too_old, words("5m data not available")),
        (200, &too_old, words("5m data not available")),
        // Whatever a server in trouble says of the symbol, it may be wrong.
        (500, &not_found, Err(Fault::Status)),
        (503, &no_start, Err(Fault::Status)),
        (502, &refused, Err(Fault::Status)),
        (429, &not_found, Err(Fault::Status)),
        (401, &error("Unauthorized", "no"), Err(Fault::Status)),
        (404, &refused, Err(Fault::Status)),
        (404, "{\"chart\":{}}", Err(Fault::Status)),
        (404, "<html>", Err(Fault::Status)),
        (429, "Edge: Too Many Requests", Err(Fault::Status)),
        (500, "", Err(Fault::Status)),
        (302, "", Err(Fault::Status)),
        (401, "{\"finance\":{\"error\":{\"code\":\"Unauthorized\"}}}", Err(Fault::Status)),
        (200, "\u{feff} \r\n<!DOCTYPE html>", Err(Fault::HtmlPage)),
        (200, "<html>Will be right back", Err(Fault::HtmlPage)),
    ] {
        assert_eq!(decoded(&fortnight("1d"), status, body), expected, "{status} {body}");
    }
    // A success that holds an error of the upstream's own, an error of its gate, and a chart beside an error.
    let gate = "{\"finance\":{\"result\":null,\"error\":{\"code\":\"Unauthorized\",\"description\":\"Invalid Crumb\"}}}";
    let both = body(&meta(), bars(&[OPEN])).replace("\"error\":null", "\"error\":{\"code\":\"Not Found\"}");
    for (body, what) in [
        (error("Internal Server Error", "upstream"), "Internal Server Error"),
        (gate.into(), "Invalid Crumb"),
        (both, "chart.result and chart.error"),
    ] {
        let trouble = decoded(&fortnight("1d"), 200, body);
        assert!(matches!(&trouble, Err(Fault::Garbage(said)) if said.contains(what)), "{trouble:?}");
    }
}

#[test]
fn a_body_that_is_no_json_is_garbage_and_one_of_another_shape_undecodable() {
    let whole = body(&meta(), bars(&[OPEN]));
    for garbage in
        ["", " ", "Too Many Requests\r\n", "{\"chart\":", &whole[..whole.len() / 2], "{}x", "\u{1}"]
    {
        let fault = decoded(&fortnight("1d"), 200, garbage);
        assert!(matches!(fault, Err(Fault::Garbage(_))), "{garbage:?}: {fault:?}");
    }
    assert!(matches!(decoded(&fortnight("1d"), 200, *b"\xff\xfe{}"), Err(Fault::Garbage(_))));
    for (shape, what) in [
        ("{}", "no chart"),
        ("[]", "missing"),
        ("{\"chart\":{\"result\":null,\"error\":null}}", "empty"),
        ("{\"chart\":{\"result\":[],\"error\":null}}", "empty"),
        ("{\"chart\":{\"result\":[{}]}}", "meta"),
        ("{\"chart\":{\"result\":{}}}", "a list should be"),
    ] {
        let fault = decoded(&fortnight("1d"), 200, shape);
        assert!(matches!(fault, Err(Fault::Undecodable(_))), "{what}: {fault:?}");
    }
    let two = json!({"chart": {"result": [{"meta": meta()}, {"meta": meta()}]}}).to_string();
    is_undecodable(decoded(&fortnight("1d"), 200, two), "2 entries");
    assert!(decoded(&fortnight("1d"), 200, format!("\u{feff}\n{whole} ")).is_ok());
}

#[test]
fn columns_may_be_missing_but_not_of_another_length() {
    let rows = || bars(&[OPEN - DAY, OPEN]);
    for name in ["open", "high", "low", "volume"] {
        let lacking = without(rows(), &format!("/indicators/quote/0/{name}"));
        assert_eq!(decoded(&fortnight("1d"), 200, body(&meta(), lacking)).unwrap().prices.len(), 2, "{name}");
        let null = with(rows(), &format!("/indicators/quote/0/{name}"), Value::Null);
        assert!(decoded(&fortnight("1d"), 200, body(&meta(), null)).is_ok(), "{name}");
    }
    for name in ["open", "high", "low", "close", "volume"] {
        for values in [json!([]), json!([1]), json!([1, 2, 3])] {
            let uneven = with(rows(), &format!("/indicators/quote/0/{name}"), values);
            is_undecodable(decoded(&fortnight("1d"), 200, body(&meta(), uneven)), name);
        }
    }
    let uneven = with(rows(), "/indicators/adjclose/0/adjclose", json!([1]));
    is_undecodable(decoded(&fortnight("1d"), 200, body(&meta(), uneven)), "adjclose");
    for adjclose in [json!([{}]), json!([]), Value::Null] {
        let plain = body(&meta(), with(rows(), "/indicators/adjclose", adjclose));
        assert_eq!(decoded(&fortnight("1d"), 200, plain).unwrap().prices[0].adj_close, None);
    }
    is_undecodable(
        decoded(&fortnight("1d"), 200, body(&meta(), without(rows(), "/timestamp"))),
        "0 timestamps",
    );
    is_undecodable(decoded(&fortnight("1d"), 200, body(&meta(), without(rows(), "/indicators"))), "no close");
    let closeless = without(rows(), "/indicators/quote/0/close");
    is_undecodable(decoded(&fortnight("1d"), 200, body(&meta(), closeless)), "no close");
}

#[test]
fn rows_without_any_price_are_left_out() {
    let mut rows = bars(&[OPEN - 2 * DAY, OPEN - DAY, OPEN]);
    for name in ["open", "high", "low", "close"] {
        rows["indicators"]["quote"][0][name][1] = Value::Null;
    }
    // One price is enough to stay.
    for name in ["open", "high", "low"] {
        rows["indicators"]["quote"][0][name][2] = Value::Null;
    }
    rows["indicators"]["quote"][0]["volume"][2] = Value::Null;
    let history = decoded(&fortnight("1d"), 200, body(&meta(), rows)).unwrap();
    assert_eq!(times(&history), [OPEN - 2 * DAY, OPEN]);
    assert_eq!((history.prices[1].open, history.prices[1].volume), (None, None));
    assert_eq!(history.left_out.null_rows, 1);
}

#[test]
fn rows_come_in_order_and_of_one_time_the_later_one() {
    let rows = bars(&[OPEN, OPEN - 2 * DAY, OPEN - DAY, OPEN - 2 * DAY]);
    let history = decoded(&fortnight("1d"), 200, body(&meta(), rows)).unwrap();
    assert_eq!(times(&history), [OPEN - 2 * DAY, OPEN - DAY, OPEN]);
    assert_eq!(history.prices[0].close, Some(153.0));
    let twice = decoded(&fortnight("1d"), 200, body(&meta(), bars(&[OPEN, OPEN]))).unwrap();
    assert_eq!((times(&twice), twice.prices[0].close), (vec![OPEN], Some(151.0)));
}

#[test]
fn rows_outside_the_window_are_kept_out() {
    let rows = bars(&[OPEN - DAY - 1, OPEN - DAY, OPEN - 1, OPEN, OPEN + 7]);
    let history = decoded(&asked("1d", OPEN - DAY, OPEN), 200, body(&meta(), rows)).unwrap();
    assert_eq!(times(&history), [OPEN - DAY, OPEN - 1]);
    let before_1970 =
        decoded(&asked("1d", -3 * DAY, 0), 200, body(&meta(), bars(&[-2 * DAY, -DAY]))).unwrap();
    assert_eq!(times(&before_1970), [-2 * DAY, -DAY]);
    assert_eq!(before_1970.prices[0].session_date.to_string(), "1969-12-30");
}

#[test]
fn rows_of_which_none_is_inside_the_window_are_no_answer() {
    let of = |times: &[i64]| decoded(&fortnight("1d"), 200, body(&meta(), bars(times)));
    let millis = [OPEN - DAY, OPEN, OPEN + DAY].map(|ts| ts * 1_000);
    is_undecodable(
        of(&millis),
        &format!(
            "3 rows, none of them inside the window that was asked for: their times go from {} to {}, the window from {} \
             to {}",
            millis[0],
            millis[2],
            OPEN - 8 * DAY,
            OPEN + 6 * DAY
        ),
    );
    is_undecodable(of(&[OPEN - 90 * DAY, OPEN - 89 * DAY, OPEN - 88 * DAY]), "3 rows");
    // A period that began before the window, and the newest price.
    let history = of(&[OPEN - 9 * DAY, OPEN + 6 * DAY]).unwrap();
    assert_eq!((history.prices.len(), history.left_out.outside_rows), (0, 2));
    // A pause inside the window is an answer.
    let mut rows = bars(&[OPEN - 9 * DAY, OPEN, OPEN + 6 * DAY]);
    for name in ["open", "high", "low", "close"] {
        rows["indicators"]["quote"][0][name][1] = Value::Null;
    }
    let history = decoded(&fortnight("1d"), 200, body(&meta(), rows)).unwrap();
    assert_eq!((history.prices.len(), history.left_out.total()), (0, 3));
}

#[test]
fn a_volume_is_a_whole_number_however_written() {
    for (written, expected) in
        [("1e6", 1_000_000), ("1234.0", 1_234), ("0", 0), ("4294967296", 4_294_967_296)]
    {
        let body = body(&meta(), bars(&[OPEN])).replace("[1000]", &format!("[{written}]"));
        assert_eq!(
            decoded(&fortnight("1d"), 200, body).unwrap().prices[0].volume,
            Some(expected),
            "{written}"
        );
    }
    for (written, fault) in [
        ("1.5", "whole number"),
        ("\"1\"", "whole number"),
        ("1e300", "whole number"),
        ("18446744073709551615", "whole number"),
        ("-1", "a volume of -1"),
    ] {
        let body = body(&meta(), bars(&[OPEN])).replace("[1000]", &format!("[{written}]"));
        is_undecodable(decoded(&fortnight("1d"), 200, body), fault);
    }
}

#[test]
fn bars_of_another_length_are_refused() {
    for (asked, got, agree) in [
        ("1d", "1d", true),
        ("60m", "1h", true),
        ("1h", "60m", true),
        ("1d", "3mo", false),
        ("30m", "1h", false),
    ] {
        let meta = with(meta(), "/dataGranularity", json!(got));
        let fault = Fault::GranularityMismatch { asked: asked.into(), got: got.into() };
        let result =
            decoded(&fortnight(asked), 200, body(&meta, bars(&[OPEN]))).map(|history| history.interval);
        assert_eq!(result, if agree { Ok(asked.to_owned()) } else { Err(fault) });
    }
    let silent = without(meta(), "/dataGranularity");
    is_undecodable(decoded(&fortnight("1d"), 200, body(&silent, bars(&[OPEN]))), "dataGranularity");
}

#[test]
fn days_are_those_of_the_exchanges_zone() {
    // 18:00 UTC is the next day in Tokyo, the same in New York, whatever gmtoffset says.
    for (zone, day) in [("Asia/Tokyo", "2026-02-25"), ("America/New_York", "2026-02-24")] {
        let meta = with(meta(), "/exchangeTimezoneName", json!(zone));
        let history = decoded(&fortnight("1d"), 200, body(&meta, bars(&[OPEN + 18 * 3_600]))).unwrap();
        assert_eq!(history.prices[0].session_date.to_string(), day, "{zone}");
    }
    for zone in [json!("JST9"), json!(""), Value::Null] {
        let meta = with(meta(), "/exchangeTimezoneName", zone);
        is_undecodable(decoded(&fortnight("1d"), 200, body(&meta, bars(&[OPEN]))), "exchangeTimezoneName");
    }
    let far = i64::MAX - 1;
    let history = decoded(&asked("1d", 0, i64::MAX), 200, body(&meta(), bars(&[far])));
    is_undecodable(history, "no time");
}

#[test]
fn no_rows_are_an_empty_history_or_a_delisted_share() {
    let nothing = || json!({"indicators": {"quote": [{}], "adjclose": [{}]}});
    let dead = with(with(meta(), "/currency", Value::Null), "/firstTradeDate", Value::Null);
    for (meta, delisted) in [
        (meta(), false),
        (with(meta(), "/exchangeName", json!("YHD")), true),
        (dead.clone(), false),
        (without(dead.clone(), "/instrumentType"), true),
        (with(dead, "/instrumentType", json!("MUTUALFUND")), true),
    ] {
        for series in [nothing(), json!({"indicators": {"quote": []}}), json!({"timestamp": []})] {
            let result = decoded(&fortnight("1d"), 200, body(&meta, series));
            match (delisted, result) {
                (true, Err(Fault::NotFound(said))) => assert!(said.contains("delisted"), "{said}"),
                (false, Ok(history)) => assert!(history.prices.is_empty()),
                (_, other) => panic!("{meta}: {other:?}"),
            }
        }
    }
}

#[test]
fn the_running_session_is_provisional() {
    let at = |interval: &str, time: i64, start: i64, rows: &[i64]| {
        let period = json!({"start": start, "end": start + SESSION});
        let meta = with(meta(), "/currentTradingPeriod/regular", period);
        let meta = with(with(meta, "/regularMarketTime", json!(time)), "/dataGranularity", json!(interval));
        let months = asked(interval, OPEN - 30 * DAY, OPEN + 30 * DAY);
        let history = decoded(&months, 200, body(&meta, bars(rows))).unwrap();
        history.prices.iter().map(|price| price.provisional).collect::<Vec<_>>()
    };
    let [monday, tuesday] = [OPEN - DAY, OPEN];
    for (case, time, start, rows, expected) in [
        ("in the session", OPEN + 60, OPEN, [monday, tuesday], [false, true]),
        ("a second before the close", OPEN + SESSION - 1, OPEN, [monday, tuesday], [false, true]),
        ("at the close", OPEN + SESSION, OPEN, [monday, tuesday], [false, false]),
        (
            "the next session is current already",
            OPEN + SESSION + 9,
            OPEN + DAY,
            [monday, tuesday],
            [false, false],
        ),
        ("before the open", OPEN - DAY + SESSION, OPEN, [OPEN - 2 * DAY, monday], [false, false]),
        (
            "one trade at the open, the next session is current",
            OPEN,
            OPEN + DAY,
            [monday, tuesday],
            [false, false],
        ),
        // Its time will move to the open.
        (
            "stamped with the last trade",
            OPEN + SESSION + 1,
            OPEN,
            [monday, OPEN + SESSION + 1],
            [false, true],
        ),
    ] {
        assert_eq!(at("1d", time, start, &rows), expected, "{case}");
    }
    // 10:07:33 in bars of five minutes: the one from 10:05 and the last trade's own.
    let now = OPEN + 4_053;
    assert_eq!(at("5m", now, OPEN, &[OPEN + 3_600, OPEN + 3_900, now]), [false, true, true]);
    assert_eq!(at("5m", OPEN + SESSION, OPEN, &[OPEN + SESSION - 300, OPEN + SESSION]), [false, false]);
    // After the close, too, a row without volume at the time of the last trade is that trade and no bar.
    let meta = with(meta(), "/dataGranularity", json!("5m"));
    let row = with(bars(&[OPEN + SESSION - 300, OPEN + SESSION]), "/indicators/quote/0/volume/1", json!(0));
    let history = decoded(&fortnight("5m"), 200, body(&meta, row)).unwrap();
    assert_eq!(history.prices.iter().map(|price| price.provisional).collect::<Vec<_>>(), [false, true]);
    // Local midnight of Mondays.
    let week = OPEN - DAY - 9 * 3_600;
    let last_week = week - 7 * DAY;
    assert_eq!(at("1wk", OPEN + 60, OPEN, &[last_week, week, OPEN + 60]), [false, true, true]);
    assert_eq!(at("1wk", OPEN + 7 * DAY, OPEN + 7 * DAY, &[week]), [false]);
    assert_eq!(at("1mo", OPEN + 60, OPEN, &[week]), [true]);
    let timeless = without(super::super::fixture::meta(), "/regularMarketTime");
    assert!(!decoded(&fortnight("1d"), 200, body(&timeless, bars(&[OPEN]))).unwrap().prices[0].provisional);
}

#[test]
fn what_cannot_be_read_is_named_in_the_words_of_the_reply() {
    let whole = body(&meta(), bars(&[OPEN]));
    for (from, to, what) in [
        ("[150.0]", "[\"x\"]", "close: string \"x\" where a number should be (line 1, column "),
        ("[150.0]", "{}", "close: an object where a list should be"),
        ("[1000]", "[1.5]", "volume: number `1.5` where a whole number should be"),
        (&format!("\"timestamp\":[{OPEN}]"), "\"timestamp\":[null]", "timestamp: null where a whole number"),
        ("\"symbol\":\"7203.T\"", "\"symbol\":7203", "symbol: number `7203` where a string should be"),
        (&whole, "{\"chart\":{\"result\":[{}]}}", "missing field `meta` (line 1, column 22)"),
        (&whole, "{\"chart\":[]}", "chart: a list where an object should be"),
        (
            &whole,
            "{\n \"chart\":\n{\"result\":[true]}}",
            "result: boolean `true` where an object should be (line 3",
        ),
    ] {
        let spoilt = whole.replace(from, to);
        assert_ne!(spoilt, whole, "{from}");
        is_undecodable(decoded(&fortnight("1d"), 200, spoilt), what);
    }
    let empty = decoded(&fortnight("1d"), 200, " \n");
    assert_eq!(empty, Err(Fault::Garbage("the body is empty".to_owned())));
}

#[test]
fn a_reply_about_another_symbol_is_never_taken_for_this_one() {
    for (symbol, is_ours) in [
        (json!("7203.T"), true),
        (json!("7203.t"), true),
        (json!(""), true),
        (Value::Null, true),
        (json!("7203"), false),
        (json!("7203.TO"), false),
        (json!("TM"), false),
    ] {
        let meta = with(meta(), "/symbol", symbol.clone());
        for series in [bars(&[OPEN]), json!({"indicators": {"quote": [{}]}}), json!({"timestamp": [1, 2]})] {
            let result = decoded(&fortnight("1d"), 200, body(&meta, series));
            let other = matches!(&result, Err(Fault::SymbolMismatch { asked, got })
                if asked == "7203.T" && Some(got.as_str()) == symbol.as_str());
            assert_eq!(other, !is_ours, "{symbol}: {result:?}");
            if let Ok(history) = result {
                assert!(history.symbol.eq_ignore_ascii_case("7203.T"));
            }
        }
    }
    let unnamed = without(meta(), "/symbol");
    assert_eq!(decoded(&fortnight("1d"), 200, body(&unnamed, bars(&[OPEN]))).unwrap().symbol, "7203.T");
}

#[test]
fn times_are_whole_numbers_however_written() {
    let written = |time: &str| {
        let chart = body(&meta(), bars(&[OPEN]))
            .replace(&format!("\"timestamp\":[{OPEN}]"), &format!("\"timestamp\":[{time}]"));
        decoded(&fortnight("1d"), 200, chart)
    };
    for whole in [OPEN.to_string(), format!("{OPEN}.0"), "1.7718912e9".to_owned()] {
        assert_eq!(times(&written(&whole).unwrap()), [OPEN], "{whole}");
    }
    for other in
        [format!("\"{OPEN}\""), format!("{OPEN}.5"), "null".to_owned(), "1e300".to_owned(), "true".to_owned()]
    {
        assert!(matches!(written(&other), Err(Fault::Undecodable(_))), "{other}");
    }
    for no_json in ["NaN", "1e999", "-", "0x1"] {
        assert!(matches!(written(no_json), Err(Fault::Garbage(_))), "{no_json}");
    }
}

#[test]
fn a_member_told_twice_is_refused_where_it_is_read_and_passed_over_elsewhere() {
    let whole = body(&meta(), bars(&[OPEN]));
    for (member, read) in
        [("\"timestamp\":[1],", true), ("\"indicators\":{},", true), ("\"extra\":1,\"extra\":2,", false)]
    {
        let doubled = whole.replace("\"indicators\"", &format!("{member}\"indicators\""));
        assert_eq!(decoded(&fortnight("1d"), 200, doubled).is_err(), read, "{member}");
    }
}
