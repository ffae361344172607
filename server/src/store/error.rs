//! Why the store did not do what it was asked for.

use super::Purged;
use crate::{
    domain::{
        batch::{Batch, Refusal, State},
        etag,
        id::BatchId,
    },
    failpoint::Mishap,
};

/// Why the store did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Out of reach or locked: worth waiting for.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// No room.
    #[error("store full: {0}")]
    Full(String),
    /// Cannot be written.
    #[error("store is read-only: {0}")]
    ReadOnly(String),
    /// Not what was written.
    #[error("store damaged: {0}")]
    Damaged(String),
    /// Anything else: a bug.
    #[error("store failed: {0}")]
    Fault(String),
}

impl From<Mishap> for StoreError {
    fn from(mishap: Mishap) -> Self {
        let text = "as planned".to_owned();
        match mishap {
            Mishap::Busy => Self::Unavailable(text),
            Mishap::Full => Self::Full(text),
            Mishap::Fault => Self::Fault(text),
        }
    }
}

impl StoreError {
    /// A repeat may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// The stable word that a pause by it carries.
    pub fn pause_reason(&self) -> &'static str {
        match self {
            Self::Full(_) => "DISK_FULL",
            Self::ReadOnly(_) => "STORE_READ_ONLY",
            Self::Unavailable(_) | Self::Damaged(_) | Self::Fault(_) => "STORE_FAULT",
        }
    }
}

/// Why a start was refused.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The name is taken.
    #[error("batch {0} exists")]
    BatchExists(BatchId),
    /// The request id came before with other content.
    #[error("request id {0} was used with another request")]
    RequestIdReused(String),
    /// There is no such batch to make one from.
    #[error("no batch {0}")]
    NoParent(BatchId),
    /// There is no such batch to make one from any more.
    #[error("batch {} is gone", .0.id)]
    ParentPurged(Purged),
    /// The batch to make one from has not ended.
    #[error("batch {id} is {}", state.as_str())]
    ParentNotTerminal {
        /// That batch.
        id: BatchId,
        /// Its state.
        state: State,
    },
    /// There is nothing to decode.
    #[error("no bodies are kept of batch {id}")]
    NoKeptBodies {
        /// The batch to make one from.
        id: BatchId,
        /// Where its own bodies are, if it was made from another one's.
        origin: Option<BatchId>,
    },
    /// Too many batches wait for the overlap key.
    #[error("{limit} batches wait for overlap key {key:?}, which is the limit")]
    OverlapBufferFull {
        /// The key.
        key: String,
        /// The limit.
        limit: usize,
    },
    /// There is nothing to fetch again.
    #[error("no item of batch {0} is to be retried")]
    NoFailedItems(BatchId),
    /// Too many live batches.
    #[error("{limit} batches are live, which is the limit")]
    Quota {
        /// The limit.
        limit: usize,
    },
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a command was refused.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// No such batch.
    #[error("no batch {0}")]
    NotFound(BatchId),
    /// The request id came before with other content.
    #[error("request id {0} was used with another request")]
    RequestIdReused(String),
    /// The batch is not in the state that the caller knows.
    #[error("batch {} has etag {}", batch.id, etag::of(batch))]
    EtagMismatch {
        /// As it is.
        batch: Box<Batch>,
        /// See [`CommandError::moved`].
        moved: Vec<Batch>,
    },
    /// No such batch any more.
    #[error("batch {} is gone", .0.id)]
    Purged(Purged),
    /// Not in this state.
    #[error("batch {id} is {}", state.as_str())]
    Refused {
        /// The batch.
        id: BatchId,
        /// Its state.
        state: State,
        /// Why.
        refusal: Refusal,
        /// See [`CommandError::moved`].
        moved: Vec<Batch>,
    },
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl CommandError {
    /// Batches that moved before the command was refused: what had come about by then counts first, and is durable.
    pub fn moved(&self) -> &[Batch] {
        match self {
            Self::EtagMismatch { moved, .. } | Self::Refused { moved, .. } => moved,
            Self::NotFound(_) | Self::RequestIdReused(_) | Self::Purged(_) | Self::Store(_) => &[],
        }
    }
}
