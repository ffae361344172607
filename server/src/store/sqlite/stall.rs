//! The word that a batch stands still.

use chrono::{DateTime, Utc};

use super::{SqliteStore, error, ms};
use crate::{
    domain::{batch::Batch, id::BatchSeq},
    store::StoreError,
};

pub(super) async fn set(
    store: &SqliteStore,
    batch: BatchSeq,
    since: Option<DateTime<Utc>>,
) -> Result<Option<Batch>, StoreError> {
    let mut conn = store.writer.turn().await.map_err(error::store)?;
    let row = sqlx::query(
        "UPDATE batch_executions SET stalled_at = $2, revision = revision + 1
         WHERE seq = $1 AND status = 'RUNNING' AND (stalled_at IS NULL) <> ($2 IS NULL) RETURNING *",
    )
    .bind(batch.0)
    .bind(since.map(ms))
    .fetch_optional(&mut *conn)
    .await
    .map_err(error::store)?;
    row.map(|row| store.decode(&row)).transpose()
}
