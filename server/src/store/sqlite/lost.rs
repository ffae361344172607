//! Slices that lose one worker after the other: whatever is in them is looked for by halves, down to the one item that
//! its workers do not survive.

use chrono::{DateTime, Utc};
use sqlx::{Row, SqliteConnection, SqliteExecutor};

use super::{ms, result, script::Script, transition};
use crate::domain::id::{BatchSeq, SliceNo};

/// Leases lost in a row, nothing being recorded between, after which a slice is not claimed any more as it is. The index
/// over such slices names the figure too.
pub(super) const LOST_MAX: i64 = 5;

/// The reason of an item that nobody survives.
const WORKER_CRASH: &str = "WORKER_CRASH";
const FAIL: &str = "its worker was lost five times in a row while it had nothing else to do";

/// Batches at work that have such a slice.
pub(super) async fn batches(db: impl SqliteExecutor<'_>) -> Result<Vec<BatchSeq>, sqlx::Error> {
    let seqs: Vec<i64> = sqlx::query_scalar(
        "SELECT DISTINCT s.batch_seq FROM batch_slices s JOIN batch_executions b ON b.seq = s.batch_seq
         WHERE s.lost_in_row >= 5 AND s.status = 'READY' AND b.status IN ('RUNNING', 'PAUSING')",
    )
    .fetch_all(db)
    .await?;
    Ok(seqs.into_iter().map(BatchSeq).collect())
}

/// Halves every such slice of a batch; one in which a single item is open fails it.
pub(super) async fn break_up(
    conn: &mut SqliteConnection,
    batch: BatchSeq,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let slices: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT slice_no, open_count FROM batch_slices WHERE batch_seq = $1 AND lost_in_row >= 5 AND status = 'READY'",
    )
    .bind(batch.0)
    .fetch_all(&mut *conn)
    .await?;
    for (no, open) in slices {
        if open == 1 {
            fail(conn, batch, SliceNo(no), now).await?;
        } else {
            halve(conn, batch, SliceNo(no), open).await?;
        }
    }
    transition::settle(conn, batch, None, now).await
}

async fn halve(
    conn: &mut SqliteConnection,
    batch: BatchSeq,
    slice: SliceNo,
    open: i64,
) -> Result<(), sqlx::Error> {
    let middle: i64 = sqlx::query_scalar(
        "SELECT d.item_index FROM batch_slices s JOIN batch_execution_details d
           ON d.batch_seq = s.batch_seq AND d.item_index >= s.first_index AND d.item_index < s.end_index
         WHERE s.batch_seq = $1 AND s.slice_no = $2 AND d.status = 'PENDING' ORDER BY d.item_index LIMIT 1 OFFSET $3",
    )
    .bind(batch.0)
    .bind(slice.0)
    .bind(open / 2)
    .fetch_one(&mut *conn)
    .await?;
    let second: i64 = sqlx::query_scalar(
        "INSERT INTO batch_slices (batch_seq, slice_no, first_index, end_index, ready_at, open_count)
         SELECT batch_seq, (SELECT max(slice_no) + 1 FROM batch_slices WHERE batch_seq = $1), $3, end_index, ready_at, $4
         FROM batch_slices WHERE batch_seq = $1 AND slice_no = $2 RETURNING slice_no",
    )
    .bind(batch.0)
    .bind(slice.0)
    .bind(middle)
    .bind(open - open / 2)
    .fetch_one(&mut *conn)
    .await?;
    sqlx::query(
        "UPDATE batch_execution_details SET slice_no = $4 WHERE batch_seq = $1 AND item_index >= $3
           AND item_index < (SELECT end_index FROM batch_slices WHERE batch_seq = $1 AND slice_no = $2)",
    )
    .bind(batch.0)
    .bind(slice.0)
    .bind(middle)
    .bind(second)
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "UPDATE batch_slices SET end_index = $3, open_count = $4, lost_in_row = 0 WHERE batch_seq = $1 AND slice_no = $2",
    )
    .bind(batch.0)
    .bind(slice.0)
    .bind(middle)
    .bind(open / 2)
    .execute(conn)
    .await?;
    tracing::warn!(batch_seq = batch.0, slice = slice.0, second, "a slice that loses its workers was halved");
    Ok(())
}

async fn fail(
    conn: &mut SqliteConnection,
    batch: BatchSeq,
    slice: SliceNo,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let item = sqlx::query(
        "SELECT d.item_index, d.item_key, d.not_before_at IS NOT NULL AS returned
         FROM batch_slices s JOIN batch_execution_details d
           ON d.batch_seq = s.batch_seq AND d.item_index >= s.first_index AND d.item_index < s.end_index
         WHERE s.batch_seq = $1 AND s.slice_no = $2 AND d.status = 'PENDING'",
    )
    .bind(batch.0)
    .bind(slice.0)
    .fetch_one(&mut *conn)
    .await?;
    let index: i64 = item.get("item_index");
    sqlx::query(
        "UPDATE batch_execution_details SET status = 'FAILED', error_class = 'TEMPORARY', error_reason = $5,
           error_message = $3, http_status = NULL, retry_after_ms = NULL, not_before_at = NULL, updated_at = $4
         WHERE batch_seq = $1 AND item_index = $2 AND status = 'PENDING'",
    )
    .bind(batch.0)
    .bind(index)
    .bind(FAIL)
    .bind(ms(now))
    .bind(WORKER_CRASH)
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "UPDATE batch_slices SET open_count = 0, status = 'DONE', lost_in_row = 0 WHERE batch_seq = $1 AND slice_no = $2",
    )
    .bind(batch.0)
    .bind(slice.0)
    .execute(&mut *conn)
    .await?;
    let mut script = Script::default();
    result::append(&mut script, batch, &[index]);
    script.run(conn).await?;
    sqlx::query(
        "UPDATE batch_executions SET failed_count = failed_count + 1, temporary_items = temporary_items + 1,
           returned_count = returned_count - $2, revision = revision + 1 WHERE seq = $1",
    )
    .bind(batch.0)
    .bind(item.get::<i64, _>("returned"))
    .execute(conn)
    .await?;
    let item_key: &str = item.get("item_key");
    tracing::error!(batch_seq = batch.0, item_key, action = "data_fetch", status = "failed", error = FAIL);
    Ok(())
}
