//! Which batches changed, for whoever watches many.
//!
//! A reader has one mark per batch, whatever happened to it since the reader looked: no queue grows with the number of
//! changes.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, Weak},
};

use tokio::sync::Notify;

use super::locked;
use crate::domain::id::BatchSeq;

/// A reader's marks, until it is dropped.
#[derive(Debug)]
pub struct News(Arc<Board>);

#[derive(Debug, Default)]
struct Board {
    changed: Mutex<BTreeSet<BatchSeq>>,
    posted: Notify,
}

/// All readers' marks.
#[derive(Debug, Default)]
pub(super) struct Boards(Mutex<Vec<Weak<Board>>>);

impl Boards {
    pub(super) fn open(&self) -> News {
        let board = Arc::default();
        locked(&self.0).push(Arc::downgrade(&board));
        News(board)
    }

    /// Whether anybody reads.
    pub(super) fn is_read(&self) -> bool {
        locked(&self.0).iter().any(|board| board.strong_count() > 0)
    }

    /// Marks a batch that began or changed. Readers that are gone are forgotten.
    pub(super) fn post(&self, batch: BatchSeq) {
        locked(&self.0).retain(|board| {
            let Some(board) = board.upgrade() else { return false };
            locked(&board.changed).insert(batch);
            board.posted.notify_one();
            true
        });
    }
}

impl News {
    /// The batches that changed since the last call; none is left out, however long ago that was.
    pub fn take(&self) -> BTreeSet<BatchSeq> {
        std::mem::take(&mut *locked(&self.0.changed))
    }

    /// Waits until there may be some.
    pub async fn posted(&self) {
        self.0.posted.notified().await;
    }
}
