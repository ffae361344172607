//! Commands that carry a request id or an etag: CONTRACT 5.

use super::{
    fixture::{
        batch::{BODIES_KEPT_S, inline, requested},
        outcome,
        recording::Group,
    },
    harness::Harness,
};
use crate::{
    domain::{
        batch::{Batch, Command, DrainMode, State},
        etag,
        id::BatchId,
    },
    store::{Changed, CommandError, CreateError, Guard, RequestKey, Store},
};

const REQUEST: &str = "0d4c3a52-9b1a-4c59-8f0e-1b9b62f6c003";

fn pause(reason: &str) -> Command {
    Command::Pause { reason: reason.to_owned(), drain: DrainMode::Finish }
}

fn stop() -> Command {
    Command::Stop { reason: String::new(), drain: DrainMode::Finish }
}

/// With a request id; `content` stands for the whole request.
fn requesting(h: &Harness, command: &Command, content: u8) -> Guard {
    let key = RequestKey {
        rpc: command.rpc(),
        id: REQUEST.to_owned(),
        sha256: [content; 32],
        expires_at: h.after(86_400),
    };
    Guard { request: Some(key), ..Guard::default() }
}

fn tagged(etag: String) -> Guard {
    Guard { etag: Some(etag), ..Guard::default() }
}

async fn order(
    h: &Harness,
    batch: &BatchId,
    command: &Command,
    guard: &Guard,
) -> Result<Changed, CommandError> {
    Store::command(&**h, batch, command, guard, h.now).await
}

pub(super) async fn a_repeated_command_is_answered_with_the_batch_as_it_is(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a"])).await;
    let (command, guard) = (pause("first"), requesting(&h, &pause(""), 1));
    assert_eq!(order(&h, &batch.id, &command, &guard).await.unwrap().batch.state, State::Paused);
    let running = h.resume(&batch).await;
    h.reopen().await;
    // A reply was lost on the way, and the call comes again when all has changed: it has no second effect.
    let again = order(&h, &batch.id, &command, &guard).await.unwrap();
    assert_eq!((again.batch, again.admitted.len()), (running, 0));
    let stopped = h.stop(&batch).await;
    assert_eq!(order(&h, &batch.id, &command, &guard).await.unwrap().batch, stopped, "not refused either");
}

pub(super) async fn a_command_that_changed_nothing_is_remembered_too(h: Harness) {
    let batch = h.start(inline("batch-a", &["a"])).await;
    let paused = h.pause(&batch).await;
    let guard = requesting(&h, &pause(""), 1);
    assert_eq!(order(&h, &batch.id, &pause(""), &guard).await.unwrap().batch, paused);
    let running = h.resume(&batch).await;
    assert_eq!(order(&h, &batch.id, &pause(""), &guard).await.unwrap().batch, running);
}

pub(super) async fn an_id_is_good_for_one_content_of_one_call(h: Harness) {
    let batch = h.start(requested(inline("batch-a", &["a"]), REQUEST, 1, h.after(86_400))).await;
    // Ids of other calls are others.
    for (command, state) in
        [(pause(""), State::Paused), (Command::Resume, State::Running), (stop(), State::Stopped)]
    {
        let guard = requesting(&h, &command, 1);
        assert_eq!(order(&h, &batch.id, &command, &guard).await.unwrap().batch.state, state);
    }
    for command in [pause(""), Command::Resume, stop()] {
        let reused = order(&h, &batch.id, &command, &requesting(&h, &command, 2)).await;
        assert!(matches!(reused, Err(CommandError::RequestIdReused(id)) if id == REQUEST), "{command:?}");
    }
    let reused = h.create_batch(requested(inline("batch-b", &["a"]), REQUEST, 2, h.after(60)), h.now).await;
    assert!(matches!(reused, Err(CreateError::RequestIdReused(_))));
}

pub(super) async fn a_refused_command_leaves_its_id_usable(h: Harness) {
    let (over, live) = (h.start(inline("over", &[])).await, h.start(inline("live", &["a"])).await);
    let refused = order(&h, &over.id, &pause(""), &requesting(&h, &pause(""), 1)).await;
    assert!(matches!(refused, Err(CommandError::Refused { .. })));
    let stale = Guard { etag: Some("\"stale\"".to_owned()), ..requesting(&h, &pause(""), 1) };
    assert!(matches!(order(&h, &live.id, &pause(""), &stale).await, Err(CommandError::EtagMismatch { .. })));
    let paused = order(&h, &live.id, &pause(""), &requesting(&h, &pause(""), 2)).await.unwrap();
    assert_eq!(paused.batch.state, State::Paused);
}

pub(super) async fn ids_of_commands_are_forgotten_in_time(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a"])).await;
    let guard = requesting(&h, &pause(""), 1);
    order(&h, &batch.id, &pause(""), &guard).await.unwrap();
    let running = h.resume(&batch).await;
    h.pass(86_400 + BODIES_KEPT_S);
    assert_eq!(h.purge(h.now).await.unwrap(), 0, "the batch lives");
    assert_eq!(order(&h, &batch.id, &pause(""), &guard).await.unwrap().batch, running);
    h.stop(&batch).await;
    assert_eq!(h.purge(h.now).await.unwrap(), 1);
    assert!(matches!(
        order(&h, &batch.id, &pause(""), &guard).await,
        Err(CommandError::Refused { state: State::Stopped, .. })
    ));
}

pub(super) async fn an_etag_is_moved_by_control_and_not_by_progress(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a", "b", "c"])).await;
    let first = etag::of(&batch);
    assert!(first.starts_with('"') && first.ends_with('"') && first.len() <= etag::BYTES_MAX, "{first}");
    let slice = h.claim(&batch).await;
    let progressed =
        h.record(&batch, Group::new().keep(&slice).add(&slice, 0, outcome::success())).await.batch;
    assert!(progressed.revision > batch.revision);
    assert_eq!(etag::of(&progressed), first, "progress does not move it");

    let mut seen = vec![first];
    let mut moved = |batch: &Batch, what: &str| {
        let etag = etag::of(batch);
        assert!(!seen.contains(&etag), "{what} moves it to a new one");
        seen.push(etag);
    };
    moved(&h.pause(&batch).await, "a pause");
    moved(&h.break_down(&batch).await, "a higher cause");
    let drained = h.record(&batch, Group::new().release(&slice)).await.batch;
    moved(&drained, "the end of draining");
    assert_eq!(etag::of(&h.pause(&batch).await), etag::of(&drained), "what changes nothing does not");
    moved(&h.resume(&batch).await, "a resume");
    moved(&h.stop(&batch).await, "the end");
    moved(&h.start(inline("batch-b", &["a"])).await, "another batch");
    h.reopen().await;
    assert_eq!(etag::of(&h.read(&batch).await), seen[5], "a restart does not");
}

pub(super) async fn a_stale_etag_is_refused_with_the_present_one(h: Harness) {
    let batch = h.start(inline("batch-a", &["a"])).await;
    let slice = h.claim(&batch).await;
    let read = tagged(etag::of(&batch));
    h.record(&batch, Group::new().keep(&slice)).await;
    let pausing = order(&h, &batch.id, &pause(""), &read).await.expect("it is what was read").batch;
    for command in [pause(""), Command::Resume, stop()] {
        match order(&h, &batch.id, &command, &read).await {
            Err(CommandError::EtagMismatch { batch, moved }) => {
                assert_eq!((*batch, moved), (pausing.clone(), Vec::new()), "{command:?}");
            }
            other => panic!("{command:?}: {other:?}"),
        }
    }
    assert_eq!(h.read(&batch).await, pausing, "nothing was changed");
    let resumed = order(&h, &batch.id, &Command::Resume, &tagged(etag::of(&pausing))).await.unwrap().batch;
    let stopping = order(&h, &batch.id, &stop(), &tagged(etag::of(&resumed))).await.unwrap().batch;
    assert_eq!(stopping.state, State::Stopping);
}

pub(super) async fn a_refused_command_leaves_what_had_come_about_before_it(mut h: Harness) {
    h.bound(1, 100).await;
    let batch = h.start(inline("batch-a", &["a"])).await;
    h.claim(&batch).await;
    let read = tagged(etag::of(&h.pause(&batch).await));
    // Its last lease has run out, and nobody has seen it yet.
    h.pass(30);
    let refused = order(&h, &batch.id, &Command::Resume, &read).await.unwrap_err();
    let paused = h.read(&batch).await;
    assert_eq!(paused.state, State::Paused);
    assert_eq!(refused.moved(), std::slice::from_ref(&paused), "it is told");
    match refused {
        CommandError::EtagMismatch { batch, .. } => assert_eq!(*batch, paused, "the etag is the present one"),
        other => panic!("{other:?}"),
    }

    assert_eq!(h.resume(&batch).await.state, State::Running);
    h.claim(&batch).await;
    assert_eq!(h.stop(&batch).await.state, State::Stopping);
    let waiting = h.create_batch(inline("batch-b", &["a"]), h.now).await.unwrap().batch;
    assert_eq!(waiting.state, State::Queued);
    h.pass(30);
    let refused = order(&h, &batch.id, &pause(""), &requesting(&h, &pause(""), 1)).await.unwrap_err();
    assert!(matches!(refused, CommandError::Refused { state: State::Stopped, .. }), "{refused:?}");
    let after = [h.read(&waiting).await, h.read(&batch).await];
    assert_eq!(after.each_ref().map(|batch| batch.state), [State::Running, State::Stopped]);
    assert_eq!(refused.moved(), after, "whom it let in too");
    let refused = order(&h, &batch.id, &pause(""), &requesting(&h, &pause(""), 2)).await.unwrap_err();
    assert!(matches!(refused, CommandError::Refused { .. }), "its id is usable still: {refused:?}");
    assert_eq!(refused.moved(), [], "nothing had come about");
}

pub(super) async fn what_refuses_a_command_is_found_in_order(h: Harness) {
    let batch = h.start(inline("batch-a", &["a"])).await;
    let first = Guard { etag: Some(etag::of(&batch)), ..requesting(&h, &pause(""), 1) };
    order(&h, &batch.id, &pause(""), &first).await.unwrap();
    let unknown = BatchId::chosen("unknown").unwrap();
    let missing = order(&h, &unknown, &pause(""), &requesting(&h, &pause(""), 2)).await;
    assert!(matches!(missing, Err(CommandError::NotFound(_))), "no such batch before the id");
    let stale = Guard { etag: first.etag.clone(), ..requesting(&h, &pause(""), 2) };
    let reused = order(&h, &batch.id, &pause(""), &stale).await;
    assert!(matches!(reused, Err(CommandError::RequestIdReused(_))), "the id before the etag");
    assert!(order(&h, &batch.id, &pause(""), &first).await.is_ok(), "its own success made the etag stale");
    h.stop(&batch).await;
    let stale = tagged(etag::of(&batch));
    let too_late = order(&h, &batch.id, &pause(""), &stale).await;
    assert!(matches!(too_late, Err(CommandError::EtagMismatch { .. })), "the etag before the state");
}
