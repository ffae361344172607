//! Keys that upstreams said do not exist: remembered and forgotten with the outcome that says so.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{AssertSqlSafe, Row, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{SqliteStore, error, instant, item::Recorded, ms, result, script::Script};
use crate::{
    domain::{
        batch::Batch,
        dataset::{Address, Dataset, MissingKey, MissingPlace},
        item::{Next, Outcome},
    },
    store::StoreError,
};

/// Rows that go in one transaction at most.
const CLEARED_ROWS: i64 = 5_000;

const FORGET: &str = "DELETE FROM missing_keys
     WHERE dataset = ? AND item_key IN (SELECT value FROM json_each(?)) AND address_sha256 = ?";

/// What is known of a later date stays.
const REMEMBER: &str = "INSERT INTO missing_keys (dataset, item_key, address_sha256, reason, http_status, as_of_at, expire_at, batch_name, purge_at)
     SELECT ?, value ->> 0, ?, value ->> 1, value ->> 2, ?, ?, ?, ? FROM json_each(?) WHERE true
     ON CONFLICT (dataset, item_key, address_sha256) DO UPDATE SET reason = excluded.reason,
       http_status = excluded.http_status, as_of_at = excluded.as_of_at, expire_at = excluded.expire_at,
       batch_name = excluded.batch_name, purge_at = excluded.purge_at
     WHERE excluded.as_of_at >= missing_keys.as_of_at";

/// Adds what a group of outcomes says of its keys: one that is there is remembered as missing no more, and one that is not
/// is from now on, if the batch's policy has a time for it. What a kept body says is of another day. `is_any`: something
/// is remembered.
pub(super) fn record(
    script: &mut Script,
    batch: &Batch,
    recorded: &[Recorded<'_>],
    is_any: bool,
    now: DateTime<Utc>,
) {
    let ttl = batch.spec.skip.missing_ttl;
    if !is_any && ttl.is_none() {
        return;
    }
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for Recorded { recording, .. } in recorded.iter().filter(|one| one.recording.attempt.redecoded.is_none())
    {
        let key = recording.item.key.as_str();
        match (&recording.attempt.outcome, recording.next) {
            (Outcome::Succeeded { .. }, _) => found.push(key),
            (Outcome::Failed(failure), Next::Failed) if failure.is_of_a_missing_key() => {
                missing.push((key, failure.reason.as_str(), failure.http_status));
            }
            (Outcome::Failed(_) | Outcome::Released { .. }, _) => {}
        }
    }
    if !found.is_empty() && is_any {
        let address = Address::of(&batch.spec.connector);
        script
            .add(FORGET)
            .bind(address.dataset.as_str())
            .bind(result::json(&found))
            .bind(address.sha256.as_slice());
    }
    let ttl = ttl.and_then(|ttl| TimeDelta::from_std(ttl).ok());
    if let Some(ttl) = ttl.filter(|_| !missing.is_empty()) {
        let address = Address::of(&batch.spec.connector);
        let as_of = batch.spec.as_of.time;
        script
            .add(REMEMBER)
            .bind(address.dataset.as_str())
            .bind(address.sha256.as_slice())
            .bind(ms(as_of))
            .bind(ms(as_of + ttl))
            .bind(batch.id.as_str())
            .bind(ms(as_of.max(now) + ttl))
            .bind(result::json(&missing));
    }
}

/// A page of what is remembered.
pub(super) async fn list(
    readers: &SqlitePool,
    dataset: Dataset,
    after: Option<&MissingPlace>,
    limit: usize,
) -> Result<Vec<MissingKey>, StoreError> {
    let rows = sqlx::query(
        "SELECT number, item_key, reason, http_status, as_of_at, expire_at, batch_name FROM missing_keys
         WHERE dataset = $1
           AND (item_key, number) > (coalesce((SELECT item_key FROM missing_keys WHERE number = $2), $3), $2)
         ORDER BY item_key, number LIMIT $4",
    )
    .bind(dataset.as_str())
    .bind(after.map_or(0, |place| place.number))
    .bind(after.map_or("", |place| place.key.as_str()))
    .bind(limit as i64)
    .fetch_all(readers)
    .await
    .map_err(error::store)?;
    Ok(rows.iter().map(from_row).collect())
}

fn from_row(row: &SqliteRow) -> MissingKey {
    MissingKey {
        number: row.get("number"),
        key: row.get("item_key"),
        reason: row.get("reason"),
        http_status: row.get::<Option<i64>, _>("http_status").and_then(|status| status.try_into().ok()),
        as_of: instant(row.get("as_of_at")),
        expires_at: instant(row.get("expire_at")),
        batch: row.get("batch_name"),
    }
}

/// Forgets these keys, or all of them, a bounded number in each transaction.
pub(super) async fn clear(
    store: &SqliteStore,
    dataset: Dataset,
    keys: Option<&[String]>,
) -> Result<u64, StoreError> {
    let which = match keys {
        Some(_) => "json_each($2) CROSS JOIN missing_keys ON dataset = $1 AND item_key = value",
        None => "missing_keys WHERE dataset = $1 AND $2 IS NULL",
    };
    let delete =
        format!("DELETE FROM missing_keys WHERE number IN (SELECT number FROM {which} LIMIT {CLEARED_ROWS})");
    let keys = keys.map(result::json);
    let mut cleared = 0;
    loop {
        let mut tx = store.begin().await?;
        let gone = sqlx::query(AssertSqlSafe(delete.as_str()))
            .bind(dataset.as_str())
            .bind(&keys)
            .execute(&mut *tx)
            .await
            .map_err(error::store)?
            .rows_affected();
        tx.commit().await.map_err(error::store)?;
        cleared += gone;
        if gone < CLEARED_ROWS as u64 {
            return Ok(cleared);
        }
    }
}

/// Forgets what has expired, so many at most.
pub(super) async fn expire(
    conn: &mut SqliteConnection,
    now: DateTime<Utc>,
    rows: i64,
) -> Result<u64, sqlx::Error> {
    let gone = sqlx::query(
        "DELETE FROM missing_keys WHERE number IN (SELECT number FROM missing_keys WHERE purge_at <= $1 LIMIT $2)",
    );
    Ok(gone.bind(ms(now)).bind(rows).execute(conn).await?.rows_affected())
}
