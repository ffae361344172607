//! The start of a process that knows itself to be alone.

use super::{
    fixture::{
        batch::{filed, inline, numbered},
        outcome, page,
        recording::Group,
    },
    harness::{Harness, numbers},
};
use crate::{
    domain::{batch::State, item},
    store::SourcePage,
};

pub(super) async fn leases_are_void_and_counted(mut h: Harness) {
    let batch = h.start(numbered("batch-a", 150)).await;
    let (a, b) = (h.claim(&batch).await, h.claim(&batch).await);
    h.record(&batch, Group::new().release(&b)).await;
    h.reopen().await;
    let before = h.read(&batch).await;
    assert_eq!(h.recover(h.now).await.unwrap(), std::slice::from_ref(&before));
    assert_eq!(h.read(&batch).await, before, "nothing that is shown has changed");
    assert!(h.states(&batch).await.iter().all(|state| *state == item::State::Pending));
    assert_eq!(h.lost(&batch).await, 1);
    let again = h.claim(&batch).await;
    assert_eq!(again.no, a.no);
    assert!(again.epoch > a.epoch);
}

pub(super) async fn an_old_process_cannot_write(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a"])).await;
    let source = h.start(filed("batch-b")).await;
    let (slice, lease) = (h.claim(&batch).await, h.read_source(&source).await);
    let (old, old_node) = h.reopen().await;
    h.recover(h.now).await.unwrap();
    let before = (h.read(&batch).await, h.read(&source).await);
    for claimed_again in [false, true] {
        if claimed_again {
            h.claim(&batch).await;
            h.read_source(&source).await;
        }
        let late = Group::new().keep(&slice).add(&slice, 0, outcome::success());
        let answer = old.commit(&late.into_commit(batch.seq, &old_node, h.now)).await.unwrap();
        assert_eq!(answer.fenced, [slice.no]);
        let late = SourcePage {
            batch: source.seq,
            epoch: lease.epoch,
            read: page::keys(&["x"], None),
            requests: 1,
            bytes_received: 1,
            lease_until: h.after(30),
        };
        assert!(old.expand(&late, h.now).await.unwrap().over);
        assert_eq!((h.read(&batch).await, h.read(&source).await), before);
    }
}

pub(super) async fn a_draining_batch_is_settled(mut h: Harness) {
    let pausing = h.start(inline("pausing", &["a"])).await;
    let stopping = h.start(inline("stopping", &["a", "b", "c"])).await;
    let failing = h.start(filed("failing")).await;
    h.claim(&pausing).await;
    h.pause(&pausing).await;
    let slice = h.claim(&stopping).await;
    h.record(&stopping, Group::new().keep(&slice).add(&slice, 1, outcome::success())).await;
    h.stop(&stopping).await;
    let lease = h.read_source(&failing).await;
    h.page(&failing, &lease, page::keys(&["a", "b"], Some("2"))).await;
    h.claim(&failing).await;
    h.page(&failing, &lease, page::unreadable()).await;
    let reading = h.start(filed("reading")).await;
    h.read_source(&reading).await;
    h.stop(&reading).await;

    h.reopen().await;
    h.pass(1);
    assert!(h.recover(h.now).await.unwrap().is_empty());
    assert_eq!(h.read(&pausing).await.state, State::Paused);
    let stopped = h.read(&stopping).await;
    assert_eq!((stopped.state, stopped.counts.canceled, stopped.ended_at), (State::Stopped, 2, Some(h.now)));
    let failed = h.read(&failing).await;
    assert_eq!((failed.state, failed.counts.canceled), (State::Failed, 2));
    assert_eq!(h.read(&reading).await.state, State::Stopped);
    assert_eq!(h.lost(&stopping).await, 1);
}

pub(super) async fn what_waits_is_admitted(mut h: Harness) {
    h.bound(1, 10).await;
    let pausing = h.start(inline("batch-a", &["a"])).await;
    let waits = h.start(inline("batch-b", &["a"])).await;
    h.claim(&pausing).await;
    h.pause(&pausing).await;
    h.reopen().await;
    let working = h.recover(h.now).await.unwrap();
    assert_eq!(numbers(&working), [waits.seq]);
    assert_eq!(working[0].state, State::Running);
}

pub(super) async fn a_source_is_read_on(mut h: Harness) {
    let batch = h.start(filed("batch-a")).await;
    let lease = h.read_source(&batch).await;
    h.page(&batch, &lease, page::keys(&["a"], Some("17"))).await;
    h.reopen().await;
    assert!(h.ask_source(&batch).await.is_none(), "the lease is live as long as nobody voids it");
    h.recover(h.now).await.unwrap();
    let again = h.read_source(&batch).await;
    assert_eq!(again.position.as_deref(), Some("17"));
    assert!(again.epoch > lease.epoch);
}

pub(super) async fn everything_answered_is_still_there(mut h: Harness) {
    let batch = h.start(numbered("batch-a", 120)).await;
    let slice = h.claim(&batch).await;
    let mut group = Group::new().keep(&slice);
    for place in 0..100 {
        group = group.add(
            &slice,
            place,
            match place % 3 {
                0 => outcome::success(),
                1 => outcome::permanent("NOT_FOUND", 404),
                _ => outcome::temporary(),
            },
        );
    }
    let committed = h.record(&batch, group).await.batch;
    h.reopen().await;
    assert_eq!(h.read(&batch).await, committed);
    h.recover(h.now).await.unwrap();
    assert_eq!(h.read(&batch).await, committed);
    assert_eq!(h.claim(&batch).await.items.len(), 33);
}
