//! What a batch waits for as long as it is QUEUED, and which others have its overlap key. A batch does not say so itself:
//! the others are asked for.

use chrono::{DateTime, FixedOffset};
use haul_proto::v1::{Batch, BatchSpec, BatchView, ListBatchesRequest, OverlapPolicy, batch::State};

use super::{label, number, time};
use crate::{Client, Error};

/// Batches that are looked at: far more than wait anywhere.
const BATCHES_MAX: usize = 1_000;
/// Batches that are named; the rest is counted.
const NAMED_MAX: usize = 3;

/// What a batch waits for: `behind nightly-1 (RUNNING), overlap key "nightly"`, `until 2026-02-28 12:01:00 +09:00
/// (notBefore)`, `for a running slot; 100 batches have one`. Nothing of a batch that is not QUEUED, or is no more.
pub(crate) async fn waits_for(
    client: &Client,
    batch: &Batch,
    now: DateTime<FixedOffset>,
) -> Result<Option<String>, Error> {
    if batch.state() != State::Queued {
        return Ok(None);
    }
    let spec = batch.spec.clone().unwrap_or_default();
    let mut reasons = Vec::new();
    if spec.not_before.as_ref().and_then(time::instant).is_some_and(|not_before| not_before > now) {
        reasons.extend(
            time::date_time(spec.not_before.as_ref(), now).map(|time| format!("until {time} (notBefore)")),
        );
    }
    if !spec.overlap_key.is_empty() {
        let live = live_of_key(client, &spec.overlap_key).await?;
        let ahead = ahead(batch, &spec, &live);
        if !ahead.is_empty() {
            reasons.push(format!("behind {}, overlap key {:?}", named(&ahead), spec.overlap_key));
        }
    }
    if reasons.is_empty() {
        let running = list(client, "state = RUNNING OR state = PAUSING OR state = STOPPING").await?.len();
        // It may have been let in meanwhile, and then waits for nothing.
        if running > 0 && client.get_batch(&batch.name).await?.state() == State::Queued {
            let have = number::plural(running as i64, "batch has", "batches have");
            reasons.push(format!("for a running slot; {have} one"));
        }
    }
    Ok(Some(reasons.join(", and ")).filter(|told| !told.is_empty()))
}

/// Of the live batches of its key, by age, those that it waits behind: older ones, and those that have run.
fn ahead<'a>(batch: &Batch, spec: &BatchSpec, live: &'a [Batch]) -> Vec<&'a Batch> {
    if batch.start_time.is_some() || spec.overlap_policy() == OverlapPolicy::AllowAll {
        return Vec::new();
    }
    let place = live.iter().position(|other| other.name == batch.name).unwrap_or(live.len());
    let others = live.iter().enumerate().filter(|(_, other)| other.name != batch.name);
    others.filter(|(n, other)| *n < place || other.start_time.is_some()).map(|(_, other)| other).collect()
}

/// What is live under an overlap key, the oldest first.
pub(crate) async fn live_of_key(client: &Client, key: &str) -> Result<Vec<Batch>, Error> {
    let live = "state != COMPLETED AND state != FAILED AND state != STOPPED";
    list(client, &format!("overlap_key = {} AND {live}", quoted(key))).await
}

/// The batches whose place a new one has taken, some of which may still be on their way to their end.
pub(crate) async fn replaced_by(client: &Client, batch: &Batch) -> Result<Vec<Batch>, Error> {
    let spec = batch.spec.clone().unwrap_or_default();
    let Some(made) = batch.create_time.as_ref().and_then(time::instant) else { return Ok(Vec::new()) };
    if spec.overlap_policy() != OverlapPolicy::CancelOther || spec.overlap_key.is_empty() {
        return Ok(Vec::new());
    }
    let (key, made) = (quoted(&spec.overlap_key), made.to_rfc3339());
    let ended = format!("end_reason = OVERLAP_CANCEL AND (state = STOPPING OR end_time >= \"{made}\")");
    let mut replaced = list(client, &format!("overlap_key = {key} AND {ended}")).await?;
    replaced.retain(|other| other.name != batch.name);
    Ok(replaced)
}

async fn list(client: &Client, filter: &str) -> Result<Vec<Batch>, Error> {
    let request = ListBatchesRequest {
        filter: filter.to_owned(),
        order_by: "create_time".to_owned(),
        view: BatchView::Basic.into(),
        ..ListBatchesRequest::default()
    };
    client.query_batches(request, BATCHES_MAX).await
}

/// Text as a filter takes it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
}

/// `a (RUNNING)`, `a (RUNNING) and b (QUEUED)`, `a (RUNNING), b (QUEUED), c (QUEUED) and 4 more`.
pub(crate) fn named(batches: &[&Batch]) -> String {
    let mut told: Vec<String> = batches
        .iter()
        .take(NAMED_MAX)
        .map(|batch| format!("{} ({})", label::batch_id(&batch.name), label::batch_state(batch.state)))
        .collect();
    if batches.len() > NAMED_MAX {
        told.push(format!("{} more", number::count((batches.len() - NAMED_MAX) as i64)));
    }
    match told.pop() {
        Some(last) if !told.is_empty() => format!("{} and {last}", told.join(", ")),
        last => last.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    fn queued(id: &str) -> Batch {
        let spec = BatchSpec { overlap_key: "nightly".to_owned(), ..BatchSpec::default() };
        Batch {
            name: format!("batches/{id}"),
            state: State::Queued.into(),
            spec: Some(spec),
            ..Batch::default()
        }
    }

    fn running(id: &str) -> Batch {
        Batch { state: State::Running.into(), start_time: Some(Timestamp::default()), ..queued(id) }
    }

    #[test]
    fn a_batch_waits_behind_older_ones_and_those_that_have_run() {
        let live = [queued("older"), queued("it"), running("beside"), queued("younger")];
        let names = |batch: &Batch| {
            let spec = batch.spec.clone().unwrap();
            ahead(batch, &spec, &live).into_iter().map(|other| other.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(&live[1]), ["batches/older", "batches/beside"]);
        assert_eq!(names(&live[0]), ["batches/beside"]);
        assert_eq!(names(&live[2]), [""; 0], "it has run, and has the key");
        let mut beside = queued("it");
        beside.spec.as_mut().unwrap().overlap_policy = OverlapPolicy::AllowAll.into();
        assert_eq!(names(&beside), [""; 0]);
    }

    #[test]
    fn a_few_are_named_and_the_rest_counted() {
        let batches: Vec<Batch> = ["a", "b", "c", "d", "e"].map(queued).into();
        let all: Vec<&Batch> = batches.iter().collect();
        for (count, said) in [
            (0, ""),
            (1, "a (QUEUED)"),
            (2, "a (QUEUED) and b (QUEUED)"),
            (3, "a (QUEUED), b (QUEUED) and c (QUEUED)"),
            (5, "a (QUEUED), b (QUEUED), c (QUEUED) and 2 more"),
        ] {
            assert_eq!(named(&all[..count]), said);
        }
    }

    #[test]
    fn a_key_is_quoted_as_a_filter_takes_it() {
        assert_eq!(quoted(r#"a "b" \"#), r#""a \"b\" \\""#);
    }
}
