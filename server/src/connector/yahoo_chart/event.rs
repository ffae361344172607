//! Events: dividends, splits, capital gains.

use chrono::DateTime;
use chrono_tz::Tz;

use super::{
    Asked,
    body::{Events, Payment, Split},
    decode::undecodable,
};
use crate::domain::{
    datum::{EventKind, StockEvent},
    request::Fault,
    spec::ChartEvent,
};

/// The asked kinds of events inside the window, by time and kind, one of a kind and day. An event is dated by its own
/// `date`: its key is the time of the bar that it falls into, which with bars longer than a day is another one.
pub(super) fn events(events: &Events, asked: &Asked, zone: Tz) -> Result<Vec<StockEvent>, Fault> {
    let mut found = Vec::new();
    for kind in &asked.events {
        match kind {
            ChartEvent::Dividends => {
                for payment in events.dividends.iter().flat_map(|map| map.values()) {
                    found.push(paid(EventKind::Dividend, payment, zone)?);
                }
            }
            ChartEvent::Splits => {
                for split in events.splits.iter().flat_map(|map| map.values()) {
                    found.push(divided(split, zone)?);
                }
            }
            ChartEvent::CapitalGains => {
                for payment in events.capital_gains.iter().flat_map(|map| map.values()) {
                    found.push(paid(EventKind::CapitalGain, payment, zone)?);
                }
            }
        }
    }
    found.retain(|event| (asked.start_s..asked.end_s).contains(&event.ts));
    // A table holds one event of a kind and day. The last keys only keep the choice the same from reply to reply.
    let order = |event: &StockEvent| (event.kind, event.date, event.ts);
    let size = |event: &StockEvent| event.amount.or(event.numerator).unwrap_or_default();
    found.sort_by(|a, b| order(b).cmp(&order(a)).then(size(b).total_cmp(&size(a))));
    found.dedup_by_key(|event| (event.kind, event.date));
    found.sort_by_key(|event| (event.ts, event.kind));
    Ok(found)
}

fn paid(kind: EventKind, payment: &Payment, zone: Tz) -> Result<StockEvent, Fault> {
    Ok(StockEvent { amount: Some(payment.amount), ..bare(kind, payment.date, zone)? })
}

fn divided(split: &Split, zone: Tz) -> Result<StockEvent, Fault> {
    let Split { date, numerator, denominator } = *split;
    if numerator <= 0.0 || denominator <= 0.0 {
        return Err(undecodable(&format!("a split at {date} of {numerator} for {denominator}")));
    }
    Ok(StockEvent {
        numerator: Some(numerator),
        denominator: Some(denominator),
        ..bare(EventKind::Split, date, zone)?
    })
}

fn bare(kind: EventKind, ts: i64, zone: Tz) -> Result<StockEvent, Fault> {
    let time = DateTime::from_timestamp(ts, 0);
    let time = time.ok_or_else(|| undecodable(&format!("event date {ts} is no time")))?;
    let date = time.with_timezone(&zone).date_naive();
    Ok(StockEvent { kind, date, ts, amount: None, numerator: None, denominator: None })
}
