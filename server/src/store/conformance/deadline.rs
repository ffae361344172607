//! Deadlines of batches and of items.

use std::time::Duration;

use super::{
    fixture::{
        batch::{OPEN_TTL_S, inline, opened},
        outcome,
        recording::Group,
    },
    harness::{Harness, numbers},
};
use crate::{
    domain::{
        batch::{Batch, Command, DrainMode, EndReason, Refusal, State},
        item::{self, Outcome},
    },
    store::NewBatch,
};

const MAX_S: i64 = 100;

fn timed(id: &str) -> NewBatch {
    let mut new = inline(id, &["a", "b"]);
    new.spec.max_duration = Some(Duration::from_secs(MAX_S as u64));
    new
}

async fn assert_ended(h: &Harness, batch: &Batch, reason: EndReason) {
    let batch = h.read(batch).await;
    assert_eq!((batch.state, batch.end.unwrap().reason), (State::Failed, reason), "{}", batch.id);
}

pub(super) async fn a_batch_has_its_time_from_its_first_run_on(mut h: Harness) {
    let (running, leased) = (h.start(timed("running")).await, h.start(timed("leased")).await);
    let (paused, queued) = (h.start(timed("paused")).await, h.start(timed("queued")).await);
    h.pause(&paused).await;
    h.pass(MAX_S - 1);
    let slice = h.claim(&leased).await;
    h.pause(&queued).await;
    h.bound(0, 100).await;
    assert_eq!(h.resume(&queued).await.state, State::Queued);
    assert_eq!(h.settle(h.now).await.unwrap(), []);
    h.pass(1);
    let moved = h.settle(h.now).await.unwrap();
    let mut seqs = numbers(&moved);
    seqs.sort_unstable();
    assert_eq!(seqs, [running.seq, leased.seq, paused.seq, queued.seq]);
    for batch in [&running, &paused, &queued] {
        assert_ended(&h, batch, EndReason::MaxDuration).await;
        assert_eq!(h.states(batch).await, [item::State::Canceled; 2]);
    }
    let stopping = h.read(&leased).await;
    assert_eq!((stopping.state, stopping.drain), (State::Stopping, Some(DrainMode::Finish)));
    h.record(&leased, Group::new().release(&slice).add(&slice, 0, outcome::success())).await;
    assert_ended(&h, &leased, EndReason::MaxDuration).await;
    assert_eq!(h.states(&leased).await, [item::State::Succeeded, item::State::Canceled]);
    assert_eq!(h.settle(h.now).await.unwrap(), []);
}

pub(super) async fn a_batch_that_never_ran_waits_as_long_as_it_takes(mut h: Harness) {
    h.bound(0, 100).await;
    let batch = h.start(timed("batch-a")).await;
    h.pass(100 * MAX_S);
    assert_eq!(h.settle(h.now).await.unwrap(), []);
    assert_eq!(h.read(&batch).await.state, State::Queued);
}

pub(super) async fn an_open_batch_is_given_up_in_time(mut h: Harness) {
    let batch = h.start(opened("batch-a")).await;
    h.pass(OPEN_TTL_S - 1);
    assert_eq!(h.settle(h.now).await.unwrap(), []);
    h.pass(1);
    assert_eq!(numbers(&h.settle(h.now).await.unwrap()), [batch.seq]);
    assert_ended(&h, &batch, EndReason::OpenTtl).await;
}

pub(super) async fn a_deadline_that_passed_while_nobody_was_there_is_kept(mut h: Harness) {
    let (open, running) = (h.start(opened("open")).await, h.start(timed("running")).await);
    h.claim(&running).await;
    h.pass(OPEN_TTL_S);
    h.reopen().await;
    assert_eq!(h.recover(h.now).await.unwrap(), [], "none of them has work to do");
    assert_ended(&h, &open, EndReason::OpenTtl).await;
    assert_ended(&h, &running, EndReason::MaxDuration).await;
}

pub(super) async fn a_command_that_comes_too_late_finds_the_end(mut h: Harness) {
    let batch = h.start(timed("batch-a")).await;
    h.pass(MAX_S);
    let drain = DrainMode::Finish;
    for command in [
        Command::Pause { reason: String::new(), drain },
        Command::Resume,
        Command::Stop { reason: String::new(), drain },
    ] {
        assert_eq!(h.refused(&batch, &command).await, (State::Failed, Refusal::Terminal));
    }
    h.settle(h.now).await.unwrap();
    assert_ended(&h, &batch, EndReason::MaxDuration).await;
}

const ITEM_S: i64 = 60;

fn pressed(id: &str, keys: &[&str]) -> NewBatch {
    let mut new = inline(id, keys);
    new.spec.fetch.item_deadline = Duration::from_secs(ITEM_S as u64);
    new
}

async fn returned(h: &Harness, batch: &Batch, places: &[(usize, Outcome)]) -> Vec<i64> {
    let slice = h.claim(batch).await;
    let add = |group: Group, (place, outcome): &(usize, Outcome)| group.add(&slice, *place, outcome.clone());
    let group = places.iter().fold(Group::new().release(&slice), add);
    h.record(batch, group).await.rejected
}

pub(super) async fn an_item_has_its_time_in_which_the_batch_ran(mut h: Harness) {
    let batch = h.start(pressed("batch-a", &["early", "late", "fresh"])).await;
    h.pass(10);
    // An attempt takes a second: it began at 9.
    returned(&h, &batch, &[(0, outcome::push_back(0)), (1, outcome::push_back(0))]).await;
    h.pause(&batch).await;
    h.pass(100 * ITEM_S);
    h.reopen().await;
    h.recover(h.now).await.unwrap();
    h.resume(&batch).await;
    h.pass(ITEM_S - 1);
    let late = returned(&h, &batch, &[(0, outcome::push_back(0)), (2, outcome::temporary())]).await;
    assert_eq!(late, [] as [i64; 0], "the pause does not count, and the deadline is not past");
    h.pass(1);
    let late = returned(&h, &batch, &[(0, outcome::success()), (1, outcome::push_back(0))]).await;
    assert_eq!(late, [1]);
    let items = h.items(&batch).await;
    let failure = items[1].failure.as_ref().unwrap();
    assert_eq!((failure.reason.as_str(), failure.http_status), ("DEADLINE", Some(429)));
    assert!(failure.message.contains("item_deadline, 60 s") && failure.message.ends_with("HTTP_429: slower"));
    let states: Vec<item::State> = items.iter().map(|item| item.state).collect();
    assert_eq!(states, [item::State::Succeeded, item::State::Failed, item::State::Pending]);
    assert_eq!(h.read(&batch).await.counts.failed_items_by_class, [1, 0, 0], "TEMPORARY");
}

pub(super) async fn what_is_not_the_items_fault_does_not_end_it_late(mut h: Harness) {
    let batch = h.start(pressed("batch-a", &["a", "b"])).await;
    returned(&h, &batch, &[(0, outcome::push_back(0))]).await;
    h.pass(2 * ITEM_S);
    assert_eq!(returned(&h, &batch, &[(0, outcome::system())]).await, [] as [i64; 0]);
    assert_eq!(h.read(&batch).await.state, State::Paused);
    h.resume(&batch).await;
    let slice = h.claim(&batch).await;
    h.stop(&batch).await;
    let group = Group::new().release(&slice).add(&slice, 0, outcome::push_back(0));
    let stopped = h.record(&batch, group).await;
    assert_eq!((stopped.batch.counts.canceled, stopped.rejected), (2, vec![]), "an end cancels what returns");
}
