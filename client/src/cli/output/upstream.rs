//! Upstreams as a table, and one as lines.

use std::io::{self, Write};

use chrono::{DateTime, FixedOffset};
use haul_proto::v1::{Upstream, breaker::State, upstream::HoldCause};

use super::{Align, Table};
use crate::cli::{label, number, time};

/// Upstreams, a line each. SET is what an operator has set, the others are what is in force.
pub(super) fn table(
    upstreams: &[Upstream],
    now: DateTime<FixedOffset>,
    width: Option<u16>,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut table = Table::new(&[
        ("UPSTREAM", Align::Left),
        ("RATE/S", Align::Right),
        ("SET", Align::Right),
        ("BURST", Align::Right),
        ("IN FLIGHT", Align::Right),
        ("WAITING", Align::Right),
        ("BATCHES", Align::Right),
        ("BREAKER", Align::Left),
        ("GATE", Align::Left),
    ]);
    for upstream in upstreams {
        table.row([
            id(upstream).to_owned(),
            rate(upstream.effective_requests_per_second),
            upstream.configured_requests_per_second.map_or_else(|| "-".to_owned(), rate),
            number::count(upstream.effective_burst.into()),
            in_flight(upstream),
            number::count(upstream.waiting_items),
            number::count(upstream.live_batches.into()),
            label::breaker_state(upstream.breaker.unwrap_or_default().state),
            gate(upstream, now),
        ]);
    }
    table.cut_last(width);
    table.write(0, width, out)
}

/// One upstream, a line per figure.
pub(super) fn lines(
    upstream: &Upstream,
    now: DateTime<FixedOffset>,
    width: Option<u16>,
    out: &mut impl Write,
) -> io::Result<()> {
    let breaker = upstream.breaker.unwrap_or_default();
    let set = [
        upstream.configured_requests_per_second.map(|set| format!("{} requests/s", rate(set))),
        upstream.configured_burst.map(|set| format!("{} at once", number::count(set.into()))),
        upstream.configured_max_in_flight.map(|set| format!("{} in flight", number::count(set.into()))),
    ];
    let set: Vec<String> = set.into_iter().flatten().collect();
    let probe = time::clock_time(breaker.next_probe_time.as_ref(), now);
    let in_a_row = |count: i32, one, many| {
        (count > 0).then(|| format!("{} in a row", number::plural(count.into(), one, many)))
    };
    let breaker = [
        Some(label::breaker_state(breaker.state)),
        probe.map(|at| format!("probe at {at}")),
        in_a_row(breaker.consecutive_failures, "failure", "failures"),
        in_a_row(breaker.consecutive_push_backs, "push-back", "push-backs"),
    ];
    let breaker: Vec<String> = breaker.into_iter().flatten().collect();
    let lines = [
        ("Name", upstream.name.clone()),
        ("Origin", upstream.origin.clone()),
        ("Set", if set.is_empty() { "nothing".to_owned() } else { set.join(", ") }),
        (
            "In force",
            format!(
                "{} requests/s, {} at once",
                rate(upstream.effective_requests_per_second),
                number::count(upstream.effective_burst.into())
            ),
        ),
        ("In flight", in_flight(upstream)),
        ("Waiting", number::count(upstream.waiting_items)),
        ("Batches", number::count(upstream.live_batches.into())),
        ("Gate", gate(upstream, now)),
        ("Held since", time::date_time(upstream.held_since.as_ref(), now).unwrap_or_default()),
        ("Breaker", breaker.join(", ")),
    ];
    let mut table = Table::headless(&[Align::Left, Align::Left]);
    for (name, value) in lines {
        if !value.is_empty() {
            table.row([name.to_owned(), value]);
        }
    }
    table.write(0, width, out)
}

/// The name without the collection.
fn id(upstream: &Upstream) -> &str {
    upstream.name.strip_prefix("upstreams/").unwrap_or(&upstream.name)
}

/// With three decimals where it is small, so that a slow one is not shown as none.
fn rate(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 1.0 {
        let text = format!("{per_second:.3}");
        return text.trim_end_matches('0').to_owned();
    }
    number::rate(per_second).trim_end_matches(".0").to_owned()
}

fn in_flight(upstream: &Upstream) -> String {
    let now = number::count(upstream.in_flight_requests.into());
    match upstream.configured_max_in_flight {
        Some(most) => format!("{now}/{}", number::count(most.into())),
        None => now,
    }
}

/// `open`, or what holds it: `held by an operator until 12:03:30: lunch`.
fn gate(upstream: &Upstream, now: DateTime<FixedOffset>) -> String {
    let until = time::clock_time(upstream.held_until.as_ref(), now);
    let until = until.map(|until| format!(" until {until}")).unwrap_or_default();
    let message = upstream.hold_message.as_str();
    match upstream.hold_cause() {
        HoldCause::Unspecified if upstream.hold_cause == 0 => "open".to_owned(),
        HoldCause::Unspecified => format!("held{until}"),
        HoldCause::RetryAfter => format!("asked to wait{until} (429)"),
        HoldCause::Breaker => {
            let breaker = upstream.breaker.unwrap_or_default();
            match time::clock_time(breaker.next_probe_time.as_ref(), now) {
                Some(at) if breaker.state() == State::Tripped => format!("down, asked again at {at}"),
                _ => "down, being asked".to_owned(),
            }
        }
        HoldCause::Operator if message.is_empty() => format!("held by an operator{until}"),
        HoldCause::Operator => format!("held by an operator{until}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_rate_is_not_none() {
        for (per_second, text) in
            [(0.0, "0"), (0.001, "0.001"), (0.5, "0.5"), (2.5, "2.5"), (5.0, "5"), (1_200.0, "1,200")]
        {
            assert_eq!(rate(per_second), text);
        }
    }
}
