//! Items that an upstream is asked with whose answer is no item's.

use sqlx::SqlitePool;

use super::error;
use crate::{
    domain::{id::BatchSeq, item::Keyed},
    store::StoreError,
};

pub(super) async fn open_item(
    pool: &SqlitePool,
    batch: BatchSeq,
    nth: u32,
) -> Result<Option<Keyed>, StoreError> {
    let open = |nth: u32| {
        sqlx::query_as(
            "SELECT d.item_key, d.columns FROM batch_slices s JOIN batch_execution_details d
               ON d.batch_seq = s.batch_seq AND d.item_index >= s.first_index AND d.item_index < s.end_index
             WHERE s.batch_seq = $1 AND s.status = 'READY' AND d.status = 'PENDING'
             ORDER BY s.slice_no, d.item_index LIMIT 1 OFFSET $2",
        )
        .bind(batch.0)
        .bind(i64::from(nth))
        .fetch_optional(pool)
    };
    match open(nth).await.map_err(error::store)? {
        None if nth > 0 => open(0).await.map_err(error::store),
        item => Ok(item),
    }
}

pub(super) async fn succeeded_item(pool: &SqlitePool, batch: BatchSeq) -> Result<Option<Keyed>, StoreError> {
    sqlx::query_as(
        "SELECT item_key, columns FROM batch_execution_details WHERE batch_seq = $1 AND status = 'SUCCEEDED'
         ORDER BY item_index DESC LIMIT 1",
    )
    .bind(batch.0)
    .fetch_optional(pool)
    .await
    .map_err(error::store)
}
