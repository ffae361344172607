//! The engine at work: a real store, real sockets and the simulator at their other end.

use std::sync::{
    LazyLock,
    atomic::{AtomicU64, Ordering},
};

use chrono::DateTime;
use haul_sim::{Sim, SimConfig};
use tokio::time::Instant;

use super::*;
use crate::{
    connector::Origin,
    domain::{
        failure::FailureClass,
        rule::FailureRule,
        spec::{BatchSpec, Connector, JpxListing, Source},
    },
    fetch::Outbound,
    progress::{Entry, Snapshot},
    store::{
        NewBatch,
        conformance::fixture::batch::inline,
        sqlite::{Limits, SqliteStore},
    },
};

mod dispatch;
mod outlook;
mod probe;
mod stall;

/// They measure time, and fail points are the whole process's: where tests share one, one goes after the other.
static TURN: LazyLock<tokio::sync::Mutex<()>> = LazyLock::new(Default::default);

struct World {
    engine: Arc<Engine>,
    sim: Sim,
    made: AtomicU64,
    _folder: tempfile::TempDir,
    _turn: tokio::sync::MutexGuard<'static, ()>,
}

impl World {
    async fn new(sim: SimConfig, stall_after: Duration) -> Self {
        let turn = TURN.lock().await;
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("haul.db"), Limits::default()).await.unwrap();
        let roots = Arc::new(Roots::new(&[]).unwrap());
        let fetcher = Fetcher::new(Outbound::new(&["127.0.0.1".to_owned()]).unwrap()).unwrap();
        let engine = Engine::new(Arc::new(store), Arc::default(), fetcher, roots, stall_after).await.unwrap();
        engine.start().await.unwrap();
        let sim = haul_sim::start(sim).await.unwrap();
        Self { engine, sim, made: AtomicU64::new(0), _folder: folder, _turn: turn }
    }

    /// Begins to fetch the simulator's list, at so many requests a second.
    async fn start(&self, rate_per_s: f64, set: impl FnOnce(&mut BatchSpec)) -> Arc<Entry> {
        let nth = self.made.fetch_add(1, Ordering::Relaxed);
        let mut new: NewBatch = inline(&format!("batch-{nth}"), &[]);
        new.items = None;
        new.spec.source = Source::JpxListing(JpxListing {
            uri: self.sim.list_url(),
            segments: Vec::new(),
            include_codes: Vec::new(),
            exclude_codes: Vec::new(),
            allow_later_list: true,
            current: true,
        });
        if let Connector::YahooChart(chart) = &mut new.spec.connector {
            chart.base_url = self.sim.base_url();
        }
        new.spec.fetch.rules.clear();
        new.spec.fetch.rate_per_s = rate_per_s;
        new.spec.fetch.burst = 2;
        set(&mut new.spec);
        let made = self.engine.store.create_batch(new, clock::now()).await.unwrap().batch;
        let entry = self.engine.hub.follow(&made);
        self.engine.take_up(made);
        entry
    }

    async fn gate(&self) -> Arc<gate::Gate> {
        let upstream = Origin::of_url(&self.sim.base_url()).unwrap().upstream();
        self.engine.gates.find(&upstream).await.unwrap().unwrap()
    }
}

/// What an upstream says that asks for less is a failure like any other: nobody can expect when it says so next.
fn never_pushed_back(spec: &mut BatchSpec) {
    spec.fetch.rules = vec![FailureRule {
        statuses: vec!["429".to_owned()],
        body_regex: String::new(),
        json_pointer: String::new(),
        class: FailureClass::Temporary,
        reason: "BUSY".to_owned(),
        holds_gate: false,
        retry_after: None,
    }];
}

/// The batch, as soon as that holds.
async fn until(entry: &Entry, holds: impl Fn(&Batch) -> bool) -> Arc<Batch> {
    let mut states = entry.subscribe();
    let waited = async { Arc::clone(&*states.wait_for(|batch| holds(batch)).await.unwrap()) };
    tokio::time::timeout(Duration::from_secs(60), waited).await.unwrap()
}
