//! Idempotency keys. Each is stored in the transaction of the effect that it stands for.

use chrono::{DateTime, Utc};
use sqlx::{Row, SqliteConnection};

use super::{
    error, ms,
    script::{Ran, Script},
};
use crate::{
    domain::id::{BatchId, BatchSeq},
    store::{RequestKey, StoreError},
};

/// A request that was answered before under the same id.
pub(super) struct Before {
    /// The batch that it changed or made.
    pub(super) batch: BatchSeq,
    /// It was this very request.
    pub(super) is_same: bool,
}

/// What this id was used for before, if that is known and not forgotten.
pub(super) async fn before(
    conn: &mut SqliteConnection,
    key: &RequestKey,
    now: DateTime<Utc>,
) -> Result<Option<Before>, StoreError> {
    let mut script = Script::default();
    ask(&mut script, key, now);
    let ran = script.run(conn).await.map_err(error::store)?;
    Ok(ran.first().and_then(|rows| answer(rows, key)))
}

/// Adds the question for [`Before`].
pub(super) fn ask(script: &mut Script, key: &RequestKey, now: DateTime<Utc>) {
    script
        .add(
            "SELECT r.request_sha256, b.seq FROM requests r JOIN batch_executions b ON b.name = r.batch_name
             WHERE r.principal = '' AND r.rpc = ? AND r.request_id = ? AND (r.expires_at > ? OR b.ended_at IS NULL)",
        )
        .bind(key.rpc)
        .bind(&key.id)
        .bind(ms(now));
}

/// What came of it.
pub(super) fn answer(rows: &Ran, key: &RequestKey) -> Option<Before> {
    rows.first().map(|row| Before {
        batch: BatchSeq(row.get("seq")),
        is_same: row.get::<&[u8], _>("request_sha256") == key.sha256,
    })
}

/// Remembers what the request changed or made.
pub(super) fn remember(script: &mut Script, key: &RequestKey, batch: &BatchId) {
    script
        .add(
            "INSERT OR REPLACE INTO requests (principal, rpc, request_id, request_sha256, batch_name, expires_at)
             VALUES ('', ?, ?, ?, ?, ?)",
        )
        .bind(key.rpc)
        .bind(&key.id)
        .bind(key.sha256.as_slice())
        .bind(batch.as_str())
        .bind(ms(key.expires_at));
}
