//! The table of CONTRACT 2.2, through commands and events, with and without live leases.

use super::{
    fixture::{
        batch::{filed, inline, opened},
        outcome, page,
        recording::Group,
    },
    harness::Harness,
};
use crate::{
    domain::{
        batch::{Batch, Command, DrainMode, EndReason, PauseCause, Refusal, State},
        id::BatchId,
    },
    store::{CommandError, LeasedSlice},
};

use State::{Completed, Failed, Open, Paused, Pausing, Queued, Running, Stopped, Stopping};

/// What becomes of a command or an event.
#[derive(Debug, Clone, Copy)]
enum Then {
    /// It goes there.
    To(State),
    /// Nothing changes.
    Same,
    /// The cause rises, the state stays.
    Raised,
    /// Refused.
    No(Refusal),
}

use Then::{No, Raised, Same, To};

/// Brings a fresh batch into a state; with a live lease on its one slice where that can be.
async fn reach(h: &mut Harness, name: &str, state: State, leased: bool) -> (Batch, Option<LeasedSlice>) {
    let running = async |h: &Harness| {
        let batch = h.start(inline(name, &["a", "b"])).await;
        let slice = if leased { Some(h.claim(&batch).await) } else { None };
        (batch, slice)
    };
    let (batch, slice) = match state {
        Open => (h.start(opened(name)).await, None),
        Running => running(h).await,
        Pausing | Paused => {
            let (batch, slice) = running(h).await;
            (h.pause(&batch).await, slice)
        }
        Stopping | Stopped => {
            let (batch, slice) = running(h).await;
            (h.stop(&batch).await, slice)
        }
        Completed => (h.start(inline(name, &[])).await, None),
        Failed => {
            let batch = h.start(filed(name)).await;
            let lease = h.read_source(&batch).await;
            (h.page(&batch, &lease, page::unreadable()).await.batch, None)
        }
        Queued => {
            h.bound(0, 1_000).await;
            let batch = h.start(inline(name, &["a", "b"])).await;
            (batch, None)
        }
    };
    assert_eq!(batch.state, state);
    (batch, slice)
}

pub(super) async fn every_command_in_every_state(mut h: Harness) {
    let open = No(Refusal::Open);
    let stopping = No(Refusal::Stopping);
    let terminal = No(Refusal::Terminal);
    #[rustfmt::skip]
    let table = [
        // state     leased   pause        resume       stop          system failure
        (Open,      false, [open,        open,        To(Stopped),  Same]),
        (Running,   false, [To(Paused),  Same,        To(Stopped),  To(Paused)]),
        (Running,   true,  [To(Pausing), Same,        To(Stopping), To(Pausing)]),
        (Pausing,   true,  [Same,        To(Running), To(Stopping), Raised]),
        (Paused,    false, [Same,        To(Running), To(Stopped),  Raised]),
        (Stopping,  true,  [stopping,    stopping,    Same,         Same]),
        (Completed, false, [terminal,    terminal,    terminal,     Same]),
        (Failed,    false, [terminal,    terminal,    terminal,     Same]),
        (Stopped,   false, [terminal,    terminal,    Same,         Same]),
        (Queued,    false, [To(Paused),  Same,        To(Stopped),  Same]),
    ];
    let (reason, drain) = (String::new, DrainMode::Finish);
    let commands = [
        Some(Command::Pause { reason: reason(), drain }),
        Some(Command::Resume),
        Some(Command::Stop { reason: reason(), drain }),
        None,
    ];
    for (state, leased, row) in table {
        for (n, (command, then)) in commands.iter().zip(row).enumerate() {
            let name = format!("{}-{leased}-{n}", state.as_str().to_lowercase());
            let (before, _) = reach(&mut h, &name, state, leased).await;
            let cell = format!("{command:?} in {state:?}, leased: {leased}");
            let after = match command {
                Some(command) => match h.command(&before.id, command, h.now).await {
                    Ok(changed) => changed.batch,
                    Err(CommandError::Refused { state: told, refusal, .. }) => {
                        assert!(matches!(then, No(expected) if expected == refusal), "{cell}: {refusal:?}");
                        assert_eq!(told, state, "{cell}");
                        before.clone()
                    }
                    Err(error) => panic!("{cell}: {error}"),
                },
                None => h.break_down(&before).await,
            };
            assert_eq!(after, h.read(&before).await, "{cell}: the answer is what is stored");
            match then {
                To(next) => {
                    assert_eq!(after.state, next, "{cell}");
                    assert!(after.revision > before.revision, "{cell}");
                    assert!(after.control_revision > before.control_revision, "{cell}");
                }
                Raised => {
                    assert_eq!(after.state, state, "{cell}");
                    assert_eq!(after.pause.unwrap().cause, PauseCause::SystemFailure, "{cell}");
                    assert!(after.revision > before.revision, "{cell}");
                    assert!(after.control_revision > before.control_revision, "{cell}");
                }
                Same | No(_) => assert_eq!(after, before, "{cell}"),
            }
        }
    }
}

pub(super) async fn every_event_with_a_lease(mut h: Harness) {
    let none_open = |slice: &LeasedSlice| Group::new().release(slice).add_all(slice, &outcome::success());
    #[rustfmt::skip]
    let table = [
        // state    drained  exhausted
        (Running,  Running,  Completed),
        (Pausing,  Paused,   Completed),
        (Stopping, Stopped,  Stopped),
    ];
    for (state, drained, exhausted) in table {
        let name = state.as_str().to_lowercase();
        let (batch, slice) = reach(&mut h, &format!("{name}-d"), state, true).await;
        let after = h.record(&batch, Group::new().release(&slice.unwrap())).await.batch;
        assert_eq!(after.state, drained, "{state:?} drained");
        let (batch, slice) = reach(&mut h, &format!("{name}-e"), state, true).await;
        let after = h.record(&batch, none_open(&slice.unwrap())).await.batch;
        assert_eq!((after.state, after.counts.succeeded), (exhausted, 2), "{state:?} exhausted");
    }
}

pub(super) async fn draining_with_a_stop_behind_it(mut h: Harness) {
    let (batch, slice) = reach(&mut h, "batch-a", Pausing, true).await;
    assert_eq!(h.stop(&batch).await.state, Stopping);
    let stopped = h.record(&batch, Group::new().release(&slice.unwrap())).await.batch;
    assert_eq!((stopped.state, stopped.counts.canceled, stopped.pause), (Stopped, 2, None));
}

pub(super) async fn a_repeat_changes_nothing(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a"])).await;
    h.claim(&batch).await;
    h.pass(1);
    let drain = DrainMode::Finish;
    let pause = |reason: &str| Command::Pause { reason: reason.to_owned(), drain };
    let stop = |reason: &str| Command::Stop { reason: reason.to_owned(), drain };
    let pausing = h.order(&batch, pause("first")).await.batch;
    h.pass(1);
    assert_eq!(h.order(&batch, pause("second")).await.batch, pausing);
    let running = h.resume(&batch).await;
    h.pass(1);
    assert_eq!(h.resume(&batch).await, running);
    let stopping = h.order(&batch, stop("first")).await.batch;
    h.pass(1);
    assert_eq!(h.order(&batch, stop("second")).await.batch, stopping);
    h.pass(60);
    let stopped = h.order(&batch, stop("third")).await.batch;
    assert_eq!((stopped.state, stopped.end.as_ref().unwrap().message.as_str()), (Stopped, "first"));
    assert_eq!(h.order(&batch, stop("fourth")).await.batch, stopped);
}

pub(super) async fn a_cause_only_rises(mut h: Harness) {
    for leased in [true, false] {
        let state = if leased { Pausing } else { Paused };
        let (batch, _) = reach(&mut h, &format!("batch-{leased}"), state, leased).await;
        assert_eq!(batch.pause.as_ref().unwrap().cause, PauseCause::User);
        let raised = h.break_down(&batch).await;
        let pause = raised.pause.as_ref().unwrap();
        assert_eq!((pause.cause, pause.reason.as_str()), (PauseCause::SystemFailure, "DISK_FULL"));
        assert_eq!(h.pause(&batch).await, raised, "a pause does not hide a defect");
        let again = h.fail_system(batch.seq, "STORE_FAULT", "another", h.now).await.unwrap().batch;
        assert_eq!(again, raised, "the first defect is the one to repair");
        let resumed = h.resume(&batch).await;
        assert_eq!((resumed.state, resumed.pause), (Running, None));
        assert_eq!(h.pause(&batch).await.pause.unwrap().cause, PauseCause::User);
    }
}

pub(super) async fn an_outage_ends_by_itself_unless_somebody_has_paused_meanwhile(mut h: Harness) {
    let declare = async |h: &Harness, batch: &Batch| {
        h.declare_outage(batch.seq, "RATE_LIMITED", "HTTP 429", h.now).await.unwrap().batch
    };
    for leased in [true, false] {
        let name = format!("batch-{leased}");
        let (batch, slice) = reach(&mut h, &name, Running, leased).await;
        let out = declare(&h, &batch).await;
        let pause = out.pause.clone().unwrap();
        assert_eq!(out.state, if leased { Pausing } else { Paused });
        assert_eq!((pause.cause, pause.reason.as_str()), (PauseCause::UpstreamOutage, "RATE_LIMITED"));
        assert_eq!(pause.message, "HTTP 429");
        assert_eq!(h.outages().await.unwrap().iter().any(|paused| paused.id == batch.id), !leased);
        let over = h.end_outage(batch.seq, h.now).await.unwrap().batch;
        assert_eq!((over.state, over.pause), (Running, None));
        assert_eq!(h.end_outage(batch.seq, h.now).await.unwrap().batch.state, Running, "a repeat is nothing");

        let out = declare(&h, &batch).await;
        let by_user = h.pause(&batch).await;
        assert_eq!((by_user.state, by_user.pause.as_ref().unwrap().cause), (out.state, PauseCause::User));
        assert_eq!(h.end_outage(batch.seq, h.now).await.unwrap().batch, by_user);
        if let Some(slice) = slice {
            let drained = h.record(&batch, Group::new().release(&slice)).await.batch;
            assert_eq!((drained.state, drained.pause.unwrap().cause), (Paused, PauseCause::User));
        }
        assert!(h.outages().await.unwrap().is_empty(), "it is the user's now");
        assert_eq!(h.resume(&batch).await.state, Running);
        h.stop_if_live(&batch).await;
    }
}

pub(super) async fn an_outage_survives_a_restart_and_knows_what_to_ask_with(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a", "b", "c"])).await;
    let slice = h.claim(&batch).await;
    assert_eq!(h.open_item(batch.seq, 0).await.unwrap(), None, "all of it is leased");
    h.record(&batch, Group::new().release(&slice).add(&slice, 0, outcome::success())).await;
    let paused = h.declare_outage(batch.seq, "UPSTREAM_UNREACHABLE", "", h.now).await.unwrap().batch;
    h.reopen().await;
    assert!(h.recover(h.now).await.unwrap().is_empty(), "nothing works on it");
    assert_eq!(h.outages().await.unwrap(), [paused]);
    for (nth, key) in [(0, "b"), (1, "c"), (2, "b"), (9, "b")] {
        assert_eq!(
            h.open_item(batch.seq, nth).await.unwrap().map(|(key, _)| key).as_deref(),
            Some(key),
            "{nth}"
        );
    }
    assert_eq!(h.succeeded_item(batch.seq).await.unwrap().map(|(key, _)| key).as_deref(), Some("a"));
    h.stop(&batch).await;
    assert_eq!(h.open_item(batch.seq, 0).await.unwrap(), None);
}

pub(super) async fn reason_and_message_are_shown_while_they_hold(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a"])).await;
    let slice = h.claim(&batch).await;
    let long = format!("  lunch\r\n{}", "x".repeat(5_000));
    let pausing = h.order(&batch, Command::Pause { reason: long, drain: DrainMode::Finish }).await.batch;
    let pause = pausing.pause.clone().unwrap();
    assert_eq!((pause.cause, pause.reason.as_str()), (PauseCause::User, "USER_PAUSE"));
    assert!(pause.message.starts_with("lunch  xxx") && pause.message.len() <= 1_024, "{}", pause.message);
    let paused = h.record(&batch, Group::new().release(&slice)).await.batch;
    assert_eq!((paused.state, paused.pause), (Paused, Some(pause)));
    assert_eq!(h.resume(&batch).await.pause, None);
    h.claim(&batch).await;
    let stopping = h.stop(&batch).await;
    let end = stopping.end.clone().unwrap();
    assert_eq!((end.reason, end.message.as_str()), (EndReason::UserStop, "enough"));
    h.reopen().await;
    h.recover(h.now).await.unwrap();
    assert_eq!(h.read(&batch).await.end, Some(end));
}

pub(super) async fn an_expired_lease_counts_as_drained(mut h: Harness) {
    let expired = async |h: &mut Harness, name: &str| {
        let batch = h.start(filed(name)).await;
        let lease = h.read_source(&batch).await;
        h.page(&batch, &lease, page::keys(&["a"], Some("2"))).await;
        h.claim(&batch).await;
        h.pass(30);
        batch
    };
    let batch = expired(&mut h, "batch-a").await;
    assert_eq!(h.pause(&batch).await.state, Paused);
    let batch = expired(&mut h, "batch-b").await;
    assert_eq!(h.break_down(&batch).await.state, Paused);
    let batch = expired(&mut h, "batch-c").await;
    let stopped = h.stop(&batch).await;
    assert_eq!((stopped.state, stopped.counts.canceled), (Stopped, 1));
}

pub(super) async fn a_command_settles_what_has_drained(mut h: Harness) {
    let expired = async |h: &mut Harness, name: &str, state| {
        let (batch, _) = reach(h, name, state, true).await;
        h.pass(30);
        batch
    };
    let batch = expired(&mut h, "batch-a", Pausing).await;
    assert_eq!(h.pause(&batch).await.state, Paused);
    let batch = expired(&mut h, "batch-b", Pausing).await;
    assert_eq!(h.break_down(&batch).await.state, Paused);
    let batch = expired(&mut h, "batch-c", Pausing).await;
    assert_eq!(h.resume(&batch).await.state, Running);
    let batch = expired(&mut h, "batch-d", Pausing).await;
    assert_eq!(h.stop(&batch).await.state, Stopped);
    let batch = expired(&mut h, "batch-e", Stopping).await;
    assert_eq!(h.stop(&batch).await.state, Stopped);
    let batch = expired(&mut h, "batch-f", Stopping).await;
    assert_eq!(h.refused(&batch, &Command::Resume).await, (Stopped, Refusal::Terminal));
}

pub(super) async fn a_late_commit_cannot_wake_a_paused_batch(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a", "b"])).await;
    let slice = h.claim(&batch).await;
    h.pass(30);
    let paused = h.pause(&batch).await;
    assert_eq!(paused.state, Paused);
    let late = Group::new().keep(&slice).add(&slice, 0, outcome::success());
    let refused = h.record(&batch, late.clone()).await;
    assert_eq!(refused.fenced, [slice.no], "a paused batch has no lease");
    assert_eq!(h.read(&batch).await, paused);
    assert_eq!(h.lost(&batch).await, 1);
    h.resume(&batch).await;
    assert_eq!(h.record(&batch, late).await.fenced, [slice.no]);
    assert_eq!(h.claim(&batch).await.items.len(), 2);
}

pub(super) async fn a_refusal_says_why(mut h: Harness) {
    let (batch, _) = reach(&mut h, "batch-a", Stopping, true).await;
    let error = h.command(&batch.id, &Command::Resume, h.now).await.unwrap_err();
    assert_eq!(error.to_string(), "batch batch-a is STOPPING");
    let (batch, _) = reach(&mut h, "batch-b", Completed, false).await;
    let stop = Command::Stop { reason: String::new(), drain: DrainMode::Finish };
    assert_eq!(h.refused(&batch, &stop).await, (Completed, Refusal::Terminal));
}

pub(super) async fn nobody_commands_what_is_not_there(h: Harness) {
    let id = BatchId::chosen("nobody").unwrap();
    let error = h.command(&id, &Command::Resume, h.now).await.unwrap_err();
    assert!(matches!(error, CommandError::NotFound(name) if name == id));
}
