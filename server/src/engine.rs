//! The engine: expand → dispatch → worker → recorder, for each batch that runs.
//!
//! ```text
//!             pages                 slices              attempts              groups
//!   source ─────────▶ expand ─▶ store ─────────▶ runner ─────────▶ worker ─────────▶ recorder ─▶ store
//!                                                  ▲                                    │
//!                                                  └──────────── what came back ────────┘
//! ```
//!
//! One task runs a batch; it ends when the batch is paused or over, and begins anew when it is resumed or the process
//! starts again. All it needs is in the store: a kill at any moment loses at most what was in flight.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    clock, connector,
    domain::{
        batch::{Batch, Kind, PauseCause, State},
        failure::CREDENTIALS_REFUSED,
        id::{BatchId, BatchSeq, NodeId},
    },
    failpoint,
    fetch::{Fetcher, classify::Rules},
    progress::Hub,
    source::file::Roots,
    store::{Committed, Store, StoreError},
};

mod expand;
pub mod gate;
mod held;
mod lanes;
mod needs;
mod recorder;
mod runner;
mod stall;
#[cfg(test)]
mod tests;
mod trouble;
mod upkeep;
mod worker;

use gate::Gates;
use lanes::Lanes;
use trouble::StoreTrouble;
use worker::{Replies, Workshop};

/// How long a lease is granted for. Renewed by each commit, and every third of it without one.
pub const LEASE: Duration = Duration::from_secs(10);
/// How long requests in flight may go on when the process is asked to end.
const DRAIN: Duration = Duration::from_secs(8);
/// How long what was cut off then may take to be recorded.
const ABORT: Duration = Duration::from_secs(3);

/// Works on the batches of one node.
pub struct Engine {
    node: NodeId,
    store: Arc<dyn Store>,
    hub: Arc<Hub>,
    gates: Gates,
    fetcher: Fetcher,
    roots: Arc<Roots>,
    /// So long a batch stands still before anybody is told.
    stall_after: Duration,
    /// Whether one does, or the store has failed for so long.
    stalled: watch::Sender<bool>,
    store_trouble: StoreTrouble,
    running: Mutex<HashSet<BatchSeq>>,
    tasks: TaskTracker,
    /// No new attempt, no new page.
    draining: CancellationToken,
    /// Requests in flight are cut off.
    abort: CancellationToken,
}

impl Engine {
    /// An engine over a store that this process has for itself. Nothing runs before [`Engine::start`].
    pub async fn new(
        store: Arc<dyn Store>,
        hub: Arc<Hub>,
        fetcher: Fetcher,
        roots: Arc<Roots>,
        stall_after: Duration,
    ) -> Result<Arc<Self>, StoreError> {
        let gates = Gates::load(Arc::clone(&store)).await?;
        Ok(Arc::new(Self {
            node: NodeId::generate(),
            store,
            hub,
            gates,
            fetcher,
            roots,
            stall_after,
            stalled: watch::channel(false).0,
            store_trouble: StoreTrouble::default(),
            running: Mutex::default(),
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
            abort: CancellationToken::new(),
        }))
    }

    /// Voids what an earlier process held and goes on with every batch that has work to do.
    pub async fn start(self: &Arc<Self>) -> Result<usize, StoreError> {
        let batches = self.store.recover(clock::now()).await?;
        let count = batches.len();
        self.take_up_all(batches);
        self.tasks.spawn(upkeep::run(Arc::clone(self)));
        self.tasks.spawn(stall::run(Arc::clone(self)));
        Ok(count)
    }

    /// Publishes a committed state and sees to it that somebody works on it.
    pub fn take_up(self: &Arc<Self>, batch: Batch) {
        if works(batch.state) && !self.draining.is_cancelled() {
            self.hub.follow(&batch);
            if self.running().insert(batch.seq) {
                self.tasks.spawn(run(Arc::clone(self), batch.seq, batch.id.clone()));
            }
        }
        if batch.state.is_terminal() {
            // It may have had no task that sees to it.
            self.gates.forget(batch.seq);
        }
        self.hub.publish(batch, &[]);
    }

    /// Takes up what a transaction let in.
    pub fn take_up_all(self: &Arc<Self>, admitted: Vec<Batch>) {
        for batch in admitted {
            self.take_up(batch);
        }
    }

    /// Carries out what must not end half-way, such as a commit and what follows from it, though nobody waits for it
    /// any more.
    pub async fn carry_out<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        match self.tasks.spawn(work).await {
            Ok(done) => done,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Whether a batch stands still though nothing holds it back but the store.
    pub fn stalled(&self) -> watch::Receiver<bool> {
        self.stalled.subscribe()
    }

    /// All gates of this node.
    pub fn gates(&self) -> &Gates {
        &self.gates
    }

    /// Ends every task: nothing new is sent, requests in flight have [`DRAIN`] to end, leases are handed back.
    pub async fn drain(&self) {
        self.draining.cancel();
        self.tasks.close();
        if tokio::time::timeout(DRAIN, self.tasks.wait()).await.is_err() {
            self.abort.cancel();
            if tokio::time::timeout(ABORT, self.tasks.wait()).await.is_err() {
                tracing::warn!("tasks that did not end are left behind; the next process voids their leases");
            }
        }
    }

    /// What a commit let in is taken up, what it settled is published.
    fn publish(self: &Arc<Self>, committed: Committed, settled: &[i64]) {
        self.store_trouble.over();
        self.take_up_all(committed.admitted);
        self.hub.publish(committed.batch, settled);
    }

    /// The batches that send requests now.
    fn at_work(&self) -> Vec<Batch> {
        let batches: Vec<BatchSeq> = self.running().iter().copied().collect();
        let live = batches.into_iter().filter_map(|seq| self.hub.live(seq));
        live.map(|entry| Batch::clone(&entry.subscribe().borrow()))
            .filter(|batch| batch.state == State::Running && batch.kind.is_fetched())
            .collect()
    }

    /// Waits, unless the node drains meanwhile. Answers whether to go on.
    async fn pause_for(&self, wait: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(wait) => true,
            () = self.draining.cancelled() => false,
        }
    }

    /// Records that the batch cannot go on, if that can be written.
    async fn pause_by(self: &Arc<Self>, batch: BatchSeq, fault: &Fault) -> bool {
        let (store, reason, message, now) = (&self.store, fault.reason, &fault.message, clock::now());
        let paused = match fault.cause {
            PauseCause::UpstreamOutage => store.declare_outage(batch, reason, message, now).await,
            PauseCause::User | PauseCause::SystemFailure => {
                store.fail_system(batch, reason, message, now).await
            }
        };
        match paused {
            Ok(changed) => {
                self.take_up_all(changed.admitted);
                self.hub.publish(changed.batch, &[]);
                true
            }
            Err(error) => {
                tracing::error!(batch_seq = batch.0, error = %error, "the pause could not be recorded yet");
                self.hindered(batch);
                false
            }
        }
    }

    /// The store is in a batch's way, which was told.
    fn hindered(&self, batch: BatchSeq) {
        self.store_trouble.met();
        if let Some(entry) = self.hub.live(batch) {
            entry.hindered();
        }
    }

    fn running(&self) -> MutexGuard<'_, HashSet<BatchSeq>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a batch cannot go on through no fault of its items.
#[derive(Debug)]
struct Fault {
    cause: PauseCause,
    /// The stable word that the pause carries.
    reason: &'static str,
    message: String,
}

impl Fault {
    fn of(error: &StoreError) -> Self {
        let cause = PauseCause::SystemFailure;
        Self { cause, reason: error.pause_reason(), message: error.to_string() }
    }

    /// A credential, or whoever asks without one, is turned away.
    fn refused(message: String) -> Self {
        Self { cause: PauseCause::SystemFailure, reason: CREDENTIALS_REFUSED, message }
    }

    fn bug(message: String) -> Self {
        Self { cause: PauseCause::SystemFailure, reason: "BUG", message }
    }
}

/// Whether there is something to do for a batch in this state.
fn works(state: State) -> bool {
    matches!(state, State::Running | State::Pausing | State::Stopping)
}

/// Runs one batch until it is paused or over.
async fn run(engine: Arc<Engine>, seq: BatchSeq, id: BatchId) {
    loop {
        let known = engine.hub.live(seq);
        // It may have moved on between its commit and here.
        match engine.store.batch(&id).await {
            Ok(read) => {
                if engine.hub.catch_up(seq, read)
                    && let Some(entry) = known
                {
                    entry.set_current();
                }
            }
            Err(error) => {
                tracing::warn!(batch_id = %id, error = %error, "the batch could not be read");
                engine.hindered(seq);
                if engine.pause_for(Duration::from_secs(1)).await {
                    continue;
                }
                break;
            }
        }
        let Some(entry) = engine.hub.live(seq) else { break };
        let batch = Arc::clone(&entry.subscribe().borrow());
        match workshop(&engine, &batch).await {
            Ok(workshop) => {
                // Who only looks on does not keep the lanes.
                let lanes = workshop.replies.lanes().map(Arc::downgrade).unwrap_or_default();
                entry.set_pace(Arc::new(move || {
                    lanes.upgrade().map(|lanes| lanes.pace()).unwrap_or_default()
                }));
                let (own, watched) = (Arc::clone(&engine), Arc::clone(&entry));
                let runner = runner::Runner::new(own, &batch, watched, workshop);
                tokio::join!(expand::run(&engine, &batch, &entry), runner.run());
                failpoint::reached("batch.over").await;
            }
            Err(error) => {
                tracing::error!(batch_id = %batch.id, error = %error, "the batch could not be taken up");
                engine.hindered(seq);
                if !error.is_transient() {
                    engine.pause_by(seq, &Fault::of(&error)).await;
                }
                engine.pause_for(Duration::from_secs(1)).await;
            }
        }
        // Asked under the lock, so that a resume that comes now finds either this task or none.
        let mut running = engine.running();
        let state = engine.hub.live(seq).map(|entry| entry.subscribe().borrow().state);
        if state.is_none() {
            engine.gates.forget(seq);
        }
        if !state.is_some_and(works) || engine.draining.is_cancelled() {
            running.remove(&seq);
            return;
        }
    }
    engine.running().remove(&seq);
}

/// What a batch's attempts are made with.
async fn workshop(engine: &Arc<Engine>, batch: &Batch) -> Result<Workshop, StoreError> {
    let spec = Arc::clone(&batch.spec);
    let connector: Arc<dyn connector::Connector> = connector::build(&spec).into();
    let rules = Rules::new(&spec.fetch.rules).map_err(StoreError::Damaged)?;
    let replies = replies(engine, batch, connector.as_ref()).await?;
    Ok(Workshop { spec, connector, replies, rules })
}

/// Where a batch's replies come from.
async fn replies(
    engine: &Arc<Engine>,
    batch: &Batch,
    connector: &dyn connector::Connector,
) -> Result<Replies, StoreError> {
    if let Kind::Redecode { parent } = batch.kind {
        return Ok(Replies::Kept { store: Arc::clone(&engine.store), parent });
    }
    Ok(Replies::Upstream {
        fetcher: engine.fetcher.clone(),
        lanes: Arc::new(Lanes::of(engine, batch, connector).await?),
        user_agent: batch.spec.fetch.user_agent.as_str().into(),
    })
}
