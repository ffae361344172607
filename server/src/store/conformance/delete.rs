//! Batches that go: deleted, or past their retention.

use chrono::TimeDelta;

use super::{
    fixture::{
        batch::{inline, numbered, redecoding, requested, retrying},
        outcome, page, price,
        recording::Group,
    },
    harness::Harness,
};
use crate::{
    domain::{
        batch::{Batch, Command, State},
        etag,
        filter::{Filter, RETRIED},
        id::BatchId,
    },
    store::{CommandError, CreateError, DeleteError, ItemQuery, NewBatch, Purged},
};

const PARTS: &str = "SELECT 'item' FROM batch_execution_details UNION ALL SELECT 'slice' FROM batch_slices
  UNION ALL SELECT 'attempt' FROM item_attempts UNION ALL SELECT 'body' FROM kept_bodies
  UNION ALL SELECT 'request' FROM requests UNION ALL SELECT 'result' FROM item_results
  UNION ALL SELECT 'upload' FROM uploads UNION ALL SELECT 'chunk' FROM upload_chunks";

async fn parts(h: &Harness) -> usize {
    h.texts(PARTS).await.len()
}

/// A batch with a body, a record and a recorded attempt for each of its items.
async fn done(h: &Harness, new: NewBatch) -> Batch {
    let batch = h.start(new).await;
    loop {
        let slice = h.claim(&batch).await;
        let group = Group::new().keep(&slice).add_all(&slice, &outcome::released(None));
        h.record(&batch, group).await;
        let mut slice = slice;
        for item in &mut slice.items {
            item.recorded = 1;
        }
        let success = outcome::success_with(price::closes(0, &[1.0]));
        let group = Group::new().with_bodies().keep(&slice).add_all(&slice, &success);
        if h.record(&batch, group).await.batch.state == State::Completed {
            return h.read(&batch).await;
        }
    }
}

async fn delete(h: &Harness, batch: &Batch) {
    h.delete_batch(&batch.id, None, h.now).await.unwrap();
}

/// Purges until there is nothing more to do. Answers with the bites.
async fn purge(h: &Harness) -> Vec<u64> {
    let mut bites = Vec::new();
    loop {
        match h.purge(h.now).await.unwrap() {
            0 => return bites,
            rows => bites.push(rows),
        }
    }
}

async fn assert_gone(h: &Harness, batch: &Batch) {
    assert_eq!(h.batch(&batch.id).await.unwrap(), None);
    assert!(!h.listed().await.iter().any(|other| other.seq == batch.seq));
    let purged = Purged { id: batch.id.clone(), at: h.now };
    assert_eq!(h.purged(&batch.id).await.unwrap().as_ref(), Some(&purged));
    let command = h.command(&batch.id, &Command::Resume, h.now).await;
    assert!(matches!(command, Err(CommandError::Purged(told)) if told == purged));
    let again = h.delete_batch(&batch.id, None, h.now).await;
    assert!(matches!(again, Err(DeleteError::Purged(told)) if told == purged));
}

pub(super) async fn a_deleted_batch_is_gone_at_once_and_its_records_stay(h: Harness) {
    let batch = done(&h, inline("batch-a", &["a", "b"])).await;
    let other = done(&h, inline("batch-b", &["c"])).await;
    delete(&h, &batch).await;
    assert_gone(&h, &batch).await;
    assert_eq!(h.texts("SELECT name FROM batch_progress").await, ["batch-b"]);
    assert_eq!(h.texts("SELECT DISTINCT batch_name FROM batch_items").await, ["batch-b"]);
    purge(&h).await;
    assert_eq!(parts(&h).await, 6, "item, slice, two attempts, body and result of the other one");
    assert_eq!(h.read(&other).await, other);
    assert_eq!(h.texts("SELECT code FROM stock_prices ORDER BY 1").await, ["a", "b", "c"]);
}

pub(super) async fn what_it_had_goes_in_bites(h: Harness) {
    let batch = done(&h, numbered("batch-a", 700)).await;
    let rows = parts(&h).await;
    assert!(rows > 2_100);
    delete(&h, &batch).await;
    assert_eq!(parts(&h).await, rows, "the answer does not wait for them");
    let bites = purge(&h).await;
    assert!(bites.iter().all(|rows| *rows <= 500), "{bites:?}");
    assert_eq!((bites.iter().sum::<u64>(), parts(&h).await), (rows as u64 + 1, 0));
}

pub(super) async fn a_batch_goes_when_its_retention_ends(mut h: Harness) {
    let retained = |id: &str| {
        let mut new = inline(id, &["a"]);
        new.spec.retention = std::time::Duration::from_secs(5_000);
        new
    };
    let live = h.start(retained("live")).await;
    let batch = done(&h, retained("batch-a")).await;
    assert_eq!(batch.purge_at, Some(h.after(5_000)));
    h.pass(4_999);
    purge(&h).await;
    assert_eq!(h.read(&batch).await, batch);
    h.pass(1);
    purge(&h).await;
    assert_gone(&h, &batch).await;
    assert_eq!(h.read(&live).await.purge_at, None);
}

pub(super) async fn a_parent_outlives_its_children(mut h: Harness) {
    let parent = done(&h, inline("parent", &["a"])).await;
    let child = h.start(redecoding("child", &parent)).await;
    let refused = h.delete_batch(&parent.id, None, h.now).await;
    assert!(matches!(refused, Err(DeleteError::NotTerminal { id, state: State::Running }) if id == child.id));
    h.now += TimeDelta::days(31);
    purge(&h).await;
    h.read(&parent).await;
    let child = h.stop(&child).await;
    purge(&h).await;
    assert_gone(&h, &parent).await;
    assert_eq!(h.read(&child).await.parent(), Some(&parent.id), "it still says what it was made from");
}

pub(super) async fn no_child_is_made_of_a_batch_that_is_gone(mut h: Harness) {
    let parent = done(&h, inline("parent", &["a"])).await;
    // Both were read before.
    let children = [redecoding("child", &parent), retrying("child", &parent, "")];
    delete(&h, &parent).await;
    let gone = Purged { id: parent.id.clone(), at: h.now };
    for child in &children {
        let refused = h.create_batch(child.clone(), h.now).await;
        assert!(matches!(refused, Err(CreateError::ParentPurged(told)) if told == gone), "{:?}", child.kind);
        let refused = h.check_batch(child, h.now).await;
        assert!(matches!(refused, Err(CreateError::ParentPurged(_))), "{:?}", child.kind);
    }
    h.now += TimeDelta::days(31);
    purge(&h).await;
    for child in children {
        let refused = h.create_batch(child, h.now).await;
        assert!(matches!(refused, Err(CreateError::NoParent(id)) if id == parent.id), "nobody remembers it");
    }
}

pub(super) async fn a_retry_finds_its_parents_items_until_it_has_ended(mut h: Harness) {
    let parent = h.start(inline("parent", &["a", "b"])).await;
    let parent = h.stop(&parent).await;
    let child = h.start(retrying("child", &parent, RETRIED)).await;
    let lease = h.read_source(&child).await;
    h.page(&child, &lease, page::keys(&["a"], Some("1"))).await;
    let child = h.pause(&child).await;
    h.now += TimeDelta::days(365);
    purge(&h).await;
    let rest = ItemQuery { filter: Filter::retried(RETRIED).unwrap(), from: 1, limit: 10 };
    let rest = h.list_items(parent.seq, &rest, h.now).await.unwrap();
    assert_eq!(
        rest.iter().map(|item| item.key.as_str()).collect::<Vec<_>>(),
        ["b"],
        "it reads on where it was"
    );
    assert_eq!(h.read(&parent).await, parent);

    let child = h.stop(&child).await;
    let grandchild = h.start(retrying("grandchild", &child, RETRIED)).await;
    h.now += TimeDelta::days(365);
    purge(&h).await;
    assert_gone(&h, &parent).await;
    assert_eq!(h.read(&child).await, child, "who has a live child stays, and nobody before him");
    assert_eq!(h.read(&grandchild).await.parent(), Some(&child.id));
}

pub(super) async fn a_clock_that_is_set_back_ends_no_retention_early(mut h: Harness) {
    let before = done(&h, inline("before", &["a"])).await;
    let true_time = h.now;
    h.now -= TimeDelta::days(400);
    let meanwhile = done(&h, inline("meanwhile", &["b"])).await;
    assert_eq!(meanwhile.purge_at, Some(h.now + TimeDelta::days(30)), "by the clock that there is");
    h.now += TimeDelta::days(30) - TimeDelta::seconds(1);
    purge(&h).await;
    h.read(&meanwhile).await;
    h.pass(1);
    purge(&h).await;
    assert_gone(&h, &meanwhile).await;
    h.now = true_time + TimeDelta::days(30) - TimeDelta::seconds(1);
    purge(&h).await;
    h.read(&before).await;
    h.pass(1);
    purge(&h).await;
    assert_gone(&h, &before).await;
}

pub(super) async fn only_what_has_ended_and_is_as_it_was_read_is_deleted(h: Harness) {
    let batch = h.start(inline("batch-a", &["a"])).await;
    let slice = h.claim(&batch).await;
    let etag = etag::of(&batch);
    let refused = h.delete_batch(&batch.id, Some(&etag), h.now).await;
    assert!(matches!(refused, Err(DeleteError::NotTerminal { state: State::Running, .. })));
    h.record(&batch, Group::new().keep(&slice).add(&slice, 0, outcome::push_back(0))).await;
    assert_eq!(etag::of(&h.read(&batch).await), etag, "progress does not change it");
    let stopped = h.stop(&batch).await;
    assert_ne!(etag::of(&stopped), etag);
    let refused = h.delete_batch(&batch.id, Some(&etag), h.now).await;
    let current = etag::of(&stopped);
    assert!(
        matches!(refused, Err(DeleteError::EtagMismatch { batch }) if etag::of(&batch) == current && batch.state == State::Stopping)
    );
    let stopped = h.record(&batch, Group::new().release(&slice)).await.batch;
    h.delete_batch(&batch.id, Some(&etag::of(&stopped)), h.now).await.unwrap();
    assert_gone(&h, &batch).await;
    let unknown = BatchId::chosen("unknown").unwrap();
    let refused = h.delete_batch(&unknown, None, h.now).await;
    assert!(matches!(refused, Err(DeleteError::NotFound(id)) if id == unknown));
}

pub(super) async fn a_name_is_free_again_and_its_request_ids_too(mut h: Harness) {
    let new = |h: &Harness| requested(inline("batch-a", &["a"]), "request", 1, h.after(1_000));
    let first = done(&h, new(&h)).await;
    let last = h.read(&first).await.revision;
    delete(&h, &first).await;
    h.pass(1);
    let second = h.start(new(&h)).await;
    assert!(second.seq > first.seq, "a number is used once");
    assert!(second.revision > last, "whoever knew the first one is told of the second");
    assert_eq!(h.read(&second).await.counts.open(), 1);
    purge(&h).await;
    assert_eq!(h.read(&second).await, second);
    let second = h.stop(&second).await;
    delete(&h, &second).await;
    assert_gone(&h, &second).await;
}

pub(super) async fn what_is_gone_is_known_for_a_month(mut h: Harness) {
    let batch = done(&h, inline("batch-a", &["a"])).await;
    delete(&h, &batch).await;
    purge(&h).await;
    let at = h.now;
    h.now += TimeDelta::days(30) - TimeDelta::seconds(1);
    purge(&h).await;
    assert_eq!(h.purged(&batch.id).await.unwrap(), Some(Purged { id: batch.id.clone(), at }));
    h.pass(1);
    purge(&h).await;
    assert_eq!(h.purged(&batch.id).await.unwrap(), None);
    let refused = h.command(&batch.id, &Command::Resume, h.now).await;
    assert!(matches!(refused, Err(CommandError::NotFound(id)) if id == batch.id));
}
