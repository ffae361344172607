//! Lists of batches and items, by keyset: a page costs the same wherever it begins.

use chrono::{DateTime, Utc};
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{SqliteStore, error, filter, item, ms};
use crate::{
    domain::{
        batch::Batch,
        filter::{Filter, ItemField},
        id::BatchSeq,
        item::Item,
    },
    store::{BatchOrder, BatchQuery, ItemQuery, KeptItem, Place, StoreError},
};

pub(super) async fn batches(
    store: &SqliteStore,
    query: &BatchQuery,
) -> Result<Vec<(Place, Batch)>, StoreError> {
    let mut select = QueryBuilder::new("SELECT *");
    push_batches(&mut select, query);
    let rows = select.build().fetch_all(&store.readers).await.map_err(error::store)?;
    let placed = rows.iter().map(|row| {
        let place = Place { key: row.get("place"), seq: BatchSeq(row.get("seq")) };
        Ok((place, store.decode(row)?))
    });
    placed.collect()
}

/// Adds the place of a batch, and the batches that a query takes, in order.
fn push_batches(select: &mut QueryBuilder<Sqlite>, query: &BatchQuery) {
    let (key, behind, direction) = match query.order {
        BatchOrder::Newest => ("created_at", "<", "DESC"),
        BatchOrder::Oldest => ("created_at", ">", "ASC"),
        BatchOrder::EndTime => ("coalesce(ended_at, 0)", "<", "DESC"),
        BatchOrder::AsOf => ("as_of_at", "<", "DESC"),
        BatchOrder::Priority => ("priority", "<", "DESC"),
    };
    select.push(format!(", {key} AS place FROM batch_executions WHERE true"));
    if let Some(after) = query.after {
        // The first of the two finds the place in an index over an expression too.
        select.push(format!(" AND {key} {behind}= ")).push_bind(after.key);
        select.push(format!(" AND ({key}, seq) {behind} (")).push_bind(after.key).push(", ");
        select.push_bind(after.seq.0).push(")");
    }
    filter::push_and(select, &query.filter);
    select.push(format!(" ORDER BY {key} {direction}, seq {direction} LIMIT "));
    select.push_bind(query.limit as i64);
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
    let mut select = QueryBuilder::new("SELECT * FROM ");
    push_items(&mut select, batch, query, now);
    fetch(pool, select).await
}

/// Adds the items that a query takes, in order.
fn push_items(select: &mut QueryBuilder<Sqlite>, batch: BatchSeq, query: &ItemQuery, now: DateTime<Utc>) {
    push_selection(select, batch, now);
    select.push(" AND d.item_index >= ").push_bind(query.from).push(") x WHERE true");
    filter::push_and(select, &query.filter);
    select.push(" ORDER BY item_index LIMIT ").push_bind(query.limit as i64);
}

/// Adds the items of a batch; both the selection and its condition stay open.
fn push_selection(select: &mut QueryBuilder<Sqlite>, batch: BatchSeq, now: DateTime<Utc>) {
    let [columns, worked_out] = ITEMS;
    select.push("(").push(columns).push_bind(ms(now)).push(worked_out).push_bind(batch.0);
}

/// The items with these indexes, a JSON array, in any order. They are final: no lease is looked at.
pub(super) async fn at(pool: &SqlitePool, batch: BatchSeq, indexes: &str) -> Result<Vec<Item>, StoreError> {
    let mut select = QueryBuilder::new("SELECT * FROM ");
    push_at(&mut select, batch, indexes);
    fetch(pool, select).await
}

fn push_at(select: &mut QueryBuilder<Sqlite>, batch: BatchSeq, indexes: &str) {
    push_selection(select, batch, DateTime::UNIX_EPOCH);
    select
        .push(" AND d.item_index IN (SELECT value FROM json_each(")
        .push_bind(indexes.to_owned())
        .push("))) x");
}

async fn fetch(pool: &SqlitePool, mut select: QueryBuilder<Sqlite>) -> Result<Vec<Item>, StoreError> {
    let rows = select.build().fetch_all(pool).await.map_err(error::store)?;
    rows.iter().map(item::from_row).collect()
}

/// Whether the body of a selected item is there.
const HAS_BODY: &str =
    "EXISTS (SELECT 1 FROM kept_bodies k WHERE k.batch_seq = x.batch_seq AND k.item_index = x.item_index)";

pub(super) async fn kept(
    pool: &SqlitePool,
    batch: BatchSeq,
    query: &ItemQuery,
) -> Result<Vec<KeptItem>, StoreError> {
    let mut select: QueryBuilder<Sqlite> = QueryBuilder::new(format!(
        "SELECT x.item_index, x.item_key, x.columns, {HAS_BODY} AS has_body FROM "
    ));
    // Who is read this way has ended: no lease is looked at.
    push_items(&mut select, batch, query, DateTime::UNIX_EPOCH);
    let rows = select.build().fetch_all(pool).await.map_err(error::store)?;
    let item = |row: &SqliteRow| KeptItem {
        index: row.get("item_index"),
        key: row.get("item_key"),
        columns: row.get("columns"),
        has_body: row.get("has_body"),
    };
    Ok(rows.iter().map(item).collect())
}

/// Whether a filter takes any item.
pub(super) async fn is_any(
    conn: &mut SqliteConnection,
    batch: BatchSeq,
    filter: &Filter<ItemField>,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let mut select: QueryBuilder<Sqlite> = QueryBuilder::new("SELECT EXISTS (SELECT 1 FROM ");
    push_selection(&mut select, batch, now);
    select.push(") x WHERE true");
    filter::push_and(&mut select, filter);
    select.push(")");
    select.build_query_scalar().fetch_one(conn).await
}

/// Whether the body of any item is there that a filter takes.
pub(super) async fn is_any_kept(
    conn: &mut SqliteConnection,
    batch: BatchSeq,
    filter: &Filter<ItemField>,
) -> Result<bool, sqlx::Error> {
    let mut select: QueryBuilder<Sqlite> = QueryBuilder::new("SELECT EXISTS (SELECT 1 FROM ");
    push_selection(&mut select, batch, DateTime::UNIX_EPOCH);
    select.push(") x WHERE ").push(HAS_BODY);
    filter::push_and(&mut select, filter);
    select.push(")");
    select.build_query_scalar().fetch_one(conn).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::{Limits, SqliteStore};

    /// The steps of a statement.
    async fn steps(store: &SqliteStore, mut select: QueryBuilder<Sqlite>) -> Vec<String> {
        let mut conn = store.readers.acquire().await.unwrap();
        let plan = select.build().fetch_all(&mut *conn).await.unwrap();
        plan.iter().map(|step| step.get("detail")).collect()
    }

    #[tokio::test]
    async fn a_page_is_found_by_keys_alone_wherever_it_begins() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("haul.db"), Limits::default()).await.unwrap();
        for order in [
            BatchOrder::Newest,
            BatchOrder::Oldest,
            BatchOrder::EndTime,
            BatchOrder::AsOf,
            BatchOrder::Priority,
        ] {
            let filter = Filter::parse("state = RUNNING AND labels.team:infra").unwrap();
            let after = Some(Place { key: 7, seq: BatchSeq(8) });
            let mut select = QueryBuilder::new("EXPLAIN QUERY PLAN SELECT *");
            push_batches(&mut select, &BatchQuery { filter, order, after, limit: 9 });
            let steps = steps(&store, select).await;
            assert!(steps[0].starts_with("SEARCH batch_executions USING INDEX"), "{order:?}: {steps:#?}");
            assert!(!steps.iter().any(|step| step.contains("TEMP B-TREE")), "{order:?}: {steps:#?}");
        }
        let filter = Filter::parse("state = FAILED AND key > 7").unwrap();
        let mut items = QueryBuilder::new("EXPLAIN QUERY PLAN SELECT * FROM ");
        push_items(&mut items, BatchSeq(1), &ItemQuery { filter, from: 5, limit: 6 }, DateTime::UNIX_EPOCH);
        let items = steps(&store, items).await;
        assert_eq!(items[0], "SEARCH d USING PRIMARY KEY (batch_seq=? AND item_index>?)", "{items:#?}");
        assert!(!items.iter().any(|step| step.contains("TEMP B-TREE")), "{items:#?}");
        let mut some = QueryBuilder::new("EXPLAIN QUERY PLAN SELECT * FROM ");
        push_at(&mut some, BatchSeq(1), "[1,2]");
        let some = steps(&store, some).await;
        assert_eq!(some[0], "SEARCH d USING PRIMARY KEY (batch_seq=? AND item_index=?)", "{some:#?}");
    }
}
