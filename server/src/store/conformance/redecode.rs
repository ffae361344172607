//! Children that decode kept bodies anew: what they are made from, and what becomes of the rows.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{
    fixture::{
        batch::{BODIES_KEPT_S, inline, redecoding, requested},
        outcome, page, price,
        recording::Group,
    },
    harness::Harness,
};
use crate::{
    domain::{
        batch::{Batch, Kind, State},
        datum::Records,
        filter::Filter,
        id::{BatchId, BatchSeq},
        item::{self, NO_KEPT_BODY, NewItem, Outcome},
        spec::Source,
    },
    store::{CreateError, FetchedBody, ItemQuery, NewBatch, StartOutcome},
};

/// Each bar with the time of its fetch, in seconds after the first one.
const BARS: &str =
    "SELECT code || ' ' || session_date || ' ' || close || ' ' || ((fetched_at - 1772409600000) / 1000)
                    FROM stock_prices ORDER BY code, ts";
const EVENTS: &str =
    "SELECT kind || ' ' || coalesce(amount, numerator) || ' ' || ((fetched_at - 1772409600000) / 1000)
                      FROM stock_events ORDER BY kind";

/// A batch of one key that is over, and its body kept.
async fn fetched(h: &Harness, id: &str, key: &str, records: Records) -> Batch {
    let batch = h.start(inline(id, &[key])).await;
    let slice = h.claim(&batch).await;
    let group = Group::new().with_bodies().keep(&slice);
    h.record(&batch, group.add(&slice, 0, outcome::success_with(records))).await.batch
}

/// A child of it whose items are read.
async fn child(h: &Harness, id: &str, parent: &Batch) -> Batch {
    let batch = h.start(redecoding(id, parent)).await;
    let lease = h.read_source(&batch).await;
    let items = h.kept_items(parent.seq, &ItemQuery::all(0, 100)).await.unwrap();
    let items = items.into_iter().map(|item| NewItem::keyed(item.key)).collect();
    h.page(&batch, &lease, page::items(items, None)).await.batch
}

/// Decodes the only body of a batch anew, to this.
async fn redecoded(h: &Harness, id: &str, parent: &Batch, outcome: Outcome) -> item::Item {
    let batch = child(h, id, parent).await;
    let fetched_at = body_time(h, parent.seq).await;
    let slice = h.claim(&batch).await;
    let group = Group::new().redecoded(fetched_at).keep(&slice).add_unsent(&slice, 0, outcome);
    let ended = h.record(&batch, group).await.batch;
    assert_eq!((ended.state, ended.counts.bytes_received), (State::Completed, 1_000));
    h.items(&batch).await.remove(0)
}

/// The body of a batch's first item.
async fn first_body(h: &Harness, batch: BatchSeq) -> Option<FetchedBody> {
    let first = h.kept_items(batch, &ItemQuery::all(0, 1)).await.unwrap().remove(0);
    h.kept_body(batch, &first.key).await.unwrap()
}

async fn body_time(h: &Harness, batch: BatchSeq) -> DateTime<Utc> {
    first_body(h, batch).await.expect("it is kept").fetched_at
}

async fn error(h: &Harness, new: NewBatch) -> CreateError {
    h.create_batch(new, h.now).await.expect_err("refused")
}

pub(super) async fn a_child_says_what_it_was_made_from(mut h: Harness) {
    let parent = fetched(&h, "parent", "7203", price::closes(0, &[1.0])).await;
    assert_eq!((parent.kind, parent.parent()), (Kind::Fetch, None));
    assert!(h.children(parent.seq, 10).await.unwrap().is_empty());
    let first = h.start(redecoding("second-name", &parent)).await;
    assert_eq!((first.kind, first.parent()), (Kind::Redecode { parent: parent.seq }, Some(&parent.id)));
    assert!(!first.expanded);
    let second = h.start(redecoding("first-name", &parent)).await;
    h.reopen().await;
    assert_eq!(h.read(&first).await, first);
    let named = h.children(parent.seq, 10).await.unwrap();
    assert_eq!(named, [first.id.clone(), second.id], "oldest first");
    assert_eq!(h.children(parent.seq, 1).await.unwrap(), [first.id]);
    assert_eq!(h.read(&parent).await, parent, "it stays as it is");
}

pub(super) async fn a_parent_must_have_ended(h: Harness) {
    let batch = h.start(inline("parent", &["a", "b"])).await;
    let slice = h.claim(&batch).await;
    let group = Group::new().with_bodies().release(&slice);
    h.record(&batch, group.add(&slice, 0, outcome::success())).await;
    let live = error(&h, redecoding("child", &batch)).await;
    assert!(matches!(live, CreateError::ParentNotTerminal { id, state: State::Running } if id == batch.id));
    h.pause(&batch).await;
    let paused = error(&h, redecoding("child", &batch)).await;
    assert!(matches!(paused, CreateError::ParentNotTerminal { state: State::Paused, .. }));
    h.stop(&batch).await;
    h.start(redecoding("child", &batch)).await;
}

pub(super) async fn there_must_be_bodies_that_have_not_expired(mut h: Harness) {
    let bare = h.start(inline("bare", &["a"])).await;
    let slice = h.claim(&bare).await;
    h.record(&bare, Group::new().keep(&slice).add(&slice, 0, outcome::success())).await;
    let refused = error(&h, redecoding("child", &bare)).await;
    assert!(matches!(refused, CreateError::NoKeptBodies { id, origin: None } if id == bare.id));

    let parent = fetched(&h, "parent", "7203", price::closes(0, &[1.0])).await;
    h.pass(BODIES_KEPT_S - 1);
    let last = h.start(redecoding("child-1", &parent)).await;
    h.pass(1);
    let expired = error(&h, redecoding("child-2", &parent)).await;
    assert!(matches!(expired, CreateError::NoKeptBodies { origin: None, .. }), "though they are still there");
    h.stop(&last).await;
    h.purge(h.now).await.unwrap();
    assert!(matches!(error(&h, redecoding("child-2", &parent)).await, CreateError::NoKeptBodies { .. }));
}

pub(super) async fn a_child_has_no_bodies_and_says_who_has(h: Harness) {
    let parent = fetched(&h, "parent", "7203", price::closes(0, &[1.0])).await;
    let child = h.start(redecoding("child", &parent)).await;
    assert!(matches!(error(&h, redecoding("next", &child)).await, CreateError::ParentNotTerminal { .. }));
    h.stop(&child).await;
    let refused = error(&h, redecoding("next", &child)).await;
    assert!(matches!(refused, CreateError::NoKeptBodies { id, origin: Some(origin) }
        if id == child.id && origin == parent.id));
}

pub(super) async fn what_refuses_a_child_is_found_in_order(mut h: Harness) {
    const REQUEST: &str = "0d4c3a52-9b1a-4c59-8f0e-1b9b62f6c001";
    h.bound(1, 1).await;
    let parent = fetched(&h, "parent", "7203", price::closes(0, &[1.0])).await;
    let new = requested(redecoding("child", &parent), REQUEST, 1, h.after(86_400));
    let child = h.start(new.clone()).await;
    h.pass(BODIES_KEPT_S);
    // It is answered again though the bodies have expired, its name is taken and the limit is reached.
    let again = h.create_batch(new.clone(), h.now).await.unwrap();
    assert_eq!((again.outcome, again.batch), (StartOutcome::Replayed, child.clone()));
    let other = requested(new, REQUEST, 2, h.after(86_400));
    assert!(matches!(error(&h, other).await, CreateError::RequestIdReused(_)));
    assert!(matches!(error(&h, redecoding("child", &child)).await, CreateError::BatchExists(_)));
    assert!(matches!(error(&h, redecoding("next", &child)).await, CreateError::ParentNotTerminal { .. }));
    assert!(matches!(error(&h, redecoding("next", &parent)).await, CreateError::NoKeptBodies { .. }));
    h.stop(&child).await;
    let parent = fetched(&h, "parent-2", "7203", price::closes(0, &[1.0])).await;
    h.start(inline("live", &["a"])).await;
    assert!(matches!(error(&h, redecoding("next", &parent)).await, CreateError::Quota { limit: 1 }));
}

pub(super) async fn items_tell_whether_their_bodies_are_there(h: Harness) {
    let mut new = inline("parent", &["a", "b", "c"]);
    new.items.as_mut().unwrap()[1].columns = Some("{\"n\":1}".to_owned());
    let batch = h.start(new).await;
    let slice = h.claim(&batch).await;
    let group = Group::new()
        .with_bodies()
        .keep(&slice)
        .add(&slice, 0, outcome::permanent("NOT_FOUND", 404))
        .add(&slice, 1, outcome::success())
        .add(&slice, 2, outcome::permanent("NOT_FOUND", 404));
    h.record(&batch, group).await;
    let items = h.kept_items(batch.seq, &ItemQuery::all(0, 10)).await.unwrap();
    let seen: Vec<_> = items.iter().map(|item| (item.index, item.key.as_str(), item.has_body)).collect();
    assert_eq!(seen, [(0, "a", false), (1, "b", true), (2, "c", false)]);
    assert_eq!(items[1].columns.as_deref(), Some("{\"n\":1}"));
    assert_eq!(h.kept_items(batch.seq, &ItemQuery::all(1, 1)).await.unwrap(), items[1..2]);
    assert!(h.kept_items(batch.seq, &ItemQuery::all(3, 10)).await.unwrap().is_empty());
}

pub(super) async fn a_filter_narrows_what_is_decoded_and_what_there_must_be(h: Harness) {
    let batch = h.start(inline("batch-a", &["a", "b", "c", "d"])).await;
    let slice = h.claim(&batch).await;
    let group = Group::new()
        .with_bodies()
        .keep(&slice)
        .add(&slice, 0, outcome::success())
        .add(&slice, 1, outcome::permanent("NOT_FOUND", 404))
        .add(&slice, 2, outcome::success())
        .add(&slice, 3, outcome::success());
    h.record(&batch, group).await;
    let mut listed = Vec::new();
    let mut query = ItemQuery { filter: Filter::parse("key > a").unwrap(), ..ItemQuery::all(0, 2) };
    loop {
        let page = h.kept_items(batch.seq, &query).await.unwrap();
        let Some(last) = page.last() else { break };
        query.from = last.index + 1;
        listed.extend(page.into_iter().map(|item| (item.key, item.has_body)));
    }
    assert_eq!(listed, [("b", false), ("c", true), ("d", true)].map(|(key, has)| (key.to_owned(), has)));

    let narrowed = |id: &str, filter: &str| {
        let mut new = redecoding(id, &batch);
        new.spec.source =
            Source::BatchItems { batch: batch.id.clone(), filter: filter.to_owned(), again: false };
        new
    };
    let child = h.start(narrowed("child", "key >= b")).await;
    assert_eq!(*child.spec, narrowed("child", "key >= b").spec);
    let none = h.create_batch(narrowed("none", "state = FAILED"), h.now).await.unwrap_err();
    assert!(matches!(none, CreateError::NoKeptBodies { .. }), "{none}");
}

pub(super) async fn a_body_comes_back_as_it_was_kept(h: Harness) {
    let parent = fetched(&h, "parent", "7203", price::closes(0, &[1.0])).await;
    let kept = first_body(&h, parent.seq).await.unwrap();
    assert_eq!((kept.body, kept.fetched_at), (outcome::body(), h.now));
    assert_eq!(h.kept_body(parent.seq, "none").await.unwrap(), None);
}

pub(super) async fn an_item_without_a_body_is_skipped_and_says_why(h: Harness) {
    let parent = fetched(&h, "parent", "7203", price::closes(0, &[1.0])).await;
    let batch = h.start(redecoding("child", &parent)).await;
    let lease = h.read_source(&batch).await;
    let skipped = |key: &str| NewItem { skip_reason: Some(NO_KEPT_BODY), ..NewItem::keyed(key) };
    let items = vec![NewItem::keyed("a"), skipped("b"), skipped("b"), NewItem::keyed("c")];
    let expanded = h.page(&batch, &lease, page::items(items, None)).await.batch;
    let counts = expanded.counts;
    assert_eq!((counts.total, counts.skipped, counts.failed, counts.duplicates), (3, 1, 0, 1));
    let item = h.items(&batch).await.remove(1);
    assert_eq!((item.state, item.attempts, item.updated_at), (item::State::Skipped, 0, Some(h.now)));
    assert_eq!((item.skip_reason.as_deref(), item.failure), (Some("NO_KEPT_BODY"), None));
    let slice = h.claim(&batch).await;
    assert_eq!(slice.items.iter().map(|item| item.index).collect::<Vec<_>>(), [0, 2]);
    let ended = h.record(&batch, Group::new().keep(&slice).add_all(&slice, &outcome::success())).await;
    assert_eq!(ended.batch.state, State::Completed);
}

pub(super) async fn a_batch_of_skipped_items_completes(h: Harness) {
    let parent = fetched(&h, "parent", "7203", price::closes(0, &[1.0])).await;
    let batch = h.start(redecoding("child", &parent)).await;
    let lease = h.read_source(&batch).await;
    let items = vec![NewItem { skip_reason: Some(NO_KEPT_BODY), ..NewItem::keyed("a") }];
    assert_eq!(h.page(&batch, &lease, page::items(items, None)).await.batch.state, State::Completed);
}

pub(super) async fn bodies_stay_while_a_child_is_live(mut h: Harness) {
    let parent = fetched(&h, "parent", "7203", price::closes(0, &[1.0])).await;
    let other = fetched(&h, "other", "6758", price::closes(0, &[1.0])).await;
    let first = h.start(redecoding("child-1", &parent)).await;
    let second = h.start(redecoding("child-2", &parent)).await;
    h.pass(10 * BODIES_KEPT_S);
    assert_eq!(h.purge(h.now).await.unwrap(), 1, "those of the other batch");
    assert_eq!(h.purge(h.now).await.unwrap(), 0);
    assert_eq!(first_body(&h, other.seq).await, None);
    h.stop(&first).await;
    h.pause(&second).await;
    assert_eq!(h.purge(h.now).await.unwrap(), 0, "one that is paused is live");
    assert!(first_body(&h, parent.seq).await.is_some());
    h.stop(&second).await;
    assert_eq!(h.purge(h.now).await.unwrap(), 1);
    assert_eq!(first_body(&h, parent.seq).await, None);
}

pub(super) async fn rows_come_back_as_they_were_fetched(mut h: Harness) {
    let parent = fetched(&h, "parent", "7203", price::closes(0, &[15.0, 2.5])).await;
    h.pass(60);
    let mended = outcome::success_with(price::closes(0, &[1.5, 2.5, 3.5]));
    let item = redecoded(&h, "child", &parent, mended.clone()).await;
    assert_eq!((item.records_written, item.records_changed), (3, 1));
    let expected = ["7203 2026-02-24 1.5 0", "7203 2026-02-25 2.5 0", "7203 2026-02-26 3.5 0"];
    assert_eq!(h.texts(BARS).await, expected);
    h.pass(60);
    let again = redecoded(&h, "child-2", &parent, mended).await;
    assert_eq!((again.records_written, again.records_changed), (3, 0));
    assert_eq!(h.texts(BARS).await, expected);
    let writers = "SELECT DISTINCT b.name FROM stock_prices p JOIN batch_executions b ON b.seq = p.batch_seq";
    assert_eq!(h.texts(writers).await, ["child-2"]);
}

pub(super) async fn what_the_family_wrote_and_the_body_does_not_hold_goes(mut h: Harness) {
    let parent = fetched(&h, "parent", "7203", price::closes(0, &[1.5, 99.0])).await;
    h.pass(60);
    redecoded(&h, "child", &parent, outcome::success_with(price::closes(0, &[1.5, 2.5, 98.0]))).await;
    assert_eq!(h.texts(BARS).await.len(), 3);
    let item = redecoded(&h, "child-2", &parent, outcome::success_with(price::closes(0, &[1.5]))).await;
    assert_eq!((item.records_written, item.records_changed), (1, 0));
    assert_eq!(h.texts(BARS).await, ["7203 2026-02-24 1.5 0"]);
    let none = redecoded(&h, "child-3", &parent, outcome::success_with(price::closes(0, &[]))).await;
    assert_eq!((none.state, none.records_written), (item::State::Succeeded, 0));
    assert!(h.texts(BARS).await.is_empty());
}

pub(super) async fn what_a_child_wrote_that_is_gone_goes_too(mut h: Harness) {
    let mut new = inline("parent", &["7203"]);
    new.spec.retention = Duration::from_secs(100 * 86_400);
    new.spec.fetch.keep_bodies = new.spec.retention;
    let parent = h.start(new).await;
    let slice = h.claim(&parent).await;
    let fetched = outcome::success_with(price::closes(0, &[1.5]));
    let parent =
        h.record(&parent, Group::new().with_bodies().keep(&slice).add(&slice, 0, fetched)).await.batch;
    redecoded(&h, "spoilt", &parent, outcome::success_with(price::closes(0, &[1.5, 98.0]))).await;
    let spoilt = BatchId::chosen("spoilt").unwrap();
    h.delete_batch(&spoilt, None, h.now).await.unwrap();
    // Longer than anybody else's name is remembered.
    h.pass(40 * 86_400);
    while h.purge(h.now).await.unwrap() > 0 {}
    redecoded(&h, "mended", &parent, outcome::success_with(price::closes(0, &[1.5]))).await;
    assert_eq!(h.texts(BARS).await, ["7203 2026-02-24 1.5 0"]);

    assert!(h.purged(&spoilt).await.unwrap().is_some(), "it is known as long as it may matter");
    h.delete_batch(&parent.id, None, h.now).await.unwrap();
    while h.purge(h.now).await.unwrap() > 0 {}
    assert_eq!(h.purged(&spoilt).await.unwrap(), None, "with the parent it is forgotten");
}

pub(super) async fn what_others_wrote_stays(mut h: Harness) {
    fetched(&h, "before", "7203", price::closes(0, &[1.5, 2.5])).await;
    fetched(&h, "code", "6758", price::closes(0, &[9.5])).await;
    h.pass(60);
    let parent = fetched(&h, "parent", "7203", price::closes(1, &[20.0, 30.0])).await;
    h.pass(60);
    redecoded(&h, "child", &parent, outcome::success_with(price::closes(1, &[2.75]))).await;
    assert_eq!(
        h.texts(BARS).await,
        ["6758 2026-02-24 9.5 0", "7203 2026-02-24 1.5 0", "7203 2026-02-25 2.75 60"],
        "an earlier fetch's bar is overwritten as the parent should have"
    );
}

pub(super) async fn what_was_fetched_later_stays(mut h: Harness) {
    let parent = fetched(&h, "parent", "7203", price::closes(0, &[10.0, 20.0, 30.0])).await;
    h.pass(60);
    fetched(&h, "later", "7203", price::closes(1, &[2.75])).await;
    h.pass(60);
    let mended = outcome::success_with(price::closes(0, &[1.5, 2.5, 3.5]));
    let item = redecoded(&h, "child", &parent, mended).await;
    assert_eq!((item.records_written, item.records_changed), (2, 2), "what is left alone is not written");
    assert_eq!(
        h.texts(BARS).await,
        ["7203 2026-02-24 1.5 0", "7203 2026-02-25 2.75 60", "7203 2026-02-26 3.5 0"]
    );
}

pub(super) async fn a_bar_that_was_settled_later_does_not_come_back(mut h: Harness) {
    let parent = fetched(&h, "parent", "7203", price::unsettled(0, &[1.5, 2.0])).await;
    h.pass(60);
    fetched(&h, "later", "7203", price::closes(0, &[1.5, 2.5])).await;
    let settled = ["7203 2026-02-24 1.5 60", "7203 2026-02-25 2.5 60"];
    assert_eq!(h.texts(BARS).await, settled);
    let body = outcome::success_with(price::unsettled(0, &[1.5, 2.0]));
    assert_eq!(redecoded(&h, "child", &parent, body).await.records_written, 0);
    assert_eq!(h.texts(BARS).await, settled);
}

pub(super) async fn a_provisional_bar_goes_only_if_it_is_older(mut h: Harness) {
    fetched(&h, "before", "6758", price::unsettled(0, &[1.5, 2.0])).await;
    h.pass(60);
    let final_bars = || price::closes(0, &[1.5, 2.5]);
    let one = fetched(&h, "parent-1", "6758", price::closes(0, &[])).await;
    let other = fetched(&h, "parent-2", "7203", final_bars()).await;
    h.pass(60);
    fetched(&h, "later", "7203", price::unsettled(1, &[2.25])).await;
    redecoded(&h, "child-1", &one, outcome::success_with(final_bars())).await;
    redecoded(&h, "child-2", &other, outcome::success_with(final_bars())).await;
    assert_eq!(
        h.texts(BARS).await,
        [
            "6758 2026-02-24 1.5 60",
            "6758 2026-02-25 2.5 60",
            "7203 2026-02-24 1.5 60",
            "7203 2026-02-25 2.5 60",
            "7203 2026-02-25 2.25 120",
        ]
    );
}

pub(super) async fn a_bar_speaks_for_its_whole_week(mut h: Harness) {
    let weekly = |records| price::of_length("1wk", records);
    fetched(&h, "before", "6758", weekly(price::unsettled(3, &[2.0]))).await;
    h.pass(60);
    let one = fetched(&h, "parent-1", "6758", weekly(price::closes(0, &[]))).await;
    let other = fetched(&h, "parent-2", "7203", weekly(price::unsettled(3, &[2.0]))).await;
    h.pass(60);
    fetched(&h, "later", "7203", weekly(price::closes(0, &[2.5]))).await;
    let settled = outcome::success_with(weekly(price::closes(0, &[1.5])));
    assert_eq!(redecoded(&h, "child-1", &one, settled).await.records_written, 1);
    let growing = outcome::success_with(weekly(price::unsettled(3, &[2.0])));
    assert_eq!(redecoded(&h, "child-2", &other, growing).await.records_written, 0);
    assert_eq!(h.texts(BARS).await, ["6758 2026-02-24 1.5 60", "7203 2026-02-24 2.5 120"]);
}

pub(super) async fn events_follow_the_same_rules(mut h: Harness) {
    let parent = fetched(&h, "parent", "7203", price::events(125.0)).await;
    h.pass(60);
    let item = redecoded(&h, "child-1", &parent, outcome::success_with(price::events(12.5))).await;
    assert_eq!((item.records_written, item.records_changed), (2, 1));
    assert_eq!(h.texts(EVENTS).await, ["DIVIDEND 12.5 0", "SPLIT 2.5 0"]);
    redecoded(&h, "child-2", &parent, outcome::success_with(price::closes(0, &[]))).await;
    assert!(h.texts(EVENTS).await.is_empty(), "the body holds none");
    fetched(&h, "later", "7203", price::events(13.5)).await;
    let item = redecoded(&h, "child-3", &parent, outcome::success_with(price::events(12.5))).await;
    assert_eq!((item.records_written, item.records_changed), (0, 0));
    assert_eq!(h.texts(EVENTS).await, ["DIVIDEND 13.5 60", "SPLIT 2.5 60"]);
}

pub(super) async fn a_body_that_is_no_answer_takes_its_rows_along(mut h: Harness) {
    fetched(&h, "before", "7203", price::closes(0, &[1.5])).await;
    h.pass(60);
    let parent = fetched(&h, "parent", "7203", price::closes(1, &[20.0])).await;
    h.pass(60);
    fetched(&h, "later", "7203", price::closes(2, &[3.5])).await;
    let item = redecoded(&h, "child", &parent, outcome::permanent("UNDECODABLE", 200)).await;
    assert_eq!((item.state, item.failure.unwrap().reason.as_str()), (item::State::Failed, "UNDECODABLE"));
    assert_eq!(h.texts(BARS).await, ["7203 2026-02-24 1.5 0", "7203 2026-02-26 3.5 120"]);
}

pub(super) async fn a_refused_row_leaves_none(mut h: Harness) {
    let parent = fetched(&h, "parent", "7203", price::closes(0, &[15.0, 25.0])).await;
    h.pass(60);
    let item = redecoded(&h, "child", &parent, outcome::success_with(price::refused())).await;
    assert_eq!(item.failure.unwrap().reason, "ROW_REJECTED");
    assert!(h.texts(BARS).await.is_empty());
}
