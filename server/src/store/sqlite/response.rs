//! Replies as they came, a row each.

use chrono::{DateTime, Utc};
use sqlx::{Row, SqliteConnection};

use super::{
    ms,
    script::{Ran, Script},
};
use crate::domain::{datum::StoredResponse, id::BatchSeq};

const CHANGES: &str =
    "SELECT http_status <> ? OR content_type <> ? OR sha256 <> ? OR (body IS NULL) <> ? FROM responses
     WHERE item_key = ? AND as_of_at = ? AND method = ? AND url = ?";
const UPSERT: &str = "INSERT INTO responses (item_key, as_of_at, method, url, http_status, content_type, size_bytes, sha256, body,
       batch_seq, fetched_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (item_key, as_of_at, method, url) DO UPDATE SET http_status = excluded.http_status,
       content_type = excluded.content_type, size_bytes = excluded.size_bytes, sha256 = excluded.sha256,
       body = excluded.body, batch_seq = excluded.batch_seq, fetched_at = excluded.fetched_at";

/// Adds what writes an item's reply, and first of all what [`changed`] asks.
pub(super) fn write(
    script: &mut Script,
    batch: BatchSeq,
    key: &str,
    response: &StoredResponse,
    fetched_at: DateTime<Utc>,
) {
    let (as_of_at, method) = (ms(response.as_of), response.method.as_str());
    let (http_status, sha256) = (i64::from(response.http_status), response.sha256.as_slice());
    script
        .add(CHANGES)
        .bind(http_status)
        .bind(&response.content_type)
        .bind(sha256)
        .bind(response.zstd.is_none())
        .bind(key)
        .bind(as_of_at)
        .bind(method)
        .bind(&response.url);
    script
        .add(UPSERT)
        .bind(key)
        .bind(as_of_at)
        .bind(method)
        .bind(&response.url)
        .bind(http_status)
        .bind(&response.content_type)
        .bind(response.size_bytes)
        .bind(sha256)
        .bind(response.zstd.as_deref())
        .bind(batch.0)
        .bind(ms(fetched_at));
}

/// One, if the reply was there with other values.
pub(super) fn changed(ran: &[Ran]) -> i64 {
    let before = ran.first().and_then(|read| read.first());
    i64::from(before.is_some_and(|row| row.get(0)))
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
