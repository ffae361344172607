//! A look at what there is to do in a batch and what moves, for whoever asks whether it stands still.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::Pace;
use crate::domain::{batch::Batch, progress::Counts};

/// What a batch's runner says that it waits for. It says so whenever it has looked, and not if it is stuck.
#[derive(Debug, Clone, Copy, Default)]
pub struct Told {
    /// When the next item that waits is due.
    pub next_due: Option<DateTime<Utc>>,
    /// Items that are held back until something is known of others.
    pub held_back: i64,
    /// No more is asked before something that is under way is answered.
    pub awaits_answer: bool,
}

/// A batch at a moment.
#[derive(Debug, Clone)]
pub struct Glance {
    /// As committed.
    pub batch: Arc<Batch>,
    /// Items that wait for nothing but a worker.
    pub due: i64,
    /// Requests that wait for their answer.
    pub under_way: i64,
    /// Workers busy with an attempt, be it that they wait for a permit.
    pub active_workers: i64,
    /// Attempts that are over and not committed.
    pub uncommitted: i64,
    /// As its runner told last.
    pub awaits_answer: bool,
    /// What its upstream says, while it runs.
    pub pace: Option<Pace>,
    /// What has moved so far.
    pub moved: Moved,
}

/// Is another one as soon as anything was sent, answered or committed, or something in the way was told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moved {
    /// The batch's figures.
    pub counts: Counts,
    /// Its transitions.
    pub control_revision: i64,
    /// Answers, and what was in the way.
    pub signs: u64,
    /// Requests that wait for their answer.
    pub under_way: i64,
}
