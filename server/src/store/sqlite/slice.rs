//! Claims.

use chrono::{DateTime, Utc};
use sqlx::Row;

use super::{SqliteStore, error, instant, lost::LOST_MAX, ms, script::Script};
use crate::{
    domain::{
        failure::CREDENTIALS_REFUSED,
        id::{BatchSeq, Epoch, NodeId, SliceNo},
        item::OpenItem,
    },
    failpoint,
    store::{Claim, LeasedSlice, StoreError},
};

/// One more loss is too many: it is not handed to a sixth worker as it is.
const GIVE_UP: &str = "UPDATE batch_slices SET status = 'READY', owner = NULL, lease_until_at = NULL, lost_count = lost_count + 1,
       lost_in_row = lost_in_row + 1
     WHERE batch_seq = ? AND status = 'LEASED' AND lease_until_at <= ? AND lost_in_row + 1 >= ?
       AND batch_seq IN (SELECT seq FROM batch_executions WHERE status = 'RUNNING')";

/// Expired leases first, then what was parked and is due, then what nobody had yet.
const LEASE: &str = "WITH asked (batch_seq, now) AS (SELECT seq, ? FROM batch_executions WHERE seq = ? AND status = 'RUNNING')
     UPDATE batch_slices AS slice SET lost_count = lost_count + (status = 'LEASED'),
       lost_in_row = lost_in_row + (status = 'LEASED'), status = 'LEASED', owner = ?, epoch = epoch + 1, lease_until_at = ?
     FROM asked WHERE slice.batch_seq = asked.batch_seq AND slice.slice_no = coalesce(
       (SELECT slice_no FROM batch_slices WHERE batch_seq = asked.batch_seq AND status = 'LEASED' AND lease_until_at <= now
        ORDER BY lease_until_at LIMIT 1),
       (SELECT slice_no FROM batch_slices WHERE batch_seq = asked.batch_seq AND status = 'READY' AND ready_at > 0
          AND ready_at <= now AND lost_in_row < 5 ORDER BY ready_at, slice_no LIMIT 1),
       (SELECT slice_no FROM batch_slices WHERE batch_seq = asked.batch_seq AND status = 'READY' AND ready_at = 0
          AND lost_in_row < 5 ORDER BY slice_no LIMIT 1))
     RETURNING slice_no, epoch, first_index, end_index";

const NEXT: &str = "SELECT min(ready_at) AS ready_at FROM batch_slices WHERE batch_seq = ? AND status = 'READY' AND lost_in_row < 5
       AND batch_seq IN (SELECT seq FROM batch_executions WHERE status = 'RUNNING')";

const OPEN_ITEMS: &str = "SELECT item_index, item_key, columns, attempts, recorded_attempts, not_before_at,
       CASE WHEN error_reason = ? THEN (
         SELECT a.started_at FROM item_attempts a JOIN batch_executions b ON b.seq = a.batch_seq
         WHERE a.batch_seq = d.batch_seq AND a.item_index = d.item_index AND a.number = d.recorded_attempts
           AND a.error_class = 'SYSTEM' AND a.error_reason = d.error_reason AND a.started_at >= b.state_since_at
       ) END AS refused_at
     FROM batch_execution_details d
     WHERE batch_seq = ? AND item_index >= ? AND item_index < ? AND status = 'PENDING' ORDER BY item_index";

/// Two ways to the engine's thread: the slice, then its open items.
pub(super) async fn claim(
    store: &SqliteStore,
    batch: BatchSeq,
    node: &NodeId,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Claim, StoreError> {
    failpoint::tried("store.begin").await?;
    claim_in(store, batch, node, now, until).await.map_err(error::store)
}

async fn claim_in(
    store: &SqliteStore,
    batch: BatchSeq,
    node: &NodeId,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Claim, sqlx::Error> {
    let mut script = Script::default();
    script.add(GIVE_UP).bind(batch.0).bind(ms(now)).bind(LOST_MAX);
    script.add(LEASE).bind(ms(now)).bind(batch.0).bind(node.as_str()).bind(ms(until));
    script.add(NEXT).bind(batch.0);
    let (tx, ran) = store.writer.begin_with(script).await?;
    let [_, leased, next] = &ran[..] else { return Err(sqlx::Error::RowNotFound) };
    let ready_at = next.first().and_then(|row| row.get::<Option<i64>, _>("ready_at")).map(instant);
    let Some(slice) = leased.first() else {
        tx.commit().await?;
        return Ok(Claim { slice: None, ready_at });
    };
    let mut script = Script::default();
    script
        .add(OPEN_ITEMS)
        // Refused since the batch runs: a repair is judged anew.
        .bind(CREDENTIALS_REFUSED)
        .bind(batch.0)
        .bind(slice.get::<i64, _>("first_index"))
        .bind(slice.get::<i64, _>("end_index"));
    let ran = tx.commit_with(script).await?;
    let items = ran.first().ok_or(sqlx::Error::RowNotFound)?;
    let items = items
        .iter()
        .map(|row| OpenItem {
            index: row.get("item_index"),
            key: row.get("item_key"),
            columns: row.get("columns"),
            attempts: row.get("attempts"),
            recorded: row.get("recorded_attempts"),
            not_before: row.get::<Option<i64>, _>("not_before_at").map(instant),
            refused_at: row.get::<Option<i64>, _>("refused_at").map(instant),
        })
        .collect();
    let (no, epoch) = (SliceNo(slice.get("slice_no")), Epoch(slice.get("epoch")));
    Ok(Claim { slice: Some(LeasedSlice { no, epoch, items }), ready_at })
}
