//! Who is let run, and who goes first: CONTRACT 2.3 and 5.

mod history;

use super::{
    fixture::{
        batch::{delayed, inline, keyed, opened, ranked},
        outcome,
        recording::Group,
    },
    harness::{Harness, numbers},
};
use crate::{
    domain::{
        batch::{Batch, DrainMode, State},
        id::BatchSeq,
        spec::OverlapPolicy::{AllowAll, BufferAll},
    },
    store::NewBatch,
};

use State::{Paused, Queued, Running, Stopped, Stopping};

pub(super) async fn whatever_comes_keys_and_priorities_are_kept(h: Harness) {
    history::run(h).await;
}

async fn come(h: &Harness, new: NewBatch) -> Batch {
    h.create_batch(new, h.now).await.unwrap().batch
}

fn nightly(name: &str) -> NewBatch {
    keyed(inline(name, &["a"]), "nightly", BufferAll)
}

/// Stops a batch and answers with what was admitted in the same transaction.
async fn after_stop(h: &Harness, batch: &Batch) -> Vec<BatchSeq> {
    let changed = h
        .order(batch, crate::domain::batch::Command::Stop { reason: String::new(), drain: DrainMode::Finish })
        .await;
    assert_eq!(changed.batch.state, Stopped);
    numbers(&changed.admitted)
}

async fn states(h: &Harness, batches: &[&Batch]) -> Vec<State> {
    let mut states = Vec::new();
    for batch in batches {
        states.push(h.read(batch).await.state);
    }
    states
}

pub(super) async fn a_batch_waits_for_its_time(mut h: Harness) {
    let batch = h.start(delayed(inline("batch-a", &["a"]), h.after(60))).await;
    assert_eq!((batch.state, batch.started_at), (Queued, None));
    h.pass(59);
    assert_eq!(h.settle(h.now).await.unwrap(), []);
    h.pass(1);
    let admitted = h.settle(h.now).await.unwrap();
    assert_eq!(numbers(&admitted), [batch.seq]);
    assert_eq!((admitted[0].state, admitted[0].started_at), (Running, Some(h.now)));
    assert_eq!(h.settle(h.now).await.unwrap(), []);
    // A time that has passed holds nobody up, and a restart forgets none.
    assert_eq!(h.start(delayed(inline("batch-b", &["a"]), h.after(-5))).await.state, Running);
    let late = h.start(delayed(inline("batch-c", &["a"]), h.after(5))).await;
    h.pass(5);
    h.reopen().await;
    h.recover(h.now).await.unwrap();
    assert_eq!(h.read(&late).await.state, Running);
}

pub(super) async fn the_one_of_highest_priority_goes_first(mut h: Harness) {
    h.bound(1, 100).await;
    let first = h.start(inline("first", &["a"])).await;
    let mut waiting = Vec::new();
    for (name, priority) in [("lowest", -100), ("none", 0), ("high", 7), ("also-high", 7), ("highest", 100)] {
        waiting.push(h.start(ranked(inline(name, &["a"]), priority)).await);
    }
    // Its time has not come: it is passed over.
    h.start(delayed(ranked(inline("later", &["a"]), 100), h.after(60))).await;
    let mut running = first;
    for n in [4, 2, 3, 1, 0] {
        let slice = h.claim(&running).await;
        let over = h.record(&running, Group::new().keep(&slice).add(&slice, 0, outcome::success())).await;
        assert_eq!(numbers(&over.admitted), [waiting[n].seq], "its end lets the next one in");
        running = waiting[n].clone();
    }
}

pub(super) async fn a_key_is_passed_on_in_the_order_of_coming(mut h: Harness) {
    let first = come(&h, nightly("first")).await;
    let second = come(&h, nightly("second")).await;
    let urgent = come(&h, ranked(nightly("urgent"), 10)).await;
    let third = come(&h, nightly("third")).await;
    let other = come(&h, keyed(inline("other", &["a"]), "hourly", BufferAll)).await;
    assert_eq!(
        states(&h, &[&first, &second, &urgent, &third, &other]).await,
        [Running, Queued, Queued, Queued, Running]
    );
    h.claim(&first).await;
    assert_eq!(h.stop(&first).await.state, Stopping);
    assert_eq!(states(&h, &[&second, &urgent]).await, [Queued; 2], "as long as it drains it has the key");
    h.pass(60);
    let settled = h.settle(h.now).await.unwrap();
    assert_eq!(settled.iter().filter(|batch| batch.seq == second.seq).count(), 1, "{settled:?}");
    assert_eq!(states(&h, &[&first, &second, &urgent]).await, [Stopped, Running, Queued]);
    assert_eq!(after_stop(&h, &second).await, [urgent.seq], "no priority overtakes within a key");
    assert_eq!(after_stop(&h, &urgent).await, [third.seq]);
    assert_eq!(after_stop(&h, &third).await, []);
}

pub(super) async fn a_priority_counts_between_keys_and_not_within_one(mut h: Harness) {
    h.bound(1, 100).await;
    let running = come(&h, inline("running", &["a"])).await;
    let first = come(&h, nightly("first")).await;
    let urgent = come(&h, ranked(nightly("urgent"), 100)).await;
    let beside = come(&h, ranked(keyed(inline("beside", &["a"]), "nightly", AllowAll), 50)).await;
    let other = come(&h, ranked(keyed(inline("other", &["a"]), "hourly", BufferAll), 10)).await;
    assert_eq!(after_stop(&h, &running).await, [beside.seq], "it asks for no free key");
    assert_eq!(after_stop(&h, &beside).await, [other.seq], "the oldest of a key stands for those behind it");
    assert_eq!(after_stop(&h, &other).await, [first.seq]);
    assert_eq!(after_stop(&h, &first).await, [urgent.seq]);
}

pub(super) async fn a_paused_batch_keeps_its_place_and_holds_those_behind_it(h: Harness) {
    let first = come(&h, nightly("first")).await;
    let second = come(&h, nightly("second")).await;
    let third = come(&h, ranked(nightly("third"), 50)).await;
    h.pause(&second).await;
    assert_eq!(after_stop(&h, &first).await, [], "it holds those behind it, however urgent they are");
    assert_eq!(states(&h, &[&second, &third]).await, [Paused, Queued]);
    assert_eq!(h.resume(&third).await.state, Queued);
    assert_eq!(h.resume(&second).await.state, Running, "its place was kept");
    h.pause(&third).await;
    assert_eq!(after_stop(&h, &second).await, []);
    let fourth = come(&h, nightly("fourth")).await;
    assert_eq!(after_stop(&h, &third).await, [fourth.seq], "its end lets the next one in");
}

pub(super) async fn a_batch_that_waits_for_its_time_holds_those_behind_it(mut h: Harness) {
    let first = come(&h, delayed(nightly("first"), h.after(60))).await;
    let second = come(&h, nightly("second")).await;
    assert_eq!(states(&h, &[&first, &second]).await, [Queued; 2]);
    let third = come(&h, delayed(ranked(nightly("third"), 9), h.after(600))).await;
    h.pass(60);
    assert_eq!(numbers(&h.settle(h.now).await.unwrap()), [first.seq]);
    assert_eq!(after_stop(&h, &first).await, [second.seq], "one that came later holds nobody up");
    assert_eq!(after_stop(&h, &second).await, []);
    h.pass(540);
    assert_eq!(numbers(&h.settle(h.now).await.unwrap()), [third.seq]);
}

pub(super) async fn an_open_batch_holds_its_key_from_creation(h: Harness) {
    let first = come(&h, keyed(opened("first"), "nightly", BufferAll)).await;
    let second = come(&h, ranked(nightly("second"), 50)).await;
    let open_behind = come(&h, keyed(opened("third"), "nightly", BufferAll)).await;
    let last = come(&h, nightly("last")).await;
    assert_eq!(second.state, Queued);
    assert_eq!(after_stop(&h, &first).await, [second.seq], "an open one holds nobody that came before it");
    assert_eq!(after_stop(&h, &second).await, []);
    assert_eq!(after_stop(&h, &open_behind).await, [last.seq]);
}

pub(super) async fn a_batch_that_has_run_gets_its_key_back(h: Harness) {
    let first = come(&h, nightly("first")).await;
    let second = come(&h, ranked(nightly("second"), 50)).await;
    h.pause(&first).await;
    assert_eq!(h.read(&second).await.state, Queued, "a paused batch keeps its key");
    assert_eq!(h.resume(&first).await.state, Running);
    // One that asked to run beside it does not keep it from going on.
    let beside = come(&h, keyed(inline("beside", &["a"]), "nightly", AllowAll)).await;
    h.pause(&first).await;
    h.pause(&beside).await;
    assert_eq!(h.resume(&first).await.state, Running);
    assert_eq!(h.read(&second).await.state, Queued);
}

pub(super) async fn those_that_run_beside_others_hold_the_key_too(h: Harness) {
    let beside = |name: &str| keyed(inline(name, &["a"]), "nightly", AllowAll);
    let first = come(&h, nightly("first")).await;
    let second = come(&h, nightly("second")).await;
    let (one, two) = (come(&h, beside("beside-one")).await, come(&h, beside("beside-two")).await);
    assert_eq!(states(&h, &[&first, &second, &one, &two]).await, [Running, Queued, Running, Running]);
    assert_eq!(after_stop(&h, &first).await, []);
    assert_eq!(after_stop(&h, &one).await, []);
    assert_eq!(after_stop(&h, &two).await, [second.seq], "it did not ask to run beside any");
}
