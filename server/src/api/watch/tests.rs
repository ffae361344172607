use std::{pin::Pin, sync::Arc, time::Duration};

use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    control::Control,
    domain::batch::{Batch, Command, DrainMode},
    engine::Engine,
    fetch::{Fetcher, Outbound},
    progress::Hub,
    source::file::Roots,
    store::{
        Guard, Store,
        conformance::fixture::batch::inline,
        sqlite::{Limits, SqliteStore},
    },
};

type Frames = Pin<Box<dyn Stream<Item = Result<WatchFrame, Status>> + Send>>;

struct World {
    _folder: tempfile::TempDir,
    batch: Batch,
    store: Arc<dyn Store>,
    hub: Arc<Hub>,
    control: Control,
}

impl World {
    /// A batch of one item, which nobody works on.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { running_batches: 1, live_batches: 1 };
        let store = SqliteStore::open(&folder.path().join("haul.db"), limits).await.unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let batch = store.create_batch(inline("batch-a", &["1"]), clock::now()).await.unwrap().batch;
        let hub = Arc::new(Hub::default());
        let roots = Arc::new(Roots::new(&[]).unwrap());
        let fetcher = Fetcher::new(Outbound::default()).unwrap();
        let engine = Engine::new(Arc::clone(&store), Arc::clone(&hub), fetcher, roots).await.unwrap();
        let control = Control::new(Arc::clone(&store), Arc::clone(&hub), engine);
        Self { _folder: folder, batch, store, hub, control }
    }
}

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
    let World { _folder, batch, store, hub, control } = World::new().await;
    // Of a batch that is followed the store is not asked.
    hub.follow(&batch).set_current();
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
    let World { _folder, batch, store, hub, control } = World::new().await;
    let stop = Command::Stop { reason: String::new(), drain: DrainMode::Finish };
    let over = store.command(&batch.id, &stop, &Guard::default(), clock::now()).await.unwrap().batch;
    assert!(over.state.is_terminal());
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
