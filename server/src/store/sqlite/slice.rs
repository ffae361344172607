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
     WHERE batch_seq = ? AND status = 'LEASED' AND lease_until_at <= ? AND lost_in_row + 1 >= ?";

/// The slice that is next, to be bound with batch, now, batch, now, batch: expired leases first, then what was parked and
/// is due, then what nobody had yet.
const FREE: &str = "coalesce(
       (SELECT slice_no FROM batch_slices WHERE batch_seq = ? AND status = 'LEASED' AND lease_until_at <= ?
        ORDER BY lease_until_at LIMIT 1),
       (SELECT slice_no FROM batch_slices WHERE batch_seq = ? AND status = 'READY' AND ready_at > 0
          AND ready_at <= ? AND lost_in_row < 5 ORDER BY ready_at, slice_no LIMIT 1),
       (SELECT slice_no FROM batch_slices WHERE batch_seq = ? AND status = 'READY' AND ready_at = 0
          AND lost_in_row < 5 ORDER BY slice_no LIMIT 1))";

const RUNS: &str = " AND batch_seq IN (SELECT seq FROM batch_executions WHERE status = 'RUNNING')";

/// The open items of the slice that is about to be leased.
const OPEN_ITEMS: &str = "SELECT item_index, item_key, columns, attempts, recorded_attempts, not_before_at,
       CASE WHEN error_reason = ? THEN (
         SELECT a.started_at FROM item_attempts a JOIN batch_executions b ON b.seq = a.batch_seq
         WHERE a.batch_seq = d.batch_seq AND a.item_index = d.item_index AND a.number = d.recorded_attempts
           AND a.error_class = 'SYSTEM' AND a.error_reason = d.error_reason AND a.started_at >= b.state_since_at
       ) END AS refused_at
     FROM (SELECT first_index, end_index FROM batch_slices WHERE batch_seq = ? AND slice_no = ";
const OF_THE_SLICE: &str = ") CROSS JOIN batch_execution_details d
     WHERE d.batch_seq = ? AND item_index >= first_index AND item_index < end_index AND d.status = 'PENDING'
     ORDER BY item_index";

const LEASE: &str = "UPDATE batch_slices SET lost_count = lost_count + (status = 'LEASED'),
       lost_in_row = lost_in_row + (status = 'LEASED'), status = 'LEASED', owner = ?, epoch = epoch + 1, lease_until_at = ?
     WHERE batch_seq = ? AND slice_no = ";

const NEXT: &str = "SELECT min(ready_at) AS ready_at FROM batch_slices WHERE batch_seq = ? AND status = 'READY' AND lost_in_row < 5";

/// Adds the slice that is next.
fn add_free(script: &mut Script, batch: BatchSeq, now: DateTime<Utc>) -> &mut Script {
    let (batch, now) = (batch.0, ms(now));
    script.then(FREE).bind(batch).bind(now).bind(batch).bind(now).bind(batch)
}

/// One way to the engine's thread.
pub(super) async fn claim(
    store: &SqliteStore,
    batch: BatchSeq,
    node: &NodeId,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Claim, StoreError> {
    let mut script = Script::default();
    script.add(GIVE_UP).then(RUNS).bind(batch.0).bind(ms(now)).bind(LOST_MAX);
    // Refused since the batch runs: a repair is judged anew.
    script.add(OPEN_ITEMS).bind(CREDENTIALS_REFUSED).bind(batch.0);
    add_free(&mut script, batch, now).then(OF_THE_SLICE).bind(batch.0);
    script.add(LEASE).bind(node.as_str()).bind(ms(until)).bind(batch.0);
    add_free(&mut script, batch, now).then(RUNS).then(" RETURNING slice_no, epoch");
    script.add(NEXT).then(RUNS).bind(batch.0);
    failpoint::tried("store.begin").await?;
    let ran = store.writer.transact(script).await.map_err(error::store)?;
    let [_, items, leased, next] = &ran[..] else { return Err(error::store(sqlx::Error::RowNotFound)) };
    let ready_at = next.first().and_then(|row| row.get::<Option<i64>, _>("ready_at")).map(instant);
    let Some(slice) = leased.first() else { return Ok(Claim { slice: None, ready_at }) };
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
