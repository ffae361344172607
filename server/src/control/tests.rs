//! The use cases over a real store, and what batches that go meanwhile leave behind.

use std::time::Duration;

use super::*;
use crate::{
    domain::{
        batch::{DrainMode, State},
        etag,
        id::NodeId,
    },
    fetch::{Fetcher, Outbound},
    source::file::Roots,
    store::{
        conformance::fixture::batch::inline,
        sqlite::{Limits, SqliteStore},
    },
};

/// A store with one batch, and the use cases over it.
pub(crate) struct World {
    _folder: tempfile::TempDir,
    pub(crate) batch: Batch,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) control: Control,
}

impl World {
    /// A batch of one item, which nobody works on.
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { running_batches: 1, live_batches: 1 };
        let store = SqliteStore::open(&folder.path().join("haul.db"), limits).await.unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let batch = store.create_batch(inline("batch-a", &["1"]), clock::now()).await.unwrap().batch;
        let hub = Arc::new(Hub::default());
        let roots = Arc::new(Roots::new(&[]).unwrap());
        let fetcher = Fetcher::new(Outbound::default()).unwrap();
        let engine =
            Engine::new(Arc::clone(&store), Arc::clone(&hub), fetcher, roots, Duration::from_secs(60))
                .await
                .unwrap();
        let control = Control::new(Arc::clone(&store), Arc::clone(&hub), engine);
        Self { _folder: folder, batch, store, hub, control }
    }

    /// Ends the batch. Nobody is told.
    pub(crate) async fn end(&self) -> Batch {
        let stop = Command::Stop { reason: String::new(), drain: DrainMode::Finish };
        let over = self.store.command(&self.batch.id, &stop, &Guard::default(), clock::now()).await.unwrap();
        assert!(over.batch.state.is_terminal());
        over.batch
    }

    /// Ends and deletes the batch. Nobody is told.
    pub(crate) async fn delete(&self) {
        self.end().await;
        self.store.delete_batch(&self.batch.id, None, clock::now()).await.unwrap();
    }
}

#[tokio::test]
async fn nothing_is_kept_of_a_batch_that_goes_while_it_is_looked_up() {
    let world = World::new().await;
    let World { batch, store, hub, control, .. } = &world;
    world.delete().await;
    for has_successor in [false, true] {
        if has_successor {
            store.create_batch(inline("batch-a", &["1"]), clock::now()).await.unwrap();
        }
        assert!(matches!(control.followed(batch.clone()).await, Ok(Followed::Gone)));
        assert!(hub.live(batch.seq).is_none());
    }
    let successor = control.batch(&batch.id).await.unwrap().batch;
    assert!(successor.seq != batch.seq && hub.named(&batch.id).is_some(), "the name is another one's");
    assert!(matches!(control.followed(batch.clone()).await, Ok(Followed::Gone)));
    assert!(hub.named(&batch.id).is_some(), "who keeps it");
}

#[tokio::test]
async fn what_was_done_is_told_though_its_batch_is_gone_by_then() {
    let world = World::new().await;
    world.delete().await;
    let World { batch, hub, control, .. } = &world;
    let told = control.taken_up(batch.clone());
    assert_eq!(*told.batch, *batch);
    // The engine finds nothing to work on.
    control.engine.take_up(batch.clone());
    control.engine.drain().await;
    assert!(hub.live(batch.seq).is_none());
}

#[tokio::test]
async fn watchers_are_told_what_a_refused_command_found() {
    let World { batch, store, hub, control, .. } = &World::new().await;
    let entry = hub.follow(batch);
    let (pause, long_ago) = (
        Command::Pause { reason: String::new(), drain: DrainMode::Finish },
        clock::now() - chrono::TimeDelta::minutes(1),
    );
    let until = long_ago + chrono::TimeDelta::seconds(10);
    store.claim_slice(batch.seq, &NodeId::generate(), long_ago, until).await.unwrap();
    let pausing = store.command(&batch.id, &pause, &Guard::default(), long_ago).await.unwrap().batch;
    assert_eq!(pausing.state, State::Pausing);
    hub.publish(pausing.clone(), &[]);
    let wish = Wish { id: batch.id.clone(), command: pause, etag: Some(etag::of(&pausing)), request: None };
    let refused = control.command(wish).await.unwrap_err();
    let stored = store.batch(&batch.id).await.unwrap().unwrap();
    match refused {
        CommandError::EtagMismatch { batch, .. } => assert_eq!(etag::of(&batch), etag::of(&stored)),
        other => panic!("{other:?}"),
    }
    let told = entry.subscribe().borrow().clone();
    assert_eq!((told.state, told.revision), (State::Paused, stored.revision));
}

#[test]
fn the_month_before_and_this_one_up_to_today_are_current() {
    let now = "2026-11-20T15:30:00Z".parse().unwrap();
    let current =
        |time: &str| is_current(&AsOf { time: time.parse().unwrap(), zone: chrono_tz::Asia::Tokyo }, now);
    // It is the 21st in Tokyo.
    assert!(current("2026-11-20T15:00:00Z"));
    assert!(current("2026-11-20T14:59:59Z"));
    assert!(current("2026-10-31T15:00:00Z"));
    assert!(current("2026-10-31T14:59:59Z"));
    assert!(current("2026-09-30T15:00:00Z"));
    assert!(!current("2026-09-30T14:59:59Z"));
    assert!(!current("2026-11-21T15:00:00Z"));
}
