//! Slices that lose one worker after the other: CONTRACT 3.2, R3.

use super::{
    fixture::{
        batch::{inline, numbered},
        outcome,
        recording::Group,
    },
    harness::{Harness, LEASE, numbers},
};
use crate::{
    domain::{
        batch::{Batch, EndReason, State},
        item,
        spec::FailurePolicy,
    },
    store::{Claim, LeasedSlice},
};

/// A worker takes the next slice and is never heard of again.
async fn lose(h: &mut Harness, batch: &Batch) -> LeasedSlice {
    let slice = h.claim(batch).await;
    h.now += LEASE;
    slice
}

fn keys(slice: &LeasedSlice) -> Vec<&str> {
    slice.items.iter().map(|item| item.key.as_str()).collect()
}

pub(super) async fn a_slice_that_loses_its_workers_is_halved_down_to_the_item_that_does_it(mut h: Harness) {
    const POISON: &str = "0005";
    let batch = h.start(numbered("batch-a", 9)).await;
    let mut lost = 0;
    let ended = loop {
        let claim = h.ask(&batch).await;
        match claim.slice {
            Some(slice) if keys(&slice).contains(&POISON) => {
                lost += 1;
                h.now += LEASE;
            }
            Some(slice) => {
                h.record(&batch, Group::new().keep(&slice).add_all(&slice, &outcome::success())).await;
            }
            None => {
                assert_eq!(claim.ready_at, None);
                let moved = h.settle(h.now).await.unwrap();
                assert_eq!(numbers(&moved), [batch.seq], "it is in nobody's hands");
                if moved[0].state.is_terminal() {
                    break h.read(&batch).await;
                }
            }
        }
        h.read(&batch).await;
    };
    // 9, 5, 3, 2 or 1, and 1.
    assert!((20..=25).contains(&lost) && lost % 5 == 0, "{lost} leases were lost");
    assert_eq!((ended.state, ended.counts.succeeded, ended.counts.failed), (State::Completed, 8, 1));
    assert_eq!(ended.counts.failed_items_by_class, [1, 0, 0], "TEMPORARY");
    let items = h.items(&batch).await;
    let failed: Vec<_> = items.iter().filter(|item| item.state == item::State::Failed).collect();
    assert_eq!((failed.len(), failed[0].key.as_str()), (1, POISON));
    assert_eq!(failed[0].failure.as_ref().unwrap().reason, "WORKER_CRASH");
    assert_eq!(h.lost(&batch).await, lost);
}

pub(super) async fn whoever_gets_somewhere_is_not_suspected(mut h: Harness) {
    let batch = h.start(numbered("batch-a", 6)).await;
    for left in (2..=6).rev() {
        for _ in 0..4 {
            assert_eq!(lose(&mut h, &batch).await.items.len(), left);
        }
        let slice = h.claim(&batch).await;
        h.record(&batch, Group::new().keep(&slice).add(&slice, 0, outcome::success())).await;
        h.now += LEASE;
        lose(&mut h, &batch).await;
        let slice = h.claim(&batch).await;
        h.record(&batch, Group::new().release(&slice).add(&slice, 0, outcome::temporary())).await;
        h.pass(10);
    }
    assert_eq!(h.settle(h.now).await.unwrap(), []);
    assert_eq!(h.read(&batch).await.state, State::Running);
}

pub(super) async fn a_slice_that_was_lost_too_often_is_not_handed_out(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a", "b"])).await;
    for _ in 0..5 {
        h.claim(&batch).await;
        h.reopen().await;
        h.recover(h.now).await.unwrap();
    }
    assert_eq!(h.ask(&batch).await, Claim { slice: None, ready_at: None });
    h.pause(&batch).await;
    assert_eq!(h.settle(h.now).await.unwrap(), [], "what rests is left alone");
    h.resume(&batch).await;
    h.settle(h.now).await.unwrap();
    let (first, second) = (h.claim(&batch).await, h.claim(&batch).await);
    assert_eq!((keys(&first), keys(&second)), (vec!["a"], vec!["b"]));
    h.record(&batch, Group::new().keep(&first).add(&first, 0, outcome::success())).await;
    let done = h.record(&batch, Group::new().keep(&second).add(&second, 0, outcome::success())).await.batch;
    assert_eq!(done.state, State::Completed);
}

pub(super) async fn the_budget_counts_what_was_lost(mut h: Harness) {
    let mut new = inline("batch-a", &["a"]);
    new.spec.failure = FailurePolicy { failed_items_max: Some(0), ..FailurePolicy::default() };
    let batch = h.start(new).await;
    let slice = h.claim(&batch).await;
    h.record(&batch, Group::new().release(&slice).add(&slice, 0, outcome::push_back(1))).await;
    h.pass(1);
    for _ in 0..5 {
        lose(&mut h, &batch).await;
    }
    assert_eq!(h.ask(&batch).await, Claim { slice: None, ready_at: None });
    h.settle(h.now).await.unwrap();
    let ended = h.read(&batch).await;
    assert_eq!((ended.state, ended.end.unwrap().reason), (State::Failed, EndReason::FailureThreshold));
}
