//! Attempts: those recorded, and those that an item's row tells of.

use sqlx::{Row, SqlitePool, sqlite::SqliteRow};

use super::{batch::word, error, instant, item};
use crate::{
    domain::{
        id::BatchSeq,
        item::{AttemptOutcome, PastAttempt},
    },
    store::{AttemptQuery, StoreError},
};

/// Attempts that have a row. Each statement binds the batch, index and number of the last attempt told, the last index,
/// how many at most, and the indexes of items that are worked on.
const RECORDED: &str = "
    SELECT a.*, d.item_key, d.columns FROM item_attempts a
    JOIN batch_execution_details d ON d.batch_seq = a.batch_seq AND d.item_index = a.item_index
    WHERE a.batch_seq = $1 AND (a.item_index, a.number) > ($2, $3) AND a.item_index <= $4 AND $6 IS NOT NULL
    ORDER BY a.item_index, a.number LIMIT $5";

/// Successes at the first try, of which the item's row tells. One of before their end was kept ended, at the latest, when
/// it was recorded.
const FIRST_TRY: &str = "
    SELECT d.item_index, d.item_key, d.columns, 1 AS number, 'SUCCEEDED' AS outcome, 1 AS charged, d.last_attempt_at AS started_at,
      coalesce(d.last_attempt_end_at, d.updated_at) AS ended_at, d.node,
      (SELECT b.kind <> 'REDECODE' FROM batch_executions b WHERE b.seq = d.batch_seq) AS requests,
      coalesce(d.bytes_received, 0) AS bytes_received, d.http_status, NULL AS error_class, NULL AS error_reason,
      NULL AS error_message, NULL AS retry_after_ms
    FROM batch_execution_details d
    WHERE d.batch_seq = $1 AND d.item_index >= $2 AND (d.item_index, 1) > ($2, $3) AND d.item_index <= $4
      AND d.status = 'SUCCEEDED' AND d.recorded_attempts = 0 AND $6 IS NOT NULL
    ORDER BY d.item_index LIMIT $5";

/// Of items that somebody works on, the attempt that follows the recorded ones.
const RUNNING: &str = "
    SELECT d.item_index, d.item_key, d.columns, d.recorded_attempts + 1 AS number, 'RUNNING' AS outcome, 0 AS charged,
      NULL AS started_at, NULL AS ended_at, s.owner AS node, 0 AS requests, 0 AS bytes_received, NULL AS http_status,
      NULL AS error_class, NULL AS error_reason, NULL AS error_message, NULL AS retry_after_ms
    FROM batch_execution_details d
    JOIN batch_slices s ON s.batch_seq = d.batch_seq AND s.slice_no = d.slice_no
    WHERE d.batch_seq = $1 AND (d.item_index, d.recorded_attempts + 1) > ($2, $3) AND d.item_index <= $4
      AND d.status = 'PENDING' AND s.status = 'LEASED' AND d.item_index IN (SELECT value FROM json_each($6))
    ORDER BY d.item_index LIMIT $5";

pub(super) async fn list(
    pool: &SqlitePool,
    batch: BatchSeq,
    query: &AttemptQuery,
) -> Result<Vec<PastAttempt>, StoreError> {
    let (index, number) = query.after;
    let running = serde_json::Value::from(query.running.as_slice()).to_string();
    let mut attempts = Vec::new();
    for select in [RECORDED, FIRST_TRY, RUNNING] {
        let select = sqlx::query(select)
            .bind(batch.0)
            .bind(index)
            .bind(number)
            .bind(query.last_index.unwrap_or(i64::MAX))
            .bind(query.limit as i64)
            .bind(&running);
        let rows = select.fetch_all(pool).await.map_err(error::store)?;
        attempts.extend(rows.iter().map(from_row).collect::<Result<Vec<_>, _>>()?);
    }
    attempts.sort_by_key(|attempt| (attempt.index, attempt.number));
    attempts.truncate(query.limit);
    Ok(attempts)
}

fn from_row(row: &SqliteRow) -> Result<PastAttempt, StoreError> {
    let at = |column| row.get::<Option<i64>, _>(column).map(instant);
    Ok(PastAttempt {
        index: row.get("item_index"),
        key: row.get("item_key"),
        columns: row.get("columns"),
        number: row.get("number"),
        outcome: word(row, "outcome", AttemptOutcome::parse)?,
        is_charged: row.get("charged"),
        started_at: at("started_at"),
        ended_at: at("ended_at"),
        node: row.get::<Option<String>, _>("node").unwrap_or_default(),
        requests: row.get("requests"),
        bytes_received: row.get("bytes_received"),
        http_status: item::status(row),
        failure: item::failure(row)?,
    })
}
