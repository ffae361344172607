//! A plan for people: how much, how long, what first, and what looks wrong.

use std::{
    io::{self, Write},
    time::Duration,
};

use chrono::{DateTime, FixedOffset};
use haul_proto::v1::{Batch, BatchSpec, Plan, conflict::Kind};

use super::{Align, Table, view};
use crate::cli::{label, number, time};

pub(super) fn render(
    batch: &Batch,
    plan: &Plan,
    now: DateTime<FixedOffset>,
    width: Option<u16>,
    out: &mut impl Write,
) -> io::Result<()> {
    let spec = batch.spec.clone().unwrap_or_default();
    writeln!(out, "A plan: nothing was started, and no item was asked for.\n")?;
    let mut table = Table::headless(&[Align::Left, Align::Left]);
    for (name, value) in [
        ("Title", spec.display_name.clone()),
        ("Source", view::source(&spec)),
        ("As of", view::as_of(&spec, now)),
        ("Overlap", view::overlap(&spec)),
        ("Priority", view::priority(&spec)),
        ("Not before", view::not_before(&spec, now)),
        ("Gives up", view::gives_up(&spec)),
        ("Items", items(plan)),
        ("Skipped", if plan.skipped_items > 0 { number::count(plan.skipped_items) } else { String::new() }),
        ("Requests", number::count(plan.requests)),
        ("Workers", if plan.requests > 0 { workers(&spec) } else { String::new() }),
        ("Shortest", shortest(plan)),
    ] {
        if !value.is_empty() {
            table.row([name.to_owned(), value]);
        }
    }
    table.write(0, width, out)?;
    upstreams(plan, width, out)?;
    if let Some(first) = plan.first_requests.first() {
        writeln!(out, "\nFirst requests")?;
        for request in &plan.first_requests {
            writeln!(out, "  {}  {} {}", request.item_key, request.method, request.url)?;
        }
        for (name, value) in &first.headers {
            writeln!(out, "  {name}: {value}")?;
        }
    }
    for (kind, told) in [
        (Kind::Skipped, "Live batches of its overlap key: it would not be made"),
        (Kind::QueuedBehind, "Live batches of its overlap key: it would wait for them"),
        (Kind::Canceled, "Live batches of its overlap key: they would be stopped"),
        (Kind::SharedUpstream, "Live batches that share the rate"),
        // Of a server that knows more.
        (Kind::Unspecified, "Live batches in its way"),
    ] {
        let conflicts = plan.conflicts.iter().filter(|conflict| conflict.kind() == kind);
        let batches: Vec<&str> = conflicts.map(|conflict| label::batch_id(&conflict.batch)).collect();
        if !batches.is_empty() {
            writeln!(out, "\n{told}\n  {}", batches.join(" "))?;
        }
    }
    if !plan.warnings.is_empty() {
        writeln!(out, "\nWarnings")?;
        for warning in &plan.warnings {
            writeln!(out, "  - {warning}")?;
        }
    }
    Ok(())
}

fn items(plan: &Plan) -> String {
    let or_more = if plan.total_is_partial { " or more" } else { "" };
    let items = format!("{}{or_more}", number::count(plan.total_items));
    if plan.duplicate_items == 0 {
        return items;
    }
    let more = if plan.duplicate_items > plan.sample_duplicate_keys.len() as i64 { " ..." } else { "" };
    let repeats = number::plural(plan.duplicate_items, "repeat", "repeats");
    format!("{items}; {repeats} of a key left out: {}{more}", plan.sample_duplicate_keys.join(" "))
}

/// `10, at most 4 attempts an item, 30s each`: the rate stands with the upstreams.
fn workers(spec: &BatchSpec) -> String {
    let fetch = spec.fetch.clone().unwrap_or_default();
    let (Some(workers), Some(attempts)) = (fetch.workers, fetch.max_attempts) else { return String::new() };
    let attempts = number::plural(attempts.into(), "attempt", "attempts");
    let each = time::wire_duration(fetch.attempt_timeout).replace(".0s", "s");
    format!("{}; at most {attempts} an item, {each} each", number::count(workers.into()))
}

/// For people, and to the second.
fn shortest(plan: &Plan) -> String {
    let floor = whole_seconds(plan.floor_duration);
    let or_more = if plan.total_is_partial { " or more" } else { "" };
    let seconds = match floor.as_secs() {
        ..60 => String::new(),
        seconds => format!(" ({} s)", number::count(seconds as i64)),
    };
    format!("{}{or_more}{seconds}", told(floor))
}

/// Rounded up: nothing is faster than the shortest.
fn whole_seconds(wire: Option<prost_types::Duration>) -> Duration {
    let floor = wire.and_then(|floor| Duration::try_from(floor).ok()).unwrap_or_default();
    Duration::from_secs(floor.as_secs() + u64::from(floor.subsec_nanos() > 0))
}

fn told(seconds: Duration) -> String {
    time::duration(seconds).replace(".0s", "s")
}

fn upstreams(plan: &Plan, width: Option<u16>, out: &mut impl Write) -> io::Result<()> {
    if plan.upstreams.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&[
        ("UPSTREAM", Align::Left),
        ("REQUESTS", Align::Right),
        ("PER SECOND", Align::Right),
        ("BURST", Align::Right),
        ("SHORTEST", Align::Right),
    ]);
    for upstream in &plan.upstreams {
        table.row([
            upstream.upstream.trim_start_matches("upstreams/").to_owned(),
            number::count(upstream.requests),
            upstream.requests_per_second.to_string(),
            number::count(upstream.burst.into()),
            told(whole_seconds(upstream.floor_duration)),
        ]);
    }
    writeln!(out)?;
    table.write(0, width, out)
}
