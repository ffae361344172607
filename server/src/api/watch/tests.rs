use std::{pin::Pin, sync::Arc, time::Duration};

use futures::future::join_all;

use super::*;
use crate::{
    control::Control,
    engine::Engine,
    fetch::Fetcher,
    progress::Hub,
    source::file::Roots,
    store::{
        Store,
        conformance::fixture::batch::inline,
        sqlite::{Limits, SqliteStore},
    },
};

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
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { running_batches: 1, live_batches: 1 };
    let store = SqliteStore::open(&folder.path().join("haul.db"), limits).await.unwrap();
    let batch = store.create_batch(inline("batch-a", &["1"]), clock::now()).await.unwrap().batch;
    let (store, hub): (Arc<dyn Store>, _) = (Arc::new(store), Arc::new(Hub::default()));
    let roots = Arc::new(Roots::new(&[]).unwrap());
    let engine =
        Engine::new(Arc::clone(&store), Arc::clone(&hub), Fetcher::new().unwrap(), roots).await.unwrap();
    let control = Control::new(Arc::clone(&store), Arc::clone(&hub), engine);
    // Of a batch that is followed the store is not asked.
    hub.follow(&batch);
    store.close().await;
    tokio::time::pause();

    let mut watchers: Vec<Frames> = Vec::new();
    for n in 0..WATCHERS {
        let options = Options { min_interval: Some(Duration::from_millis(100)), ..Options::default() };
        let view = if n % 2 == 0 { BatchView::Basic } else { BatchView::Full };
        let events =
            control.watch(&batch.id, options, tokio_util::sync::CancellationToken::new()).await.unwrap();
        watchers.push(Box::pin(frames(events, view)));
    }
    let told = async |watchers: &mut Vec<Frames>| -> Vec<WatchFrame> {
        join_all(watchers.iter_mut().map(|frames| async { frames.next().await.unwrap().unwrap() })).await
    };
    told(&mut watchers).await;
    let synced = told(&mut watchers).await;
    assert!(synced.iter().all(|frame| matches!(frame.event, Some(FrameEvent::InitialSyncDone(_)))));
    for update in 1..=UPDATES {
        let mut next = crate::domain::batch::Batch::clone(&batch);
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

#[test]
fn a_newer_known_revision_of_a_batch_counts() {
    let known = |name: &str, revision| v1::KnownRevision { name: name.to_owned(), revision };
    let request = v1::WatchProgressRequest {
        known_revisions: vec![known("batches/abcd", 3), known("batches/abcd", 7), known("batches/abcd", 5)],
        ..v1::WatchProgressRequest::default()
    };
    assert_eq!(options(&request).unwrap().known_revisions[&BatchId::from_name("batches/abcd").unwrap()], 7);
}
