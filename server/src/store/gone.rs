//! Batches that are deleted, and what is known of them then.

use chrono::{DateTime, Utc};

use super::StoreError;
use crate::domain::{
    batch::{Batch, State},
    etag,
    id::BatchId,
};

/// A batch that was there, and is not any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purged {
    /// Its name.
    pub id: BatchId,
    /// When it was deleted, or its retention ended.
    pub at: DateTime<Utc>,
}

/// Why a batch was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// No such batch.
    #[error("no batch {0}")]
    NotFound(BatchId),
    /// No such batch any more.
    #[error("batch {} is gone", .0.id)]
    Purged(Purged),
    /// It has not the etag that was asked for.
    #[error("batch {} has etag {}", batch.id, etag::of(batch))]
    EtagMismatch {
        /// As it is.
        batch: Box<Batch>,
    },
    /// It, or a child of it, has not ended.
    #[error("batch {id} is {}", state.as_str())]
    NotTerminal {
        /// The one that has not ended.
        id: BatchId,
        /// Its state.
        state: State,
    },
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}
