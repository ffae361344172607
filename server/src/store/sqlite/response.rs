//! Replies as they came, a row each.

use chrono::{DateTime, Utc};
use sqlx::SqliteConnection;

use super::ms;
use crate::domain::{datum::StoredResponse, id::BatchSeq};

/// Both on one way to the engine's thread.
const WRITE: &str = "
    SELECT http_status <> $5 OR content_type <> $6 OR sha256 <> $8 OR (body IS NULL) <> ($9 IS NULL) FROM responses
    WHERE item_key = $1 AND as_of_at = $2 AND method = $3 AND url = $4;
    INSERT INTO responses (item_key, as_of_at, method, url, http_status, content_type, size_bytes, sha256, body,
      batch_seq, fetched_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    ON CONFLICT (item_key, as_of_at, method, url) DO UPDATE SET http_status = excluded.http_status,
      content_type = excluded.content_type, size_bytes = excluded.size_bytes, sha256 = excluded.sha256,
      body = excluded.body, batch_seq = excluded.batch_seq, fetched_at = excluded.fetched_at";

/// Writes an item's reply. Answers with one, and whether it was there with other values.
pub(super) async fn write(
    conn: &mut SqliteConnection,
    batch: BatchSeq,
    key: &str,
    response: &StoredResponse,
    fetched_at: DateTime<Utc>,
) -> Result<(i64, i64), sqlx::Error> {
    let changed: Vec<bool> = sqlx::query_scalar(WRITE)
        .bind(key)
        .bind(ms(response.as_of))
        .bind(response.method.as_str())
        .bind(&response.url)
        .bind(i64::from(response.http_status))
        .bind(&response.content_type)
        .bind(response.size_bytes)
        .bind(response.sha256.as_slice())
        .bind(response.zstd.as_deref())
        .bind(batch.0)
        .bind(ms(fetched_at))
        .fetch_all(conn)
        .await?;
    Ok((1, i64::from(changed == [true])))
}

/// Whether a later fetch has written the same row.
pub(super) async fn has_later(
    conn: &mut SqliteConnection,
    key: &str,
    response: &StoredResponse,
    fetched_at: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM responses WHERE item_key = $1 AND as_of_at = $2 AND method = $3 AND url = $4
           AND fetched_at > $5)",
    )
    .bind(key)
    .bind(ms(response.as_of))
    .bind(response.method.as_str())
    .bind(&response.url)
    .bind(ms(fetched_at))
    .fetch_one(conn)
    .await
}
