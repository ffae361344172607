//! Uploads: items that callers send, a chunk a transaction.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    SqliteStore,
    connection::WRITER_CACHE_KIB,
    error, overlap, purge,
    script::Script,
    skip,
    source::{self, Place},
    transition::{Standing, Why},
};
use crate::{
    domain::{
        batch::{Batch, Decision, Input, Leases, Refusal, State, decide},
        id::{BatchId, BatchSeq, Epoch, UploadId},
        item::NewItem,
    },
    failpoint,
    store::{
        Appended, BATCH_ITEMS_MAX, Changed, CommandError, OpenedUpload, StoreError, UPLOADS_MAX, UploadChunk,
        UploadError, UploadProgress,
    },
};

/// A chunk of keys in no order writes to as many pages of the index of keys as it has keys, 40 MiB: they must stay in
/// memory until the commit, or each is written many times.
const CHUNK_CACHE_KIB: u32 = 64 * 1024;

pub(super) async fn open(
    store: &SqliteStore,
    id: &BatchId,
    upload: &UploadId,
) -> Result<OpenedUpload, UploadError> {
    let mut tx = store.begin().await?;
    let batch = find(store, &mut tx, id).await?;
    if batch.state != State::Open && !has_sealed(&mut tx, batch.seq, upload).await.map_err(error::store)? {
        return Err(refused(&batch));
    }
    let row = sqlx::query(
        "INSERT INTO uploads (batch_seq, upload_id)
         SELECT $1, $2 WHERE EXISTS (SELECT 1 FROM uploads WHERE batch_seq = $1 AND upload_id = $2)
           OR (SELECT count(*) FROM uploads WHERE batch_seq = $1) < $3
         ON CONFLICT (batch_seq, upload_id) DO UPDATE SET epoch = epoch + 1
         RETURNING epoch, committed_count, duplicate_count",
    )
    .bind(batch.seq.0)
    .bind(upload.as_str())
    .bind(UPLOADS_MAX)
    .fetch_optional(&mut *tx)
    .await
    .map_err(error::store)?;
    let row = row.ok_or(UploadError::TooManyUploads)?;
    tx.commit().await.map_err(error::store)?;
    Ok(OpenedUpload { epoch: Epoch(row.get("epoch")), progress: progress(&row, &batch), batch })
}

pub(super) async fn status(
    store: &SqliteStore,
    id: &BatchId,
    upload: &UploadId,
) -> Result<UploadProgress, UploadError> {
    let mut tx = store.readers.begin().await.map_err(error::store)?;
    let batch = find(store, &mut tx, id).await?;
    let row = sqlx::query(
        "SELECT committed_count, duplicate_count FROM uploads WHERE batch_seq = $1 AND upload_id = $2",
    )
    .bind(batch.seq.0)
    .bind(upload.as_str())
    .fetch_optional(&mut *tx)
    .await
    .map_err(error::store)?;
    match row {
        Some(row) => Ok(progress(&row, &batch)),
        None => Err(UploadError::NotFound { batch: batch.id, upload: upload.clone() }),
    }
}

pub(super) async fn append(
    store: &SqliteStore,
    chunk: &UploadChunk,
    now: DateTime<Utc>,
) -> Result<Appended, UploadError> {
    let items = skip::decided_of(store, chunk.batch, &chunk.items).await?;
    let mut tx = store.begin().await?;
    // Stopped and deleted between two chunks.
    if let Some(purged) = purge::purged_batch(&mut tx, chunk.batch).await.map_err(error::store)? {
        return Err(CommandError::Purged(purged).into());
    }
    let batch = store.load(&mut tx, chunk.batch).await?;
    let known = match check(&mut tx, &batch, chunk).await? {
        Known::Sealed(progress) => return Ok(Appended { batch, admitted: Vec::new(), progress }),
        Known::Prefix(known) => known,
    };
    let fresh = &items[known..];
    set_cache(&mut tx, CHUNK_CACHE_KIB).await.map_err(error::store)?;
    write(&mut tx, chunk, fresh, now).await.map_err(error::store)?;
    set_cache(&mut tx, WRITER_CACHE_KIB).await.map_err(error::store)?;
    let (mut admitted, mut script) = (Vec::new(), Script::default());
    if chunk.seal {
        script.add("UPDATE batch_executions SET expanded = 1 WHERE seq = ?").bind(batch.seq.0);
        let mut standing = Standing::read(&mut tx, script, batch.seq, now).await.map_err(error::store)?;
        script = Script::default();
        standing.apply(&mut script, Input::Seal, Why::default()).map_err(error::store)?;
        let slots = store.limits.running_batches;
        (admitted, script) = overlap::admit(&mut tx, script, slots, now).await.map_err(error::store)?;
        admitted.retain(|seq| *seq != batch.seq);
    }
    let row = uploaded(&mut tx, chunk).await.map_err(error::store)?;
    failpoint::tried("upload.written").await.map_err(StoreError::from)?;
    let Changed { batch, admitted } = store.commit_change(tx, script, batch.seq, &admitted).await?;
    failpoint::reached("upload.done").await;
    let progress = progress(&row, &batch);
    Ok(Appended { batch, admitted, progress })
}

/// Sets how much the writing connection keeps in memory. What a transaction has written stays in any case, once it is there.
async fn set_cache(conn: &mut SqliteConnection, kib: u32) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(format!("PRAGMA cache_size = -{kib}"))).execute(conn).await?;
    Ok(())
}

/// What the store knows of a chunk that it does not refuse.
enum Known {
    /// It sealed the batch.
    Sealed(UploadProgress),
    /// So many of its items.
    Prefix(usize),
}

async fn check(
    conn: &mut SqliteConnection,
    batch: &Batch,
    chunk: &UploadChunk,
) -> Result<Known, UploadError> {
    let row = uploaded(conn, chunk).await.map_err(error::store)?;
    if row.get::<i64, _>("epoch") != chunk.epoch.0 {
        return Err(UploadError::Superseded { batch: batch.id.clone(), upload: chunk.upload.clone() });
    }
    let before = sqlx::query(
        "SELECT keys_sha256, sealed FROM upload_chunks
         WHERE batch_seq = $1 AND upload_id = $2 AND first_offset = $3 AND item_count = $4",
    )
    .bind(batch.seq.0)
    .bind(chunk.upload.as_str())
    .bind(chunk.first_offset)
    .bind(chunk.items.len() as i64)
    .fetch_optional(&mut *conn)
    .await
    .map_err(error::store)?;
    let sealed = before.as_ref().is_some_and(|before| before.get("sealed"));
    if batch.state != State::Open && !(sealed && chunk.seal) {
        return Err(refused(batch));
    }
    if before.is_some_and(|before| before.get::<&[u8], _>("keys_sha256") != keys_sha256(&chunk.items)) {
        return Err(UploadError::Mismatch {
            batch: batch.id.clone(),
            upload: chunk.upload.clone(),
            first_offset: chunk.first_offset,
        });
    }
    let progress = progress(&row, batch);
    if sealed {
        return Ok(Known::Sealed(progress));
    }
    let UploadChunk { first_offset, .. } = *chunk;
    let committed = progress.committed;
    if first_offset > committed {
        return Err(UploadError::Gap { first_offset, committed });
    }
    if batch.counts.total + chunk.items.len() as i64 > BATCH_ITEMS_MAX {
        return Err(UploadError::TooManyItems);
    }
    Ok(Known::Prefix(chunk.items.len().min((committed - first_offset) as usize)))
}

/// Appends what is new of a chunk, and remembers what it held.
async fn write(
    conn: &mut SqliteConnection,
    chunk: &UploadChunk,
    fresh: &[NewItem],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    if fresh.is_empty() && !chunk.seal {
        return Ok(());
    }
    if !fresh.is_empty() {
        let place = Place::after(conn, chunk.batch, fresh).await?;
        let (mut script, duplicates) = source::append(conn, chunk.batch, place, fresh, now).await?;
        script.add("UPDATE batch_executions SET revision = revision + 1 WHERE seq = ?").bind(chunk.batch.0);
        script.run(conn).await?;
        sqlx::query(
            "UPDATE uploads SET committed_count = committed_count + $3, duplicate_count = duplicate_count + $4
             WHERE batch_seq = $1 AND upload_id = $2",
        )
        .bind(chunk.batch.0)
        .bind(chunk.upload.as_str())
        .bind(fresh.len() as i64)
        .bind(duplicates)
        .execute(&mut *conn)
        .await?;
    }
    sqlx::query(
        "INSERT INTO upload_chunks (batch_seq, upload_id, first_offset, item_count, keys_sha256, sealed)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (batch_seq, upload_id, first_offset, item_count) DO UPDATE SET sealed = excluded.sealed",
    )
    .bind(chunk.batch.0)
    .bind(chunk.upload.as_str())
    .bind(chunk.first_offset)
    .bind(chunk.items.len() as i64)
    .bind(keys_sha256(&chunk.items).as_slice())
    .bind(chunk.seal)
    .execute(conn)
    .await?;
    Ok(())
}

/// Forgets some chunks of a batch that takes nothing more, but for the one that sealed it: its repeat is no other upload.
/// Answers how many.
pub(super) async fn forget_chunks(conn: &mut SqliteConnection, limit: i64) -> Result<u64, sqlx::Error> {
    let seq: Option<i64> =
        sqlx::query_scalar("SELECT seq FROM batch_executions WHERE has_stale_chunks = 1 LIMIT 1")
            .fetch_optional(&mut *conn)
            .await?;
    let Some(seq) = seq else { return Ok(0) };
    let mut gone = sqlx::query(
        "DELETE FROM upload_chunks WHERE batch_seq = $1 AND (upload_id, first_offset, item_count) IN
           (SELECT upload_id, first_offset, item_count FROM upload_chunks WHERE batch_seq = $1 AND sealed = 0 LIMIT $2)",
    )
    .bind(seq)
    .bind(limit)
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if gone < limit as u64 {
        gone += sqlx::query("UPDATE batch_executions SET has_stale_chunks = 0 WHERE seq = $1")
            .bind(seq)
            .execute(conn)
            .await?
            .rows_affected();
    }
    Ok(gone)
}

async fn find(store: &SqliteStore, conn: &mut SqliteConnection, id: &BatchId) -> Result<Batch, UploadError> {
    let row = sqlx::query("SELECT * FROM batch_executions WHERE name = $1")
        .bind(id.as_str())
        .fetch_optional(&mut *conn)
        .await
        .map_err(error::store)?;
    let Some(row) = row else {
        return Err(match purge::purged(conn, id).await.map_err(error::store)? {
            Some(purged) => CommandError::Purged(purged).into(),
            None => CommandError::NotFound(id.clone()).into(),
        });
    };
    Ok(store.decode(&row)?)
}

async fn has_sealed(
    conn: &mut SqliteConnection,
    seq: BatchSeq,
    upload: &UploadId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM upload_chunks WHERE batch_seq = $1 AND upload_id = $2 AND sealed = 1)",
    )
    .bind(seq.0)
    .bind(upload.as_str())
    .fetch_one(conn)
    .await
}

async fn uploaded(conn: &mut SqliteConnection, chunk: &UploadChunk) -> Result<SqliteRow, sqlx::Error> {
    sqlx::query(
        "SELECT epoch, committed_count, duplicate_count FROM uploads WHERE batch_seq = $1 AND upload_id = $2",
    )
    .bind(chunk.batch.0)
    .bind(chunk.upload.as_str())
    .fetch_one(conn)
    .await
}

fn progress(row: &SqliteRow, batch: &Batch) -> UploadProgress {
    UploadProgress {
        committed: row.get("committed_count"),
        duplicates: row.get("duplicate_count"),
        sealed: batch.state != State::Open,
    }
}

/// Why a batch that is not OPEN takes nothing.
fn refused(batch: &Batch) -> UploadError {
    let refusal = match decide(batch.state, Input::Seal, Leases::None) {
        Decision::Refuse(refusal) => refusal,
        _ => Refusal::Sealed,
    };
    CommandError::Refused { id: batch.id.clone(), state: batch.state, refusal, moved: Vec::new() }.into()
}

/// Each key with its length before it, so that no two lists of keys have the same bytes.
fn keys_sha256(items: &[NewItem]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for item in items {
        hash.update((item.key.len() as u64).to_le_bytes());
        hash.update(&item.key);
    }
    hash.finalize().into()
}
