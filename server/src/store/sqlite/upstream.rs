//! What is durable of upstreams.

use sqlx::{Row, SqlitePool};

use super::{error, instant, ms};
use crate::{
    domain::upstream::{UpstreamId, UpstreamRecord},
    store::StoreError,
};

pub(super) async fn all(pool: &SqlitePool) -> Result<Vec<UpstreamRecord>, StoreError> {
    let rows = sqlx::query("SELECT * FROM upstreams ORDER BY upstream")
        .fetch_all(pool)
        .await
        .map_err(error::store)?;
    Ok(rows
        .iter()
        .map(|row| UpstreamRecord {
            id: UpstreamId::stored(row.get("upstream")),
            host: row.get("host"),
            rate_per_s: row.get("rate_per_s"),
            burst: row.get("burst"),
            held_until: row.get::<Option<i64>, _>("held_until_at").map(instant),
            push_backs: row.get("push_backs"),
        })
        .collect())
}

pub(super) async fn put(pool: &SqlitePool, upstream: &UpstreamRecord) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO upstreams (upstream, host, rate_per_s, burst, held_until_at, push_backs)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (upstream) DO UPDATE SET host = excluded.host, rate_per_s = excluded.rate_per_s,
           burst = excluded.burst, held_until_at = excluded.held_until_at, push_backs = excluded.push_backs",
    )
    .bind(upstream.id.as_str())
    .bind(&upstream.host)
    .bind(upstream.rate_per_s)
    .bind(i64::from(upstream.burst))
    .bind(upstream.held_until.map(ms))
    .bind(i64::from(upstream.push_backs))
    .execute(pool)
    .await
    .map_err(error::store)?;
    Ok(())
}
