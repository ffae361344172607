//! Lists of batches and items, by keyset: a page costs the same wherever it begins.

use chrono::{DateTime, Utc};
use sqlx::{QueryBuilder, Row, Sqlite, SqlitePool};

use super::{SqliteStore, error, filter, item, ms};
use crate::{
    domain::{batch::Batch, id::BatchSeq, item::Item},
    store::{BatchOrder, BatchQuery, ItemQuery, Place, StoreError},
};

pub(super) async fn batches(
    store: &SqliteStore,
    query: &BatchQuery,
) -> Result<Vec<(Place, Batch)>, StoreError> {
    let (key, behind, direction) = match query.order {
        BatchOrder::Newest => ("created_at", "<", "DESC"),
        BatchOrder::Oldest => ("created_at", ">", "ASC"),
        BatchOrder::EndTime => ("coalesce(ended_at, 0)", "<", "DESC"),
        BatchOrder::AsOf => ("as_of_at", "<", "DESC"),
        BatchOrder::Priority => ("coalesce(json_extract(spec, '$.priority'), 0)", "<", "DESC"),
    };
    let mut select: QueryBuilder<Sqlite> =
        QueryBuilder::new(format!("SELECT *, {key} AS place FROM batch_executions WHERE true"));
    if let Some(after) = query.after {
        select.push(format!(" AND ({key}, seq) {behind} (")).push_bind(after.key).push(", ");
        select.push_bind(after.seq.0).push(")");
    }
    filter::push_and(&mut select, &query.filter);
    select.push(format!(" ORDER BY {key} {direction}, seq {direction} LIMIT "));
    select.push_bind(query.limit as i64);
    let rows = select.build().fetch_all(&store.readers).await.map_err(error::store)?;
    let placed = rows.iter().map(|row| {
        let place = Place { key: row.get("place"), seq: BatchSeq(row.get("seq")) };
        Ok((place, store.decode(row)?))
    });
    placed.collect()
}

/// Items with what is worked out of their slices; binds the time and the batch.
pub(super) const ITEMS: [&str; 2] = [
    "SELECT d.*,
       CASE
         WHEN d.status <> 'PENDING' THEN d.status
         WHEN s.status = 'CANCELED' THEN 'CANCELED'
         WHEN s.status = 'LEASED' AND s.lease_until_at > ",
    " THEN 'RUNNING'
         ELSE 'PENDING'
       END AS state,
       CASE WHEN d.status = 'PENDING' AND s.status = 'CANCELED' THEN coalesce(s.canceled_at, d.updated_at)
         ELSE d.updated_at END AS state_at
     FROM batch_execution_details d
     JOIN batch_slices s ON s.batch_seq = d.batch_seq AND s.slice_no = d.slice_no
     WHERE d.batch_seq = ",
];

pub(super) async fn items(
    pool: &SqlitePool,
    batch: BatchSeq,
    query: &ItemQuery,
    now: DateTime<Utc>,
) -> Result<Vec<Item>, StoreError> {
    let mut select = select_items(batch, now);
    select.push(" AND d.item_index >= ").push_bind(query.from).push(") WHERE true");
    filter::push_and(&mut select, &query.filter);
    select.push(" ORDER BY item_index LIMIT ").push_bind(query.limit as i64);
    fetch(pool, select).await
}

pub(super) fn select_items(batch: BatchSeq, now: DateTime<Utc>) -> QueryBuilder<Sqlite> {
    let [columns, worked_out] = ITEMS;
    let mut select = QueryBuilder::new("SELECT * FROM (");
    select.push(columns).push_bind(ms(now)).push(worked_out).push_bind(batch.0);
    select
}

async fn fetch(pool: &SqlitePool, mut select: QueryBuilder<Sqlite>) -> Result<Vec<Item>, StoreError> {
    let rows = select.build().fetch_all(pool).await.map_err(error::store)?;
    rows.iter().map(item::from_row).collect()
}
