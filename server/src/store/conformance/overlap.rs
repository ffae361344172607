//! A newcomer meets live batches of its overlap key: CONTRACT 5.

use super::{
    fixture::{
        batch::{OPEN_TTL_S, delayed, filed, inline, keyed, opened, redecoding, requested},
        outcome, price,
        recording::Group,
    },
    harness::Harness,
};
use crate::{
    domain::{
        batch::{Batch, EndReason, State},
        id::BatchSeq,
        overlap::{BUFFERED_MAX, Meeting},
        spec::OverlapPolicy::{self, AllowAll, BufferAll, BufferOne, CancelOther, Skip},
    },
    store::{BatchQuery, CreateError, Created, InTheWay, LeasedSlice, NewBatch, StartOutcome},
};

use StartOutcome::{Buffered, Replayed, Skipped, Started};
use State::{Open, Paused, Queued, Running, Stopped, Stopping};

const REQUEST: &str = "0d4c3a52-9b1a-4c59-8f0e-1b9b62f6c002";

/// What is live under a key when the newcomer comes.
#[derive(Debug, Clone, Copy)]
enum Live {
    None,
    /// RUNNING, with a lease.
    Leased,
    /// RUNNING, without one.
    Idle,
    /// RUNNING with a lease, and another one behind it.
    OneBuffered,
    Paused,
    Open,
    /// STOPPING, by a user.
    Stopping,
    /// QUEUED until tomorrow.
    Delayed,
}

async fn comes(h: &Harness, new: NewBatch) -> Created {
    let created = h.create_batch(new, h.now).await.unwrap();
    assert_eq!(created.batch, h.read(&created.batch).await, "the answer is what is stored");
    for other in &created.changed {
        assert_eq!(*other, h.read(other).await, "what changed is told as it is");
    }
    created
}

/// The batches of that situation, the one that holds the key first.
async fn live(h: &Harness, key: &str, live: Live) -> Vec<Batch> {
    let first = || keyed(inline(&format!("{key}-first"), &["a", "b"]), key, Skip);
    match live {
        Live::None => Vec::new(),
        Live::Idle => vec![h.start(first()).await],
        Live::Open => vec![h.start(keyed(opened(&format!("{key}-first")), key, Skip)).await],
        Live::Delayed => vec![h.start(delayed(first(), h.after(86_400))).await],
        Live::Paused => {
            let batch = h.start(first()).await;
            vec![h.pause(&batch).await]
        }
        Live::Leased | Live::OneBuffered | Live::Stopping => {
            let batch = h.start(first()).await;
            h.claim(&batch).await;
            let mut batches = vec![h.read(&batch).await];
            if let Live::OneBuffered = live {
                let second = keyed(inline(&format!("{key}-second"), &["a"]), key, BufferAll);
                let second = comes(h, second).await;
                assert_eq!((second.outcome, second.batch.state), (Buffered, Queued));
                batches.push(second.batch);
            }
            if let Live::Stopping = live {
                batches[0] = h.stop(&batch).await;
            }
            batches
        }
    }
}

pub(super) async fn every_policy_meets_whatever_is_live(h: Harness) {
    /// The newcomer's outcome and state (where it is made), then the state of each that was there.
    type Cell = (StartOutcome, State, &'static [State]);
    const SITUATIONS: [Live; 8] = [
        Live::None,
        Live::Leased,
        Live::Idle,
        Live::OneBuffered,
        Live::Paused,
        Live::Open,
        Live::Stopping,
        Live::Delayed,
    ];
    // A newcomer that is skipped is answered with the first that was there.
    #[rustfmt::skip]
    let table: [(OverlapPolicy, Meeting, [Cell; 8]); 5] = [
        (Skip, Meeting::Skip, [
            (Started, Running, &[]), (Skipped, Running, &[Running]), (Skipped, Running, &[Running]),
            (Skipped, Running, &[Running, Queued]), (Skipped, Paused, &[Paused]), (Skipped, Open, &[Open]),
            (Skipped, Stopping, &[Stopping]), (Skipped, Queued, &[Queued]),
        ]),
        (BufferOne, Meeting::Wait, [
            (Started, Running, &[]), (Buffered, Queued, &[Running]), (Buffered, Queued, &[Running]),
            (Skipped, Running, &[Running, Queued]), (Buffered, Queued, &[Paused]), (Buffered, Queued, &[Open]),
            (Buffered, Queued, &[Stopping]), (Buffered, Queued, &[Queued]),
        ]),
        (BufferAll, Meeting::Wait, [
            (Started, Running, &[]), (Buffered, Queued, &[Running]), (Buffered, Queued, &[Running]),
            (Buffered, Queued, &[Running, Queued]), (Buffered, Queued, &[Paused]), (Buffered, Queued, &[Open]),
            (Buffered, Queued, &[Stopping]), (Buffered, Queued, &[Queued]),
        ]),
        (CancelOther, Meeting::Replace, [
            (Started, Running, &[]), (Buffered, Queued, &[Stopping]), (Started, Running, &[Stopped]),
            (Buffered, Queued, &[Stopping, Stopped]), (Started, Running, &[Stopped]), (Started, Running, &[Stopped]),
            (Buffered, Queued, &[Stopping]), (Started, Running, &[Stopped]),
        ]),
        (AllowAll, Meeting::Start, [
            (Started, Running, &[]), (Started, Running, &[Running]), (Started, Running, &[Running]),
            (Started, Running, &[Running, Queued]), (Started, Running, &[Paused]), (Started, Running, &[Open]),
            (Started, Running, &[Stopping]), (Started, Running, &[Queued]),
        ]),
    ];
    for (policy, meeting, row) in table {
        for (situation, (outcome, state, after)) in SITUATIONS.into_iter().zip(row) {
            let cell = format!("{policy:?} meets {situation:?}");
            let key = format!("{policy:?}-{situation:?}").to_lowercase();
            let before = live(&h, &key, situation).await;
            let new = keyed(inline(&format!("{key}-new"), &["a"]), &key, policy);

            // A plan foresees it and changes nothing.
            let told = h.check_batch(&new, h.now).await.unwrap().in_the_way;
            let foreseen = before.iter().map(|batch| InTheWay {
                batch: batch.id.clone(),
                meeting: match meeting {
                    _ if outcome == Skipped => Meeting::Skip,
                    Meeting::Replace if batch.state == Stopping => Meeting::Wait,
                    meeting => meeting,
                },
            });
            assert_eq!(told, foreseen.collect::<Vec<_>>(), "{cell}");
            for batch in &before {
                assert_eq!(h.read(batch).await, *batch, "{cell}: a plan changes nothing");
            }

            let created = comes(&h, new.clone()).await;
            assert_eq!((created.outcome, created.batch.state), (outcome, state), "{cell}");
            let made = h.batch(&new.id).await.unwrap();
            if outcome == Skipped {
                assert_eq!((made, &created.batch), (None, &before[0]), "{cell}");
            } else {
                assert_eq!(made, Some(created.batch.clone()), "{cell}");
            }
            assert_eq!(before.len(), after.len(), "{cell}");
            for (batch, state) in before.iter().zip(after) {
                let now = h.read(batch).await;
                assert_eq!(now.state, *state, "{cell}");
                if now.state == batch.state {
                    assert_eq!(now, *batch, "{cell}: no revision moves");
                    continue;
                }
                let end = now.end.as_ref().unwrap();
                assert_eq!(end.reason, EndReason::OverlapCancel, "{cell}");
                assert_eq!(end.message, format!("replaced by batches/{key}-new"), "{cell}");
                assert!(created.changed.contains(&now), "{cell}: it is told");
            }
        }
    }
}

pub(super) async fn the_buffer_of_a_key_has_a_limit(mut h: Harness) {
    h.bound(100, 1_000).await;
    let new = |n: usize| keyed(inline(&format!("batch-{n}"), &["a"]), "nightly", BufferAll);
    assert_eq!(comes(&h, new(0)).await.outcome, Started);
    for n in 1..=BUFFERED_MAX {
        assert_eq!(comes(&h, new(n)).await.outcome, Buffered);
    }
    let full = |error| matches!(error, CreateError::OverlapBufferFull { key, limit: BUFFERED_MAX } if key == "nightly");
    assert!(full(h.check_batch(&new(101), h.now).await.unwrap_err()), "a plan fails too");
    assert!(full(h.create_batch(new(101), h.now).await.unwrap_err()));
    assert_eq!(comes(&h, keyed(inline("other", &["a"]), "hourly", BufferAll)).await.outcome, Started);
    h.stop(&h.batch(&new(7).id).await.unwrap().unwrap()).await;
    assert_eq!(comes(&h, new(101)).await.outcome, Buffered);
}

pub(super) async fn of_many_at_once_one_starts(h: Harness) {
    let start =
        |n: usize| h.create_batch(keyed(inline(&format!("batch-{n}"), &["a"]), "nightly", Skip), h.now);
    let created = futures::future::join_all((0..20).map(start)).await;
    let created: Vec<Created> = created.into_iter().map(Result::unwrap).collect();
    let started: Vec<&Created> = created.iter().filter(|created| created.outcome == Started).collect();
    let [one] = started.as_slice() else { panic!("{} started", started.len()) };
    assert!(created.iter().all(|other| other.batch == one.batch), "the others are answered with it");
    assert_eq!(created.iter().filter(|created| created.outcome == Skipped).count(), 19);
    assert_eq!(h.list_batches(&BatchQuery::newest(100)).await.unwrap().len(), 1);
}

pub(super) async fn what_is_replaced_makes_room_in_the_same_transaction(mut h: Harness) {
    h.bound(1, 3).await;
    let first = comes(&h, keyed(inline("first", &["a"]), "nightly", Skip)).await.batch;
    let waits = h.start(inline("waits", &["a"])).await;
    let buffered = comes(&h, keyed(inline("buffered", &["a"]), "nightly", BufferOne)).await.batch;
    assert_eq!((first.state, waits.state, buffered.state), (Running, Queued, Queued));
    // At the limit of live batches: those that it replaces are not counted any more.
    let newest = comes(&h, keyed(inline("newest", &["a"]), "nightly", CancelOther)).await;
    assert_eq!((newest.outcome, newest.batch.state), (Started, Queued), "nothing of its key is left");
    let mut changed: Vec<(BatchSeq, State)> =
        newest.changed.iter().map(|batch| (batch.seq, batch.state)).collect();
    changed.sort_unstable_by_key(|(seq, _)| *seq);
    assert_eq!(changed, [(first.seq, Stopped), (waits.seq, Running), (buffered.seq, Stopped)]);

    h.claim(&waits).await;
    let last = comes(&h, keyed(inline("last", &["a"]), "nightly", CancelOther)).await;
    assert_eq!((last.outcome, last.batch.state), (Started, Queued));
    assert_eq!(h.read(&newest.batch).await.state, Stopped, "it never ran");
}

pub(super) async fn what_ended_before_it_was_replaced_says_so(mut h: Harness) {
    let timed = |id: &str, key: &str| {
        let mut new = keyed(inline(id, &["a"]), key, Skip);
        new.spec.max_duration = Some(std::time::Duration::from_secs(60));
        new
    };
    let idle = h.start(timed("idle", "idle")).await;
    let leased = h.start(timed("leased", "leased")).await;
    let open = h.start(keyed(opened("open"), "open", Skip)).await;
    h.pass(59);
    h.claim(&leased).await;
    h.pass(1);
    for (key, outcome, state) in [("idle", Started, State::Failed), ("leased", Buffered, Stopping)] {
        let created = comes(&h, keyed(inline(&format!("{key}-new"), &["a"]), key, CancelOther)).await;
        let old = h.read(if key == "idle" { &idle } else { &leased }).await;
        assert_eq!((created.outcome, old.state), (outcome, state), "{key}");
        assert_eq!(
            old.end.as_ref().unwrap().reason,
            EndReason::MaxDuration,
            "{key}: its time was over first"
        );
        assert!(created.changed.contains(&old), "{key}: it is told");
    }
    h.pass(OPEN_TTL_S);
    let created = comes(&h, keyed(inline("open-new", &["a"]), "open", CancelOther)).await;
    let open = h.read(&open).await;
    assert_eq!((created.outcome, open.end.unwrap().reason), (Started, EndReason::OpenTtl));
}

pub(super) async fn a_skipped_start_leaves_nothing_behind(h: Harness) {
    let first = h.start(keyed(inline("first", &["a"]), "nightly", Skip)).await;
    let new = || requested(keyed(inline("second", &["a"]), "nightly", Skip), REQUEST, 1, h.after(86_400));
    for _ in 0..2 {
        let skipped = comes(&h, new()).await;
        assert_eq!((skipped.outcome, skipped.batch.id), (Skipped, first.id.clone()));
        assert!(skipped.changed.is_empty());
    }
    assert_eq!(h.texts("SELECT request_id FROM requests").await, [] as [&str; 0]);
    // Nothing was made for the request: a repeat is decided anew, and the name is free.
    h.stop(&first).await;
    assert_eq!(comes(&h, new()).await.outcome, Started);
    assert_eq!(comes(&h, new()).await.outcome, Replayed);
    // Another content under the id would have been taken as long as nothing was stored.
    let other = requested(keyed(inline("third", &["a"]), "nightly", Skip), REQUEST, 2, h.after(86_400));
    assert!(matches!(h.create_batch(other, h.now).await, Err(CreateError::RequestIdReused(_))));
}

pub(super) async fn what_refuses_a_start_is_found_in_order(mut h: Harness) {
    h.bound(10, 2).await;
    let first =
        h.start(requested(keyed(inline("first", &["a"]), "nightly", Skip), REQUEST, 1, h.after(60))).await;
    h.start(filed("other")).await;
    let come = async |new: NewBatch| h.create_batch(new, h.now).await;
    let taken = come(keyed(inline("other", &["a"]), "nightly", Skip)).await;
    assert!(matches!(taken, Err(CreateError::BatchExists(_))), "a name that is taken before the key");
    let skipped = come(keyed(inline("third", &["a"]), "nightly", Skip)).await.unwrap();
    assert_eq!(skipped.outcome, Skipped, "what is not made is not one too many");
    let quota = come(keyed(inline("third", &["a"]), "nightly", BufferAll)).await;
    assert!(matches!(quota, Err(CreateError::Quota { limit: 2 })), "what is buffered lives");
    let parent = come(keyed(redecoding("child", &first), "nightly", Skip)).await;
    assert!(matches!(parent, Err(CreateError::ParentNotTerminal { .. })), "the parent before the key");
    let replayed =
        come(requested(keyed(inline("other", &["a"]), "nightly", Skip), REQUEST, 1, h.after(60))).await;
    assert_eq!(replayed.unwrap().outcome, Replayed, "a replay before all");
}

pub(super) async fn a_child_has_its_parents_key(h: Harness) {
    let parent = h.start(keyed(inline("parent", &["a"]), "nightly", BufferOne)).await;
    let slice: LeasedSlice = h.claim(&parent).await;
    let group = Group::new().with_bodies().keep(&slice);
    h.record(&parent, group.add(&slice, 0, outcome::success_with(price::closes(0, &[1.0])))).await;
    let next = h.start(keyed(inline("next", &["a"]), "nightly", BufferOne)).await;
    let child = comes(&h, keyed(redecoding("child", &parent), "nightly", BufferOne)).await;
    assert_eq!((child.outcome, child.batch.state), (Buffered, Queued));
    let another = comes(&h, keyed(redecoding("another", &parent), "nightly", BufferOne)).await;
    assert_eq!((another.outcome, another.batch.id), (Skipped, next.id.clone()));
    h.stop(&next).await;
    assert_eq!(h.read(&child.batch).await.state, Running);
}
