//! Starts: idempotency, names, limits, inline items, admission.

use std::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use super::{
    fixture::{
        batch::{filed, inline, numbered, requested},
        outcome, page,
        recording::Group,
    },
    harness::{Harness, numbers},
};
use crate::{
    domain::{
        batch::{Batch, Command, DrainMode, EndReason, State},
        id::BatchId,
        item::NewItem,
    },
    store::{CreateError, NewBatch, StartOutcome},
};

const REQUEST: &str = "0d4c3a52-9b1a-4c59-8f0e-1b9b62f6c001";

async fn replayed(h: &Harness, new: NewBatch) -> Batch {
    let created = h.create_batch(new, h.now).await.unwrap();
    assert_eq!(created.outcome, StartOutcome::Replayed, "{}", created.batch.id);
    created.batch
}

async fn error(h: &Harness, new: NewBatch) -> CreateError {
    h.create_batch(new, h.now).await.expect_err("refused")
}

pub(super) async fn the_spec_comes_back_as_it_was_given(mut h: Harness) {
    let (a, b) = (inline("batch-a", &["1"]), filed("batch-b"));
    let specs = (a.spec.clone(), b.spec.clone());
    let (a, b) = (h.start(a).await, h.start(b).await);
    h.reopen().await;
    assert_eq!(*h.read(&a).await.spec, specs.0);
    assert_eq!(*h.read(&b).await.spec, specs.1);
    assert_eq!((a.created_at, a.started_at, a.state_since), (h.now, Some(h.now), h.now));
    assert!(a.expanded && !b.expanded);
}

pub(super) async fn a_repeat_of_the_request_is_answered_with_the_batch_as_it_is(mut h: Harness) {
    let new = || requested(inline("batch-a", &["1"]), REQUEST, 1, h.after(86_400));
    let repeat = new();
    let batch = h.start(new()).await;
    assert_eq!(replayed(&h, repeat.clone()).await, batch);
    let paused = h.pause(&batch).await;
    h.reopen().await;
    assert_eq!(replayed(&h, repeat.clone()).await, paused);
    // The server makes a name anew for each call that brings none: the request id decides.
    let renamed = NewBatch { id: BatchId::generate(), ..repeat };
    assert_eq!(replayed(&h, renamed).await, paused);
    assert_eq!(h.listed().await.len(), 1);
}

pub(super) async fn of_two_at_once_one_is_started_and_one_replayed(h: Harness) {
    let new = requested(inline("batch-a", &["1"]), REQUEST, 1, h.after(86_400));
    let (one, other) = tokio::join!(h.create_batch(new.clone(), h.now), h.create_batch(new, h.now));
    let (one, other) = (one.unwrap(), other.unwrap());
    let outcomes = [one.outcome, other.outcome];
    assert!(outcomes.contains(&StartOutcome::Started) && outcomes.contains(&StartOutcome::Replayed));
    assert_eq!(one.batch, other.batch);
}

pub(super) async fn a_request_id_with_other_content_is_refused(h: Harness) {
    h.start(requested(inline("batch-a", &["1"]), REQUEST, 1, h.after(86_400))).await;
    let other = requested(inline("batch-b", &["1"]), REQUEST, 2, h.after(86_400));
    assert!(matches!(error(&h, other).await, CreateError::RequestIdReused(id) if id == REQUEST));
    assert_eq!(h.listed().await.len(), 1);
}

pub(super) async fn a_request_id_is_remembered_as_long_as_its_batch_lives(mut h: Harness) {
    let new = requested(inline("batch-a", &["1"]), REQUEST, 1, h.after(86_400));
    let batch = h.start(new.clone()).await;
    h.pass(10 * 86_400);
    assert_eq!(h.purge(h.now).await.unwrap(), 0);
    assert_eq!(replayed(&h, new.clone()).await, batch);
    let other = requested(inline("batch-b", &["1"]), REQUEST, 2, h.after(86_400));
    assert!(matches!(error(&h, other).await, CreateError::RequestIdReused(_)));
}

pub(super) async fn a_request_id_may_be_used_again_once_forgotten(mut h: Harness) {
    let batch = h.start(requested(inline("batch-a", &["1"]), REQUEST, 1, h.after(86_400))).await;
    let stopped = h.stop(&batch).await;
    h.pass(86_399);
    let again = requested(inline("batch-b", &["1"]), REQUEST, 1, h.after(86_400));
    assert_eq!(replayed(&h, again.clone()).await, stopped);
    h.pass(1);
    assert_eq!(h.start(again.clone()).await.id.as_str(), "batch-b");
    assert_eq!(replayed(&h, again).await.id.as_str(), "batch-b");
}

pub(super) async fn a_failed_start_keeps_its_request_id_usable(h: Harness) {
    h.start(inline("batch-a", &["1"])).await;
    let taken = requested(inline("batch-a", &["1"]), REQUEST, 1, h.after(86_400));
    assert!(matches!(error(&h, taken).await, CreateError::BatchExists(_)));
    h.start(requested(inline("batch-b", &["1"]), REQUEST, 2, h.after(86_400))).await;
}

pub(super) async fn a_name_is_taken_once(h: Harness) {
    let batch = h.start(inline("batch-a", &["1"])).await;
    assert!(
        matches!(error(&h, inline("batch-a", &["1"])).await, CreateError::BatchExists(id) if id == batch.id)
    );
    h.stop(&batch).await;
    assert!(matches!(error(&h, inline("batch-a", &["1"])).await, CreateError::BatchExists(_)));
}

pub(super) async fn live_batches_have_a_limit(mut h: Harness) {
    h.bound(1, 2).await;
    let new = requested(inline("batch-a", &["1"]), REQUEST, 1, h.after(86_400));
    let batch = h.start(new.clone()).await;
    // One that waits lives as well as one that is paused.
    let waits = h.start(inline("batch-b", &["1"])).await;
    h.pause(&waits).await;
    assert!(matches!(error(&h, inline("batch-c", &["1"])).await, CreateError::Quota { limit: 2 }));
    assert_eq!(replayed(&h, new).await, batch);
    h.stop(&waits).await;
    h.start(inline("batch-c", &["1"])).await;
}

pub(super) async fn the_first_of_a_key_wins(h: Harness) {
    let mut new = inline("batch-a", &["b", "a", "b", "c", "a", "b"]);
    let items = new.items.as_mut().unwrap();
    for (n, item) in items.iter_mut().enumerate() {
        item.columns = Some(format!("{{\"n\":{n}}}"));
    }
    let batch = h.start(new).await;
    assert_eq!((batch.counts.total, batch.counts.duplicates), (3, 3));
    let items: Vec<_> =
        h.items(&batch).await.into_iter().map(|item| (item.key, item.columns.unwrap())).collect();
    let expected = [("b", 0), ("a", 1), ("c", 3)].map(|(key, n)| (key.to_owned(), format!("{{\"n\":{n}}}")));
    assert_eq!(items, expected);
    h.read(&batch).await;
}

pub(super) async fn many_items_are_cut_into_slices(h: Harness) {
    let batch = h.start(numbered("batch-a", 250)).await;
    let mut lengths = Vec::new();
    for _ in 0..3 {
        lengths.push(h.claim(&batch).await.items.len());
    }
    assert_eq!(lengths, [100, 100, 50]);
    h.read(&batch).await;
}

pub(super) async fn nothing_to_do_is_done_at_once(h: Harness) {
    let batch = h.start(inline("batch-a", &[])).await;
    assert_eq!(batch.state, State::Completed);
    assert_eq!((batch.started_at, batch.ended_at), (Some(h.now), Some(h.now)));
    assert_eq!(batch.end.as_ref().unwrap().reason, EndReason::AllItemsFinal);
    assert_eq!(h.read(&batch).await, batch);
}

pub(super) async fn nothing_to_do_makes_room_at_once(mut h: Harness) {
    h.bound(1, 10).await;
    let first = h.start(inline("batch-a", &["1"])).await;
    let empty = h.start(inline("batch-b", &[])).await;
    let after = h.start(inline("batch-c", &["1"])).await;
    assert_eq!((empty.state, after.state), (State::Queued, State::Queued));
    let stopped = h.order(&first, Command::Stop { reason: String::new(), drain: DrainMode::Finish }).await;
    assert_eq!(numbers(&stopped.admitted), [empty.seq, after.seq]);
    assert_eq!(h.read(&empty).await.state, State::Completed);
    assert_eq!(h.read(&after).await.state, State::Running);
}

pub(super) async fn the_oldest_is_admitted_first(mut h: Harness) {
    h.bound(2, 10).await;
    let mut batches = Vec::new();
    // Names run against the order of creation.
    for name in ["batch-e", "batch-d", "batch-c", "batch-b", "batch-a"] {
        batches.push(h.start(inline(name, &["1"])).await);
    }
    let running = |states: &[State]| states.iter().map(|state| *state == State::Running).collect::<Vec<_>>();
    let states: Vec<State> = batches.iter().map(|batch| batch.state).collect();
    assert_eq!(running(&states), [true, true, false, false, false]);
    assert_eq!(batches[2].started_at, None);

    h.pass(5);
    let slice = h.claim(&batches[1]).await;
    let committed = h.record(&batches[1], Group::new().keep(&slice).add(&slice, 0, outcome::success())).await;
    assert_eq!(committed.batch.state, State::Completed);
    assert_eq!(numbers(&committed.admitted), [batches[2].seq]);
    assert_eq!(committed.admitted[0], h.read(&batches[2]).await);
    assert_eq!(committed.admitted[0].started_at, Some(h.now));

    let slice = h.claim(&batches[0]).await;
    let pausing = h.pause(&batches[0]).await;
    assert_eq!(pausing.state, State::Pausing, "it keeps its slot");
    assert_eq!(h.read(&batches[3]).await.state, State::Queued);
    let committed = h.record(&batches[0], Group::new().release(&slice)).await;
    assert_eq!(committed.batch.state, State::Paused);
    assert_eq!(numbers(&committed.admitted), [batches[3].seq]);
}

pub(super) async fn a_pause_gives_up_the_slot_and_a_resume_asks_again(mut h: Harness) {
    h.bound(1, 10).await;
    let first = h.start(inline("batch-a", &["1"])).await;
    let second = h.start(inline("batch-b", &["1"])).await;
    h.pause(&first).await;
    assert_eq!(h.read(&second).await.state, State::Running);
    assert_eq!(h.resume(&first).await.state, State::Queued);
    h.stop(&second).await;
    assert_eq!(h.read(&first).await.state, State::Running);
}

/// Callers hang up. However far a start has come, the batch is there as a whole or not at all, and what comes after it
/// is not taken for it.
pub(super) async fn a_check_refuses_what_a_start_would_and_makes_nothing(mut h: Harness) {
    h.bound(10, 1).await;
    let new = || requested(inline("batch-a", &["1"]), REQUEST, 1, h.after(86_400));
    for _ in 0..2 {
        assert_eq!(h.check_batch(&new(), h.now).await.unwrap().made_before, None);
    }
    assert!(h.listed().await.is_empty());
    let batch = h.start(new()).await;
    assert_eq!(
        h.check_batch(&new(), h.now).await.unwrap().made_before,
        Some(batch.id.clone()),
        "a start would be a replay"
    );
    let other = requested(inline("batch-b", &["1"]), REQUEST, 2, h.after(86_400));
    let refused = async |new: NewBatch| h.check_batch(&new, h.now).await.expect_err("refused");
    assert!(matches!(refused(other).await, CreateError::RequestIdReused(id) if id == REQUEST));
    assert!(matches!(refused(filed("batch-a")).await, CreateError::BatchExists(id) if id == batch.id));
    assert!(matches!(refused(filed("batch-b")).await, CreateError::Quota { limit: 1 }));
    assert_eq!(h.read(&batch).await, batch);
}

pub(super) async fn a_start_given_up_midway_leaves_nothing_behind(h: Harness) {
    for polls in 1..60 {
        let given_up = filed(&format!("given-up-{polls}"));
        let (name, spec) = (given_up.id.clone(), given_up.spec.clone());
        let answered = Polled { future: pin!(h.create_batch(given_up, h.now)), polls }.await.is_some();
        let next = inline(&format!("after-{polls}"), &["1"]);
        let expected = next.spec.clone();
        let next = h.start(next).await;
        assert_eq!(*next.spec, expected, "given up at poll {polls}");
        assert_eq!(h.read(&next).await, next);
        h.stop(&next).await;
        match h.batch(&name).await.unwrap() {
            Some(batch) => {
                assert_eq!(*batch.spec, spec);
                h.stop(&batch).await;
            }
            None => assert!(!answered),
        }
    }
}

/// Polls a future so many times at most, then answers with nothing.
struct Polled<'a, F> {
    future: Pin<&'a mut F>,
    polls: u32,
}

impl<F: Future> Future for Polled<'_, F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            return Poll::Ready(None);
        }
        self.polls -= 1;
        match self.future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            // Nothing more is to come: no wake is waited for.
            Poll::Pending if self.polls == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

pub(super) async fn nothing_is_known_of_another_name(h: Harness) {
    let batch = h.start(filed("batch-a")).await;
    let lease = h.read_source(&batch).await;
    h.page(&batch, &lease, page::items(vec![NewItem::keyed("1")], None)).await;
    assert!(h.batch(&BatchId::chosen("batch-b").unwrap()).await.unwrap().is_none());
}
