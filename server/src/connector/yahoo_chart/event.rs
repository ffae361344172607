//! Events: dividends, splits, capital gains.

use std::cmp::Ordering;

use chrono::{DateTime, NaiveDate};
use chrono_tz::Tz;

use super::{
    Asked,
    body::{Entries, Events, Payment, Split, Whole},
    decode::undecodable,
};
use crate::domain::{
    datum::{EventKind, LeftOut, StockEvent},
    request::Fault,
    spec::ChartEvent,
};

/// The asked kinds of events inside the window, by time and kind, one of a kind and day. Left out, and counted, are also
/// those that say nothing: they are no reason to lose the bars beside them. An event is dated by its own
/// `date`: its key is the time of the bar that it falls into, which with bars longer than a day is another one.
pub(super) fn events(
    events: &Events,
    asked: &Asked,
    zone: Tz,
    left_out: &mut LeftOut,
) -> Result<Vec<StockEvent>, Fault> {
    let mut found = Vec::new();
    let mut add = |date: Option<Whole>, event: &dyn Fn(NaiveDate, i64) -> Option<StockEvent>| {
        match date {
            Some(Whole(ts)) if !asked.covers(ts) => left_out.outside_events += 1,
            Some(Whole(ts)) => match event(day(ts, zone)?, ts) {
                Some(event) => found.push(event),
                None => left_out.void_events += 1,
            },
            None => left_out.void_events += 1,
        }
        Ok(())
    };
    for kind in &asked.events {
        match kind {
            ChartEvent::Dividends => {
                for payment in entries(events.dividends.as_ref()) {
                    add(payment.date, &|date, ts| paid(EventKind::Dividend, payment, date, ts))?;
                }
            }
            ChartEvent::Splits => {
                for split in entries(events.splits.as_ref()) {
                    add(split.date, &|date, ts| divided(split, date, ts))?;
                }
            }
            ChartEvent::CapitalGains => {
                for payment in entries(events.capital_gains.as_ref()) {
                    add(payment.date, &|date, ts| paid(EventKind::CapitalGain, payment, date, ts))?;
                }
            }
        }
    }
    let sizes = |event: &StockEvent| {
        [event.amount, event.numerator, event.denominator].map(Option::unwrap_or_default)
    };
    found.sort_by(|a, b| {
        let [a_sizes, b_sizes] = [a, b].map(sizes);
        let by_size = a_sizes.iter().zip(&b_sizes).map(|(a, b)| a.total_cmp(b)).find(|order| order.is_ne());
        (a.kind, a.date, a.ts).cmp(&(b.kind, b.date, b.ts)).then(by_size.unwrap_or(Ordering::Equal))
    });
    let all = found.len();
    // The same event told twice is one.
    found.dedup();
    found.dedup_by(|event, kept| {
        let is_of_the_day = (event.kind, event.date) == (kept.kind, kept.date);
        if is_of_the_day {
            join(kept, event);
        }
        is_of_the_day
    });
    left_out.merged_events = all - found.len();
    found.sort_by_key(|event| (event.ts, event.kind));
    Ok(found)
}

/// A table holds one event of a kind and day. Whoever held a share had all of them: an ordinary and a special dividend
/// are paid both, two splits come one upon the other.
fn join(kept: &mut StockEvent, event: &StockEvent) {
    let both = |a: Option<f64>, b: Option<f64>, of: fn(f64, f64) -> f64| a.zip(b).map(|(a, b)| of(a, b));
    kept.amount = both(kept.amount, event.amount, |a, b| a + b);
    kept.numerator = both(kept.numerator, event.numerator, |a, b| a * b);
    kept.denominator = both(kept.denominator, event.denominator, |a, b| a * b);
}

fn entries<T>(entries: Option<&Entries<T>>) -> impl Iterator<Item = &T> {
    entries.into_iter().flat_map(|entries| &entries.0)
}

fn paid(kind: EventKind, payment: &Payment, date: NaiveDate, ts: i64) -> Option<StockEvent> {
    Some(StockEvent { kind, date, ts, amount: Some(payment.amount?), numerator: None, denominator: None })
}

fn divided(split: &Split, date: NaiveDate, ts: i64) -> Option<StockEvent> {
    let [numerator, denominator] =
        [split.numerator, split.denominator].map(|shares| shares.filter(|shares| *shares > 0.0));
    numerator.zip(denominator).map(|_| StockEvent {
        kind: EventKind::Split,
        date,
        ts,
        amount: None,
        numerator,
        denominator,
    })
}

fn day(ts: i64, zone: Tz) -> Result<NaiveDate, Fault> {
    let time = DateTime::from_timestamp(ts, 0);
    let time = time.ok_or_else(|| undecodable(&format!("event date {ts} is no time")))?;
    Ok(time.with_timezone(&zone).date_naive())
}
