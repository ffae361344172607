//! What goes: batches that are deleted or past their retention, and bodies, request ids, chunks and missing keys past
//! their time.
//!
//! A batch goes in two steps. Its row goes at once, with its request ids, and its name into `purged_batches`: from then on
//! nobody finds it. What it had goes a little at a time. Datasets stay.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::SqliteConnection;

use super::{SqliteStore, error, instant, missing, ms, upload};
use crate::{
    domain::{
        etag,
        id::{BatchId, BatchSeq},
    },
    store::{DeleteError, Purged, StoreError},
};

/// Rows that one transaction deletes at most, so that no commit waits long behind it.
const PURGE_ROWS: i64 = 500;
/// Batches that go in one transaction at most.
const PURGE_BATCHES: i64 = 50;
/// How long it is known of a batch that it was there.
const REMEMBERED: TimeDelta = TimeDelta::days(30);

pub(super) async fn delete(
    store: &SqliteStore,
    id: &BatchId,
    etag: Option<&str>,
    now: DateTime<Utc>,
) -> Result<(), DeleteError> {
    let mut tx = store.begin().await?;
    let seq: Option<i64> = sqlx::query_scalar("SELECT seq FROM batch_executions WHERE name = $1")
        .bind(id.as_str())
        .fetch_optional(&mut *tx)
        .await
        .map_err(error::store)?;
    let Some(seq) = seq else {
        return Err(match purged(&mut tx, id).await.map_err(error::store)? {
            Some(purged) => DeleteError::Purged(purged),
            None => DeleteError::NotFound(id.clone()),
        });
    };
    let batch = store.load(&mut tx, BatchSeq(seq)).await?;
    if etag.is_some_and(|etag| etag != etag::of(&batch)) {
        return Err(DeleteError::EtagMismatch { batch: Box::new(batch) });
    }
    if !batch.state.is_terminal() {
        return Err(DeleteError::NotTerminal { id: batch.id, state: batch.state });
    }
    let child: Option<i64> = sqlx::query_scalar(
        "SELECT seq FROM batch_executions WHERE parent_seq = $1 AND status NOT IN ('COMPLETED', 'FAILED', 'STOPPED')
         ORDER BY seq LIMIT 1",
    )
    .bind(seq)
    .fetch_optional(&mut *tx)
    .await
    .map_err(error::store)?;
    if let Some(child) = child {
        let child = store.load(&mut tx, BatchSeq(child)).await?;
        return Err(DeleteError::NotTerminal { id: child.id, state: child.state });
    }
    remove(&mut tx, BatchSeq(seq), now).await.map_err(error::store)?;
    tx.commit().await.map_err(error::store)?;
    Ok(())
}

/// What is known of a name that no batch has any more.
pub(super) async fn purged(conn: &mut SqliteConnection, id: &BatchId) -> Result<Option<Purged>, sqlx::Error> {
    let at: Option<i64> = sqlx::query_scalar("SELECT max(purged_at) FROM purged_batches WHERE name = $1")
        .bind(id.as_str())
        .fetch_one(conn)
        .await?;
    Ok(at.map(|at| Purged { id: id.clone(), at: instant(at) }))
}

/// The same by its number, for whoever had the batch before.
pub(super) async fn purged_batch(
    conn: &mut SqliteConnection,
    seq: BatchSeq,
) -> Result<Option<Purged>, sqlx::Error> {
    let row: Option<(String, i64)> =
        sqlx::query_as("SELECT name, purged_at FROM purged_batches WHERE seq = $1")
            .bind(seq.0)
            .fetch_optional(conn)
            .await?;
    Ok(row.map(|(name, at)| Purged { id: BatchId::stored(name), at: instant(at) }))
}

/// The first step.
async fn remove(conn: &mut SqliteConnection, seq: BatchSeq, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO purged_batches (seq, name, purged_at, forget_at, revision, redecoded_seq)
         SELECT seq, name, $2, $3, revision, CASE WHEN kind = 'REDECODE' THEN parent_seq END
         FROM batch_executions WHERE seq = $1",
    )
    .bind(seq.0)
    .bind(ms(now))
    .bind(ms(now + REMEMBERED))
    .execute(&mut *conn)
    .await?;
    // Whoever has the name next must not be taken for this one.
    for delete in [
        "DELETE FROM requests WHERE batch_name = (SELECT name FROM batch_executions WHERE seq = $1)",
        "DELETE FROM batch_executions WHERE seq = $1",
    ] {
        sqlx::query(delete).bind(seq.0).execute(&mut *conn).await?;
    }
    Ok(())
}

/// A little of all that is past its time. Answers how much it was.
pub(super) async fn purge(store: &SqliteStore, now: DateTime<Utc>) -> Result<u64, StoreError> {
    Ok(expired(store, now).await? + retired(store, now).await? + left_behind(store, now).await?)
}

/// Batches past their retention, first step.
async fn retired(store: &SqliteStore, now: DateTime<Utc>) -> Result<u64, StoreError> {
    let mut tx = store.begin().await?;
    let seqs: Vec<i64> = sqlx::query_scalar(
        "SELECT seq FROM batch_executions b WHERE purge_at <= $1 AND NOT EXISTS (SELECT 1 FROM batch_executions child
           WHERE child.parent_seq = b.seq AND child.status NOT IN ('COMPLETED', 'FAILED', 'STOPPED'))
         ORDER BY purge_at LIMIT $2",
    )
    .bind(ms(now))
    .bind(PURGE_BATCHES)
    .fetch_all(&mut *tx)
    .await
    .map_err(error::store)?;
    for seq in &seqs {
        remove(&mut tx, BatchSeq(*seq), now).await.map_err(error::store)?;
    }
    tx.commit().await.map_err(error::store)?;
    Ok(seqs.len() as u64)
}

/// Every table with rows of a batch, but for its own and the datasets.
const PARTS: [&str; 7] = [
    "DELETE FROM kept_bodies WHERE batch_seq = $1 AND item_index IN
       (SELECT item_index FROM kept_bodies WHERE batch_seq = $1 LIMIT $2)",
    "DELETE FROM item_attempts WHERE batch_seq = $1 AND (item_index, number) IN
       (SELECT item_index, number FROM item_attempts WHERE batch_seq = $1 LIMIT $2)",
    "DELETE FROM item_results WHERE batch_seq = $1 AND first_no IN
       (SELECT first_no FROM item_results WHERE batch_seq = $1 LIMIT $2)",
    "DELETE FROM upload_chunks WHERE batch_seq = $1 AND (upload_id, first_offset, item_count) IN
       (SELECT upload_id, first_offset, item_count FROM upload_chunks WHERE batch_seq = $1 LIMIT $2)",
    "DELETE FROM uploads WHERE batch_seq = $1 AND upload_id IN
       (SELECT upload_id FROM uploads WHERE batch_seq = $1 LIMIT $2)",
    "DELETE FROM batch_execution_details WHERE batch_seq = $1 AND item_index IN
       (SELECT item_index FROM batch_execution_details WHERE batch_seq = $1 LIMIT $2)",
    "DELETE FROM batch_slices WHERE batch_seq = $1 AND slice_no IN
       (SELECT slice_no FROM batch_slices WHERE batch_seq = $1 LIMIT $2)",
];

/// What batches that are gone have left behind, one after the other.
async fn left_behind(store: &SqliteStore, now: DateTime<Utc>) -> Result<u64, StoreError> {
    let mut tx = store.begin().await?;
    let gone = left_behind_in(&mut tx, now).await.map_err(error::store)?;
    tx.commit().await.map_err(error::store)?;
    Ok(gone)
}

async fn left_behind_in(conn: &mut SqliteConnection, now: DateTime<Utc>) -> Result<u64, sqlx::Error> {
    let seq: Option<i64> =
        sqlx::query_scalar("SELECT seq FROM purged_batches WHERE emptied = 0 ORDER BY seq LIMIT 1")
            .fetch_optional(&mut *conn)
            .await?;
    let Some(seq) = seq else {
        let forgotten = sqlx::query(
            "DELETE FROM purged_batches WHERE seq IN (SELECT seq FROM purged_batches p WHERE forget_at <= $1
               AND NOT EXISTS (SELECT 1 FROM batch_executions WHERE seq = p.redecoded_seq) LIMIT $2)",
        );
        return Ok(forgotten.bind(ms(now)).bind(PURGE_ROWS).execute(conn).await?.rows_affected());
    };
    let mut gone = 0;
    for part in PARTS {
        let rest = PURGE_ROWS - gone as i64;
        gone += sqlx::query(part).bind(seq).bind(rest).execute(&mut *conn).await?.rows_affected();
    }
    if gone < PURGE_ROWS as u64 {
        gone += sqlx::query("UPDATE purged_batches SET emptied = 1 WHERE seq = $1")
            .bind(seq)
            .execute(conn)
            .await?
            .rows_affected();
    }
    Ok(gone)
}

/// Bodies, request ids, chunks and missing keys past their time.
async fn expired(store: &SqliteStore, now: DateTime<Utc>) -> Result<u64, StoreError> {
    let mut tx = store.begin().await?;
    // A live child decodes them.
    let bodies = sqlx::query(
        "DELETE FROM kept_bodies WHERE (batch_seq, item_index) IN (
           SELECT k.batch_seq, k.item_index FROM kept_bodies k
           JOIN batch_executions b ON b.seq = k.batch_seq
           WHERE b.bodies_expire_at <= $1 AND NOT EXISTS (SELECT 1 FROM batch_executions child
             WHERE child.parent_seq = b.seq AND child.status NOT IN ('COMPLETED', 'FAILED', 'STOPPED'))
           LIMIT $2)",
    )
    .bind(ms(now))
    .bind(PURGE_ROWS)
    .execute(&mut *tx)
    .await
    .map_err(error::store)?
    .rows_affected();
    if bodies == 0 {
        // Nothing of them is left: they need not be looked at again.
        sqlx::query(
            "UPDATE batch_executions SET bodies_expire_at = NULL WHERE bodies_expire_at <= $1
               AND NOT EXISTS (SELECT 1 FROM kept_bodies WHERE batch_seq = seq)",
        )
        .bind(ms(now))
        .execute(&mut *tx)
        .await
        .map_err(error::store)?;
    }
    let requests = sqlx::query(
        "DELETE FROM requests WHERE (principal, rpc, request_id) IN (
           SELECT principal, rpc, request_id FROM requests WHERE expires_at <= $1 AND batch_name NOT IN (
             SELECT name FROM batch_executions WHERE status NOT IN ('COMPLETED', 'FAILED', 'STOPPED')) LIMIT $2)",
    )
    .bind(ms(now))
    .bind(PURGE_ROWS)
    .execute(&mut *tx)
    .await
    .map_err(error::store)?
    .rows_affected();
    let chunks = upload::forget_chunks(&mut tx, PURGE_ROWS).await.map_err(error::store)?;
    let missing = missing::expire(&mut tx, now, PURGE_ROWS).await.map_err(error::store)?;
    tx.commit().await.map_err(error::store)?;
    Ok(bodies + requests + chunks + missing)
}
