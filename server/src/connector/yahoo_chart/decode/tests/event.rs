//! Dividends, splits and capital gains.

use serde_json::{Value, json};

use super::{
    super::{
        super::fixture::{DAY, OPEN, bars, body, decoded, fortnight, meta},
        Asked,
    },
    is_undecodable,
};
use crate::domain::{datum::EventKind, spec::ChartEvent};

#[test]
fn events_are_dated_by_themselves() {
    let mut series = bars(&[OPEN]);
    series["events"] = json!({
        "dividends": {
            // The key is the bar's time.
            "1": {"amount": 12.5, "date": OPEN - DAY},
            "2": {"amount": 1, "date": OPEN - 9 * DAY},
            "3": {"amount": 1, "date": OPEN + 6 * DAY},
        },
        "splits": {"4": {"date": OPEN, "numerator": 3, "denominator": 1.0, "splitRatio": "3:1"}},
        "capitalGains": {"5": {"amount": 0.25, "date": OPEN - DAY}},
        "earnings": {"6": {}},
    });
    let history = decoded(&fortnight("1d"), 200, body(&meta(), series.clone())).unwrap();
    let found: Vec<_> = history
        .events
        .iter()
        .map(|event| (event.kind, event.date.to_string(), event.amount, event.numerator))
        .collect();
    assert_eq!(
        found,
        [
            (EventKind::Dividend, "2026-02-23".into(), Some(12.5), None),
            (EventKind::CapitalGain, "2026-02-23".into(), Some(0.25), None),
            (EventKind::Split, "2026-02-24".into(), None, Some(3.0)),
        ]
    );
    for (kind, expected) in
        [(ChartEvent::Splits, EventKind::Split), (ChartEvent::Dividends, EventKind::Dividend)]
    {
        let asked = Asked { events: vec![kind], ..fortnight("1d") };
        let history = decoded(&asked, 200, body(&meta(), series.clone())).unwrap();
        assert_eq!(history.events.iter().map(|event| event.kind).collect::<Vec<_>>(), [expected]);
    }
}

#[test]
fn an_event_that_says_nothing_is_left_out_and_the_others_stay() {
    for (numerator, denominator) in [(0, 1), (1, 0), (-2, 1), (2, -1)] {
        let split = |date: i64| {
            let mut series = bars(&[OPEN]);
            series["events"] =
                json!({"splits": {"1": {"date": date, "numerator": numerator, "denominator": denominator}}});
            decoded(&fortnight("1d"), 200, body(&meta(), series))
        };
        let history = split(OPEN).unwrap();
        assert_eq!((history.prices.len(), history.events.len(), history.left_out.void_events), (1, 0, 1));
        assert_eq!(split(OPEN - 9 * DAY).unwrap().left_out.outside_events, 1);
    }
    for (kind, event) in [
        ("splits", json!({"date": OPEN, "numerator": 2})),
        ("dividends", json!({"date": OPEN, "amount": null})),
        ("dividends", json!({"date": null, "amount": 1.5})),
        ("capitalGains", json!({"date": OPEN})),
        ("dividends", json!({})),
    ] {
        let mut series = bars(&[OPEN]);
        series["events"] = json!({
            "dividends": {"1": {"date": OPEN - DAY, "amount": 3.0}},
        });
        series["events"][kind]["2"] = event.clone();
        let history = decoded(&fortnight("1d"), 200, body(&meta(), series)).unwrap();
        let amounts: Vec<_> = history.events.iter().map(|event| event.amount).collect();
        assert_eq!((amounts, history.left_out.void_events), (vec![Some(3.0)], 1), "{kind} {event}");
        assert_eq!(history.left_out.total(), 1);
    }
}

#[test]
fn events_may_be_a_list() {
    let with_events = |events: Value| {
        let mut series = bars(&[OPEN]);
        series["events"] = events;
        decoded(&fortnight("1d"), 200, body(&meta(), series))
    };
    let history = with_events(json!({"dividends": [], "splits": {}, "capitalGains": null})).unwrap();
    assert_eq!((history.prices.len(), history.events.len(), history.left_out.total()), (1, 0, 0));
    let listed = with_events(json!({"dividends": [{"date": OPEN, "amount": 3.0}]}));
    assert_eq!(listed.unwrap().events[0].amount, Some(3.0));
    is_undecodable(
        with_events(json!({"splits": 1})),
        "splits: number `1` where an object of events should be",
    );
}

#[test]
fn events_of_a_kind_and_day_are_joined_and_one_told_twice_is_one() {
    let events = |kind: &str, events: &str| {
        let chart = body(&meta(), bars(&[OPEN]));
        // As text: a tree cannot name a member twice.
        let events = format!("\"events\":{{\"{kind}\":{{{events}}}}},\"indicators\"");
        decoded(&fortnight("1d"), 200, chart.replace("\"indicators\"", &events)).unwrap()
    };
    let paid =
        |key: i64, amount: f64, date: i64| format!("\"{key}\":{{\"amount\":{amount},\"date\":{date}}}");
    for (case, entries, amounts, merged) in [
        ("an ordinary and a special dividend", vec![paid(1, 3.0, OPEN), paid(2, 1.5, OPEN)], vec![4.5], 1),
        ("at another time of the day", vec![paid(1, 3.0, OPEN), paid(2, 3.0, OPEN + 60)], vec![6.0], 1),
        ("told twice", vec![paid(1, 3.0, OPEN), paid(2, 3.0, OPEN)], vec![3.0], 1),
        ("one key twice", vec![paid(1, 3.0, OPEN), paid(1, 1.0, OPEN)], vec![4.0], 1),
        ("all of it", vec![paid(1, 1.0, OPEN), paid(2, 2.0, OPEN), paid(3, 1.0, OPEN)], vec![3.0], 2),
        ("of two days", vec![paid(1, 3.0, OPEN - DAY), paid(2, 1.0, OPEN)], vec![3.0, 1.0], 0),
    ] {
        let history = events("dividends", &entries.join(","));
        let found: Vec<f64> = history.events.iter().filter_map(|event| event.amount).collect();
        assert_eq!((found, history.left_out.merged_events), (amounts, merged), "{case}");
    }
    let split = |key: i64, new: i64, old: i64| {
        format!("\"{key}\":{{\"date\":{OPEN},\"numerator\":{new},\"denominator\":{old}}}")
    };
    let history = events("splits", &[split(1, 3, 1), split(2, 1, 10)].join(","));
    let found: Vec<_> = history.events.iter().map(|event| (event.numerator, event.denominator)).collect();
    assert_eq!(found, [(Some(3.0), Some(10.0))]);
}
