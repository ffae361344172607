//! Use cases: what callers may ask for, in the vocabulary of the domain. Doors convert, call, convert.

use std::sync::Arc;

use chrono::{DateTime, Datelike, Months, Utc};
use tokio::sync::Semaphore;

use crate::{
    clock,
    domain::{
        batch::{Batch, Command, Kind},
        id::{BatchId, BatchSeq},
        item::{Item, NewItem},
        report::{self, FailureGroup},
        spec::{AsOf, BatchSpec, Source},
    },
    engine::Engine,
    progress::{Entry, Hub, Snapshot},
    store::{
        BatchQuery, CommandError, CreateError, Created, Guard, ItemQuery, NewBatch, Place, Purged,
        RequestKey, StartOutcome, Store, StoreError,
    },
};

mod attempts;
mod body;
mod delete;
mod missing;
mod plan;
pub mod results;
mod retry;
#[cfg(test)]
pub(crate) mod tests;
mod upload;
mod upstream;
pub mod watch;

pub use delete::Delete;
pub use plan::{Plan, PlanError};
pub use retry::Retry;
pub use upload::Upload;
pub use upstream::{SetLimits, UpstreamError};

/// How long a request id is remembered at least.
const REQUEST_ID_KEPT: chrono::TimeDelta = chrono::TimeDelta::hours(24);

/// The use cases, over one node.
#[derive(Clone)]
pub struct Control {
    store: Arc<dyn Store>,
    hub: Arc<Hub>,
    engine: Arc<Engine>,
    /// Plans under way, each with memory of its own.
    planning: Arc<Semaphore>,
    recent: Arc<plan::Recent>,
    streams: Arc<upload::Streams>,
}

/// A batch to be started.
#[derive(Debug)]
pub struct Start {
    /// Chosen by the caller; a new one otherwise.
    pub id: Option<BatchId>,
    /// What it is to do.
    pub spec: BatchSpec,
    /// Inline items.
    pub items: Option<Vec<NewItem>>,
    /// Idempotency key: id and hash of the request.
    pub request: Option<(String, [u8; 32])>,
    /// When it was asked for: the batch's time of creation, and its logical date where the spec has none.
    pub now: DateTime<Utc>,
}

/// A batch whose kept bodies are to be decoded anew.
#[derive(Debug)]
pub struct Redecode {
    /// That batch.
    pub parent: BatchId,
    /// Name of the new one, chosen by the caller; a new one otherwise.
    pub id: Option<BatchId>,
    /// Only these of its items.
    pub filter: String,
    /// Idempotency key: id and hash of the request.
    pub request: Option<(String, [u8; 32])>,
}

/// What came of a start.
#[derive(Debug)]
pub struct Started {
    /// The batch as it is.
    pub snapshot: Snapshot,
    /// What it is to the caller.
    pub outcome: StartOutcome,
}

/// A command, and what it is held against before it has an effect.
#[derive(Debug)]
pub struct Wish {
    /// The batch.
    pub id: BatchId,
    /// What is wished.
    pub command: Command,
    /// The etag that the batch must have, if any.
    pub etag: Option<String>,
    /// Idempotency key: id and hash of the request.
    pub request: Option<(String, [u8; 32])>,
}

/// What came of a command.
#[derive(Debug)]
pub struct Commanded {
    /// The batch as it is.
    pub snapshot: Snapshot,
}

/// Why a batch cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No such batch.
    #[error("no batch {0}")]
    NotFound(BatchId),
    /// No such item.
    #[error("no item {key:?} in batch {batch}")]
    NoItem {
        /// The batch.
        batch: BatchId,
        /// The key asked for.
        key: String,
    },
    /// No such batch any more.
    #[error("batch {} is gone", .0.id)]
    Purged(Purged),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ReadError> for CreateError {
    fn from(error: ReadError) -> Self {
        match error {
            // Of items nobody asks here.
            ReadError::NotFound(id) | ReadError::NoItem { batch: id, .. } => Self::NoParent(id),
            ReadError::Purged(purged) => Self::ParentPurged(purged),
            ReadError::Store(error) => error.into(),
        }
    }
}

/// What a batch came to.
#[derive(Debug)]
pub struct Report {
    /// Its figures.
    pub snapshot: Snapshot,
    /// Failed items, most frequent first.
    pub failures: Vec<FailureGroup>,
    /// Leases that ran out or were lost with their process.
    pub lost_leases: i64,
    /// Batches that were made from it, oldest first.
    pub children: Vec<BatchId>,
    /// Time in RUNNING.
    pub active: std::time::Duration,
    /// Time in PAUSING and PAUSED.
    pub paused: std::time::Duration,
    /// Shortest time the permitted rate allowed for the requests sent.
    pub floor: std::time::Duration,
}

impl Control {
    /// Use cases over these.
    pub fn new(store: Arc<dyn Store>, hub: Arc<Hub>, engine: Arc<Engine>) -> Self {
        let planning = Arc::new(Semaphore::new(plan::PLANS_MAX));
        Self { store, hub, engine, planning, recent: Arc::default(), streams: Arc::default() }
    }

    /// Makes a batch and lets it run. Durable before it answers.
    pub async fn start(&self, start: Start) -> Result<Started, CreateError> {
        let now = start.now;
        self.create(new_batch(start), now).await
    }

    /// Makes a child of a batch that decodes its kept bodies anew. Durable before it answers.
    pub async fn redecode(&self, redecode: Redecode) -> Result<Started, CreateError> {
        let now = clock::now();
        let new = self.child(redecode, now).await?;
        self.create(new, now).await
    }

    async fn child(&self, redecode: Redecode, now: DateTime<Utc>) -> Result<NewBatch, CreateError> {
        let Redecode { parent, id, filter, request } = redecode;
        let parent = self.stored(&parent).await?;
        let source = Source::BatchItems { batch: parent.id, filter, again: false };
        Ok(NewBatch {
            id: id.unwrap_or_else(BatchId::generate),
            kind: Kind::Redecode { parent: parent.seq },
            spec: BatchSpec { source, ..BatchSpec::clone(&parent.spec) },
            items: None,
            request: request.map(|request| key("Redecode", request, now)),
        })
    }

    async fn create(&self, new: NewBatch, now: DateTime<Utc>) -> Result<Started, CreateError> {
        // A caller that goes away must not leave a batch behind that nobody works on.
        let control = self.clone();
        let work = async move {
            let Created { outcome, batch, changed } = control.store.create_batch(new, now).await?;
            tracing::info!(
                batch_id = %batch.id, action = "batch_start", kind = batch.kind.as_str(), status = batch.state.as_str(),
                total = batch.counts.total, ?outcome,
            );
            control.engine.take_up_all(changed);
            Ok(Started { snapshot: control.taken_up(batch), outcome })
        };
        self.engine.carry_out(work).await
    }

    /// Pauses, resumes or stops a batch. Durable before it answers.
    pub async fn command(&self, wish: Wish) -> Result<Commanded, CommandError> {
        let control = self.clone();
        let work = async move {
            let Wish { id, command, etag, request } = wish;
            let now = clock::now();
            let guard = Guard { etag, request: request.map(|request| key(command.rpc(), request, now)) };
            let changed = match control.store.command(&id, &command, &guard, now).await {
                Ok(changed) => changed,
                Err(error) => {
                    control.engine.take_up_all(error.moved().to_vec());
                    return Err(error);
                }
            };
            tracing::info!(batch_id = %id, action = command.rpc(), status = changed.batch.state.as_str());
            control.engine.take_up_all(changed.admitted);
            Ok(Commanded { snapshot: control.taken_up(changed.batch) })
        };
        self.engine.carry_out(work).await
    }

    /// One batch.
    pub async fn batch(&self, id: &BatchId) -> Result<Snapshot, ReadError> {
        match self.seen(self.stored(id).await?).await? {
            Some(snapshot) => Ok(snapshot),
            None => Err(self.missing(id).await),
        }
    }

    /// The batches that a query takes, in its order, each with its place in it.
    pub async fn list(&self, query: &BatchQuery) -> Result<Vec<(Place, Snapshot)>, StoreError> {
        let batches = self.store.list_batches(query).await?;
        let now = clock::now();
        let snapshot = |batch: Batch| match self.hub.live(batch.seq) {
            Some(entry) if !batch.state.is_terminal() => entry.snapshot(now),
            _ => Snapshot::idle(batch),
        };
        Ok(batches.into_iter().map(|(place, batch)| (place, snapshot(batch))).collect())
    }

    /// What page tokens and cursors are sealed with.
    pub fn token_key(&self) -> [u8; 32] {
        self.store.token_key()
    }

    /// The items of a batch that a query takes, by index.
    pub async fn items(&self, id: &BatchId, query: &ItemQuery) -> Result<(BatchSeq, Vec<Item>), ReadError> {
        let batch = self.stored(id).await?;
        Ok((batch.seq, self.store.list_items(batch.seq, query, clock::now()).await?))
    }

    /// What a batch came to; of a live one, as it stands.
    pub async fn report(&self, id: &BatchId) -> Result<Report, ReadError> {
        let snapshot = self.batch(id).await?;
        let batch = &snapshot.batch;
        let now = clock::now();
        let fetch = &batch.spec.fetch;
        Ok(Report {
            failures: self.store.failure_groups(batch.seq).await?,
            lost_leases: self.store.lost_leases(batch.seq).await?,
            children: self.store.children(batch.seq, report::CHILDREN_MAX).await?,
            active: batch.active_until(now),
            paused: batch.paused_until(now),
            floor: report::floor(batch.counts.requests, fetch.rate_per_s, fetch.burst),
            snapshot,
        })
    }

    async fn stored(&self, id: &BatchId) -> Result<Batch, ReadError> {
        match self.store.batch(id).await? {
            Some(batch) => Ok(batch),
            None => Err(self.missing(id).await),
        }
    }

    /// Why there is no batch of that name.
    async fn missing(&self, id: &BatchId) -> ReadError {
        match self.store.purged(id).await {
            Ok(Some(purged)) => ReadError::Purged(purged),
            Ok(None) => ReadError::NotFound(id.clone()),
            Err(error) => error.into(),
        }
    }

    /// The batch with what this node knows of it, unless it is gone.
    async fn seen(&self, batch: Batch) -> Result<Option<Snapshot>, StoreError> {
        Ok(match self.followed(batch).await? {
            Followed::Live(entry) => Some(entry.snapshot(clock::now())),
            Followed::Over(batch) => Some(Snapshot::idle(*batch)),
            Followed::Gone => None,
        })
    }

    /// The same of one that the caller has just changed: if it is gone since, as it was then.
    async fn told(&self, batch: Batch) -> Result<Snapshot, StoreError> {
        let seen = self.seen(batch.clone()).await?;
        Ok(seen.unwrap_or_else(|| Snapshot::idle(batch)))
    }

    /// The hub's entry of a batch, if it is live.
    async fn followed(&self, batch: Batch) -> Result<Followed, StoreError> {
        if batch.state.is_terminal() {
            self.hub.publish(batch.clone(), &[]);
            return Ok(Followed::Over(Box::new(batch)));
        }
        let entry = self.hub.follow(&batch);
        let is_there = self.made_current(&entry, batch.seq, &batch.id).await?;
        Ok(if is_there { Followed::Live(entry) } else { Followed::Gone })
    }

    /// Sees to it that an entry has heard of everything that was committed before it was there. Answers whether its batch
    /// is there still.
    async fn made_current(&self, entry: &Entry, seq: BatchSeq, id: &BatchId) -> Result<bool, StoreError> {
        if entry.is_current() {
            return Ok(true);
        }
        let is_there = self.hub.catch_up(seq, self.store.batch(id).await?);
        if is_there {
            entry.set_current();
        }
        Ok(is_there)
    }

    /// Publishes what was just committed, has it worked on and answers with it.
    fn taken_up(&self, batch: Batch) -> Snapshot {
        self.engine.take_up(batch.clone());
        match self.hub.live(batch.seq) {
            Some(entry) => entry.snapshot(clock::now()),
            None => Snapshot::idle(batch),
        }
    }
}

fn new_batch(start: Start) -> NewBatch {
    let Start { id, spec, items, request, now } = start;
    NewBatch {
        id: id.unwrap_or_else(BatchId::generate),
        kind: Kind::Fetch,
        spec,
        items,
        request: request.map(|request| key("StartBatch", request, now)),
    }
}

fn key(rpc: &'static str, (id, sha256): (String, [u8; 32]), now: DateTime<Utc>) -> RequestKey {
    RequestKey { rpc, id, sha256, expires_at: now + REQUEST_ID_KEPT }
}

enum Followed {
    Live(Arc<Entry>),
    Over(Box<Batch>),
    /// It ended and was deleted since it was read.
    Gone,
}

/// Whether a logical date is current for the exchange's list: from the first day of the month that the published list is
/// for, which is the month before this one, to today. Decided once, when a batch is made.
pub fn is_current(as_of: &AsOf, now: DateTime<Utc>) -> bool {
    let today = now.with_timezone(&as_of.zone).date_naive();
    let month = today.checked_sub_months(Months::new(1)).and_then(|date| date.with_day(1));
    (month.unwrap_or(today)..=today).contains(&as_of.date())
}
