//! What a start came to, and what a call is held against before it has an effect.

use super::RequestKey;
use crate::domain::{batch::Batch, id::BatchId, overlap::Meeting};

/// What came of a start.
#[derive(Debug)]
pub struct Created {
    /// What it is.
    pub outcome: StartOutcome,
    /// The batch, as it is now.
    pub batch: Batch,
    /// Other batches that changed in the same transaction: stopped for it, or admitted where those made room.
    pub changed: Vec<Batch>,
}

/// What a start is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartOutcome {
    /// A new batch.
    Started,
    /// A new batch that waits behind another one of its overlap key.
    Buffered,
    /// Nothing was made: the live batch of its overlap key.
    Skipped,
    /// What this request id made before.
    Replayed,
}

/// What a start would meet.
#[derive(Debug, Default)]
pub struct Checked {
    /// The request id made this batch before: a start would answer with it and make nothing.
    pub made_before: Option<BatchId>,
    /// Live batches of the same overlap key, those that hold it first.
    pub in_the_way: Vec<InTheWay>,
}

/// A live batch of a newcomer's overlap key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InTheWay {
    /// That batch.
    pub batch: BatchId,
    /// What the newcomer would do about it.
    pub meeting: Meeting,
}

/// What a command is held against before it has an effect.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    /// The etag that the batch must have; any, if there is none.
    pub etag: Option<String>,
    /// The caller's idempotency key.
    pub request: Option<RequestKey>,
}
