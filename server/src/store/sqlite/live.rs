//! Batches as they are, by their state and by name.

use sqlx::SqlitePool;

use super::{SqliteStore, error};
use crate::{
    domain::{
        batch::Batch,
        id::{BatchId, BatchSeq},
    },
    store::StoreError,
};

pub(super) async fn batches(
    store: &SqliteStore,
    after: Option<BatchSeq>,
    limit: usize,
) -> Result<Vec<Batch>, StoreError> {
    // In the words of the partial index, so that batches that are over are not passed through; their rows are read when
    // it is known which they are.
    let sql = "SELECT * FROM batch_executions WHERE seq IN (
                 SELECT seq FROM batch_executions
                 WHERE status NOT IN ('COMPLETED', 'FAILED', 'STOPPED') AND seq > $1 ORDER BY seq LIMIT $2)
               ORDER BY seq";
    let rows = sqlx::query(sql)
        .bind(after.map_or(i64::MIN, |seq| seq.0))
        .bind(limit as i64)
        .fetch_all(&store.readers)
        .await
        .map_err(error::store)?;
    rows.iter().map(|row| store.decode(row)).collect()
}

/// Batches that an outage has paused, oldest first.
pub(super) async fn outages(store: &SqliteStore) -> Result<Vec<Batch>, StoreError> {
    let rows = sqlx::query(
        "SELECT * FROM batch_executions WHERE status = 'PAUSED' AND pause_cause = 'UPSTREAM_OUTAGE' ORDER BY seq",
    )
    .fetch_all(&store.readers)
    .await
    .map_err(error::store)?;
    rows.iter().map(|row| store.decode(row)).collect()
}

pub(super) async fn batch(store: &SqliteStore, id: &BatchId) -> Result<Option<Batch>, StoreError> {
    let row = sqlx::query("SELECT * FROM batch_executions WHERE name = $1")
        .bind(id.as_str())
        .fetch_optional(&store.readers)
        .await
        .map_err(error::store)?;
    row.map(|row| store.decode(&row)).transpose()
}

/// Names of the batches that were made of one, oldest first.
pub(super) async fn children(
    readers: &SqlitePool,
    batch: BatchSeq,
    limit: usize,
) -> Result<Vec<BatchId>, StoreError> {
    let names: Vec<String> =
        sqlx::query_scalar("SELECT name FROM batch_executions WHERE parent_seq = $1 ORDER BY seq LIMIT $2")
            .bind(batch.0)
            .bind(limit as i64)
            .fetch_all(readers)
            .await
            .map_err(error::store)?;
    Ok(names.into_iter().map(BatchId::stored).collect())
}
