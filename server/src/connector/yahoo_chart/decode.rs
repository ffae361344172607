//! From a reply to a history, or to the fault that it shows. The body is read whatever the status is: users have seen
//! the same error object with 404 and with 200.

use chrono_tz::Tz;
use serde_json::error::Category;

use super::{
    Asked, bar,
    body::{ChartError, Envelope, ErrorEnvelope, Events, Meta, Series},
    event,
    session::Session,
};
use crate::domain::{
    datum::{LeftOut, PriceHistory},
    request::{Fault, Response},
    text,
};

/// Longest piece of a body that a message quotes, in bytes.
const QUOTE_BYTES_MAX: usize = 200;

/// What a reply about `symbol` holds.
pub(super) fn history(asked: &Asked, symbol: &str, response: &Response) -> Result<PriceHistory, Fault> {
    let body = trimmed(&response.body);
    if !(200..300).contains(&response.status) {
        let envelope: Option<ErrorEnvelope> = serde_json::from_slice(body).ok();
        let error = envelope.and_then(|envelope| envelope.chart).and_then(|chart| chart.error);
        return error.map_or(Err(Fault::Status), |error| refusal(asked, symbol, response.status, &error));
    }
    if body.first() == Some(&b'<') {
        return Err(Fault::HtmlPage);
    }
    let envelope: Envelope = serde_json::from_slice(body).map_err(|error| unread(&error, body))?;
    let Some(chart) = envelope.chart else {
        let error = envelope.finance.and_then(|finance| finance.error);
        let none = || Err(undecodable("the reply has no chart"));
        return error.map_or_else(none, |error| refusal(asked, symbol, response.status, &error));
    };
    let mut results = chart.result.unwrap_or_default();
    match chart.error {
        Some(_) if !results.is_empty() => {
            return Err(Fault::Garbage(
                "chart.result and chart.error, where one excludes the other".to_owned(),
            ));
        }
        Some(error) => return refusal(asked, symbol, response.status, &error),
        None => {}
    }
    match results.pop() {
        Some(series) if results.is_empty() => read(asked, symbol, &series),
        None => Err(undecodable("chart.result is empty and chart.error too")),
        Some(_) => {
            Err(undecodable(&format!("chart.result has {} entries for one symbol", results.len() + 1)))
        }
    }
}

fn read(asked: &Asked, symbol: &str, series: &Series) -> Result<PriceHistory, Fault> {
    let meta = &series.meta;
    let named = meta.symbol.as_deref().filter(|named| !named.is_empty());
    // First of all: what is said of another symbol says nothing of this one.
    if let Some(got) = named.filter(|named| !named.eq_ignore_ascii_case(symbol)) {
        return Err(Fault::SymbolMismatch { asked: symbol.to_owned(), got: text::cut(got, 64) });
    }
    let bars = bar::Columns::of(series)?;
    let silent = bars.is_empty() && series.events.as_ref().is_none_or(Events::is_empty);
    if silent && is_delisted(meta) {
        return Err(Fault::NotFound(format!("{symbol} has no data, symbol may be delisted")));
    }
    match meta.data_granularity.as_deref() {
        Some(got) if !same_length(&asked.interval, got) => {
            return Err(Fault::GranularityMismatch {
                asked: asked.interval.clone(),
                got: text::cut(got, 64),
            });
        }
        None if !bars.is_empty() => return Err(undecodable("meta.dataGranularity is missing")),
        _ => {}
    }
    let zone = zone(meta)?;
    let session = Session::of(meta, zone, &asked.interval);
    let mut left_out = LeftOut::default();
    let prices = bars.prices(asked, &session, &mut left_out)?;
    let events = series.events.as_ref().map(|events| event::events(events, asked, zone, &mut left_out));
    Ok(PriceHistory {
        symbol: named.unwrap_or(symbol).to_owned(),
        interval: asked.interval.clone(),
        currency: meta.currency.clone().filter(|currency| !currency.is_empty()),
        prices,
        events: events.transpose()?.unwrap_or_default(),
        left_out,
    })
}

/// What an error object means. Only a status that speaks of the request is believed in its particulars: behind a 5xx or
/// a 429 the same words may be wrong a minute later.
fn refusal(asked: &Asked, symbol: &str, status: u16, error: &ChartError) -> Result<PriceHistory, Fault> {
    let code = error.code.as_deref().unwrap_or_default();
    let description = error.description.as_deref().unwrap_or_default();
    let words = text::message(if description.is_empty() { code } else { description });
    match (status, code) {
        (200..=299 | 400 | 404 | 422, "Not Found") => Err(Fault::NotFound(words)),
        // The window ends before the first trade: an answer without bars, not a failure.
        (200..=299 | 400 | 422, _) if description.starts_with("Data doesn't exist for startDate") => {
            Ok(PriceHistory {
                symbol: symbol.to_owned(),
                interval: asked.interval.clone(),
                ..PriceHistory::default()
            })
        }
        (400 | 422, _) | (200..=299, "Bad Request" | "Unprocessable Entity") => Err(Fault::Refused(words)),
        // A success that holds an error of the upstream's own. The status says nothing, so it goes as a spoilt body.
        (200..=299, _) => {
            Err(Fault::Garbage(text::message(&format!("an error in place of a chart: {code}: {words}"))))
        }
        _ => Err(Fault::Status),
    }
}

/// No bars, and either the exchange that Yahoo files dead symbols under, or a husk without currency and first trade.
/// A dead share was seen as MUTUALFUND, so that type vouches for nothing.
fn is_delisted(meta: &Meta) -> bool {
    const LIVE: [&str; 6] = ["EQUITY", "ETF", "INDEX", "CURRENCY", "CRYPTOCURRENCY", "FUTURE"];
    let live = meta.instrument_type.as_deref().is_some_and(|kind| LIVE.contains(&kind));
    meta.exchange_name.as_deref() == Some("YHD")
        || (meta.currency.is_none() && meta.first_trade_date.is_none() && !live)
}

/// `60m` is answered as `1h`.
fn same_length(asked: &str, got: &str) -> bool {
    let plain = |length| if length == "60m" { "1h" } else { length };
    plain(asked) == plain(got)
}

/// The exchange's zone. `gmtoffset` is no substitute: it is the offset at the time of the call, not of the bars.
fn zone(meta: &Meta) -> Result<Tz, Fault> {
    let name = meta.exchange_timezone_name.as_deref();
    let name = name.ok_or_else(|| undecodable("meta.exchangeTimezoneName is missing"))?;
    let unknown = || undecodable(&format!("meta.exchangeTimezoneName {:?} is unknown", text::cut(name, 64)));
    name.parse().map_err(|_| unknown())
}

fn unread(error: &serde_json::Error, body: &[u8]) -> Fault {
    if body.is_empty() {
        return Fault::Garbage("the body is empty".to_owned());
    }
    match error.classify() {
        Category::Data => undecodable(&misshapen(error, body)),
        Category::Syntax | Category::Eof | Category::Io => {
            let start = String::from_utf8_lossy(&body[..body.len().min(QUOTE_BYTES_MAX)]);
            Fault::Garbage(text::message(&format!("no JSON: {error}; the body begins with {start:?}")))
        }
    }
}

/// What is wrong with a value, in the words of JSON and not in those of the types that it is read into.
fn misshapen(error: &serde_json::Error, body: &[u8]) -> String {
    let (line, column) = (error.line(), error.column());
    let said = error.to_string();
    let said = said.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&said);
    let place = format!("(line {line}, column {column})");
    let Some((got, expected)) = said.split_once(", expected ") else {
        return format!("{said} {place}");
    };
    let got = match got.split_once(": ").map_or(got, |(_, got)| got) {
        "map" => "an object".to_owned(),
        "sequence" => "a list".to_owned(),
        // Structures are read from lists too, and then lack members.
        got if got.starts_with("invalid length") => "a list".to_owned(),
        got => text::cut(&got.replace("floating point ", "number ").replace("integer ", "number "), 64),
    };
    let expected = match expected {
        "f64" => "a number",
        "a sequence" => "a list",
        expected if expected.starts_with("struct ") => "an object",
        expected => expected,
    };
    let field = member_before(body, line, column).map_or_else(String::new, |name| format!("{name}: "));
    format!("{field}{got} where {expected} should be {place}")
}

/// The name that stands last before a place in JSON: that of the value there, or of the list that it is in.
fn member_before(body: &[u8], line: usize, column: usize) -> Option<String> {
    let lines_before: usize =
        body.split(|byte| *byte == b'\n').take(line - 1).map(|line| line.len() + 1).sum();
    let before = String::from_utf8_lossy(body.get(..lines_before + column)?);
    let name = before.rsplit_once("\":")?.0.rsplit_once('"')?.1;
    Some(text::cut(name, 64))
}

/// The body without a byte-order mark and the blanks around it.
fn trimmed(body: &[u8]) -> &[u8] {
    let body = body.trim_ascii_start();
    body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body).trim_ascii()
}

pub(super) fn undecodable(what: &str) -> Fault {
    Fault::Undecodable(text::message(what))
}

#[cfg(test)]
mod tests;
