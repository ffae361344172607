//! The embedded engine under the suite: a file in a folder of its own.

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use super::harness::{Bounds, Engine};
use crate::store::{
    Store,
    sqlite::{Limits, SqliteStore},
};

/// One file; the folder goes with it.
pub(super) struct File(TempDir);

impl File {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("haul.db")
    }
}

#[async_trait]
impl Engine for File {
    async fn open(&self, bounds: Bounds) -> Arc<dyn Store> {
        let limits = Limits { running_batches: bounds.running_batches, live_batches: bounds.live_batches };
        Arc::new(SqliteStore::open(&self.path(), limits).await.unwrap())
    }

    async fn texts(&self, sql: &'static str) -> Vec<String> {
        let mut conn = SqliteConnectOptions::new().filename(self.path()).connect().await.unwrap();
        sqlx::query_scalar(sql).fetch_all(&mut conn).await.unwrap()
    }
}
