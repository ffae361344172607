//! Making a batch.

use chrono::{DateTime, Utc};
use sqlx::{Row, SqliteConnection};

use super::{SqliteStore, error, filter, ms, query, source, transition};
use crate::{
    domain::{
        batch::{Batch, Kind, State},
        filter::Filter,
        id::{BatchId, BatchSeq},
        spec::Source,
    },
    store::{CreateError, Created, NewBatch, RequestKey, StoreError},
};

pub(super) async fn create(
    store: &SqliteStore,
    new: NewBatch,
    now: DateTime<Utc>,
) -> Result<Created, CreateError> {
    let mut tx = store.begin().await?;
    let seq = match begin(store, &mut tx, &new, now).await? {
        Begun::Anew(seq) => seq,
        Begun::Before(batch) => return Ok(Created::Replayed(batch)),
    };
    if let Some(items) = &new.items {
        source::append(&mut tx, seq, items, now).await.map_err(error::store)?;
        sqlx::query("UPDATE batch_executions SET expanded = 1 WHERE seq = $1")
            .bind(seq.0)
            .execute(&mut *tx)
            .await
            .map_err(error::store)?;
    }
    if let Some(key) = &new.request {
        remember(&mut tx, key, &new.id).await.map_err(error::store)?;
    }
    transition::admit(&mut tx, store.limits.running_batches, now).await.map_err(error::store)?;
    let batch = store.load(&mut tx, seq).await?;
    store.forget(seq);
    tx.commit().await.map_err(error::store)?;
    Ok(Created::Started(Box::new(batch)))
}

/// The same up to where a start can still be refused, and taken back.
pub(super) async fn check(
    store: &SqliteStore,
    new: &NewBatch,
    now: DateTime<Utc>,
) -> Result<Option<BatchId>, CreateError> {
    let mut tx = store.begin().await?;
    let before = match begin(store, &mut tx, new, now).await? {
        Begun::Anew(_) => None,
        Begun::Before(batch) => Some(batch.id),
    };
    tx.rollback().await.map_err(error::store)?;
    Ok(before)
}

enum Begun {
    Anew(BatchSeq),
    /// This request id made it.
    Before(Box<Batch>),
}

/// The batch's row, or why there is none.
async fn begin(
    store: &SqliteStore,
    conn: &mut SqliteConnection,
    new: &NewBatch,
    now: DateTime<Utc>,
) -> Result<Begun, CreateError> {
    if let Some(key) = &new.request
        && let Some(batch) = replay(store, conn, key, now).await?
    {
        return Ok(Begun::Before(Box::new(batch)));
    }
    let seq = insert(conn, new, now).await?;
    if let Some(parent) = new.kind.parent() {
        check_parent(store, conn, parent, new, now).await?;
    }
    let live: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM batch_executions WHERE status NOT IN ('COMPLETED', 'FAILED', 'STOPPED')",
    )
    .fetch_one(conn)
    .await
    .map_err(error::store)?;
    // The new one is among them; it goes with the transaction.
    if live > store.limits.live_batches as i64 {
        return Err(CreateError::Quota { limit: store.limits.live_batches });
    }
    Ok(Begun::Anew(seq))
}

async fn insert(
    conn: &mut SqliteConnection,
    new: &NewBatch,
    now: DateTime<Utc>,
) -> Result<BatchSeq, CreateError> {
    let spec = serde_json::to_string(&new.spec).map_err(|e| StoreError::Fault(format!("spec: {e}")))?;
    let (first, deadline_at) = match &new.spec.source {
        Source::Uploaded(uploaded) => (State::Open, Some(now + uploaded.open_ttl)),
        Source::Inline { .. } | Source::JpxListing(_) | Source::File(_) | Source::BatchItems { .. } => {
            (State::Queued, None)
        }
    };
    let inserted = sqlx::query_scalar(
        "INSERT INTO batch_executions
           (name, display_name, batch_type, status, spec, as_of_at, zone, created_at, state_since_at, kind, parent_seq,
            overlap_key, priority, not_before_at, deadline_at)
         VALUES ($1, $2, $3, $10, $4, $5, $6, $7, $7, $8, $9, $11, $12, $13, $14) RETURNING seq",
    )
    .bind(new.id.as_str())
    .bind(&new.spec.display_name)
    .bind(&new.spec.batch_type)
    .bind(spec)
    .bind(ms(new.spec.as_of.time))
    .bind(new.spec.as_of.zone.name())
    .bind(ms(now))
    .bind(new.kind.as_str())
    .bind(new.kind.parent().map(|parent| parent.0))
    .bind(first.as_str())
    .bind(new.spec.overlap.as_ref().map(|overlap| overlap.key.as_str()))
    .bind(new.spec.priority)
    .bind(new.spec.not_before.map(ms))
    .bind(deadline_at.map(ms))
    .fetch_one(conn)
    .await;
    match inserted {
        Ok(seq) => Ok(BatchSeq(seq)),
        Err(e) if error::is_unique_violation(&e) => Err(CreateError::BatchExists(new.id.clone())),
        Err(e) => Err(error::store(e).into()),
    }
}

/// Whether a child may be made from a batch.
async fn check_parent(
    store: &SqliteStore,
    conn: &mut SqliteConnection,
    parent: BatchSeq,
    new: &NewBatch,
    now: DateTime<Utc>,
) -> Result<(), CreateError> {
    let batch = store.load(conn, parent).await?;
    if !batch.state.is_terminal() {
        return Err(CreateError::ParentNotTerminal { id: batch.id, state: batch.state });
    }
    match (new.kind, &new.spec.source) {
        (Kind::Retry { .. }, Source::BatchItems { filter: Some(filter), .. }) => {
            check_items(conn, batch, filter, now).await
        }
        _ => check_bodies(conn, batch, now).await,
    }
}

/// Whether there is something to fetch again.
async fn check_items(
    conn: &mut SqliteConnection,
    parent: Batch,
    filter: &str,
    now: DateTime<Utc>,
) -> Result<(), CreateError> {
    let filter = Filter::retried(filter).map_err(|e| StoreError::Fault(format!("filter of a retry: {e}")))?;
    let mut select = query::select_items(parent.seq, now);
    select.push(") WHERE true");
    filter::push_and(&mut select, &filter);
    select.push(" LIMIT 1");
    match select.build().fetch_optional(conn).await.map_err(error::store)? {
        Some(_) => Ok(()),
        None => Err(CreateError::NoFailedItems(parent.id)),
    }
}

/// Whether there is something to decode anew.
async fn check_bodies(
    conn: &mut SqliteConnection,
    batch: Batch,
    now: DateTime<Utc>,
) -> Result<(), CreateError> {
    let kept: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM batch_executions b JOIN kept_bodies k ON k.batch_seq = b.seq
                        WHERE b.seq = $1 AND b.bodies_expire_at > $2)",
    )
    .bind(batch.seq.0)
    .bind(ms(now))
    .fetch_one(conn)
    .await
    .map_err(error::store)?;
    if kept {
        return Ok(());
    }
    let origin = if batch.kind.is_fetched() { None } else { batch.parent().cloned() };
    Err(CreateError::NoKeptBodies { origin, id: batch.id })
}

/// The batch that this request id made, if it is known and not forgotten.
async fn replay(
    store: &SqliteStore,
    conn: &mut SqliteConnection,
    key: &RequestKey,
    now: DateTime<Utc>,
) -> Result<Option<Batch>, CreateError> {
    let row = sqlx::query(
        "SELECT r.request_sha256, b.seq FROM requests r JOIN batch_executions b ON b.name = r.batch_name
         WHERE r.request_id = $1 AND (r.expires_at > $2 OR b.ended_at IS NULL)",
    )
    .bind(&key.id)
    .bind(ms(now))
    .fetch_optional(&mut *conn)
    .await
    .map_err(error::store)?;
    let Some(row) = row else { return Ok(None) };
    if row.get::<&[u8], _>("request_sha256") != key.sha256 {
        return Err(CreateError::RequestIdReused(key.id.clone()));
    }
    Ok(Some(store.load(conn, BatchSeq(row.get("seq"))).await?))
}

async fn remember(conn: &mut SqliteConnection, key: &RequestKey, batch: &BatchId) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT OR REPLACE INTO requests (request_id, request_sha256, batch_name, expires_at) VALUES ($1, $2, $3, $4)")
        .bind(&key.id)
        .bind(key.sha256.as_slice())
        .bind(batch.as_str())
        .bind(ms(key.expires_at))
        .execute(conn)
        .await?;
    Ok(())
}
