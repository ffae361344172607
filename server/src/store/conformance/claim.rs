//! Claims of slices.

use super::{
    fixture::{
        batch::{inline, numbered},
        outcome,
        recording::{FIRST_WAIT_S, Group},
    },
    harness::Harness,
};
use crate::{
    domain::{
        id::{Epoch, SliceNo},
        item::OpenItem,
    },
    store::Claim,
};

pub(super) async fn a_lease_carries_the_open_items_in_order(h: Harness) {
    let batch = h.start(inline("batch-a", &["c", "a", "b"])).await;
    let slice = h.claim(&batch).await;
    let open = |index, key: &str| OpenItem {
        index,
        key: key.into(),
        columns: None,
        attempts: 0,
        recorded: 0,
        not_before: None,
        refused_at: None,
    };
    assert_eq!(slice.items, [open(0, "c"), open(1, "a"), open(2, "b")]);
}

pub(super) async fn an_expired_lease_goes_before_a_due_one_and_that_before_a_fresh_one(mut h: Harness) {
    let batch = h.start(numbered("batch-a", 500)).await;
    let first = h.claim(&batch).await;
    let second = h.claim(&batch).await;
    let third = h.claim(&batch).await;
    assert_eq!([first.no, second.no, third.no], [SliceNo(0), SliceNo(1), SliceNo(2)]);
    // Slice 2 is due before slice 1; slice 0 is left to expire.
    h.record(&batch, Group::new().park(&second, h.after(20)).park(&third, h.after(10))).await;
    h.pass(30);
    let order = [h.claim(&batch).await, h.claim(&batch).await, h.claim(&batch).await, h.claim(&batch).await];
    assert_eq!(order.each_ref().map(|slice| slice.no.0), [0, 2, 1, 3]);
    assert_eq!(order[0].epoch, Epoch(first.epoch.0 + 1));
    assert_eq!(h.lost(&batch).await, 1);
    h.read(&batch).await;
}

pub(super) async fn the_earliest_parked_slice_is_told(mut h: Harness) {
    let batch = h.start(numbered("batch-a", 200)).await;
    let (a, b) = (h.claim(&batch).await, h.claim(&batch).await);
    assert_eq!(h.ask(&batch).await, Claim { slice: None, ready_at: None });
    let (early, late) = (h.after(60), h.after(90));
    h.record(&batch, Group::new().park(&a, late).park(&b, early)).await;
    assert_eq!(h.ask(&batch).await, Claim { slice: None, ready_at: Some(early) });
    h.pass(60);
    assert_eq!(h.claim(&batch).await.no, b.no);
    assert_eq!(h.ask(&batch).await, Claim { slice: None, ready_at: Some(late) });
}

pub(super) async fn nobody_gets_what_another_holds(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a"])).await;
    let slice = h.claim(&batch).await;
    h.pass(29);
    assert_eq!(h.ask(&batch).await, Claim { slice: None, ready_at: None });
    h.record(&batch, Group::new().keep(&slice)).await;
    h.pass(29);
    assert_eq!(h.ask(&batch).await, Claim { slice: None, ready_at: None }, "it was renewed");
    h.pass(1);
    assert!(h.claim(&batch).await.epoch > slice.epoch, "it ran out");
}

pub(super) async fn those_who_ask_at_once_get_different_slices(h: Harness) {
    let batch = h.start(numbered("batch-a", 500)).await;
    let asked = futures::future::join_all((0..8).map(|_| h.ask(&batch))).await;
    let mut slices: Vec<i64> =
        asked.into_iter().filter_map(|claim| claim.slice.map(|slice| slice.no.0)).collect();
    slices.sort_unstable();
    assert_eq!(slices, [0, 1, 2, 3, 4]);
}

pub(super) async fn a_claim_says_when_the_next_one_can_be(h: Harness) {
    let batch = h.start(numbered("batch-a", 200)).await;
    let first = h.ask(&batch).await;
    assert!(first.ready_at.is_some_and(|at| at <= h.now), "another slice is there: {first:?}");
    let slice = first.slice.unwrap();
    h.record(&batch, Group::new().park(&slice, h.after(20))).await;
    let last = h.ask(&batch).await;
    assert_eq!((last.slice.is_some(), last.ready_at), (true, Some(h.after(20))));
}

pub(super) async fn only_open_items_come_again(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a", "b", "c", "d"])).await;
    let slice = h.claim(&batch).await;
    let group = Group::new()
        .release(&slice)
        .add(&slice, 0, outcome::success())
        .add(&slice, 1, outcome::temporary())
        .add(&slice, 2, outcome::permanent("NOT_FOUND", 404));
    h.record(&batch, group).await;
    h.reopen().await;
    let due = h.after(FIRST_WAIT_S);
    let open = |index, key: &str, attempts, not_before| OpenItem {
        columns: None,
        index,
        key: key.into(),
        attempts,
        recorded: attempts,
        not_before,
        refused_at: None,
    };
    h.recover(h.now).await.unwrap();
    assert_eq!(h.claim(&batch).await.items, [open(1, "b", 1, Some(due)), open(3, "d", 0, None)]);
}

pub(super) async fn a_batch_that_does_not_run_gives_nothing(mut h: Harness) {
    h.bound(1, 10).await;
    let batch = h.start(numbered("batch-a", 200)).await;
    let queued = h.start(inline("batch-b", &["a"])).await;
    let nothing = Claim { slice: None, ready_at: None };
    assert_eq!(h.ask(&queued).await, nothing);
    let slice = h.claim(&batch).await;
    h.pause(&batch).await;
    assert_eq!(h.ask(&batch).await, nothing, "pausing");
    h.record(&batch, Group::new().release(&slice)).await;
    assert_eq!(h.ask(&batch).await, nothing, "paused");
    h.stop(&queued).await;
    h.resume(&batch).await;
    let slice = h.claim(&batch).await;
    h.stop(&batch).await;
    assert_eq!(h.ask(&batch).await, nothing, "stopping");
    h.pass(60);
    assert_eq!(h.ask(&batch).await, nothing, "stopping, and the lease ran out");
    h.record(&batch, Group::new().release(&slice)).await;
    assert_eq!(h.ask(&batch).await, nothing, "stopped");
}

pub(super) async fn a_claim_moves_no_revision(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a"])).await;
    h.claim(&batch).await;
    assert_eq!(h.read(&batch).await, batch);
    h.pass(30);
    h.claim(&batch).await;
    assert_eq!(h.read(&batch).await, batch);
    h.ask(&batch).await;
    assert_eq!(h.read(&batch).await, batch);
}
