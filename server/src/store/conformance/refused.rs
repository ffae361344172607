//! Items that were refused: held back, and failed once it is known to be their own fault.

use std::time::Duration;

use super::{
    fixture::{batch::inline, outcome, recording::Group},
    harness::Harness,
};
use crate::{
    domain::{
        batch::{Batch, State},
        failure::{Failure, FailureClass},
        id::NodeId,
        item::{
            self,
            State::{Failed, Pending, Succeeded},
        },
    },
    store::{AttemptQuery, Committed, LeasedSlice, Refusals},
};

async fn judge(h: &Harness, batch: &Batch, slice: &LeasedSlice, items: &[i64]) -> Committed {
    let refusals = Refusals {
        batch: batch.seq,
        node: h.node.clone(),
        now: h.now,
        items: items.iter().map(|index| (slice.no, slice.epoch, *index)).collect(),
        failure: Failure::new(FailureClass::Permanent, "HTTP_STATUS", "its own"),
    };
    let committed = h.fail_refused(&refusals).await.unwrap();
    assert_eq!(committed.batch, h.read(batch).await, "the answer is what is stored");
    committed
}

/// Of the slice's items, those that are held back.
fn held_back(slice: &LeasedSlice) -> Vec<i64> {
    slice.items.iter().filter(|item| item.refused_at.is_some()).map(|item| item.index).collect()
}

pub(super) async fn a_refused_item_goes_back_uncharged_and_is_known_to_be_held_back(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a", "b", "c"])).await;
    let slice = h.claim(&batch).await;
    h.pass(2);
    let group = Group::new()
        .release(&slice)
        .add(&slice, 0, outcome::refused())
        .add(&slice, 1, outcome::released(Some(h.after(60))))
        .add(&slice, 2, outcome::success());
    let counts = h.record(&batch, group).await.batch.counts;
    assert_eq!((counts.succeeded, counts.failed, counts.open(), counts.returned), (1, 0, 2, 1));
    assert_eq!((counts.failed_attempts_by_class, counts.retried_attempts), ([0, 0, 1], 0));
    assert_eq!(h.read(&batch).await.state, State::Running);
    let item = &h.items(&batch).await[0];
    let failure = item.failure.as_ref().unwrap();
    assert_eq!((item.state, item.attempts, failure.http_status), (Pending, 0, Some(403)));
    assert_eq!((failure.class, failure.reason.as_str()), (FailureClass::System, "CREDENTIALS_REFUSED"));
    let slice = h.claim(&batch).await;
    assert_eq!(held_back(&slice), [0]);
    assert_eq!(slice.items[0].refused_at, Some(h.after(-1)), "when its request was sent");
}

pub(super) async fn it_is_known_through_a_crash_and_forgotten_with_a_pause(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a", "b"])).await;
    let slice = h.claim(&batch).await;
    h.pass(2);
    h.record(&batch, Group::new().keep(&slice).add(&slice, 0, outcome::refused())).await;
    h.reopen().await;
    h.recover(h.now).await.unwrap();
    let slice = h.claim(&batch).await;
    assert_eq!(held_back(&slice), [0]);
    h.record(&batch, Group::new().release(&slice)).await;
    h.break_down(&batch).await;
    h.pass(2);
    h.resume(&batch).await;
    assert_eq!(held_back(&h.claim(&batch).await), [] as [i64; 0], "a repair is judged anew");
}

pub(super) async fn an_attempt_after_the_refusal_holds_it_back_no_more(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a", "b"])).await;
    let slice = h.claim(&batch).await;
    h.pass(2);
    h.record(&batch, Group::new().release(&slice).add(&slice, 0, outcome::refused())).await;
    h.pause(&batch).await;
    h.pass(2);
    h.resume(&batch).await;
    h.pass(2);
    for given_back in [outcome::released(None), outcome::temporary()] {
        let slice = h.claim(&batch).await;
        h.record(&batch, Group::new().release(&slice).add(&slice, 0, given_back)).await;
        h.pass(600);
    }
    let slice = h.claim(&batch).await;
    assert_eq!((held_back(&slice), slice.items[0].attempts), (vec![], 1));
    let unsent = Group::new().release(&slice).add(&slice, 1, outcome::refused());
    h.record(&batch, unsent).await;
    assert_eq!(held_back(&h.claim(&batch).await), [1]);
}

pub(super) async fn what_is_its_own_fault_fails_it_by_the_attempt_that_it_had(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a", "b", "c"])).await;
    let slice = h.claim(&batch).await;
    h.record(&batch, Group::new().release(&slice).add(&slice, 1, outcome::temporary())).await;
    h.pass(600);
    let slice = h.claim(&batch).await;
    let group = Group::new()
        .keep(&slice)
        .add(&slice, 0, outcome::refused())
        .add(&slice, 1, outcome::refused())
        .add(&slice, 2, outcome::temporary());
    let before = h.record(&batch, group).await.batch;
    assert_eq!((before.counts.retried_attempts, before.counts.returned), (0, 1));
    h.pass(1);
    let judged = judge(&h, &batch, &slice, &[0, 1]).await;
    assert_eq!((judged.fenced, judged.batch.revision), (vec![], before.revision + 1));
    let counts = &judged.batch.counts;
    assert_eq!((counts.failed, counts.open(), counts.retried_attempts), (2, 1, 1));
    assert_eq!((counts.failed_items_by_class, counts.failed_attempts_by_class), ([0, 2, 0], [2, 2, 0]));
    let items = h.items(&batch).await;
    let said: Vec<_> = items.iter().map(|item| (item.state, item.attempts, item.updated_at)).collect();
    assert_eq!(said[..2], [(Failed, 1, Some(h.now)), (Failed, 2, Some(h.now))]);
    let failure = items[1].failure.as_ref().unwrap();
    assert_eq!((failure.class, failure.http_status), (FailureClass::Permanent, Some(403)));
    assert_eq!((failure.reason.as_str(), failure.message.as_str()), ("HTTP_STATUS", "its own"));
    let all = AttemptQuery { after: (-1, 0), last_index: None, running: Vec::new(), limit: 10 };
    let attempts = h.attempts(batch.seq, &all).await.unwrap();
    let told: Vec<_> = attempts
        .iter()
        .map(|attempt| {
            (attempt.index, attempt.number, attempt.is_charged, attempt.failure.as_ref().unwrap().class)
        })
        .collect();
    let (permanent, temporary) = (FailureClass::Permanent, FailureClass::Temporary);
    let expected =
        [(0, 1, true, permanent), (1, 1, true, temporary), (1, 2, true, permanent), (2, 1, true, temporary)];
    assert_eq!(told, expected);
    h.record(&batch, Group::new().release(&slice)).await;
    h.pass(600);
    let slice = h.claim(&batch).await;
    h.record(&batch, Group::new().keep(&slice).add(&slice, 0, outcome::success())).await;
    assert_eq!(h.read(&batch).await.state, State::Completed);
}

pub(super) async fn the_last_refused_item_completes_the_batch(h: Harness) {
    let batch = h.start(inline("batch-a", &["a", "b"])).await;
    let slice = h.claim(&batch).await;
    let group =
        Group::new().keep(&slice).add(&slice, 0, outcome::success()).add(&slice, 1, outcome::refused());
    h.record(&batch, group).await;
    assert_eq!(judge(&h, &batch, &slice, &[1]).await.batch.state, State::Completed);
    assert_eq!(h.states(&batch).await, [Succeeded, Failed]);
}

pub(super) async fn refused_items_spend_the_budget(h: Harness) {
    let mut new = inline("batch-a", &["a", "b"]);
    new.spec.failure.failed_items_max = Some(0);
    let batch = h.start(new).await;
    let slice = h.claim(&batch).await;
    h.record(&batch, Group::new().keep(&slice).add(&slice, 0, outcome::refused())).await;
    assert_eq!(h.read(&batch).await.state, State::Running, "it has not failed");
    assert_eq!(judge(&h, &batch, &slice, &[0]).await.batch.state, State::Stopping);
    h.record(&batch, Group::new().release(&slice)).await;
    assert_eq!(h.states(&batch).await, [Failed, item::State::Canceled]);
}

pub(super) async fn a_late_judge_changes_nothing(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a", "b"])).await;
    let slice = h.claim(&batch).await;
    h.record(&batch, Group::new().keep(&slice).add(&slice, 0, outcome::refused())).await;
    let before = h.read(&batch).await;
    let own = std::mem::replace(&mut h.node, NodeId::generate());
    assert_eq!(judge(&h, &batch, &slice, &[0]).await.fenced, [slice.no], "another node");
    h.node = own;
    h.pass(60);
    let anew = h.claim(&batch).await;
    assert_eq!(judge(&h, &batch, &slice, &[0]).await.fenced, [slice.no], "an old epoch");
    assert_eq!(h.read(&batch).await, before);
    h.record(&batch, Group::new().release(&anew)).await;
    h.pause(&batch).await;
    assert_eq!(judge(&h, &batch, &anew, &[0]).await.fenced, [slice.no], "a batch at rest");
    assert_eq!(h.states(&batch).await, [Pending; 2]);
}

pub(super) async fn a_deadline_does_not_end_what_is_held_back(mut h: Harness) {
    let mut new = inline("batch-a", &["a", "b"]);
    new.spec.fetch.item_deadline = Duration::from_secs(60);
    let batch = h.start(new).await;
    let slice = h.claim(&batch).await;
    h.record(&batch, Group::new().release(&slice).add(&slice, 0, outcome::push_back(0))).await;
    h.pass(120);
    let slice = h.claim(&batch).await;
    let committed = h.record(&batch, Group::new().release(&slice).add(&slice, 0, outcome::refused())).await;
    assert_eq!((committed.rejected, committed.batch.counts.failed), (vec![], 0));
}
