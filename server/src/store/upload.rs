//! Uploads: what comes of items that callers send while a batch is OPEN.

use super::{Batch, BatchId, BatchSeq, CommandError, Epoch, NewItem, StoreError};
use crate::domain::id::UploadId;

/// Most items of a batch.
pub const BATCH_ITEMS_MAX: i64 = 1_000_000_000;
/// Most uploads that may feed one batch.
pub const UPLOADS_MAX: i64 = 10_000;

/// An upload in the hands of one stream.
#[derive(Debug)]
pub struct OpenedUpload {
    /// The batch as it is.
    pub batch: Batch,
    /// The stream's fencing number.
    pub epoch: Epoch,
    /// How far the upload has come.
    pub progress: UploadProgress,
}

/// How far an upload has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UploadProgress {
    /// Durable items, duplicates included.
    pub committed: i64,
    /// Of these, items whose key the batch had already.
    pub duplicates: i64,
    /// The batch takes nothing more.
    pub sealed: bool,
}

/// A run of items of one upload.
#[derive(Debug, Clone)]
pub struct UploadChunk {
    /// The batch.
    pub batch: BatchSeq,
    /// The upload.
    pub upload: UploadId,
    /// The stream's fencing number.
    pub epoch: Epoch,
    /// Items of the upload before it.
    pub first_offset: i64,
    /// In the caller's order.
    pub items: Vec<NewItem>,
    /// Nothing follows it, from any upload.
    pub seal: bool,
}

/// What came of a chunk.
#[derive(Debug)]
pub struct Appended {
    /// The batch as it is now.
    pub batch: Batch,
    /// Batches that were admitted in the same transaction.
    pub admitted: Vec<Batch>,
    /// How far the upload has come.
    pub progress: UploadProgress,
}

/// Why an upload, or a chunk of it, was refused.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// No such batch, or it takes nothing more.
    #[error(transparent)]
    Batch(#[from] CommandError),
    /// No such upload to this batch.
    #[error("no upload {upload} to batch {batch}")]
    NotFound {
        /// The batch.
        batch: BatchId,
        /// The upload.
        upload: UploadId,
    },
    /// A newer stream has the upload.
    #[error("a newer stream has upload {upload}")]
    Superseded {
        /// The batch.
        batch: BatchId,
        /// The upload.
        upload: UploadId,
    },
    /// The chunk begins behind what is committed.
    #[error("a chunk at {first_offset} comes after {committed} committed items")]
    Gap {
        /// Where it begins.
        first_offset: i64,
        /// Where it should.
        committed: i64,
    },
    /// The chunk came before with other keys.
    #[error("the chunk at {first_offset} came before with other keys")]
    Mismatch {
        /// The batch.
        batch: BatchId,
        /// The upload.
        upload: UploadId,
        /// Where it begins.
        first_offset: i64,
    },
    /// The batch has [`BATCH_ITEMS_MAX`] items.
    #[error("the batch would have more than {BATCH_ITEMS_MAX} items")]
    TooManyItems,
    /// The batch has [`UPLOADS_MAX`] uploads.
    #[error("{UPLOADS_MAX} uploads feed the batch already")]
    TooManyUploads,
}

impl From<StoreError> for UploadError {
    fn from(error: StoreError) -> Self {
        Self::Batch(error.into())
    }
}
