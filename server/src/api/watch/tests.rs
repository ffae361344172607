use std::{pin::Pin, time::Duration};

use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::control::tests::World;

type Frames = Pin<Box<dyn Stream<Item = Result<WatchFrame, Status>> + Send>>;

fn bytes(event: &FrameEvent) -> &bytes::Bytes {
    match event {
        FrameEvent::Snapshot(batch) | FrameEvent::Update(batch) | FrameEvent::Terminal(batch) => batch,
        other => panic!("{other:?} is no state"),
    }
}

#[tokio::test]
async fn w12_however_many_watch_each_update_is_encoded_once_a_view() {
    const WATCHERS: usize = 1_000;
    const UPDATES: i64 = 20;
    let World { batch, store, hub, control, .. } = &World::new().await;
    // Of a batch that is followed the store is not asked.
    hub.follow(batch).set_current();
    store.close().await;
    tokio::time::pause();

    let mut watchers: Vec<Frames> = Vec::new();
    for n in 0..WATCHERS {
        let options = Options { min_interval: Some(Duration::from_millis(100)), ..Options::default() };
        let view = if n % 2 == 0 { BatchView::Basic } else { BatchView::Full };
        let events = control.watch(&batch.id, options, CancellationToken::new()).await.unwrap();
        watchers.push(Box::pin(frames(events, view)));
    }
    let told = async |watchers: &mut Vec<Frames>| -> Vec<WatchFrame> {
        join_all(watchers.iter_mut().map(|frames| async { frames.next().await.unwrap().unwrap() })).await
    };
    told(&mut watchers).await;
    let synced = told(&mut watchers).await;
    assert!(synced.iter().all(|frame| matches!(frame.event, Some(FrameEvent::InitialSyncDone(_)))));
    for update in 1..=UPDATES {
        let mut next = batch.clone();
        next.revision += update;
        hub.publish(next, &[]);
        let told = told(&mut watchers).await;
        for (n, frame) in told.iter().enumerate() {
            let (event, same_view) = (frame.event.as_ref().unwrap(), told[n % 2].event.as_ref().unwrap());
            assert!(matches!(event, FrameEvent::Update(_)), "{event:?}");
            assert_eq!(bytes(event).as_ptr(), bytes(same_view).as_ptr(), "the same bytes for all");
            let shown = v1::Batch::decode(bytes(event).clone()).unwrap();
            assert_eq!((shown.revision, frame.conflated_count), (batch.revision + update, 0));
        }
    }
    let views = 2;
    assert_eq!(hub.encodings(), views * (1 + UPDATES as u64), "of a snapshot and the updates");
}

#[tokio::test]
async fn w08_news_that_comes_late_brings_no_batch_back_that_is_over() {
    let world = World::new().await;
    let over = world.end().await;
    let World { batch, store, hub, control, .. } = &world;
    let options = Options { heartbeat_interval: Some(Duration::from_secs(1)), ..Options::default() };
    let events = control.watch_matching(Filter::ALL, options, CancellationToken::new()).await.unwrap();
    let mut frames = Box::pin(frames(events, BatchView::Basic));
    let mut next = async || frames.next().await.unwrap().unwrap().event.unwrap();
    assert!(matches!(next().await, FrameEvent::InitialSyncDone(_)));
    // Published in the other order.
    hub.publish(over, &[]);
    hub.publish(batch.clone(), &[]);
    assert!(matches!(next().await, FrameEvent::Heartbeat(_)), "nothing is live");
    assert!(hub.live(batch.seq).is_none(), "and nothing is kept of it");
    // Later still.
    store.delete_batch(&batch.id, None, clock::now()).await.unwrap();
    hub.publish(batch.clone(), &[]);
    assert!(matches!(next().await, FrameEvent::Heartbeat(_)), "nor is what was deleted");
    assert!(hub.live(batch.seq).is_none());
}

#[test]
fn a_newer_known_revision_of_a_batch_counts() {
    let known = |name: &str, revision| v1::KnownRevision { name: name.to_owned(), revision };
    let request = v1::WatchProgressRequest {
        known_revisions: vec![known("batches/abcd", 3), known("batches/abcd", 7), known("batches/abcd", 5)],
        ..v1::WatchProgressRequest::default()
    };
    assert_eq!(options(&request).unwrap().known_revisions[&BatchId::from_name("batches/abcd").unwrap()], 7);
}
