//! Keys that are remembered as missing.

use std::sync::Arc;

use super::Control;
use crate::{
    domain::dataset::{Dataset, MissingKey, MissingPlace},
    store::StoreError,
};

impl Control {
    /// Keys of a dataset that are remembered as missing, by key; only those behind a place.
    pub async fn missing_keys(
        &self,
        dataset: Dataset,
        after: Option<&MissingPlace>,
        limit: usize,
    ) -> Result<Vec<MissingKey>, StoreError> {
        self.store.missing_keys(dataset, after, limit).await
    }

    /// Forgets these keys of a dataset, or all of them, and answers with how many were remembered. Durable before it answers.
    pub async fn clear_missing_keys(
        &self,
        dataset: Dataset,
        keys: Option<Vec<String>>,
    ) -> Result<u64, StoreError> {
        let store = Arc::clone(&self.store);
        self.engine.carry_out(async move { store.clear_missing(dataset, keys.as_deref()).await }).await
    }
}
