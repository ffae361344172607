//! A store under test, its clock, and the node that uses it.

use std::{ops::Deref, sync::Arc};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};

use super::{audit, fixture::recording::Group};
use crate::{
    domain::{
        batch::{Batch, Command, DrainMode, Refusal, State},
        id::{BatchId, BatchSeq, NodeId},
        item::{self, Item},
    },
    store::{
        BatchQuery, Changed, Claim, CommandError, Committed, Expanded, Guard, ItemQuery, LeasedSlice,
        NewBatch, PageRead, SourceLease, SourcePage, StartOutcome, Store,
    },
};

/// What an engine brings to the suite: one place where a store is kept.
#[async_trait]
pub(super) trait Engine: Send + Sync {
    /// Opens the store that is kept here. Others may have it open.
    async fn open(&self, bounds: Bounds) -> Arc<dyn Store>;
    /// What somebody at the database reads: a query of one column of texts, in SQL that every engine takes.
    async fn texts(&self, sql: &'static str) -> Vec<String>;
}

/// Bounds that a store keeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Batches that run at once.
    pub(super) running_batches: usize,
    /// Batches that are not terminal.
    pub(super) live_batches: usize,
}

/// How long a lease runs unless a case says otherwise.
pub(super) const LEASE: TimeDelta = TimeDelta::seconds(30);

/// A store, a node that uses it, and the node's clock.
pub(super) struct Harness {
    engine: Box<dyn Engine>,
    store: Arc<dyn Store>,
    pub(super) node: NodeId,
    /// Stands still unless a case moves it.
    pub(super) now: DateTime<Utc>,
}

impl Deref for Harness {
    type Target = dyn Store;

    fn deref(&self) -> &Self::Target {
        self.store.as_ref()
    }
}

impl Harness {
    /// A fresh store with ample bounds.
    pub(super) async fn open(engine: impl Engine + 'static) -> Self {
        let bounds = Bounds { running_batches: 100, live_batches: 100 };
        Self {
            store: engine.open(bounds).await,
            engine: Box::new(engine),
            node: NodeId::generate(),
            now: "2026-03-02T00:00:00Z".parse().unwrap(),
        }
    }

    /// The same store with other bounds.
    pub(super) async fn bound(&mut self, running_batches: usize, live_batches: usize) {
        self.store.close().await;
        self.store = self.engine.open(Bounds { running_batches, live_batches }).await;
    }

    /// The process died and came back as another node. What it had open is left as it was: answers with it, since an
    /// old process may turn out to be alive.
    pub(super) async fn reopen(&mut self) -> (Arc<dyn Store>, NodeId) {
        let bounds = Bounds { running_batches: 100, live_batches: 100 };
        let store = std::mem::replace(&mut self.store, self.engine.open(bounds).await);
        (store, std::mem::replace(&mut self.node, NodeId::generate()))
    }

    /// What somebody at the database reads.
    pub(super) async fn texts(&self, sql: &'static str) -> Vec<String> {
        self.engine.texts(sql).await
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, seconds: i64) {
        self.now = self.after(seconds);
    }

    /// The time in so many seconds.
    pub(super) fn after(&self, seconds: i64) -> DateTime<Utc> {
        self.now + TimeDelta::seconds(seconds)
    }

    /// Starts a batch that is not known yet.
    pub(super) async fn start(&self, new: NewBatch) -> Batch {
        let created = self.create_batch(new, self.now).await.unwrap();
        assert_eq!(created.outcome, StartOutcome::Started, "{}", created.batch.id);
        created.batch
    }

    /// Carries a command out that is held against nothing.
    pub(super) async fn command(
        &self,
        id: &BatchId,
        command: &Command,
        now: DateTime<Utc>,
    ) -> Result<Changed, CommandError> {
        self.store.command(id, command, &Guard::default(), now).await
    }

    /// A batch as it is now, audited.
    pub(super) async fn read(&self, batch: &Batch) -> Batch {
        let read = self.batch(&batch.id).await.unwrap().expect("batches stay");
        let items = self.items(batch).await;
        audit::batch(&read, &items);
        audit::results(&read, &items, &self.results(batch.seq, 0, 10_000).await.unwrap());
        assert_eq!(self.texts(audit::LEASES).await, [] as [&str; 0], "leases");
        let groups = self.failure_groups(batch.seq).await.unwrap();
        assert_eq!(groups.iter().map(|group| group.items).sum::<i64>(), read.counts.failed, "{}", read.id);
        read
    }

    /// Every item of a batch.
    pub(super) async fn items(&self, batch: &Batch) -> Vec<Item> {
        self.list_items(batch.seq, &ItemQuery::all(0, 10_000), self.now).await.unwrap()
    }

    /// Every batch, newest first.
    pub(super) async fn listed(&self) -> Vec<Batch> {
        let placed = self.list_batches(&BatchQuery::newest(10_000)).await.unwrap();
        placed.into_iter().map(|(_, batch)| batch).collect()
    }

    /// Every item's state.
    pub(super) async fn states(&self, batch: &Batch) -> Vec<item::State> {
        self.items(batch).await.into_iter().map(|item| item.state).collect()
    }

    /// Carries a command out that is not refused.
    pub(super) async fn order(&self, batch: &Batch, command: Command) -> Changed {
        let changed = self.command(&batch.id, &command, self.now).await.unwrap();
        assert_eq!(changed.batch, self.read(batch).await, "the answer is what is stored");
        changed
    }

    pub(super) async fn pause(&self, batch: &Batch) -> Batch {
        let drain = DrainMode::Finish;
        self.order(batch, Command::Pause { reason: "lunch".to_owned(), drain }).await.batch
    }

    pub(super) async fn resume(&self, batch: &Batch) -> Batch {
        self.order(batch, Command::Resume).await.batch
    }

    pub(super) async fn stop(&self, batch: &Batch) -> Batch {
        let drain = DrainMode::Finish;
        self.order(batch, Command::Stop { reason: "enough".to_owned(), drain }).await.batch
    }

    /// Ends a batch, however it stands.
    pub(super) async fn stop_if_live(&self, batch: &Batch) {
        if !self.read(batch).await.state.is_terminal() {
            self.stop(batch).await;
        }
    }

    /// A failure of class SYSTEM.
    pub(super) async fn break_down(&self, batch: &Batch) -> Batch {
        self.fail_system(batch.seq, "DISK_FULL", "no room", self.now).await.unwrap().batch
    }

    /// A command that is refused: in which state, and why.
    pub(super) async fn refused(&self, batch: &Batch, command: &Command) -> (State, Refusal) {
        match self.command(&batch.id, command, self.now).await {
            Err(CommandError::Refused { state, refusal, .. }) => (state, refusal),
            other => panic!("{other:?}"),
        }
    }

    /// What there is to claim.
    pub(super) async fn ask(&self, batch: &Batch) -> Claim {
        self.claim_slice(batch.seq, &self.node, self.now, self.now + LEASE).await.unwrap()
    }

    /// Leases a slice where there is one.
    pub(super) async fn claim(&self, batch: &Batch) -> LeasedSlice {
        let Claim { slice, ready_at } = self.ask(batch).await;
        slice.unwrap_or_else(|| panic!("nothing before {ready_at:?}"))
    }

    /// Leases a source that nobody reads.
    pub(super) async fn read_source(&self, batch: &Batch) -> SourceLease {
        self.ask_source(batch).await.expect("nobody reads it")
    }

    /// Leases a source, if it may be read.
    pub(super) async fn ask_source(&self, batch: &Batch) -> Option<SourceLease> {
        self.claim_source(batch.seq, &self.node, self.now, self.now + LEASE).await.unwrap()
    }

    /// Stores what was read, with one request of 1,000 bytes.
    pub(super) async fn page(&self, batch: &Batch, lease: &SourceLease, read: PageRead) -> Expanded {
        let page = SourcePage {
            batch: batch.seq,
            epoch: lease.epoch,
            read,
            requests: 1,
            bytes_received: 1_000,
            lease_until: self.now + LEASE,
        };
        let expanded = self.expand(&page, self.now).await.unwrap();
        assert_eq!(expanded.batch, self.read(batch).await, "the answer is what is stored");
        expanded
    }

    /// Commits a group.
    pub(super) async fn record(&self, batch: &Batch, group: Group) -> Committed {
        let commit = group.into_commit(batch.seq, &self.node, self.now);
        let committed = self.commit(&commit).await.unwrap();
        assert_eq!(committed.batch, self.read(batch).await, "the answer is what is stored");
        committed
    }

    /// Leases that were lost.
    pub(super) async fn lost(&self, batch: &Batch) -> i64 {
        self.lost_leases(batch.seq).await.unwrap()
    }
}

/// Numbers of admitted batches.
pub(super) fn numbers(batches: &[Batch]) -> Vec<BatchSeq> {
    batches.iter().map(|batch| batch.seq).collect()
}
