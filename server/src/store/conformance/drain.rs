//! Drain modes: CONTRACT 2.2 note c, 2.3 and the row "released" of 3.2.

use super::{
    fixture::{batch::inline, outcome, recording::Group},
    harness::Harness,
};
use crate::domain::{
    batch::{Batch, Command, DrainMode, State},
    item,
};

use DrainMode::{Abort, Finish};

fn pause(drain: DrainMode) -> Command {
    Command::Pause { reason: String::new(), drain }
}

fn stop(drain: DrainMode) -> Command {
    Command::Stop { reason: String::new(), drain }
}

/// A repeat moves the revisions if the mode rises, and else changes nothing.
async fn repeated(h: &Harness, before: Batch, command: Command, rises: bool) -> Batch {
    let told = format!("{command:?} in {:?}, {:?}", before.state, before.drain);
    let after = h.order(&before, command).await.batch;
    if rises {
        assert_eq!((after.state, after.drain), (before.state, Some(Abort)), "{told}");
        assert!(after.revision > before.revision, "{told}");
        assert!(after.control_revision > before.control_revision, "{told}");
    } else {
        assert_eq!(after, before, "{told}");
    }
    after
}

pub(super) async fn a_mode_is_durable_and_only_rises(mut h: Harness) {
    for (name, command, draining) in
        [("pause", pause as fn(DrainMode) -> Command, State::Pausing), ("stop", stop, State::Stopping)]
    {
        let batch = h.start(inline(&format!("{name}-risen"), &["a"])).await;
        let slice = h.claim(&batch).await;
        let finishing = h.order(&batch, command(Finish)).await.batch;
        assert_eq!((finishing.state, finishing.drain), (draining, Some(Finish)));
        let finishing = repeated(&h, finishing, command(Finish), false).await;
        let aborting = repeated(&h, finishing, command(Abort), true).await;
        let aborting = repeated(&h, aborting, command(Abort), false).await;
        let aborting = repeated(&h, aborting, command(Finish), false).await;
        let drained = h.record(&batch, Group::new().release(&slice)).await.batch;
        assert_ne!(drained.state, aborting.state);
        repeated(&h, drained, command(Abort), false).await;

        let at_once = h.start(inline(&format!("{name}-at-once"), &["a"])).await;
        h.claim(&at_once).await;
        h.order(&at_once, command(Abort)).await;
        let (_old, _) = h.reopen().await;
        assert_eq!(h.read(&at_once).await.drain, Some(Abort));
    }
}

pub(super) async fn a_stop_keeps_the_mode_of_the_pause_that_it_meets(h: Harness) {
    let batch = h.start(inline("batch-a", &["a"])).await;
    h.claim(&batch).await;
    h.order(&batch, pause(Abort)).await;
    let running = h.resume(&batch).await;
    assert_eq!((running.state, running.drain), (State::Running, None), "a resume calls it off");
    let pausing = h.order(&batch, pause(Finish)).await.batch;
    assert_eq!(pausing.drain, Some(Finish));
    h.order(&batch, pause(Abort)).await;
    let stopping = h.order(&batch, stop(Finish)).await.batch;
    assert_eq!((stopping.state, stopping.drain), (State::Stopping, Some(Abort)), "it is cut off already");
}

pub(super) async fn what_is_cut_off_goes_back_uncharged(h: Harness) {
    let batch = h.start(inline("batch-a", &["sent", "unsent"])).await;
    let slice = h.claim(&batch).await;
    h.order(&batch, pause(Abort)).await;
    let cut_off = Group::new().release(&slice).add(&slice, 0, outcome::released(None));
    let paused = h.record(&batch, cut_off.add_unsent(&slice, 1, outcome::released(None))).await.batch;
    assert_eq!((paused.state, paused.counts.open(), paused.counts.requests), (State::Paused, 2, 1));
    assert!(h.items(&batch).await.iter().all(|item| item.attempts == 0 && item.failure.is_none()));
    let recorded = h.texts("SELECT item_index || ' ' || outcome || ' ' || charged FROM item_attempts").await;
    assert_eq!(recorded, ["0 RELEASED 0"], "only where a request was sent");
    h.resume(&batch).await;
    let slice = h.claim(&batch).await;
    let done = h.record(&batch, Group::new().keep(&slice).add_all(&slice, &outcome::success())).await.batch;
    assert_eq!((done.state, done.counts.succeeded, done.counts.retried_attempts), (State::Completed, 2, 0));
}

pub(super) async fn what_is_cut_off_on_the_way_to_an_end_is_canceled(h: Harness) {
    let batch = h.start(inline("batch-a", &["done", "sent", "unsent"])).await;
    let slice = h.claim(&batch).await;
    h.order(&batch, stop(Abort)).await;
    let cut_off = Group::new().release(&slice).add(&slice, 0, outcome::success());
    let stopped = h.record(&batch, cut_off.add(&slice, 1, outcome::released(None))).await.batch;
    assert_eq!((stopped.state, stopped.counts.canceled), (State::Stopped, 2));
    let states = h.states(&batch).await;
    assert_eq!(states, [item::State::Succeeded, item::State::Canceled, item::State::Canceled]);
}
