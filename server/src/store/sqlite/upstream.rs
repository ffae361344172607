//! What is durable of upstreams.

use std::time::Duration;

use sqlx::{Row, SqlitePool, sqlite::SqliteRow};

use super::{error, instant, ms, writer::Writer};
use crate::{
    domain::upstream::{AskedHold, Configured, OperatorHold, Slowed, Tripped, UpstreamId, UpstreamRecord},
    store::StoreError,
};

pub(super) async fn all(pool: &SqlitePool) -> Result<Vec<UpstreamRecord>, StoreError> {
    let rows = sqlx::query("SELECT * FROM upstreams ORDER BY upstream")
        .fetch_all(pool)
        .await
        .map_err(error::store)?;
    Ok(rows.iter().map(from_row).collect())
}

pub(super) async fn one(pool: &SqlitePool, id: &UpstreamId) -> Result<Option<UpstreamRecord>, StoreError> {
    let row = sqlx::query("SELECT * FROM upstreams WHERE upstream = $1")
        .bind(id.as_str())
        .fetch_optional(pool)
        .await
        .map_err(error::store)?;
    Ok(row.as_ref().map(from_row))
}

fn from_row(row: &SqliteRow) -> UpstreamRecord {
    let at = |column| row.get::<Option<i64>, _>(column).map(instant);
    UpstreamRecord {
        id: UpstreamId::stored(row.get("upstream")),
        host: row.get("host"),
        configured: Configured {
            rate_per_s: row.get("configured_rate_per_s"),
            burst: row.get("configured_burst"),
            in_flight_max: row.get("configured_in_flight_max"),
        },
        rate_per_s: row.get("rate_per_s"),
        burst: row.get("burst"),
        // Of one that was stored before its beginning was, only the end is known.
        held: at("held_until_at").map(|until| AskedHold { since: at("held_since_at"), until }),
        push_backs: row.get("push_backs"),
        tripped: tripped(row),
        slowed: at("paced_from_at").map(|from| Slowed { share: row.get("pace"), from }),
        operator: at("operator_since_at").map(|since| OperatorHold {
            since,
            until: at("operator_until_at"),
            reason: row.get("operator_reason"),
        }),
    }
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
    let operator = upstream.operator.as_ref();
    sqlx::query(
        "INSERT OR REPLACE INTO upstreams
           (upstream, host, rate_per_s, burst, held_until_at, push_backs, tripped_at, probe_at, probe_wait_ms,
            configured_rate_per_s, configured_burst, configured_in_flight_max, operator_since_at, operator_until_at,
            operator_reason, pace, paced_from_at, held_since_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
    )
    .bind(upstream.id.as_str())
    .bind(&upstream.host)
    .bind(upstream.rate_per_s)
    .bind(i64::from(upstream.burst))
    .bind(upstream.held.map(|held| ms(held.until)))
    .bind(i64::from(upstream.push_backs))
    .bind(upstream.tripped.map(|tripped| ms(tripped.since)))
    .bind(upstream.tripped.map(|tripped| ms(tripped.probe_at)))
    .bind(upstream.tripped.map_or(0, |tripped| tripped.wait.as_millis() as i64))
    .bind(upstream.configured.rate_per_s)
    .bind(upstream.configured.burst.map(i64::from))
    .bind(upstream.configured.in_flight_max.map(i64::from))
    .bind(operator.map(|hold| ms(hold.since)))
    .bind(operator.and_then(|hold| hold.until).map(ms))
    .bind(operator.map(|hold| hold.reason.as_str()).unwrap_or_default())
    .bind(upstream.slowed.map_or(1.0, |slowed| slowed.share))
    .bind(upstream.slowed.map(|slowed| ms(slowed.from)))
    .bind(upstream.held.and_then(|held| held.since).map(ms))
    .execute(&mut *conn)
    .await
    .map_err(error::store)?;
    Ok(())
}
