//! `StreamResults`: final items in the order in which they became final, from any number on.
//!
//! A reader holds a number and one receiver of the hub. It reads pages of the store as fast as it takes them; at the end
//! of what is committed it sleeps until the hub tells of more, so that a hundred readers of a quiet batch cost nothing.

use std::sync::Arc;

use tokio::{
    sync::watch,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

use super::{Control, Followed, ReadError};
use crate::domain::{
    batch::Batch,
    filter::{Filter, ItemField},
    id::{BatchId, BatchSeq},
    item::Item,
};

/// Items that are read at once.
const PAGE_ITEMS: usize = 1_000;
/// Least time between two looks at the store by a reader who has caught up.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How results are read.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only these items.
    pub filter: Filter<ItemField>,
    /// Go on until the batch has ended and everything was read.
    pub follow: bool,
}

/// What comes next.
#[derive(Debug)]
pub enum Next {
    /// Items with their numbers, by number; maybe none that the filter takes.
    Items(Vec<(i64, Item)>),
    /// The batch has ended, and everything was read. Nothing follows.
    Complete,
    /// Everything that is final so far was read. Nothing follows.
    SoFar,
    /// The node is leaving. Nothing follows.
    Draining,
}

/// A reader of one batch's results.
pub struct Results {
    control: Control,
    id: BatchId,
    batch: BatchSeq,
    options: Options,
    draining: CancellationToken,
    /// Everything up to this number was read.
    position: i64,
    known: Known,
    updates: Option<watch::Receiver<Arc<Batch>>>,
    looked: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Known {
    processed: i64,
    ended: bool,
}

impl Known {
    fn of(batch: &Batch) -> Self {
        Self { processed: batch.counts.processed(), ended: batch.state.is_terminal() }
    }

    /// The newer of both: what the hub was told last may be behind the store.
    fn take(&mut self, batch: &Batch) {
        let other = Self::of(batch);
        self.processed = self.processed.max(other.processed);
        self.ended |= other.ended;
    }
}

impl Control {
    /// Opens a batch's results.
    pub async fn results(
        &self,
        id: &BatchId,
        options: Options,
        draining: CancellationToken,
    ) -> Result<Results, ReadError> {
        let batch = self.stored(id).await?;
        let (batch_seq, known) = (batch.seq, Known::of(&batch));
        let mut results = Results {
            control: self.clone(),
            id: id.clone(),
            batch: batch_seq,
            options,
            draining,
            position: 0,
            known,
            updates: None,
            looked: None,
        };
        results.subscribe(batch).await?;
        Ok(results)
    }
}

impl Results {
    /// Number of the batch in this store: another one of the same name has another.
    pub fn batch(&self) -> BatchSeq {
        self.batch
    }

    /// Where the reading stands.
    pub fn position(&self) -> i64 {
        self.position
    }

    /// The batch has ended, and everything was read.
    pub fn is_complete(&self) -> bool {
        self.known.ended && self.position >= self.known.processed
    }

    /// Goes on behind this number. False if so many are not final yet.
    pub fn skip_to(&mut self, position: i64) -> bool {
        let is_past = (0..=self.known.processed).contains(&position);
        if is_past {
            self.position = position;
        }
        is_past
    }

    /// What comes next.
    pub async fn next(&mut self) -> Result<Next, ReadError> {
        loop {
            if self.draining.is_cancelled() {
                return Ok(Next::Draining);
            }
            if self.position < self.known.processed {
                return self.read().await.map(Next::Items);
            }
            if self.is_complete() {
                return Ok(Next::Complete);
            }
            if !self.options.follow {
                return Ok(Next::SoFar);
            }
            self.wait().await?;
        }
    }

    async fn read(&mut self) -> Result<Vec<(i64, Item)>, ReadError> {
        let mut items = self.control.store.results(self.batch, self.position, PAGE_ITEMS).await?;
        // What is counted is there, unless the batch is not any more: it is deleted from its beginning on.
        let next = self.position + 1;
        let Some((last, _)) = items.last().filter(|_| items[0].0 == next) else {
            return Err(self.control.missing(&self.id).await);
        };
        self.position = *last;
        self.looked = Some(Instant::now());
        items.retain(|(_, item)| self.options.filter.matches(item));
        Ok(items)
    }

    /// Until there may be more, or the node leaves.
    async fn wait(&mut self) -> Result<(), ReadError> {
        let Some(updates) = &mut self.updates else {
            let batch = self.control.stored(&self.id).await?;
            self.known.take(&batch);
            return self.subscribe(batch).await;
        };
        tokio::select! {
            biased;
            () = self.draining.cancelled() => return Ok(()),
            changed = updates.changed() => {
                self.known.take(&updates.borrow_and_update());
                if changed.is_err() {
                    // The hub has forgotten it: the store knows why.
                    self.updates = None;
                }
            }
        }
        // What comes one by one is read together.
        if let Some(looked) = self.looked.filter(|_| !self.known.ended) {
            tokio::select! {
                () = self.draining.cancelled() => {}
                () = tokio::time::sleep_until(looked + LOOK_INTERVAL) => {}
            }
        }
        Ok(())
    }

    async fn subscribe(&mut self, batch: Batch) -> Result<(), ReadError> {
        if !self.options.follow {
            return Ok(());
        }
        match self.control.followed(batch).await? {
            Followed::Over(batch) => self.known.take(&batch),
            Followed::Gone => return Err(self.control.missing(&self.id).await),
            Followed::Live(entry) => {
                let updates = entry.subscribe();
                self.known.take(&updates.borrow());
                self.updates = Some(updates);
            }
        }
        Ok(())
    }
}
