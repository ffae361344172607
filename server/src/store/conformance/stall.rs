//! The word that a batch stands still.

use super::{fixture::batch::inline, harness::Harness};
use crate::domain::batch::{Command, DrainMode, State};

pub(super) async fn it_is_durable_and_a_change_that_watchers_see(mut h: Harness) {
    let batch = h.start(inline("still", &["a"])).await;
    let since = Some(h.after(60));
    let stalled = h.set_stalled(batch.seq, since).await.unwrap().unwrap();
    assert_eq!((stalled.stalled_since, stalled.revision), (since, batch.revision + 1));
    assert_eq!(stalled.control_revision, batch.control_revision);
    // The first word stands.
    assert_eq!(h.set_stalled(batch.seq, Some(h.after(90))).await.unwrap(), None);
    h.reopen().await;
    assert_eq!(h.read(&batch).await, stalled);
    let over = h.set_stalled(batch.seq, None).await.unwrap().unwrap();
    assert_eq!((over.stalled_since, over.revision), (None, stalled.revision + 1));
    assert_eq!(h.set_stalled(batch.seq, None).await.unwrap(), None);
}

pub(super) async fn a_batch_that_does_not_run_does_not_stand_still(h: Harness) {
    let batch = h.start(inline("paused", &["a"])).await;
    h.set_stalled(batch.seq, Some(h.now)).await.unwrap();
    let pause = Command::Pause { reason: String::new(), drain: DrainMode::Finish };
    let paused = h.order(&batch, pause).await.batch;
    assert_eq!((paused.state, paused.stalled_since), (State::Paused, None));
    assert_eq!(h.set_stalled(batch.seq, Some(h.now)).await.unwrap(), None);
    assert_eq!(h.read(&batch).await, paused);
}
