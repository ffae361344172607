//! Commits: fence, outcomes, counters, leases.

use super::{
    fixture::{
        batch::{ATTEMPTS_MAX, inline, numbered},
        outcome, price,
        recording::{BYTES, FIRST_WAIT_S, Group},
    },
    harness::Harness,
};
use crate::{
    domain::{
        batch::{EndReason, PauseCause, State},
        id::{Epoch, NodeId},
        item::{
            self,
            State::{Failed, Pending, Succeeded},
        },
    },
    store::{Claim, LeasedSlice},
};

pub(super) async fn each_outcome_is_recorded_as_what_it_is(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a", "b", "c", "d", "e", "f"])).await;
    let slice = h.claim(&batch).await;
    h.pass(2);
    let gate = h.after(45);
    let group = Group::new()
        .release(&slice)
        .add(&slice, 0, outcome::success_with(price::closes(0, &[1.0, 2.0])))
        .add(&slice, 1, outcome::permanent("NOT_FOUND", 404))
        .add(&slice, 2, outcome::temporary())
        .add(&slice, 3, outcome::push_back(60))
        .add(&slice, 4, outcome::released(Some(gate)));
    let committed = h.record(&batch, group).await;
    assert_eq!((committed.fenced, committed.rejected), (Vec::new(), Vec::new()));
    let counts = committed.batch.counts;
    assert_eq!((counts.succeeded, counts.failed, counts.open(), counts.returned), (1, 1, 4, 3));
    assert_eq!((counts.records, counts.requests, counts.bytes_received), (2, 5, 5 * BYTES));
    assert_eq!(counts.failed_items_by_class, [0, 1, 0]);
    assert_eq!(
        counts.failed_attempts_by_class,
        [2, 1, 0],
        "a push-back is a failed attempt, though not a charged one"
    );
    assert_eq!(committed.batch.state, State::Running);

    let items = h.items(&batch).await;
    let states: Vec<_> = items.iter().map(|item| (item.state, item.attempts)).collect();
    assert_eq!(states, [(Succeeded, 1), (Failed, 1), (Pending, 1), (Pending, 0), (Pending, 0), (Pending, 0)]);
    let not_before: Vec<_> = items.iter().map(|item| item.not_before).collect();
    let expected = [None, None, Some(h.after(FIRST_WAIT_S)), Some(h.after(60)), Some(gate), None];
    assert_eq!(not_before, expected);
    let reasons: Vec<_> =
        items.iter().map(|item| item.failure.as_ref().map(|failure| failure.reason.as_str())).collect();
    assert_eq!(reasons, [None, Some("NOT_FOUND"), Some("HTTP_5XX"), Some("HTTP_429"), None, None]);
    assert_eq!(items[0].reply, Some(outcome::reply()));
    assert_eq!((items[0].records_written, items[0].records_changed), (2, 0));
    assert_eq!(items[0].first_attempt_at, Some(h.after(-1)));
    assert_eq!(items[0].last_attempt_node.as_deref(), Some(h.node.as_str()));
    assert_eq!(items[0].updated_at, Some(h.now));
    assert_eq!((items[5].first_attempt_at, items[5].updated_at), (None, None));
}

pub(super) async fn attempts_are_spent_and_numbered_without_gaps(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a", "b", "c"])).await;
    for attempt in 1..=ATTEMPTS_MAX {
        for between in [outcome::push_back(1), outcome::released(None), outcome::system()] {
            let slice = h.claim(&batch).await;
            assert_eq!(slice.items[0].attempts, attempt - 1);
            h.record(&batch, Group::new().release(&slice).add(&slice, 0, between)).await;
            h.reopen().await;
            h.recover(h.now).await.unwrap();
            h.resume(&batch).await;
        }
        let slice = h.claim(&batch).await;
        let mut group = Group::new().release(&slice).add(&slice, 0, outcome::temporary());
        if attempt == 2 {
            group = group.add(&slice, 1, outcome::success()).add(&slice, 2, outcome::temporary());
        }
        h.record(&batch, group).await;
        h.pass(600);
    }
    let slice = h.claim(&batch).await;
    assert_eq!(slice.items.len(), 1, "{:?}", slice.items);
    h.record(&batch, Group::new().keep(&slice).add(&slice, 0, outcome::success())).await;

    let batch = h.read(&batch).await;
    assert_eq!(batch.state, State::Completed);
    assert_eq!(batch.counts.retried_attempts, 3);
    let items = h.items(&batch).await;
    assert_eq!(items.iter().map(|item| item.attempts).collect::<Vec<_>>(), [ATTEMPTS_MAX, 1, 2]);
    assert_eq!(items[0].failure.as_ref().unwrap().http_status, Some(502));
    assert_eq!(items[2].failure, None, "it succeeded in the end");
    let told = h
        .texts(
            "SELECT item_index || ':' || number || ' ' || outcome || ' ' || coalesce(error_reason, '-')
             FROM item_attempts ORDER BY item_index, number",
        )
        .await;
    let mut expected = Vec::new();
    for round in 0..i64::from(ATTEMPTS_MAX) {
        let number = |n: i64| round * 4 + n;
        expected.push(format!("0:{} FAILED HTTP_429", number(1)));
        expected.push(format!("0:{} RELEASED -", number(2)));
        expected.push(format!("0:{} FAILED BUG", number(3)));
        expected.push(format!("0:{} FAILED HTTP_5XX", number(4)));
    }
    expected.extend(["2:1 FAILED HTTP_5XX", "2:2 SUCCEEDED -"].map(str::to_owned));
    assert_eq!(told, expected);
}

pub(super) async fn a_release_forgets_neither_the_latest_failure_nor_its_time(h: Harness) {
    let batch = h.start(inline("batch-a", &["a"])).await;
    let slice = h.claim(&batch).await;
    h.record(&batch, Group::new().release(&slice).add(&slice, 0, outcome::temporary())).await;
    let before = h.items(&batch).await.remove(0);
    let slice = h.claim(&batch).await;
    h.record(&batch, Group::new().release(&slice).add(&slice, 0, outcome::released(None))).await;
    let after = h.items(&batch).await.remove(0);
    assert_eq!((after.failure, after.not_before), (before.failure, before.not_before));
    let slice = h.claim(&batch).await;
    h.record(&batch, Group::new().keep(&slice).add(&slice, 0, outcome::success())).await;
    let counts = h.read(&batch).await.counts;
    assert_eq!((counts.returned, counts.succeeded), (0, 1));
}

pub(super) async fn what_was_never_sent_leaves_no_trace(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a"])).await;
    let before = h.items(&batch).await;
    let slice = h.claim(&batch).await;
    h.pass(1);
    h.record(&batch, Group::new().release(&slice).add_unsent(&slice, 0, outcome::released(None))).await;
    assert_eq!(h.read(&batch).await, batch);
    assert_eq!(h.items(&batch).await, before);
    assert!(h.texts("SELECT outcome FROM item_attempts").await.is_empty());
}

pub(super) async fn a_renewal_moves_no_revision_and_prolongs_the_lease(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a"])).await;
    let slice = h.claim(&batch).await;
    h.pass(20);
    let renewed = h.record(&batch, Group::new().keep(&slice)).await;
    assert_eq!(renewed.batch, batch);
    assert!(renewed.fenced.is_empty());
    h.pass(20);
    assert_eq!(h.states(&batch).await, [item::State::Running]);
    // One that ran out yet went to nobody else is still its holder's.
    h.pass(20);
    assert_eq!(h.states(&batch).await, [Pending]);
    assert!(h.record(&batch, Group::new().keep(&slice)).await.fenced.is_empty());
    assert_eq!(h.states(&batch).await, [item::State::Running]);
    h.record(&batch, Group::new().release(&slice)).await;
    assert_eq!(h.read(&batch).await, batch);
    assert_eq!(h.lost(&batch).await, 0);
}

pub(super) async fn a_stale_epoch_changes_nothing(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a", "b"])).await;
    let stale = h.claim(&batch).await;
    h.pass(30);
    let live = h.claim(&batch).await;
    let (before, items) = (h.read(&batch).await, h.items(&batch).await);
    let late = |slice: &LeasedSlice| {
        Group::new()
            .with_bodies()
            .keep(slice)
            .add(slice, 0, outcome::success_with(price::closes(0, &[1.0])))
            .add(slice, 1, outcome::temporary())
    };
    let refused = h.record(&batch, late(&stale)).await;
    assert_eq!(refused.fenced, [stale.no]);
    let future = LeasedSlice { epoch: Epoch(live.epoch.0 + 1), ..live.clone() };
    assert_eq!(h.record(&batch, late(&future)).await.fenced, [live.no]);
    let stranger = late(&live).into_commit(batch.seq, &NodeId::generate(), h.now);
    assert_eq!(h.commit(&stranger).await.unwrap().fenced, [live.no]);
    assert_eq!(h.read(&batch).await, before);
    assert_eq!(h.items(&batch).await, items);
    assert!(h.texts("SELECT code FROM stock_prices").await.is_empty());
    assert!(h.texts("SELECT content_type FROM kept_bodies").await.is_empty());

    assert!(h.record(&batch, late(&live)).await.fenced.is_empty());
    h.record(&batch, Group::new().release(&live)).await;
    assert_eq!(h.record(&batch, late(&live)).await.fenced, [live.no], "it was given back");
}

pub(super) async fn a_fenced_slice_does_not_hold_up_its_group(mut h: Harness) {
    let batch = h.start(numbered("batch-a", 200)).await;
    let lost = h.claim(&batch).await;
    h.pass(15);
    let kept = h.claim(&batch).await;
    h.pass(15);
    let taken = h.claim(&batch).await;
    assert_eq!(taken.no, lost.no);
    let group = Group::new()
        .keep(&lost)
        .keep(&kept)
        .add(&lost, 0, outcome::success())
        .add(&kept, 0, outcome::success())
        .add(&lost, 1, outcome::temporary())
        .add(&kept, 1, outcome::temporary());
    let committed = h.record(&batch, group).await;
    assert_eq!(committed.fenced, [lost.no]);
    let counts = committed.batch.counts;
    assert_eq!((counts.succeeded, counts.requests, counts.failed_attempts_by_class), (1, 2, [1, 0, 0]));
    let touched: Vec<i64> =
        h.items(&batch).await.iter().filter(|item| item.attempts > 0).map(|item| item.index).collect();
    assert_eq!(touched, [100, 101]);
}

pub(super) async fn a_slice_without_open_items_is_given_back_whatever_is_asked(h: Harness) {
    let batch = h.start(numbered("batch-a", 101)).await;
    let (first, second) = (h.claim(&batch).await, h.claim(&batch).await);
    let done =
        h.record(&batch, Group::new().keep(&first).add_all(&first, &outcome::permanent("GONE", 410))).await;
    assert_eq!(done.batch.counts.failed, 100);
    assert_eq!(h.record(&batch, Group::new().keep(&first)).await.fenced, [first.no]);
    h.record(&batch, Group::new().release(&second)).await;
    assert_eq!(h.claim(&batch).await.no, second.no);
    assert_eq!(h.ask(&batch).await, Claim { slice: None, ready_at: None });
}

pub(super) async fn the_last_item_completes_the_batch(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a", "b"])).await;
    let slice = h.claim(&batch).await;
    let first = h.record(&batch, Group::new().keep(&slice).add(&slice, 0, outcome::success())).await.batch;
    assert_eq!((first.state, first.control_revision), (State::Running, batch.control_revision));
    assert!(first.revision > batch.revision);
    h.pass(7);
    let last = Group::new().keep(&slice).add(&slice, 1, outcome::permanent("NOT_FOUND", 404));
    let ended = h.record(&batch, last).await.batch;
    assert_eq!((ended.state, ended.ended_at), (State::Completed, Some(h.now)));
    assert_eq!(ended.end.unwrap().reason, EndReason::AllItemsFinal);
    assert!(ended.control_revision > first.control_revision && ended.revision > first.revision);
}

pub(super) async fn exhausted_beats_drained(h: Harness) {
    let batch = h.start(inline("batch-a", &["a"])).await;
    let slice = h.claim(&batch).await;
    assert_eq!(h.pause(&batch).await.state, State::Pausing);
    let ended = h.record(&batch, Group::new().release(&slice).add(&slice, 0, outcome::success())).await.batch;
    assert_eq!(ended.state, State::Completed);
}

pub(super) async fn what_returns_to_a_stopping_batch_is_canceled(h: Harness) {
    let batch = h.start(numbered("batch-a", 205)).await;
    let (a, b) = (h.claim(&batch).await, h.claim(&batch).await);
    // Some wait for a retry already when the stop comes.
    let group = Group::new().keep(&a).add(&a, 0, outcome::temporary()).add(&a, 1, outcome::push_back(9));
    h.record(&batch, group).await;
    let stopping = h.stop(&batch).await;
    assert_eq!((stopping.state, stopping.counts.canceled), (State::Stopping, 5));
    let group = Group::new()
        .release(&a)
        .keep(&b)
        .add(&a, 2, outcome::success())
        .add(&a, 3, outcome::temporary())
        .add(&b, 0, outcome::temporary());
    let stopping = h.record(&batch, group).await.batch;
    assert_eq!(stopping.state, State::Stopping, "slice b is still held");
    assert_eq!((stopping.counts.succeeded, stopping.counts.canceled), (1, 5 + 99));
    let stopped = h.record(&batch, Group::new().release(&b).add(&b, 1, outcome::released(None))).await.batch;
    assert_eq!(stopped.state, State::Stopped);
    assert_eq!((stopped.counts.succeeded, stopped.counts.canceled, stopped.counts.returned), (1, 204, 0));
    assert_eq!(stopped.end.unwrap().reason, EndReason::UserStop);
}

pub(super) async fn leases_given_back_to_a_stopping_batch_end_it(h: Harness) {
    let batch = h.start(numbered("batch-a", 150)).await;
    let (a, b) = (h.claim(&batch).await, h.claim(&batch).await);
    let stopping = h.stop(&batch).await;
    assert_eq!(stopping.counts.canceled, 0);
    let half = h.record(&batch, Group::new().release(&a)).await.batch;
    assert_eq!((half.state, half.counts.canceled), (State::Stopping, 100));
    assert!(half.revision > stopping.revision);
    let stopped = h.record(&batch, Group::new().park(&b, h.after(60))).await.batch;
    assert_eq!((stopped.state, stopped.counts.canceled), (State::Stopped, 150));
}

pub(super) async fn a_system_failure_comes_back_uncharged_and_pauses_the_batch(h: Harness) {
    let batch = h.start(inline("batch-a", &["a", "b"])).await;
    let slice = h.claim(&batch).await;
    let group =
        Group::new().keep(&slice).add(&slice, 0, outcome::system()).add(&slice, 1, outcome::success());
    let pausing = h.record(&batch, group).await.batch;
    assert_eq!(pausing.counts.failed_attempts_by_class, [0, 0, 1]);
    assert_eq!((pausing.state, pausing.counts.open()), (State::Pausing, 1));
    let pause = pausing.pause.unwrap();
    assert_eq!(
        (pause.cause, pause.reason.as_str(), pause.message.as_str()),
        (PauseCause::SystemFailure, "BUG", "a panic")
    );
    let paused = h.record(&batch, Group::new().release(&slice)).await.batch;
    assert_eq!(paused.state, State::Paused);
    let item = h.items(&batch).await.remove(0);
    assert_eq!((item.attempts, item.not_before), (0, None));
    assert_eq!(item.failure.unwrap().reason, "BUG");
}

pub(super) async fn a_system_failure_does_not_hold_up_an_end(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a"])).await;
    let stale = h.claim(&batch).await;
    h.pass(30);
    let slice = h.claim(&batch).await;
    let failed = |slice: &LeasedSlice| Group::new().release(slice).add(slice, 0, outcome::system());
    assert_eq!(h.record(&batch, failed(&stale)).await.batch, batch, "nobody pauses by a lease that is lost");
    h.stop(&batch).await;
    let stopped = h.record(&batch, failed(&slice)).await.batch;
    assert_eq!((stopped.state, stopped.counts.canceled, stopped.pause), (State::Stopped, 1, None));
}
