//! Batches that are not at their end.

use super::{fixture::batch::inline, harness::Harness};
use crate::domain::batch::State;

pub(super) async fn only_what_is_not_over_is_listed_oldest_first(mut h: Harness) {
    h.bound(2, 10).await;
    let mut batches = Vec::new();
    for n in 0..5 {
        batches.push(h.start(inline(&format!("batch-{n}"), &["1"])).await);
    }
    h.pause(&batches[0]).await;
    h.stop(&batches[1]).await;
    let mut live = Vec::new();
    for batch in &batches {
        let batch = h.read(batch).await;
        if batch.state != State::Stopped {
            live.push(batch);
        }
    }
    assert_eq!(live.len(), 4);
    assert!(live.iter().any(|batch| batch.state == State::Queued), "one waits");

    let page = h.live_batches(None, 3).await.unwrap();
    assert_eq!(page, live[..3]);
    assert_eq!(h.live_batches(Some(page[2].seq), 3).await.unwrap(), live[3..]);
    assert_eq!(h.live_batches(Some(live[3].seq), 3).await.unwrap(), []);
}
