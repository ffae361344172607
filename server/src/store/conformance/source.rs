//! Reading a source: its lease, its pages, its ends.

use super::{
    fixture::{
        batch::{filed, inline},
        list, outcome, page,
        recording::Group,
    },
    harness::{Harness, LEASE},
};
use crate::{
    domain::{
        batch::{Batch, EndReason, State},
        failure::{Failure, FailureClass},
        item::{self, NewItem},
    },
    store::{Claim, PageRead, SourceLease, SourcePage},
};

fn failed(key: &str) -> NewItem {
    let failure = Failure::new(FailureClass::Permanent, "CODE_NOT_LISTED", "not in the list");
    NewItem { failure: Some(failure), ..NewItem::keyed(key) }
}

async fn keys(h: &Harness, batch: &Batch) -> Vec<String> {
    h.items(batch).await.into_iter().map(|item| item.key).collect()
}

/// A page that nobody may count on: with the lease's number, yet without the harness's checks.
async fn late(h: &Harness, batch: &Batch, lease: &SourceLease, read: PageRead) {
    let page = SourcePage {
        batch: batch.seq,
        epoch: lease.epoch,
        read,
        requests: 1,
        bytes_received: 1,
        lease_until: h.now + LEASE,
    };
    let before = h.read(batch).await;
    let expanded = h.expand(&page, h.now).await.unwrap();
    assert!(expanded.over, "the reader learns that it is over");
    assert_eq!(expanded.batch, before);
    assert_eq!(h.read(batch).await, before);
}

pub(super) async fn pages_are_appended_and_the_last_one_ends_the_reading(mut h: Harness) {
    let batch = h.start(filed("batch-a")).await;
    assert_eq!((batch.state, batch.expanded), (State::Running, false));
    let lease = h.read_source(&batch).await;
    assert_eq!(lease.position, None);
    let first = h.page(&batch, &lease, page::keys(&["b", "a"], Some("2"))).await;
    assert!(!first.over && !first.batch.expanded);
    assert!(first.batch.revision > batch.revision);
    assert_eq!(first.batch.control_revision, batch.control_revision);
    // Its items run already.
    let slice = h.claim(&batch).await;
    assert_eq!(slice.items.len(), 2);
    h.record(&batch, Group::new().keep(&slice).add_all(&slice, &outcome::success())).await;
    assert_eq!(h.read(&batch).await.state, State::Running, "more may come");
    h.pass(25);
    assert!(!h.page(&batch, &lease, page::keys(&["c"], Some("3"))).await.over);
    h.pass(25);
    assert!(h.ask_source(&batch).await.is_none(), "a page prolongs the lease");
    let last = h.page(&batch, &lease, page::keys(&["d"], None)).await;
    assert!(last.over && last.batch.expanded);
    assert_eq!(
        (last.batch.counts.total, last.batch.counts.requests, last.batch.counts.bytes_received),
        (4, 5, 5_000)
    );
    assert_eq!(keys(&h, &batch).await, ["b", "a", "c", "d"]);
    assert!(h.ask_source(&batch).await.is_none(), "it is read");
}

pub(super) async fn one_reader_at_a_time(mut h: Harness) {
    let batch = h.start(filed("batch-a")).await;
    let lease = h.read_source(&batch).await;
    h.pass(29);
    assert!(h.ask_source(&batch).await.is_none());
    h.pass(1);
    let next = h.read_source(&batch).await;
    assert!(next.epoch > lease.epoch);
    h.page(&batch, &next, PageRead::Release).await;
    assert!(h.read_source(&batch).await.epoch > next.epoch, "given back");
}

pub(super) async fn a_stale_reader_changes_nothing(mut h: Harness) {
    let batch = h.start(filed("batch-a")).await;
    let stale = h.read_source(&batch).await;
    h.pass(30);
    let live = h.read_source(&batch).await;
    for read in [page::keys(&["x"], None), page::unreadable(), PageRead::Release] {
        late(&h, &batch, &stale, read).await;
    }
    h.page(&batch, &live, page::keys(&["a"], None)).await;
    late(&h, &batch, &live, page::keys(&["x"], None)).await;
    assert_eq!(keys(&h, &batch).await, ["a"]);
}

pub(super) async fn a_reader_given_up_resumes_at_its_position(mut h: Harness) {
    let batch = h.start(filed("batch-a")).await;
    let lease = h.read_source(&batch).await;
    h.page(&batch, &lease, page::keys(&["a"], Some("line 2"))).await;
    assert!(h.page(&batch, &lease, PageRead::Release).await.over);
    h.reopen().await;
    h.pause(&batch).await;
    h.resume(&batch).await;
    let again = h.read_source(&batch).await;
    assert_eq!(again.position.as_deref(), Some("line 2"));
    h.page(&batch, &again, page::keys(&["b"], None)).await;
    assert_eq!(keys(&h, &batch).await, ["a", "b"]);
}

pub(super) async fn keys_are_unique_across_pages(h: Harness) {
    let batch = h.start(filed("batch-a")).await;
    let lease = h.read_source(&batch).await;
    h.page(&batch, &lease, page::keys(&["a", "b", "a"], Some("2"))).await;
    let again = h.page(&batch, &lease, page::keys(&["b", "a", "b"], Some("3"))).await;
    assert_eq!((again.batch.counts.total, again.batch.counts.duplicates), (2, 4), "nothing but duplicates");
    let last = h.page(&batch, &lease, page::keys(&["b", "c"], None)).await;
    assert_eq!((last.batch.counts.total, last.batch.counts.duplicates), (3, 5));
    let slices = [h.claim(&batch).await, h.claim(&batch).await];
    assert_eq!(slices.map(|slice| slice.items.len()), [2, 1]);
    assert_eq!(h.ask(&batch).await, Claim { slice: None, ready_at: None });
}

pub(super) async fn items_that_cannot_be_fetched_fail_from_the_start(h: Harness) {
    let batch = h.start(filed("batch-a")).await;
    let lease = h.read_source(&batch).await;
    let items = vec![NewItem::keyed("a"), failed("b"), failed("b"), NewItem::keyed("c")];
    let expanded = h.page(&batch, &lease, page::items(items, None)).await.batch;
    assert_eq!((expanded.counts.total, expanded.counts.failed, expanded.counts.duplicates), (3, 1, 1));
    assert_eq!(expanded.counts.failed_items_by_class, [0, 1, 0]);
    let item = h.items(&batch).await.remove(1);
    assert_eq!((item.state, item.attempts, item.updated_at), (item::State::Failed, 0, Some(h.now)));
    assert_eq!(item.failure.unwrap().reason, "CODE_NOT_LISTED");
    let slice = h.claim(&batch).await;
    assert_eq!(slice.items.iter().map(|item| item.index).collect::<Vec<_>>(), [0, 2]);
    let ended = h.record(&batch, Group::new().keep(&slice).add_all(&slice, &outcome::success())).await;
    assert_eq!(ended.batch.state, State::Completed);
}

pub(super) async fn a_source_of_failures_alone_completes(h: Harness) {
    let batch = h.start(filed("batch-a")).await;
    let lease = h.read_source(&batch).await;
    let first = h.page(&batch, &lease, page::items(vec![failed("a")], Some("2"))).await.batch;
    assert_eq!(first.state, State::Running);
    assert_eq!(h.ask(&batch).await, Claim { slice: None, ready_at: None });
    let ended = h.page(&batch, &lease, page::items(vec![failed("b")], None)).await.batch;
    assert_eq!((ended.state, ended.counts.failed), (State::Completed, 2));
}

pub(super) async fn an_empty_source_completes(h: Harness) {
    let batch = h.start(filed("batch-a")).await;
    let lease = h.read_source(&batch).await;
    let ended = h.page(&batch, &lease, page::keys(&[], None)).await;
    assert!(ended.over);
    assert_eq!(ended.batch.state, State::Completed);
}

pub(super) async fn the_list_is_remembered(mut h: Harness) {
    let batch = h.start(filed("batch-a")).await;
    let lease = h.read_source(&batch).await;
    let version = list::version("2026-01-31", "a");
    let of_list = |keys: &[&str], next: Option<&str>, list| PageRead::Items {
        items: keys.iter().map(|key| NewItem::keyed(*key)).collect(),
        next: next.map(str::to_owned),
        list,
    };
    assert_eq!(batch.list, None);
    h.page(&batch, &lease, of_list(&["a"], Some("1"), Some(version.clone()))).await;
    h.page(&batch, &lease, of_list(&["b"], None, None)).await;
    h.reopen().await;
    assert_eq!(h.read(&batch).await.list, Some(version));
}

pub(super) async fn a_page_after_stop_is_dropped(h: Harness) {
    let batch = h.start(filed("batch-a")).await;
    let lease = h.read_source(&batch).await;
    h.page(&batch, &lease, page::keys(&["a", "b"], Some("2"))).await;
    let stopping = h.stop(&batch).await;
    assert_eq!(
        (stopping.state, stopping.counts.canceled),
        (State::Stopping, 2),
        "the reader is still at work"
    );
    let stopped = h.page(&batch, &lease, page::keys(&["c"], Some("3"))).await;
    assert!(stopped.over);
    assert_eq!((stopped.batch.state, stopped.batch.counts.total), (State::Stopped, 2));
    assert_eq!(stopped.batch.counts.requests, 2, "what was sent was sent");
    assert!(!stopped.batch.expanded, "the total stays partial");

    let batch = h.start(filed("batch-b")).await;
    let lease = h.read_source(&batch).await;
    h.stop(&batch).await;
    let stopped = h.page(&batch, &lease, page::unreadable()).await.batch;
    assert_eq!(
        (stopped.state, stopped.end.unwrap().reason),
        (State::Stopped, EndReason::UserStop),
        "its end was fixed"
    );
}

pub(super) async fn a_late_page_adds_nothing_to_a_batch_that_is_over(mut h: Harness) {
    let batch = h.start(filed("batch-a")).await;
    let lease = h.read_source(&batch).await;
    h.page(&batch, &lease, page::keys(&["a"], Some("2"))).await;
    h.pass(30);
    assert_eq!(h.stop(&batch).await.state, State::Stopped, "the lease ran out");
    for read in
        [page::keys(&["b"], Some("3")), page::keys(&["b"], None), page::unreadable(), PageRead::Release]
    {
        late(&h, &batch, &lease, read).await;
    }
}

pub(super) async fn a_late_page_adds_nothing_to_a_paused_batch(mut h: Harness) {
    let batch = h.start(filed("batch-a")).await;
    let lease = h.read_source(&batch).await;
    h.pass(30);
    assert_eq!(h.pause(&batch).await.state, State::Paused, "the lease ran out");
    for read in
        [page::keys(&["b"], Some("3")), page::keys(&["b"], None), page::unreadable(), PageRead::Release]
    {
        late(&h, &batch, &lease, read).await;
    }
    assert_eq!(h.resume(&batch).await.state, State::Running);
    late(&h, &batch, &lease, page::keys(&["b"], None)).await;
    assert_eq!(h.read_source(&batch).await.position, None);
}

pub(super) async fn an_unreadable_source_fails_the_batch(h: Harness) {
    let batch = h.start(filed("batch-a")).await;
    let lease = h.read_source(&batch).await;
    h.page(&batch, &lease, page::keys(&["a", "b"], Some("2"))).await;
    let failed = h.page(&batch, &lease, page::unreadable()).await;
    assert!(failed.over);
    let failed = failed.batch;
    assert_eq!((failed.state, failed.counts.canceled, failed.ended_at), (State::Failed, 2, Some(h.now)));
    let end = failed.end.unwrap();
    assert_eq!((end.reason, end.message.as_str()), (EndReason::SourceUnreadable, "no such file"));
    assert!(!failed.expanded);
}

pub(super) async fn an_unreadable_source_lets_leases_drain_first(h: Harness) {
    let batch = h.start(filed("batch-a")).await;
    let lease = h.read_source(&batch).await;
    h.page(&batch, &lease, page::keys(&["a", "b"], Some("2"))).await;
    let slice = h.claim(&batch).await;
    h.page(&batch, &lease, page::keys(&["c"], Some("3"))).await;
    let stopping = h.page(&batch, &lease, page::unreadable()).await.batch;
    assert_eq!((stopping.state, stopping.counts.canceled), (State::Stopping, 1));
    assert_eq!(stopping.end.as_ref().unwrap().reason, EndReason::SourceUnreadable);
    // A stop that meets it leaves the end as it is.
    assert_eq!(h.stop(&batch).await, stopping);
    let failed =
        h.record(&batch, Group::new().release(&slice).add(&slice, 0, outcome::success())).await.batch;
    assert_eq!((failed.state, failed.counts.succeeded, failed.counts.canceled), (State::Failed, 1, 2));
    assert_eq!(failed.end.unwrap().message, "no such file");
}

pub(super) async fn a_page_of_a_pausing_batch_is_kept(h: Harness) {
    let batch = h.start(filed("batch-a")).await;
    let lease = h.read_source(&batch).await;
    assert_eq!(h.pause(&batch).await.state, State::Pausing);
    let kept = h.page(&batch, &lease, page::keys(&["a"], Some("2"))).await;
    assert_eq!((kept.over, kept.batch.state, kept.batch.counts.total), (false, State::Pausing, 1));
    let paused = h.page(&batch, &lease, PageRead::Release).await;
    assert_eq!((paused.over, paused.batch.state), (true, State::Paused));
    h.resume(&batch).await;
    assert_eq!(h.read_source(&batch).await.position.as_deref(), Some("2"));

    let batch = h.start(filed("batch-b")).await;
    let lease = h.read_source(&batch).await;
    h.pause(&batch).await;
    assert_eq!(
        h.page(&batch, &lease, page::keys(&["a"], None)).await.batch.state,
        State::Paused,
        "drained by its last"
    );
    let batch = h.start(filed("batch-c")).await;
    let lease = h.read_source(&batch).await;
    h.pause(&batch).await;
    assert_eq!(
        h.page(&batch, &lease, page::keys(&[], None)).await.batch.state,
        State::Completed,
        "exhausted by its last"
    );
    let batch = h.start(filed("batch-d")).await;
    let lease = h.read_source(&batch).await;
    h.pause(&batch).await;
    assert_eq!(h.page(&batch, &lease, page::unreadable()).await.batch.state, State::Failed);
}

pub(super) async fn only_a_running_batch_is_read(mut h: Harness) {
    h.bound(1, 10).await;
    let running = h.start(filed("batch-a")).await;
    let queued = h.start(filed("batch-b")).await;
    assert!(h.ask_source(&queued).await.is_none());
    h.stop(&queued).await;
    h.pause(&running).await;
    assert!(h.ask_source(&running).await.is_none());
    h.stop(&running).await;
    assert!(h.ask_source(&running).await.is_none());
    let inline = h.start(inline("batch-c", &["a"])).await;
    assert!(h.ask_source(&inline).await.is_none());
}
