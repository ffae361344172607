//! Items that were held back after a refusal, and whose own fault that is by now: FAILED by the attempt that they had.

use std::collections::HashSet;

use sqlx::SqliteConnection;

use super::{SqliteStore, error, ms, result, script::Script, transition};
use crate::{
    domain::{
        failure::CREDENTIALS_REFUSED,
        id::{Epoch, SliceNo},
    },
    store::{Changed, Committed, Refusals, StoreError},
};

pub(super) async fn fail(store: &SqliteStore, refusals: &Refusals) -> Result<Committed, StoreError> {
    let (batch, now) = (refusals.batch, refusals.now);
    let mut tx = store.begin().await?;
    let (fenced, script) = fail_in(&mut tx, refusals).await.map_err(error::store)?;
    let slots = store.limits.running_batches;
    let settled = transition::settled(&mut tx, script, batch, None, slots, now);
    let (admitted, script) = settled.await.map_err(error::store)?;
    let Changed { batch, admitted } = store.commit_change(tx, script, batch, &admitted).await?;
    Ok(Committed { batch, admitted, fenced: fenced.into_iter().collect(), rejected: Vec::new() })
}

/// Answers with the slices that were not the caller's any more.
async fn fail_in(
    conn: &mut SqliteConnection,
    refusals: &Refusals,
) -> Result<(HashSet<SliceNo>, Script), sqlx::Error> {
    let batch = refusals.batch;
    let (mut fenced, mut failed, mut retried) = (HashSet::new(), Vec::new(), 0);
    for (slice, epoch, index) in &refusals.items {
        if !take(conn, refusals, *slice, *epoch).await? {
            fenced.insert(*slice);
            continue;
        }
        let attempts_before = fail_item(conn, refusals, *index).await?;
        retried += i64::from(attempts_before > 0);
        failed.push(*index);
    }
    let mut script = Script::default();
    if failed.is_empty() {
        return Ok((fenced, script));
    }
    // They were counted with class SYSTEM when they were held back.
    sqlx::query(
        "UPDATE batch_executions SET failed_count = failed_count + $2, permanent_items = permanent_items + $2,
           system_attempts = system_attempts - $2, permanent_attempts = permanent_attempts + $2,
           retried_attempts = retried_attempts + $3, revision = revision + 1
         WHERE seq = $1",
    )
    .bind(batch.0)
    .bind(failed.len() as i64)
    .bind(retried)
    .execute(&mut *conn)
    .await?;
    result::append(&mut script, batch, &failed);
    Ok((fenced, script))
}

/// One item less is open in a slice. Answers whether it is the caller's.
async fn take(
    conn: &mut SqliteConnection,
    refusals: &Refusals,
    slice: SliceNo,
    epoch: Epoch,
) -> Result<bool, sqlx::Error> {
    let taken = sqlx::query(
        "UPDATE batch_slices SET
           open_count = open_count - 1,
           status = CASE WHEN open_count = 1 THEN 'DONE' ELSE status END,
           owner = CASE WHEN open_count > 1 THEN owner END,
           lease_until_at = CASE WHEN open_count > 1 THEN lease_until_at END,
           lost_in_row = 0
         WHERE batch_seq = $1 AND slice_no = $2 AND epoch = $3 AND owner = $4 AND status = 'LEASED'",
    )
    .bind(refusals.batch.0)
    .bind(slice.0)
    .bind(epoch.0)
    .bind(refusals.node.as_str())
    .execute(conn)
    .await?;
    Ok(taken.rows_affected() == 1)
}

/// Answers with the attempts that had been charged before.
async fn fail_item(conn: &mut SqliteConnection, refusals: &Refusals, index: i64) -> Result<i64, sqlx::Error> {
    let failure = &refusals.failure;
    let (attempts, number): (i64, i64) = sqlx::query_as(
        "UPDATE batch_execution_details SET status = 'FAILED', attempts = attempts + 1, error_class = $3,
           error_reason = $4, error_message = $5, first_active_ms = NULL, updated_at = $6
         WHERE batch_seq = $1 AND item_index = $2 AND status = 'PENDING' AND error_reason = $7
         RETURNING attempts, recorded_attempts",
    )
    .bind(refusals.batch.0)
    .bind(index)
    .bind(failure.class.as_str())
    .bind(&failure.reason)
    .bind(&failure.message)
    .bind(ms(refusals.now))
    .bind(CREDENTIALS_REFUSED)
    .fetch_one(&mut *conn)
    .await?;
    sqlx::query(
        "UPDATE item_attempts SET charged = 1, error_class = $4, error_reason = $5, error_message = $6
         WHERE batch_seq = $1 AND item_index = $2 AND number = $3",
    )
    .bind(refusals.batch.0)
    .bind(index)
    .bind(number)
    .bind(failure.class.as_str())
    .bind(&failure.reason)
    .bind(&failure.message)
    .execute(conn)
    .await?;
    Ok(attempts - 1)
}
