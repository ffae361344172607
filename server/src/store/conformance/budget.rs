//! The failure budget, and the order of CONTRACT 2.4: what one commit finds together.

use super::{
    fixture::{
        batch::{filed, inline},
        outcome, page,
        recording::Group,
    },
    harness::Harness,
};
use crate::{
    domain::{
        batch::{Batch, EndReason, State},
        failure::{Failure, FailureClass},
        item::{NewItem, Outcome},
        spec::FailurePolicy,
    },
    store::NewBatch,
};

fn bearing(failed: i64, new: NewBatch) -> NewBatch {
    let mut new = new;
    new.spec.failure = FailurePolicy { failed_items_max: Some(failed), ..FailurePolicy::default() };
    new
}

fn in_seconds(seconds: u64, mut new: NewBatch) -> NewBatch {
    new.spec.max_duration = Some(std::time::Duration::from_secs(seconds));
    new
}

fn gone() -> Outcome {
    outcome::permanent("NOT_FOUND", 404)
}

fn end(batch: &Batch) -> (State, Option<EndReason>) {
    (batch.state, batch.end.as_ref().map(|end| end.reason))
}

pub(super) async fn a_spent_budget_ends_the_batch_when_its_leases_have_drained(h: Harness) {
    let batch = h.start(bearing(1, inline("batch-a", &["a", "b", "c", "d"]))).await;
    let slice = h.claim(&batch).await;
    let borne = h.record(&batch, Group::new().keep(&slice).add(&slice, 0, gone())).await.batch;
    assert_eq!(borne.state, State::Running);
    let spent = h.record(&batch, Group::new().keep(&slice).add(&slice, 1, gone())).await.batch;
    assert_eq!(end(&spent), (State::Stopping, Some(EndReason::FailureThreshold)));
    assert_eq!(spent.end.unwrap().message, "2 items failed, more than max_failed_items 1");
    let failed =
        h.record(&batch, Group::new().release(&slice).add(&slice, 2, outcome::success())).await.batch;
    assert_eq!(end(&failed), (State::Failed, Some(EndReason::FailureThreshold)));
    assert_eq!((failed.counts.failed, failed.counts.succeeded, failed.counts.canceled), (2, 1, 1));
}

pub(super) async fn a_budget_is_spent_however_its_items_were_grouped(h: Harness) {
    let together = h.start(bearing(1, inline("together", &["a", "b"]))).await;
    let slice = h.claim(&together).await;
    let group = Group::new().keep(&slice).add_all(&slice, &gone());
    let together = h.record(&together, group).await.batch;

    let apart = h.start(bearing(1, inline("one-by-one", &["a", "b"]))).await;
    let slice = h.claim(&apart).await;
    h.record(&apart, Group::new().keep(&slice).add(&slice, 0, gone())).await;
    let apart = h.record(&apart, Group::new().keep(&slice).add(&slice, 1, gone())).await.batch;

    for batch in [together, apart] {
        assert_eq!(end(&batch), (State::Failed, Some(EndReason::FailureThreshold)), "{}", batch.id);
        assert_eq!((batch.counts.failed, batch.counts.canceled), (2, 0));
    }
}

pub(super) async fn a_share_counts_once_enough_is_processed(h: Harness) {
    let mut new = inline("batch-a", &["a", "b", "c", "d", "e", "f"]);
    new.spec.failure =
        FailurePolicy { failed_items_max: None, failed_ratio_max: Some(0.5), processed_items_min: 4 };
    let batch = h.start(new).await;
    let slice = h.claim(&batch).await;
    let group = Group::new().keep(&slice).add(&slice, 0, gone()).add(&slice, 1, gone());
    assert_eq!(
        h.record(&batch, group).await.batch.state,
        State::Running,
        "two of two, and too few to say so"
    );
    let group =
        Group::new().keep(&slice).add(&slice, 2, outcome::success()).add(&slice, 3, outcome::success());
    assert_eq!(h.record(&batch, group).await.batch.state, State::Running, "half is borne");
    let group = Group::new().release(&slice).add(&slice, 4, gone());
    let failed = h.record(&batch, group).await.batch;
    assert_eq!(end(&failed), (State::Failed, Some(EndReason::FailureThreshold)));
    assert_eq!(failed.end.unwrap().message, "3 of 5 items failed, a larger share than max_failed_ratio 0.5");
}

pub(super) async fn what_the_source_could_not_take_counts(h: Harness) {
    let batch = h.start(bearing(0, filed("batch-a"))).await;
    let lease = h.read_source(&batch).await;
    let failure = Some(Failure::new(FailureClass::Permanent, "CODE_NOT_LISTED", "no such code"));
    let items = vec![NewItem::keyed("a"), NewItem { failure, ..NewItem::keyed("b") }];
    let expanded = h.page(&batch, &lease, page::items(items, Some("next"))).await;
    assert_eq!(end(&expanded.batch), (State::Stopping, Some(EndReason::FailureThreshold)));
    let ended = h.page(&batch, &lease, page::keys(&["c"], None)).await;
    assert!(ended.over);
    assert_eq!(end(&ended.batch), (State::Failed, Some(EndReason::FailureThreshold)));
    assert_eq!((ended.batch.counts.total, ended.batch.counts.canceled), (2, 1), "nothing more is taken in");
}

/// What may be found together in one commit, and what then counts.
pub(super) async fn of_two_things_found_together_the_first_in_order_counts(mut h: Harness) {
    use EndReason::{AllItemsFinal, FailureThreshold, MaxDuration};
    use State::{Completed, Failed, Paused};
    let (ok, system) = (outcome::success, outcome::system);
    #[rustfmt::skip]
    let table = [
        // budget   seconds  pausing  outcomes              state      end
        ("budget, exhausted",   0, 90, false, [gone(), gone()],   Failed,    Some(FailureThreshold)),
        ("budget, deadline",    0,  5, false, [gone(), ok()],     Failed,    Some(FailureThreshold)),
        ("budget, system",      0, 90, false, [gone(), system()], Failed,    Some(FailureThreshold)),
        ("budget, drained",     0, 90, true,  [gone(), ok()],     Failed,    Some(FailureThreshold)),
        ("exhausted, deadline", 9,  5, false, [gone(), ok()],     Completed, Some(AllItemsFinal)),
        ("exhausted, drained",  9, 90, true,  [gone(), ok()],     Completed, Some(AllItemsFinal)),
        ("deadline, system",    9,  5, false, [ok(), system()],   Failed,    Some(MaxDuration)),
        ("deadline, drained",   9,  5, true,  [ok(), system()],   Failed,    Some(MaxDuration)),
        ("system, drained",     9, 90, true,  [ok(), system()],   Paused,    None),
    ];
    for (n, (pair, failed, seconds, pausing, [first, second], state, reason)) in table.into_iter().enumerate()
    {
        let new = in_seconds(seconds, bearing(failed, inline(&format!("batch-{n}"), &["a", "b"])));
        let batch = h.start(new).await;
        let slice = h.claim(&batch).await;
        if pausing {
            h.pause(&batch).await;
        }
        h.pass(6);
        let group = Group::new().release(&slice).add(&slice, 0, first).add(&slice, 1, second);
        let after = h.record(&batch, group).await.batch;
        assert_eq!(end(&after), (state, reason), "{pair}");
    }

    let batch = h.start(in_seconds(5, filed("unreadable"))).await;
    let lease = h.read_source(&batch).await;
    h.pass(6);
    let late = h.page(&batch, &lease, page::unreadable()).await.batch;
    assert_eq!(end(&late), (Failed, Some(MaxDuration)), "deadline, source unreadable");

    let batch = h.start(in_seconds(5, inline("outage", &["a"]))).await;
    h.pass(6);
    let late = h.declare_outage(batch.seq, "RATE_LIMITED", "HTTP 429", h.now).await.unwrap().batch;
    assert_eq!(end(&late), (Failed, Some(MaxDuration)), "deadline, outage");
}
