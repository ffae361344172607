//! What of a resource a table shows.

use std::io::{self, Write};

use chrono::{DateTime, FixedOffset};
use haul_proto::v1::{self, Batch, Item, batch_spec::Source};

use super::{Align, Table};
use crate::cli::{label, number, progress, time};

/// One batch, a line per figure.
pub(super) fn batch(
    batch: &Batch,
    waits_for: Option<String>,
    now: DateTime<FixedOffset>,
    width: Option<u16>,
    out: &mut impl Write,
) -> io::Result<()> {
    let progress = batch.progress.clone().unwrap_or_default();
    let spec = batch.spec.clone().unwrap_or_default();
    let count = number::count;
    let [at_work, to_be_recorded] = label::in_flight(&progress);
    let open = [
        (progress.pending_items, "pending"),
        (progress.waiting_retry_items, "waiting for a retry"),
        at_work,
        to_be_recorded,
    ];
    let done = [
        (progress.succeeded_items, "succeeded"),
        (progress.failed_items, "failed"),
        (progress.skipped_items, "skipped"),
        (progress.canceled_items, "canceled"),
    ];
    let lines = [
        ("Name", batch.name.clone()),
        ("Title", spec.display_name.clone()),
        ("State", label::batch_state_with_cause(batch)),
        ("Source", source(&spec)),
        ("As of", as_of(&spec, now)),
        ("Overlap", overlap(&spec)),
        ("Priority", priority(&spec)),
        ("Not before", not_before(&spec, now)),
        ("Gives up", gives_up(&spec)),
        (
            "Progress",
            format!(
                "{} of {}{} {}, {}",
                count(progress::done(&progress)),
                count(progress.total_items),
                if progress.total_is_partial { "+" } else { "" },
                if progress.canceled_items == 0 { "final" } else { "with an outcome" },
                number::percentage(progress.percentage)
            ),
        ),
        ("Final", number::tally(&done)),
        ("Open", number::tally(&open)),
        ("Waiting", waits_for.or_else(|| progress::held_back(batch, now)).unwrap_or_default()),
        ("Records", format!("{} written", count(progress.records_written))),
        ("Created", time::date_time(batch.create_time.as_ref(), now).unwrap_or_default()),
        ("Started", time::date_time(batch.start_time.as_ref(), now).unwrap_or_default()),
        ("Ended", time::date_time(batch.end_time.as_ref(), now).unwrap_or_default()),
        ("Revision", count(batch.revision)),
    ];
    let mut table = Table::headless(&[Align::Left, Align::Left]);
    for (name, value) in lines {
        if !value.is_empty() {
            table.row([name.to_owned(), value]);
        }
    }
    table.write(0, width, out)
}

/// Batches, a line each.
pub(super) fn batches(
    batches: &[Batch],
    now: DateTime<FixedOffset>,
    width: Option<u16>,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut table = Table::new(&[
        ("BATCH", Align::Left),
        ("STATE", Align::Left),
        ("DONE", Align::Right),
        ("ITEMS", Align::Right),
        ("FAILED", Align::Right),
        ("AGE", Align::Right),
    ]);
    for batch in batches {
        let progress = batch.progress.clone().unwrap_or_default();
        table.row([
            label::batch_id(&batch.name).to_owned(),
            label::batch_state(batch.state),
            number::percentage(progress.percentage),
            format!(
                "{}{}",
                number::count(progress.total_items),
                if progress.total_is_partial { "+" } else { "" }
            ),
            number::count(progress.failed_items),
            time::age(batch.create_time.as_ref(), now),
        ]);
    }
    table.write(0, width, out)
}

/// Items, a line each.
pub(super) fn items(items: &[Item], width: Option<u16>, out: &mut impl Write) -> io::Result<()> {
    let mut table = Table::new(&[
        ("INDEX", Align::Right),
        ("KEY", Align::Left),
        ("STATE", Align::Left),
        ("ATTEMPTS", Align::Right),
        ("RECORDS", Align::Right),
        ("OUTCOME", Align::Left),
        ("MESSAGE", Align::Left),
    ]);
    for item in items {
        table.row([
            number::count(item.index),
            item.spec.as_ref().map(|spec| spec.key.clone()).unwrap_or_default(),
            label::item_state(item.state),
            number::count(item.attempt_count.into()),
            number::count(item.records_written),
            outcome(item),
            item.error.as_ref().map(|error| error.message.clone()).unwrap_or_default(),
        ]);
    }
    table.cut_last(width);
    table.write(0, width, out)
}

fn outcome(item: &Item) -> String {
    if let Some(error) = &item.error {
        return match error.http_status {
            0 => error.reason.clone(),
            status => format!("{} {status}", error.reason),
        };
    }
    if !item.skip_reason.is_empty() {
        return item.skip_reason.clone();
    }
    match &item.result {
        Some(result) => format!("{} {}", result.http_status, number::bytes(result.size_bytes)),
        None => String::new(),
    }
}

pub(super) fn source(spec: &v1::BatchSpec) -> String {
    match &spec.source {
        Some(Source::InlineItems(inline)) => {
            format!("{} in the request", number::plural(inline.item_count, "item", "items"))
        }
        Some(Source::UploadedItems(_)) => "uploaded items".to_owned(),
        Some(Source::JpxListing(listing)) if listing.list_date.is_empty() => "JPX listing".to_owned(),
        Some(Source::JpxListing(listing)) => format!("JPX listing of {}", listing.list_date),
        Some(Source::File(file)) => file.uri.clone(),
        Some(Source::BatchItems(items)) if items.filter.is_empty() => {
            format!("kept bodies of {}", items.name)
        }
        Some(Source::BatchItems(items)) => format!("items of {}: {}", items.name, items.filter),
        None => String::new(),
    }
}

pub(super) fn overlap(spec: &v1::BatchSpec) -> String {
    match spec.overlap_key.as_str() {
        "" => String::new(),
        key => format!("{key}, {}", label::overlap_policy(spec.overlap_policy)),
    }
}

pub(super) fn priority(spec: &v1::BatchSpec) -> String {
    if spec.priority == 0 { String::new() } else { spec.priority.to_string() }
}

pub(super) fn not_before(spec: &v1::BatchSpec, now: DateTime<FixedOffset>) -> String {
    time::date_time(spec.not_before.as_ref(), now).unwrap_or_default()
}

/// When it ends though items are open: `after 2h 00m, above 10 failed items, above 5.00% failed of 100 or more`.
pub(super) fn gives_up(spec: &v1::BatchSpec) -> String {
    let failure = spec.failure.unwrap_or_default();
    let after = spec.max_duration.map(|time| format!("after {}", time::wire_duration(Some(time))));
    let items = failure.max_failed_items.map(|most| {
        let items = number::plural(most, "failed item", "failed items");
        format!("above {items}")
    });
    let ratio = failure.max_failed_ratio.map(|most| {
        let least = number::count(failure.min_processed_items.unwrap_or_default());
        format!("above {} failed of {least} or more", number::percentage(most * 100.0))
    });
    [after, items, ratio].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

pub(super) fn as_of(spec: &v1::BatchSpec, now: DateTime<FixedOffset>) -> String {
    let Some(as_of) = &spec.as_of else {
        return String::new();
    };
    let moment = match &as_of.moment {
        Some(v1::as_of::Moment::Date(date)) => Some(date.clone()),
        Some(v1::as_of::Moment::Time(time)) => match as_of.time_zone.parse() {
            Ok(zone) => time::logical(time, zone),
            // A zone that this client does not know.
            Err(_) => time::date_time(Some(time), now),
        },
        None => None,
    };
    match moment {
        Some(moment) if as_of.time_zone.is_empty() => moment,
        Some(moment) => format!("{moment} ({})", as_of.time_zone),
        None => String::new(),
    }
}
