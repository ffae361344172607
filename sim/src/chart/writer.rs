//! A chart as the provider's JSON.

use super::Series;
use super::json::Json;
use super::meta;
use crate::calendar::Calendar;
use crate::market::{Bar, Event, EventKind, Quote};

/// Room for the parts that do not grow with the rows, and for each row.
const HEAD_BYTES: usize = 2_048;
const ROW_BYTES: usize = 120;

/// The whole body.
pub(super) fn body(series: &Series, bars: &[Bar], calendar: &Calendar) -> Vec<u8> {
    let mut json = Json::with_capacity(HEAD_BYTES + bars.len() * ROW_BYTES);
    json.raw(r#"{"chart":{"result":[{"meta":"#);
    meta::write(&mut json, series, bars, calendar);
    if bars.is_empty() {
        // Where no bars exist there is no timestamp either.
        json.raw(r#","indicators":{"quote":[{}],"adjclose":[{}]}}],"error":null}}"#);
        return json.into_bytes();
    }
    json.raw(r#","timestamp":"#).array(bars, |json, bar| {
        json.integer(bar.at_s);
    });
    events(&mut json, series, calendar);
    json.raw(r#","indicators":{"quote":[{"open":"#);
    prices(&mut json, bars, |quote| quote.open);
    json.raw(r#","high":"#);
    prices(&mut json, bars, |quote| quote.high);
    json.raw(r#","low":"#);
    prices(&mut json, bars, |quote| quote.low);
    json.raw(r#","close":"#);
    prices(&mut json, bars, |quote| quote.close);
    json.raw(r#","volume":"#).array(bars, |json, bar| match bar.quote {
        Some(quote) => drop(json.integer(quote.volume)),
        None => drop(json.raw("null")),
    });
    json.raw(r#"}],"adjclose":[{"adjclose":"#);
    prices(&mut json, bars, |quote| quote.adjclose);
    json.raw(r#"}]}}],"error":null}}"#);
    json.into_bytes()
}

fn prices(json: &mut Json, bars: &[Bar], column: impl Fn(&Quote) -> f32) {
    json.array(bars, |json, bar| match bar.quote {
        Some(quote) => drop(json.price(column(&quote))),
        None => drop(json.raw("null")),
    });
}

/// The events of the window that were asked for, each under its bar's time; nothing at all where there are none.
fn events(json: &mut Json, series: &Series, calendar: &Calendar) {
    let within = |event: &&Event| series.sessions.contains(&event.session);
    let of_kind = |dividends: bool| {
        let kind = move |event: &&Event| matches!(event.kind, EventKind::Dividend(_)) == dividends;
        series.view.events.iter().filter(within).filter(kind)
    };
    let dividends: Vec<Event> = of_kind(true).filter(|_| series.query.dividends).copied().collect();
    let splits: Vec<Event> = of_kind(false).filter(|_| series.query.splits).copied().collect();
    if dividends.is_empty() && splits.is_empty() {
        return;
    }
    json.raw(r#","events":{"#);
    if !dividends.is_empty() {
        json.raw(r#""dividends":"#);
        keyed(json, series, calendar, &dividends);
    }
    if !splits.is_empty() {
        json.raw(if dividends.is_empty() { "" } else { "," }).raw(r#""splits":"#);
        keyed(json, series, calendar, &splits);
    }
    json.raw("}");
}

/// Several events in one bar share its key; the last one stays.
fn keyed(json: &mut Json, series: &Series, calendar: &Calendar, events: &[Event]) {
    let key_s = |event: &Event| series.granularity().stamp_s(calendar.day(event.session));
    json.raw("{");
    let mut written = 0;
    for (i, event) in events.iter().enumerate() {
        if events.get(i + 1).is_some_and(|next| key_s(next) == key_s(event)) {
            continue;
        }
        let date_s = calendar.day(event.session).open_s();
        json.raw(if written > 0 { ",\"" } else { "\"" }).integer(key_s(event)).raw("\":");
        match event.kind {
            EventKind::Dividend(yen) => {
                json.raw(r#"{"amount":"#).number(yen).raw(r#","date":"#).integer(date_s).raw("}");
            }
            EventKind::Split(ratio) => {
                json.raw(r#"{"date":"#).integer(date_s).raw(r#","numerator":"#).integer(ratio);
                json.raw(r#","denominator":1,"splitRatio":""#).integer(ratio).raw(r#":1"}"#);
            }
        }
        written += 1;
    }
    json.raw("}");
}
