//! The embedded engine: one SQLite file in WAL mode, one writer and readers beside it, nothing to install.
//!
//! Every write is one `BEGIN IMMEDIATE` transaction on the one writing connection, `synchronous = FULL`: what was
//! answered survives a power cut. Counters move in the commit itself.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{SqliteConnection, SqlitePool};

use self::{
    script::{Ran, Script},
    writer::{Tx, Writer},
};
use super::{
    Appended, AttemptQuery, BatchQuery, Changed, Checked, Claim, CommandError, Commit, Committed,
    CreateError, Created, DeleteError, Expanded, FetchedBody, Guard, ItemQuery, KeptItem, NewBatch,
    OpenedUpload, Place, Purged, Refusals, SourceLease, SourcePage, Store, StoreError, UploadChunk,
    UploadError, UploadProgress,
};
use crate::{
    clock::SetBack,
    domain::{
        batch::{Batch, Command, Input},
        dataset::{Dataset, MissingKey, MissingPlace},
        id::{BatchId, BatchSeq, NodeId, UploadId},
        item::{Item, Keyed, NewItem, PastAttempt},
        listing::{ListFile, ListVersion, ListedIssue, StoredList},
        report::FailureGroup,
        spec::BatchSpec,
        upstream::{UpstreamId, UpstreamRecord},
    },
    failpoint,
};

mod attempt;
mod batch;
mod commit;
mod connection;
mod create;
mod deadline;
mod error;
mod filter;
mod inspect;
mod item;
mod list;
mod live;
mod lost;
mod migration;
mod missing;
mod overlap;
mod probe;
mod purge;
mod query;
mod record;
mod refused;
mod request;
mod response;
mod result;
mod script;
mod skip;
mod slice;
mod source;
mod stall;
#[cfg(test)]
mod tests;
mod transition;
mod upkeep;
mod upload;
mod upstream;
mod writer;

pub use inspect::{Found, Hold, Inspection, Paused, inspect};
pub use migration::{MigrateError, Schema};

/// Bounds that the store keeps.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Batches that run at once; the rest is QUEUED.
    pub running_batches: usize,
    /// Batches that are not terminal.
    pub live_batches: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { running_batches: 100, live_batches: 10_000 }
    }
}

/// A store in one SQLite file.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    writer: Writer,
    readers: SqlitePool,
    limits: Limits,
    token_key: [u8; 32],
    /// Specs never change, and every commit answers with a batch: each is parsed once.
    specs: Arc<Mutex<HashMap<BatchSeq, Arc<BatchSpec>>>>,
}

impl SqliteStore {
    /// Opens a file, which is made if it is not there, and brings its schema up to date.
    pub async fn open(path: &Path, limits: Limits) -> Result<Self, MigrateError> {
        let writer = connection::writer(path).await.map_err(error::store)?;
        let mut conn = writer.turn().await.map_err(error::store)?;
        migration::run(&mut conn).await?;
        let token_key = token_key(&mut conn).await.map_err(error::store)?;
        drop(conn);
        let readers = connection::readers(path).await.map_err(error::store)?;
        Ok(Self { writer, readers, limits, token_key, specs: Arc::default() })
    }

    /// The schema's version.
    pub async fn schema(&self) -> Result<Schema, StoreError> {
        migration::schema(&self.readers).await.map_err(error::store)
    }

    /// Takes the one writing lock.
    async fn begin(&self) -> Result<Tx, StoreError> {
        Ok(self.begin_with(Script::default()).await?.0)
    }

    /// The same, and runs a script in the transaction on the same way.
    async fn begin_with(&self, script: Script) -> Result<(Tx, Vec<Ran>), StoreError> {
        failpoint::tried("store.begin").await?;
        self.writer.begin_with(script).await.map_err(error::store)
    }

    /// A batch by its number, inside a transaction.
    async fn load(&self, conn: &mut SqliteConnection, seq: BatchSeq) -> Result<Batch, StoreError> {
        let row = sqlx::query("SELECT * FROM batch_executions WHERE seq = $1")
            .bind(seq.0)
            .fetch_one(conn)
            .await
            .map_err(error::store)?;
        self.decode(&row)
    }

    /// Runs the last script of a transaction and commits, on one way. Answers with batches as they are then.
    async fn commit_all(
        &self,
        tx: Tx,
        mut script: Script,
        seqs: &[BatchSeq],
    ) -> Result<Vec<Batch>, StoreError> {
        let numbers: Vec<i64> = seqs.iter().map(|seq| seq.0).collect();
        script
            .add("SELECT b.* FROM json_each(?) JOIN batch_executions b ON b.seq = value ORDER BY key")
            .bind(result::json(&numbers));
        let mut ran = tx.commit_with(script).await.map_err(error::store)?;
        // What the last statement, COMMIT, answers with is nothing.
        ran.pop();
        ran.pop().unwrap_or_default().iter().map(|row| self.decode(row)).collect()
    }

    /// The same with one batch, and those that it let in.
    async fn commit_change(
        &self,
        tx: Tx,
        script: Script,
        changed: BatchSeq,
        admitted: &[BatchSeq],
    ) -> Result<Changed, StoreError> {
        let seqs: Vec<BatchSeq> = std::iter::once(changed).chain(admitted.iter().copied()).collect();
        let mut batches = self.commit_all(tx, script, &seqs).await?.into_iter();
        let batch = batches.next().ok_or_else(|| error::store(sqlx::Error::RowNotFound))?;
        Ok(Changed { batch, admitted: batches.collect() })
    }

    fn decode(&self, row: &sqlx::sqlite::SqliteRow) -> Result<Batch, StoreError> {
        let mut specs = self.specs.lock().unwrap_or_else(PoisonError::into_inner);
        batch::from_row(row, &mut specs)
    }

    /// Applies one event in a transaction of its own.
    async fn change(
        &self,
        seq: BatchSeq,
        input: Input,
        why: transition::Why<'_>,
        now: DateTime<Utc>,
    ) -> Result<Changed, StoreError> {
        let mut tx = self.begin().await?;
        let found = Some((input, why));
        let slots = self.limits.running_batches;
        let changed = transition::settled(&mut tx, Script::default(), seq, found, slots, now);
        let (admitted, script) = changed.await.map_err(error::store)?;
        failpoint::tried("change.written").await?;
        self.commit_change(tx, script, seq, &admitted).await
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn create_batch(&self, new: NewBatch, now: DateTime<Utc>) -> Result<Created, CreateError> {
        create::create(self, new, now).await
    }

    async fn check_batch(&self, new: &NewBatch, now: DateTime<Utc>) -> Result<Checked, CreateError> {
        create::check(self, new, now).await
    }

    async fn batch(&self, id: &BatchId) -> Result<Option<Batch>, StoreError> {
        live::batch(self, id).await
    }

    async fn delete_batch(
        &self,
        id: &BatchId,
        etag: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<(), DeleteError> {
        purge::delete(self, id, etag, now).await
    }

    async fn purged(&self, id: &BatchId) -> Result<Option<Purged>, StoreError> {
        let mut conn = self.readers.acquire().await.map_err(error::store)?;
        purge::purged(&mut conn, id).await.map_err(error::store)
    }

    async fn list_batches(&self, query: &BatchQuery) -> Result<Vec<(Place, Batch)>, StoreError> {
        query::batches(self, query).await
    }

    async fn live_batches(&self, after: Option<BatchSeq>, limit: usize) -> Result<Vec<Batch>, StoreError> {
        live::batches(self, after, limit).await
    }

    async fn command(
        &self,
        id: &BatchId,
        command: &Command,
        guard: &Guard,
        now: DateTime<Utc>,
    ) -> Result<Changed, CommandError> {
        transition::command(self, id, command, guard, now).await
    }

    async fn fail_system(
        &self,
        batch: BatchSeq,
        reason: &str,
        message: &str,
        now: DateTime<Utc>,
    ) -> Result<Changed, StoreError> {
        self.change(batch, Input::SystemFailure, transition::Why::event(reason, message), now).await
    }

    async fn declare_outage(
        &self,
        batch: BatchSeq,
        reason: &str,
        message: &str,
        now: DateTime<Utc>,
    ) -> Result<Changed, StoreError> {
        self.change(batch, Input::OutageDeclared, transition::Why::event(reason, message), now).await
    }

    async fn end_outage(&self, batch: BatchSeq, now: DateTime<Utc>) -> Result<Changed, StoreError> {
        self.change(batch, Input::OutageOver, transition::Why::default(), now).await
    }

    async fn outages(&self) -> Result<Vec<Batch>, StoreError> {
        live::outages(self).await
    }

    async fn open_item(&self, batch: BatchSeq, nth: u32) -> Result<Option<Keyed>, StoreError> {
        probe::open(&self.readers, batch, nth).await
    }

    async fn succeeded_item(&self, batch: BatchSeq) -> Result<Option<Keyed>, StoreError> {
        probe::succeeded(&self.readers, batch).await
    }

    async fn decide_skips(&self, spec: &BatchSpec, items: Vec<NewItem>) -> Result<Vec<NewItem>, StoreError> {
        Ok(skip::decided(&self.readers, spec, items.into()).await?.into_owned())
    }

    async fn missing_keys(
        &self,
        dataset: Dataset,
        after: Option<&MissingPlace>,
        limit: usize,
    ) -> Result<Vec<MissingKey>, StoreError> {
        missing::list(&self.readers, dataset, after, limit).await
    }

    async fn clear_missing(&self, dataset: Dataset, keys: Option<&[String]>) -> Result<u64, StoreError> {
        missing::clear(self, dataset, keys).await
    }

    async fn set_stalled(
        &self,
        batch: BatchSeq,
        since: Option<DateTime<Utc>>,
    ) -> Result<Option<Batch>, StoreError> {
        stall::set(self, batch, since).await
    }

    async fn recover(&self, now: DateTime<Utc>) -> Result<Vec<Batch>, StoreError> {
        upkeep::recover(self, now).await
    }

    async fn settle(&self, now: DateTime<Utc>) -> Result<Vec<Batch>, StoreError> {
        upkeep::settle(self, now).await
    }

    async fn set_back(&self, step: SetBack) -> Result<(), StoreError> {
        upkeep::set_back(self, step).await
    }

    async fn claim_source(
        &self,
        batch: BatchSeq,
        node: &NodeId,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<Option<SourceLease>, StoreError> {
        source::claim(self, batch, node, now, until).await
    }

    async fn expand(&self, page: &SourcePage, now: DateTime<Utc>) -> Result<Expanded, StoreError> {
        source::expand(self, page, now).await
    }

    async fn open_upload(&self, batch: &BatchId, upload: &UploadId) -> Result<OpenedUpload, UploadError> {
        upload::open(self, batch, upload).await
    }

    async fn append_upload(&self, chunk: &UploadChunk, now: DateTime<Utc>) -> Result<Appended, UploadError> {
        upload::append(self, chunk, now).await
    }

    async fn upload_status(&self, batch: &BatchId, upload: &UploadId) -> Result<UploadProgress, UploadError> {
        upload::status(self, batch, upload).await
    }

    async fn claim_slice(
        &self,
        batch: BatchSeq,
        node: &NodeId,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<Claim, StoreError> {
        slice::claim(self, batch, node, now, until).await
    }

    async fn commit(&self, commit: &Commit) -> Result<Committed, StoreError> {
        commit::commit(self, commit).await
    }

    async fn fail_refused(&self, refusals: &Refusals) -> Result<Committed, StoreError> {
        refused::fail(self, refusals).await
    }

    async fn list_items(
        &self,
        batch: BatchSeq,
        query: &ItemQuery,
        now: DateTime<Utc>,
    ) -> Result<Vec<Item>, StoreError> {
        query::items(&self.readers, batch, query, now).await
    }

    async fn attempts(&self, batch: BatchSeq, query: &AttemptQuery) -> Result<Vec<PastAttempt>, StoreError> {
        attempt::list(&self.readers, batch, query).await
    }

    async fn item_index(&self, batch: BatchSeq, key: &str) -> Result<Option<i64>, StoreError> {
        item::index(&self.readers, batch, key).await
    }

    async fn results(
        &self,
        batch: BatchSeq,
        after: i64,
        limit: usize,
    ) -> Result<Vec<(i64, Item)>, StoreError> {
        result::list(&self.readers, batch, after, limit).await
    }

    async fn kept_items(&self, batch: BatchSeq, query: &ItemQuery) -> Result<Vec<KeptItem>, StoreError> {
        query::kept(&self.readers, batch, query).await
    }

    async fn kept_body(&self, batch: BatchSeq, key: &str) -> Result<Option<FetchedBody>, StoreError> {
        item::body(&self.readers, batch, key).await
    }

    async fn children(&self, batch: BatchSeq, limit: usize) -> Result<Vec<BatchId>, StoreError> {
        live::children(&self.readers, batch, limit).await
    }

    async fn failure_groups(&self, batch: BatchSeq) -> Result<Vec<FailureGroup>, StoreError> {
        item::failure_groups(&self.readers, batch).await
    }

    async fn lost_leases(&self, batch: BatchSeq) -> Result<i64, StoreError> {
        sqlx::query_scalar("SELECT coalesce(sum(lost_count), 0) FROM batch_slices WHERE batch_seq = $1")
            .bind(batch.0)
            .fetch_one(&self.readers)
            .await
            .map_err(error::store)
    }

    async fn put_list(&self, list: &ListFile, uri: &str, now: DateTime<Utc>) -> Result<bool, StoreError> {
        list::put(self, list, uri, now).await
    }

    async fn list_versions(&self) -> Result<Vec<StoredList>, StoreError> {
        list::all(&self.readers).await
    }

    async fn list_as_of(&self, uri: &str, date: NaiveDate) -> Result<Option<ListVersion>, StoreError> {
        list::as_of(&self.readers, uri, date).await
    }

    async fn earliest_list(&self, uri: &str) -> Result<Option<ListVersion>, StoreError> {
        list::earliest(&self.readers, uri).await
    }

    async fn listed_issues(
        &self,
        version: &ListVersion,
        from: i64,
        limit: usize,
    ) -> Result<Vec<ListedIssue>, StoreError> {
        list::issues(&self.readers, version, from, limit).await
    }

    async fn upstreams(&self) -> Result<Vec<UpstreamRecord>, StoreError> {
        upstream::all(&self.readers).await
    }

    async fn upstream(&self, id: &UpstreamId) -> Result<Option<UpstreamRecord>, StoreError> {
        upstream::one(&self.readers, id).await
    }

    async fn put_upstream(&self, upstream: &UpstreamRecord) -> Result<(), StoreError> {
        upstream::put(&self.writer, upstream).await
    }

    async fn purge(&self, now: DateTime<Utc>) -> Result<u64, StoreError> {
        purge::purge(self, now).await
    }

    fn token_key(&self) -> [u8; 32] {
        self.token_key
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// The store's key, made by whoever opens it first.
async fn token_key(conn: &mut SqliteConnection) -> Result<[u8; 32], sqlx::Error> {
    sqlx::query("INSERT INTO settings (name, value) VALUES ('token_key', $1) ON CONFLICT DO NOTHING")
        .bind(rand::random::<[u8; 32]>().as_slice())
        .execute(&mut *conn)
        .await?;
    let key: Vec<u8> =
        sqlx::query_scalar("SELECT value FROM settings WHERE name = 'token_key'").fetch_one(conn).await?;
    key.try_into().map_err(|_| sqlx::Error::Decode("token_key".into()))
}

/// An instant as the tables hold it.
fn ms(instant: DateTime<Utc>) -> i64 {
    instant.timestamp_millis()
}

/// An instant out of the tables.
fn instant(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or_default()
}
