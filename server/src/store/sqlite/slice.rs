//! Claims.

use chrono::{DateTime, Utc};
use sqlx::{Row, SqliteConnection};

use super::{SqliteStore, error, instant, lost::LOST_MAX, ms};
use crate::{
    domain::{
        id::{BatchSeq, Epoch, NodeId, SliceNo},
        item::OpenItem,
    },
    store::{Claim, LeasedSlice, StoreError},
};

pub(super) async fn claim(
    store: &SqliteStore,
    batch: BatchSeq,
    node: &NodeId,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Claim, StoreError> {
    let mut tx = store.begin().await?;
    let claim = claim_in(&mut tx, batch, node, now, until).await.map_err(error::store)?;
    tx.commit().await.map_err(error::store)?;
    Ok(claim)
}

/// Expired leases first, then what was parked and is due, then what nobody had yet.
const CHOICES: [&str; 3] = [
    "SELECT slice_no FROM batch_slices WHERE batch_seq = $1 AND status = 'LEASED' AND lease_until_at <= $2
     ORDER BY lease_until_at LIMIT 1",
    "SELECT slice_no FROM batch_slices WHERE batch_seq = $1 AND status = 'READY' AND ready_at > 0 AND ready_at <= $2
       AND lost_in_row < 5 ORDER BY ready_at, slice_no LIMIT 1",
    "SELECT slice_no FROM batch_slices WHERE batch_seq = $1 AND status = 'READY' AND ready_at = 0 AND $2 = $2
       AND lost_in_row < 5 ORDER BY slice_no LIMIT 1",
];

async fn claim_in(
    conn: &mut SqliteConnection,
    batch: BatchSeq,
    node: &NodeId,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Claim, sqlx::Error> {
    let running: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM batch_executions WHERE seq = $1 AND status = 'RUNNING')",
    )
    .bind(batch.0)
    .fetch_one(&mut *conn)
    .await?;
    if !running {
        return Ok(Claim::Nothing { ready_at: None });
    }
    // One more loss is too many: it is not handed to a sixth worker as it is.
    sqlx::query(
        "UPDATE batch_slices SET status = 'READY', owner = NULL, lease_until_at = NULL, lost_count = lost_count + 1,
           lost_in_row = lost_in_row + 1
         WHERE batch_seq = $1 AND status = 'LEASED' AND lease_until_at <= $2 AND lost_in_row + 1 >= $3",
    )
    .bind(batch.0)
    .bind(ms(now))
    .bind(LOST_MAX)
    .execute(&mut *conn)
    .await?;
    for choice in CHOICES {
        let no: Option<i64> =
            sqlx::query_scalar(choice).bind(batch.0).bind(ms(now)).fetch_optional(&mut *conn).await?;
        if let Some(no) = no {
            return lease(conn, batch, SliceNo(no), node, until).await.map(Claim::Slice);
        }
    }
    let ready_at: Option<i64> = sqlx::query_scalar(
        "SELECT min(ready_at) FROM batch_slices WHERE batch_seq = $1 AND status = 'READY' AND lost_in_row < 5",
    )
    .bind(batch.0)
    .fetch_one(conn)
    .await?;
    Ok(Claim::Nothing { ready_at: ready_at.map(instant) })
}

async fn lease(
    conn: &mut SqliteConnection,
    batch: BatchSeq,
    no: SliceNo,
    node: &NodeId,
    until: DateTime<Utc>,
) -> Result<LeasedSlice, sqlx::Error> {
    let slice = sqlx::query(
        "UPDATE batch_slices SET lost_count = lost_count + (status = 'LEASED'),
           lost_in_row = lost_in_row + (status = 'LEASED'), status = 'LEASED', owner = $3,
           epoch = epoch + 1, lease_until_at = $4
         WHERE batch_seq = $1 AND slice_no = $2
         RETURNING epoch, first_index, end_index",
    )
    .bind(batch.0)
    .bind(no.0)
    .bind(node.as_str())
    .bind(ms(until))
    .fetch_one(&mut *conn)
    .await?;
    let items = sqlx::query(
        "SELECT item_index, item_key, columns, attempts, recorded_attempts, not_before_at FROM batch_execution_details
         WHERE batch_seq = $1 AND item_index >= $2 AND item_index < $3 AND status = 'PENDING' ORDER BY item_index",
    )
    .bind(batch.0)
    .bind(slice.get::<i64, _>("first_index"))
    .bind(slice.get::<i64, _>("end_index"))
    .fetch_all(conn)
    .await?;
    let items = items
        .iter()
        .map(|row| OpenItem {
            index: row.get("item_index"),
            key: row.get("item_key"),
            columns: row.get("columns"),
            attempts: row.get("attempts"),
            recorded: row.get("recorded_attempts"),
            not_before: row.get::<Option<i64>, _>("not_before_at").map(instant),
        })
        .collect();
    Ok(LeasedSlice { no, epoch: Epoch(slice.get("epoch")), items })
}
