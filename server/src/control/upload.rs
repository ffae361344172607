//! Uploads: streams of items into OPEN batches. Of the streams of one upload the newest has it; the older ones are told
//! at once, also while they wait for their caller.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use super::Control;
use crate::{
    clock,
    domain::{
        batch::Batch,
        id::{BatchId, BatchSeq, Epoch, UploadId},
        item::NewItem,
    },
    progress::Snapshot,
    store::{OpenedUpload, StoreError, UploadChunk, UploadError, UploadProgress},
};

/// The streams that have an upload now.
#[derive(Default)]
pub(super) struct Streams(Mutex<HashMap<(BatchSeq, UploadId), Held>>);

struct Held {
    epoch: Epoch,
    superseded: CancellationToken,
}

impl Streams {
    /// Tells whoever had the upload that it is another's. The answer is canceled when somebody newer comes.
    fn take(&self, batch: BatchSeq, upload: &UploadId, epoch: Epoch) -> CancellationToken {
        let superseded = CancellationToken::new();
        let mut streams = self.lock();
        match streams.get(&(batch, upload.clone())) {
            // The store was faster to give it to a newer one than that one was to come here.
            Some(held) if held.epoch > epoch => superseded.cancel(),
            _ => {
                let held = Held { epoch, superseded: superseded.clone() };
                if let Some(older) = streams.insert((batch, upload.clone()), held) {
                    older.superseded.cancel();
                }
            }
        }
        superseded
    }

    fn give_back(&self, batch: BatchSeq, upload: &UploadId, epoch: Epoch) {
        let mut streams = self.lock();
        let key = (batch, upload.clone());
        if streams.get(&key).is_some_and(|held| held.epoch == epoch) {
            streams.remove(&key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(BatchSeq, UploadId), Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An upload in the hands of one stream.
pub struct Upload {
    control: Control,
    id: UploadId,
    epoch: Epoch,
    superseded: CancellationToken,
    batch: Batch,
    progress: UploadProgress,
}

impl Control {
    /// Begins an upload to an OPEN batch, or takes it over from the stream that has it.
    pub async fn open_upload(&self, batch: &BatchId, id: UploadId) -> Result<Upload, UploadError> {
        let OpenedUpload { batch, epoch, progress } = self.store.open_upload(batch, &id).await?;
        let superseded = self.streams.take(batch.seq, &id, epoch);
        tracing::info!(
            batch_id = %batch.id, action = "upload_open", upload_id = %id, epoch = epoch.0, committed = progress.committed,
        );
        Ok(Upload { control: self.clone(), id, epoch, superseded, batch, progress })
    }

    /// How far an upload has come.
    pub async fn upload_status(&self, batch: &BatchId, id: &UploadId) -> Result<UploadProgress, UploadError> {
        self.store.upload_status(batch, id).await
    }
}

impl Upload {
    /// Stores a chunk. Durable before it answers.
    pub async fn append(
        &mut self,
        first_offset: i64,
        items: Vec<NewItem>,
        seal: bool,
    ) -> Result<(), UploadError> {
        let (batch, upload, epoch) = (self.batch.seq, self.id.clone(), self.epoch);
        let chunk = UploadChunk { batch, upload, epoch, first_offset, items, seal };
        // A caller that goes away must not leave a sealed batch behind that nobody works on.
        let control = self.control.clone();
        let work = async move {
            let appended = control.store.append_upload(&chunk, clock::now()).await?;
            control.engine.take_up_all(appended.admitted);
            control.engine.take_up(appended.batch.clone());
            Ok::<_, UploadError>((appended.batch, appended.progress))
        };
        (self.batch, self.progress) = self.control.engine.carry_out(work).await?;
        if seal {
            let (batch_id, state) = (&self.batch.id, self.batch.state.as_str());
            tracing::info!(%batch_id, action = "upload_seal", upload_id = %self.id, status = state);
        }
        Ok(())
    }

    /// How far it has come.
    pub fn progress(&self) -> UploadProgress {
        self.progress
    }

    /// Returns when a newer stream has the upload.
    pub async fn superseded(&self) -> UploadError {
        self.superseded.cancelled().await;
        UploadError::Superseded { batch: self.batch.id.clone(), upload: self.id.clone() }
    }

    /// The batch as it is.
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.control.told(self.batch.clone()).await
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.control.streams.give_back(self.batch.seq, &self.id, self.epoch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_has_it_in_whatever_order_they_come() {
        let streams = Streams::default();
        let id = UploadId::parse("00000000-0000-0000-0000-000000000001").unwrap();
        let take = |epoch| streams.take(BatchSeq(1), &id, Epoch(epoch));
        let (first, third, second) = (take(1), take(3), take(2));
        assert!(first.is_cancelled() && second.is_cancelled() && !third.is_cancelled());
        // An older one that ends takes nothing from it.
        streams.give_back(BatchSeq(1), &id, Epoch(1));
        assert!(!third.is_cancelled());
        let fourth = take(4);
        assert!(third.is_cancelled());
        streams.give_back(BatchSeq(1), &id, Epoch(4));
        assert!(!fourth.is_cancelled() && streams.lock().is_empty());
        // Nor is another batch's upload of that id the same.
        let other = streams.take(BatchSeq(2), &id, Epoch(5));
        take(6);
        assert!(!other.is_cancelled());
    }
}
