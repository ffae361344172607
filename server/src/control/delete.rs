//! Deleting.

use super::Control;
use crate::{clock, domain::id::BatchId, store::DeleteError};

/// A batch to be deleted.
#[derive(Debug)]
pub struct Delete {
    /// Which one.
    pub id: BatchId,
    /// Only if it has this etag.
    pub etag: Option<String>,
    /// It may be gone already.
    pub allow_missing: bool,
}

impl Control {
    /// Deletes a batch that has ended. Durable before it answers; its rows go later.
    pub async fn delete(&self, delete: Delete) -> Result<(), DeleteError> {
        let Delete { id, etag, allow_missing } = delete;
        match self.store.delete_batch(&id, etag.as_deref(), clock::now()).await {
            Err(DeleteError::NotFound(_) | DeleteError::Purged(_)) if allow_missing => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                tracing::info!(batch_id = %id, action = "batch_delete", status = "success");
                Ok(())
            }
        }
    }
}
