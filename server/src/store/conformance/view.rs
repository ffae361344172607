//! The views: whoever reads the database alone sees what the store answers.

use super::{
    fixture::{
        batch::{filed, inline},
        outcome, page, price,
        recording::Group,
    },
    harness::Harness,
};
use crate::domain::{batch::Batch, progress::percentage};

/// Batches in several states. Leases are judged by the database's own clock in views, so they run far ahead of it.
async fn batches(h: &mut Harness) -> Vec<Batch> {
    h.now = "2126-03-02T01:02:03.004Z".parse().unwrap();
    let running = h.start(inline("running", &["a", "b", "c", "d", "a"])).await;
    let slice = h.claim(&running).await;
    let group = Group::new()
        .keep(&slice)
        .add(&slice, 0, outcome::success_with(price::closes(0, &[1.0])))
        .add(&slice, 1, outcome::permanent("NOT_FOUND", 404))
        .add(&slice, 2, outcome::temporary());
    h.record(&running, group).await;

    let reading = h.start(filed("reading")).await;
    let lease = h.read_source(&reading).await;
    h.page(&reading, &lease, page::keys(&["a", "b", "c"], Some("4"))).await;

    let paused = h.start(inline("paused", &["a", "b"])).await;
    let slice = h.claim(&paused).await;
    h.record(&paused, Group::new().release(&slice).add(&slice, 0, outcome::push_back(5))).await;
    h.pause(&paused).await;

    let stopped = h.start(inline("stopped", &["a", "b", "c"])).await;
    let slice = h.claim(&stopped).await;
    h.record(&stopped, Group::new().release(&slice).add(&slice, 0, outcome::success())).await;
    h.stop(&stopped).await;

    let completed = h.start(inline("completed", &["a"])).await;
    let slice = h.claim(&completed).await;
    h.record(&completed, Group::new().keep(&slice).add(&slice, 0, outcome::permanent("GONE", 410))).await;

    let mut batches = Vec::new();
    for batch in [running, reading, paused, stopped, completed] {
        batches.push(h.read(&batch).await);
    }
    batches
}

pub(super) async fn progress_is_what_the_store_answers(mut h: Harness) {
    let batches = batches(&mut h).await;
    let seen = h
        .texts(
            "SELECT name || ' ' || status || ' ' || coalesce(pause_cause, '-') || ' ' || coalesce(end_reason, '-')
               || ' ' || total_count || ' ' || processed_count || ' ' || open_count || ' ' || successful_count || ' '
               || failed_count || ' ' || skipped_count || ' ' || canceled_count || ' ' || records_count || ' '
               || requests_count || ' ' || retried_attempts || ' ' || revision || ' '
               || CAST(round(percentage * 100) AS INTEGER) || ' ' || (CASE WHEN total_is_partial THEN 'partial' ELSE 'whole' END)
               || ' ' || create_time || ' ' || coalesce(end_time, '-') || ' ' || as_of || ' ' || zone
             FROM batch_progress ORDER BY seq",
        )
        .await;
    let rfc3339 =
        |time: chrono::DateTime<chrono::Utc>| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let expected: Vec<String> = batches
        .iter()
        .map(|batch| {
            let counts = &batch.counts;
            let hundredths =
                (percentage(counts, batch.state == crate::domain::batch::State::Completed) * 100.0).round();
            let fields = [
                batch.id.as_str().to_owned(),
                batch.state.as_str().to_owned(),
                batch.pause.as_ref().map_or("-", |pause| pause.cause.as_str()).to_owned(),
                batch.end.as_ref().map_or("-", |end| end.reason.as_str()).to_owned(),
                counts.total.to_string(),
                counts.processed().to_string(),
                counts.open().to_string(),
                counts.succeeded.to_string(),
                counts.failed.to_string(),
                counts.skipped.to_string(),
                counts.canceled.to_string(),
                counts.records.to_string(),
                counts.requests.to_string(),
                counts.retried_attempts.to_string(),
                batch.revision.to_string(),
                hundredths.to_string(),
                if batch.expanded { "whole" } else { "partial" }.to_owned(),
                rfc3339(batch.created_at),
                batch.ended_at.map_or("-".to_owned(), rfc3339),
                rfc3339(batch.spec.as_of.time),
                batch.spec.as_of.zone.name().to_owned(),
            ];
            fields.join(" ")
        })
        .collect();
    assert_eq!(seen, expected);
}

pub(super) async fn items_are_what_the_store_answers(mut h: Harness) {
    let batches = batches(&mut h).await;
    let seen = h
        .texts(
            "SELECT batch_name || ' ' || item_index || ' ' || stock_code || ' ' || status || ' ' || attempts || ' '
               || coalesce(error_class, '-') || ' ' || coalesce(error_reason, '-') || ' ' || coalesce(http_status, 0)
               || ' ' || records_inserted || ' ' || records_changed
             FROM batch_items ORDER BY batch_seq, item_index",
        )
        .await;
    let mut expected = Vec::new();
    for batch in &batches {
        for item in h.items(batch).await {
            let failure = item.failure.as_ref();
            let replied = item.reply.as_ref().map(|reply| reply.http_status);
            let fields = [
                batch.id.as_str().to_owned(),
                item.index.to_string(),
                item.key.clone(),
                item.state.as_str().to_owned(),
                item.attempts.to_string(),
                failure.map_or("-", |failure| failure.class.as_str()).to_owned(),
                failure.map_or("-", |failure| failure.reason.as_str()).to_owned(),
                failure.and_then(|failure| failure.http_status).or(replied).unwrap_or(0).to_string(),
                item.records_written.to_string(),
                item.records_changed.to_string(),
            ];
            expected.push(fields.join(" "));
        }
    }
    assert_eq!(seen, expected);
    for state in ["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELED"] {
        assert!(seen.iter().any(|item| item.contains(state)), "{state}");
    }
}
