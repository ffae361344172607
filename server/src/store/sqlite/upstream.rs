//! What is durable of upstreams.

use std::time::Duration;

use sqlx::{Row, SqlitePool, sqlite::SqliteRow};

use super::{error, instant, ms, writer::Writer};
use crate::{
    domain::upstream::{Tripped, UpstreamId, UpstreamRecord},
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
            tripped: tripped(row),
        })
        .collect())
}

fn tripped(row: &SqliteRow) -> Option<Tripped> {
    Some(Tripped {
        since: instant(row.get::<Option<i64>, _>("tripped_at")?),
        probe_at: instant(row.get::<Option<i64>, _>("probe_at")?),
        wait: Duration::from_millis(row.get::<i64, _>("probe_wait_ms").try_into().unwrap_or(0)),
    })
}

pub(super) async fn put(writer: &Writer, upstream: &UpstreamRecord) -> Result<(), StoreError> {
    let mut conn = writer.turn().await.map_err(error::store)?;
    sqlx::query(
        "INSERT INTO upstreams
           (upstream, host, rate_per_s, burst, held_until_at, push_backs, tripped_at, probe_at, probe_wait_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (upstream) DO UPDATE SET host = excluded.host, rate_per_s = excluded.rate_per_s,
           burst = excluded.burst, held_until_at = excluded.held_until_at, push_backs = excluded.push_backs,
           tripped_at = excluded.tripped_at, probe_at = excluded.probe_at, probe_wait_ms = excluded.probe_wait_ms",
    )
    .bind(upstream.id.as_str())
    .bind(&upstream.host)
    .bind(upstream.rate_per_s)
    .bind(i64::from(upstream.burst))
    .bind(upstream.held_until.map(ms))
    .bind(i64::from(upstream.push_backs))
    .bind(upstream.tripped.map(|tripped| ms(tripped.since)))
    .bind(upstream.tripped.map(|tripped| ms(tripped.probe_at)))
    .bind(upstream.tripped.map_or(0, |tripped| tripped.wait.as_millis() as i64))
    .execute(&mut *conn)
    .await
    .map_err(error::store)?;
    Ok(())
}
