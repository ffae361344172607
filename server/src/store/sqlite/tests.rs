//! What is SQLite's own: faults of its file, its lock and its schema. What every engine promises is in
//! [`conformance`](crate::store::conformance).

mod fault;
mod lock;
mod schema;
mod upload;

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use super::{Limits, MigrateError, SqliteStore};
use crate::{
    domain::batch::Batch,
    store::{CreateError, NewBatch, StartOutcome, Store},
};

/// A folder with the store's file.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("haul.db")
    }

    async fn open(&self) -> SqliteStore {
        self.try_open().await.unwrap()
    }

    async fn try_open(&self) -> Result<SqliteStore, MigrateError> {
        SqliteStore::open(&self.file(), Limits::default()).await
    }

    /// A connection of somebody else.
    async fn connect(&self) -> SqliteConnection {
        SqliteConnectOptions::new().filename(self.file()).connect().await.unwrap()
    }
}

fn now() -> DateTime<Utc> {
    "2026-03-02T00:00:00Z".parse().unwrap()
}

async fn start(store: &SqliteStore, new: NewBatch) -> Result<Batch, CreateError> {
    let created = store.create_batch(new, now()).await?;
    assert_eq!(created.outcome, StartOutcome::Started);
    Ok(created.batch)
}

async fn execute(conn: &mut SqliteConnection, sql: &str) {
    sqlx::query(AssertSqlSafe(sql.to_owned())).execute(conn).await.unwrap();
}

/// Sets something on the writing connection.
async fn set(store: &SqliteStore, pragma: &str) {
    execute(&mut store.writer.turn().await.unwrap(), pragma).await;
}
