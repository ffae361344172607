//! The durable truth: batches, items, slices, records. One trait, one implementation per engine, one suite
//! (`conformance`) that each of them passes.
//!
//! Promises of every implementation:
//! * a method that answers `Ok` is durable, in one transaction, before it answers;
//! * transitions are decided by [`crate::domain::batch::decide`] under the batch's lock, never by a caller's memory;
//! * a commit with a stale epoch changes nothing of its slice;
//! * a record that the store refuses fails its own item and no other.
//!
//! It never reads a clock: the time is a parameter.

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};

use crate::clock::SetBack;
use crate::domain::{
    batch::{Batch, Command, Kind},
    dataset::{Dataset, MissingKey, MissingPlace},
    failure::Failure,
    id::{BatchId, BatchSeq, Epoch, NodeId, SliceNo, UploadId},
    item::{Attempt, Columns, Item, KeptBody, Keyed, NewItem, Next, OpenItem, PastAttempt},
    listing::{ListFile, ListVersion, ListedIssue, StoredList},
    report::FailureGroup,
    spec::BatchSpec,
    upstream::{UpstreamId, UpstreamRecord},
};

#[cfg(test)]
pub(crate) mod conformance;
mod error;
mod gone;
mod query;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod start;
mod upload;

pub use error::{CommandError, CreateError, StoreError};
pub use gone::{DeleteError, Purged};
pub use query::{AttemptQuery, BatchOrder, BatchQuery, ItemQuery, Place};
pub use start::{Checked, Created, Guard, InTheWay, StartOutcome};
pub use upload::{
    Appended, BATCH_ITEMS_MAX, OpenedUpload, UPLOADS_MAX, UploadChunk, UploadError, UploadProgress,
};

/// Items per slice.
pub const SLICE_ITEMS: usize = 100;

/// What can be asked of a store.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Makes a batch, with its inline items if it has them, and asks for its admission.
    async fn create_batch(&self, new: NewBatch, now: DateTime<Utc>) -> Result<Created, CreateError>;
    /// Refuses what [`Store::create_batch`] would refuse, and makes nothing.
    async fn check_batch(&self, new: &NewBatch, now: DateTime<Utc>) -> Result<Checked, CreateError>;
    /// One batch.
    async fn batch(&self, id: &BatchId) -> Result<Option<Batch>, StoreError>;
    /// Deletes a batch that has ended: nobody finds it from then on, and its name is free. What it had goes later, by
    /// [`Store::purge`]; datasets stay. `etag`: only if it has that one.
    async fn delete_batch(
        &self,
        id: &BatchId,
        etag: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<(), DeleteError>;
    /// What is known of a name whose batch is gone.
    async fn purged(&self, id: &BatchId) -> Result<Option<Purged>, StoreError>;
    /// The batches that a query takes, in its order, each with its place in it.
    async fn list_batches(&self, query: &BatchQuery) -> Result<Vec<(Place, Batch)>, StoreError>;
    /// Batches that are not at their end, made after `after`, oldest first.
    async fn live_batches(&self, after: Option<BatchSeq>, limit: usize) -> Result<Vec<Batch>, StoreError>;
    /// Carries a command out, or refuses it. What had come about before it is settled first, and stays so if it is refused:
    /// see [`CommandError::moved`].
    async fn command(
        &self,
        id: &BatchId,
        command: &Command,
        guard: &Guard,
        now: DateTime<Utc>,
    ) -> Result<Changed, CommandError>;
    /// Records a failure of class SYSTEM.
    async fn fail_system(
        &self,
        batch: BatchSeq,
        reason: &str,
        message: &str,
        now: DateTime<Utc>,
    ) -> Result<Changed, StoreError>;
    /// Records that the upstream which its open items need is down.
    async fn declare_outage(
        &self,
        batch: BatchSeq,
        reason: &str,
        message: &str,
        now: DateTime<Utc>,
    ) -> Result<Changed, StoreError>;
    /// Lets a batch go on that an outage paused, and nothing else since.
    async fn end_outage(&self, batch: BatchSeq, now: DateTime<Utc>) -> Result<Changed, StoreError>;
    /// Batches that an outage has paused, oldest first.
    async fn outages(&self) -> Result<Vec<Batch>, StoreError>;
    /// The `nth` open item of a batch that no lease holds, from 0; the first one where there are fewer.
    async fn open_item(&self, batch: BatchSeq, nth: u32) -> Result<Option<Keyed>, StoreError>;
    /// The last item of a batch that succeeded, by index.
    async fn succeeded_item(&self, batch: BatchSeq) -> Result<Option<Keyed>, StoreError>;
    /// Records since when a RUNNING batch stands still, or that it does no more. Answers with it if that is new.
    async fn set_stalled(
        &self,
        batch: BatchSeq,
        since: Option<DateTime<Utc>>,
    ) -> Result<Option<Batch>, StoreError>;
    /// Voids every lease, settles what was draining and answers with the batches that have work to do. For the start of
    /// a process that knows itself to be alone.
    async fn recover(&self, now: DateTime<Utc>) -> Result<Vec<Batch>, StoreError>;

    /// Ends what nobody else ends: the draining of batches whose last lease ran out without anybody giving it back, and
    /// batches whose time is over. Breaks up slices that lose one worker after the other, and admits batches whose time has
    /// come. Answers with what moved.
    async fn settle(&self, now: DateTime<Utc>) -> Result<Vec<Batch>, StoreError>;
    /// The clock was set back: items that wait, and leases, are due as much earlier.
    async fn set_back(&self, step: SetBack) -> Result<(), StoreError>;

    /// The items as they would be taken in: SKIPPED from the start are those that the spec's policy leaves out. Whatever
    /// takes items in does this first.
    async fn decide_skips(&self, spec: &BatchSpec, items: Vec<NewItem>) -> Result<Vec<NewItem>, StoreError>;
    /// Keys of a dataset that are remembered as missing, by key; only those behind a place.
    async fn missing_keys(
        &self,
        dataset: Dataset,
        after: Option<&MissingPlace>,
        limit: usize,
    ) -> Result<Vec<MissingKey>, StoreError>;
    /// Forgets these keys of a dataset, or all of them, and answers with how many were remembered.
    async fn clear_missing(&self, dataset: Dataset, keys: Option<&[String]>) -> Result<u64, StoreError>;

    /// Leases the reading of a batch's source, if it is RUNNING and not fully read.
    async fn claim_source(
        &self,
        batch: BatchSeq,
        node: &NodeId,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<Option<SourceLease>, StoreError>;
    /// Stores what was read under that lease.
    async fn expand(&self, page: &SourcePage, now: DateTime<Utc>) -> Result<Expanded, StoreError>;

    /// Begins an upload to an OPEN batch, or takes it over: whoever had it is fenced off. The upload that sealed a batch
    /// may be opened still, to repeat its last chunk.
    async fn open_upload(&self, batch: &BatchId, upload: &UploadId) -> Result<OpenedUpload, UploadError>;
    /// Appends what is new of a chunk; the last one seals the batch and asks for its admission.
    async fn append_upload(&self, chunk: &UploadChunk, now: DateTime<Utc>) -> Result<Appended, UploadError>;
    /// How far an upload has come.
    async fn upload_status(&self, batch: &BatchId, upload: &UploadId) -> Result<UploadProgress, UploadError>;

    /// Leases one slice of a RUNNING batch: one whose lease expired, else a parked one whose time has come, else the
    /// next fresh one.
    async fn claim_slice(
        &self,
        batch: BatchSeq,
        node: &NodeId,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<Claim, StoreError>;
    /// Records a group of attempts and renews or gives back the leases named with it. Without attempts it is a renewal.
    async fn commit(&self, commit: &Commit) -> Result<Committed, StoreError>;
    /// Fails items that were held back, by the attempt that was refused, which is charged now.
    async fn fail_refused(&self, refusals: &Refusals) -> Result<Committed, StoreError>;

    /// The items of a batch that a query takes, by index. RUNNING is as of `now`.
    async fn list_items(
        &self,
        batch: BatchSeq,
        query: &ItemQuery,
        now: DateTime<Utc>,
    ) -> Result<Vec<Item>, StoreError>;
    /// The attempts of a batch that a query takes, by index of their item, then number. A success at the first try, which
    /// has no row of its own, is told from its item's.
    async fn attempts(&self, batch: BatchSeq, query: &AttemptQuery) -> Result<Vec<PastAttempt>, StoreError>;
    /// The index of the item with this key.
    async fn item_index(&self, batch: BatchSeq, key: &str) -> Result<Option<i64>, StoreError>;
    /// Final items of a batch in the order in which they became final, each with its number in it: dense, from 1, and
    /// fixed. Only those behind the number `after`.
    async fn results(
        &self,
        batch: BatchSeq,
        after: i64,
        limit: usize,
    ) -> Result<Vec<(i64, Item)>, StoreError>;
    /// The items of a batch that a query takes, by index, with the word whether their bodies are there.
    async fn kept_items(&self, batch: BatchSeq, query: &ItemQuery) -> Result<Vec<KeptItem>, StoreError>;
    /// The body of the last reply to the item with this key, if it is there.
    async fn kept_body(&self, batch: BatchSeq, key: &str) -> Result<Option<FetchedBody>, StoreError>;
    /// Batches that were made from this one, oldest first.
    async fn children(&self, batch: BatchSeq, limit: usize) -> Result<Vec<BatchId>, StoreError>;
    /// Failed items of a batch by class, reason and status, most frequent first.
    async fn failure_groups(&self, batch: BatchSeq) -> Result<Vec<FailureGroup>, StoreError>;
    /// Leases of a batch that ran out or were lost with their process.
    async fn lost_leases(&self, batch: BatchSeq) -> Result<i64, StoreError>;

    /// Stores a list as a version from `uri` and answers true. One that is there already is left alone: false.
    async fn put_list(&self, list: &ListFile, uri: &str, now: DateTime<Utc>) -> Result<bool, StoreError>;
    /// All versions, by address and date; of a date the one fetched first before its corrections.
    async fn list_versions(&self) -> Result<Vec<StoredList>, StoreError>;
    /// The newest version from `uri` whose list date is not after `date`.
    async fn list_as_of(&self, uri: &str, date: NaiveDate) -> Result<Option<ListVersion>, StoreError>;
    /// The earliest version from `uri`.
    async fn earliest_list(&self, uri: &str) -> Result<Option<ListVersion>, StoreError>;
    /// Rows of a version from `from` on, in the file's order.
    async fn listed_issues(
        &self,
        version: &ListVersion,
        from: i64,
        limit: usize,
    ) -> Result<Vec<ListedIssue>, StoreError>;

    /// What is durable of every upstream.
    async fn upstreams(&self) -> Result<Vec<UpstreamRecord>, StoreError>;
    /// What is durable of one.
    async fn upstream(&self, id: &UpstreamId) -> Result<Option<UpstreamRecord>, StoreError>;
    /// Writes one of them.
    async fn put_upstream(&self, upstream: &UpstreamRecord) -> Result<(), StoreError>;

    /// Deletes what has expired, a bounded amount of it, and answers with the number of rows.
    async fn purge(&self, now: DateTime<Utc>) -> Result<u64, StoreError>;
    /// 32 random bytes, made with the store: what it gave out once, such as a page token, is known again by them.
    fn token_key(&self) -> [u8; 32];
    /// Finishes what is under way and closes.
    async fn close(&self);
}

/// A batch to be made.
#[derive(Debug, Clone)]
pub struct NewBatch {
    /// Its name.
    pub id: BatchId,
    /// How it comes about. A parent must have ended, and have items to fetch again, or kept bodies that have not expired;
    /// these then stay as long as the new batch is live.
    pub kind: Kind,
    /// What it is to do.
    pub spec: BatchSpec,
    /// Inline items; the source is then fully read.
    pub items: Option<Vec<NewItem>>,
    /// The caller's idempotency key.
    pub request: Option<RequestKey>,
}

/// An idempotency key.
#[derive(Debug, Clone)]
pub struct RequestKey {
    /// The call that it is good for: ids of others are others.
    pub rpc: &'static str,
    /// UUID text.
    pub id: String,
    /// SHA-256 of the canonical request.
    pub sha256: [u8; 32],
    /// Not forgotten before that.
    pub expires_at: DateTime<Utc>,
}

/// An item of a batch whose bodies may be decoded anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptItem {
    /// Position in its batch.
    pub index: i64,
    /// The caller's key.
    pub key: String,
    /// Its other values.
    pub columns: Option<Columns>,
    /// Its body is there.
    pub has_body: bool,
}

/// A kept body and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedBody {
    /// As it is kept.
    pub body: KeptBody,
    /// When it came.
    pub fetched_at: DateTime<Utc>,
}

/// A change of one batch, and what it let in.
#[derive(Debug)]
pub struct Changed {
    /// As it is now.
    pub batch: Batch,
    /// Batches that were admitted in the same transaction.
    pub admitted: Vec<Batch>,
}

/// A lease on a batch's source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLease {
    /// Its fencing number.
    pub epoch: Epoch,
    /// Where the last page ended; nothing before the first.
    pub position: Option<String>,
}

/// A page of a source.
#[derive(Debug, Clone)]
pub struct SourcePage {
    /// The batch.
    pub batch: BatchSeq,
    /// The lease's fencing number.
    pub epoch: Epoch,
    /// What came of the reading.
    pub read: PageRead,
    /// Requests sent for it.
    pub requests: i64,
    /// Body bytes received for it.
    pub bytes_received: i64,
    /// The lease then runs until here.
    pub lease_until: DateTime<Utc>,
}

/// What came of reading a page.
#[derive(Debug, Clone)]
pub enum PageRead {
    /// Items.
    Items {
        /// In the source's order.
        items: Vec<NewItem>,
        /// Where the next page begins; nothing at the end of the source.
        next: Option<String>,
        /// The list that they are from.
        list: Option<ListVersion>,
    },
    /// The source cannot be read, for good.
    Unreadable(String),
    /// The lease is given back before the end.
    Release,
}

/// What came of a page.
#[derive(Debug)]
pub struct Expanded {
    /// As it is now.
    pub batch: Batch,
    /// Batches that were admitted in the same transaction.
    pub admitted: Vec<Batch>,
    /// The reading is over: source read, lease lost, or batch on its way to an end.
    pub over: bool,
}

/// An answer to a claim.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// What was leased.
    pub slice: Option<LeasedSlice>,
    /// When the next one can be, if there is one: that may be over already.
    pub ready_at: Option<DateTime<Utc>>,
}

/// A slice under lease.
#[derive(Debug, Clone, PartialEq)]
pub struct LeasedSlice {
    /// Which one.
    pub no: SliceNo,
    /// Its fencing number.
    pub epoch: Epoch,
    /// What is open in it, by index.
    pub items: Vec<OpenItem>,
}

/// A group of attempts of one batch.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The batch.
    pub batch: BatchSeq,
    /// Who commits.
    pub node: NodeId,
    /// The time.
    pub now: DateTime<Utc>,
    /// What becomes of each lease; every slice of `attempts` is among them.
    pub leases: Vec<LeaseWrite>,
    /// The attempts.
    pub attempts: Vec<Recording>,
}

/// Items that were refused through their own fault.
#[derive(Debug, Clone)]
pub struct Refusals {
    /// The batch.
    pub batch: BatchSeq,
    /// Who says so.
    pub node: NodeId,
    /// The time.
    pub now: DateTime<Utc>,
    /// Each with the lease that it is held under.
    pub items: Vec<(SliceNo, Epoch, i64)>,
    /// What they failed of, class PERMANENT. The status is with their attempt.
    pub failure: Failure,
}

/// What becomes of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseWrite {
    /// Its slice.
    pub slice: SliceNo,
    /// Its fencing number.
    pub epoch: Epoch,
    /// Kept or given back. A slice without open items is given back in any case.
    pub hold: Hold,
}

/// Whether a lease is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Until then.
    Until(DateTime<Utc>),
    /// Given back.
    Release {
        /// Not to be claimed before that.
        ready_at: Option<DateTime<Utc>>,
    },
}

/// One attempt to be recorded.
#[derive(Debug, Clone)]
pub struct Recording {
    /// The slice of its item.
    pub slice: SliceNo,
    /// The item as it was claimed or came back last.
    pub item: OpenItem,
    /// What was done.
    pub attempt: Attempt,
    /// What becomes of the item.
    pub next: Next,
}

impl Recording {
    /// The clock may have been set back since the attempt ended: the item waits for as long as it was to.
    pub fn wait_anew(&mut self, now: DateTime<Utc>) {
        if let (Some(step), Next::Open { not_before: Some(due), .. }) =
            (SetBack::between(self.attempt.ended_at, now), &mut self.next)
        {
            *due = step.moved(*due);
        }
    }

    /// It tells more than the item's row does: it failed, was given back after a request, needed more than one request,
    /// or the item failed before.
    pub fn is_worth_a_row(&self) -> bool {
        use crate::domain::item::Outcome;
        match self.attempt.outcome {
            Outcome::Failed(_) => true,
            Outcome::Released { .. } => self.attempt.requests > 0,
            Outcome::Succeeded { .. } => self.item.recorded > 0 || self.attempt.requests > 1,
        }
    }
}

/// What came of a group.
#[derive(Debug)]
pub struct Committed {
    /// As it is now.
    pub batch: Batch,
    /// Batches that were admitted in the same transaction.
    pub admitted: Vec<Batch>,
    /// Slices whose lease was not the caller's any more: nothing of them was recorded.
    pub fenced: Vec<SliceNo>,
    /// Items that are FAILED whatever was asked for: their records were refused, or they came back past their deadline.
    pub rejected: Vec<i64>,
}
