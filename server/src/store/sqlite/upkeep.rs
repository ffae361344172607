//! Recovery at the start of a process, and the ends that nobody else sees to.

use chrono::{DateTime, Utc};
use sqlx::SqliteConnection;

use super::{SqliteStore, error, lost, ms, overlap, script::Script, transition};
use crate::{
    clock::SetBack,
    domain::{
        batch::{Batch, State},
        id::BatchSeq,
    },
    failpoint,
    store::StoreError,
};

pub(super) async fn recover(store: &SqliteStore, now: DateTime<Utc>) -> Result<Vec<Batch>, StoreError> {
    let mut tx = store.begin().await?;
    let working = recover_in(&mut tx, store.limits.running_batches, now).await.map_err(error::store)?;
    failpoint::tried("recover.written").await?;
    store.commit_all(tx, Script::default(), &working).await
}

async fn recover_in(
    conn: &mut SqliteConnection,
    running_batches: usize,
    now: DateTime<Utc>,
) -> Result<Vec<BatchSeq>, sqlx::Error> {
    // The epoch stays: the next claim raises it, and with it refuses whatever an old process may still try.
    sqlx::query(
        "UPDATE batch_slices SET status = 'READY', owner = NULL, lease_until_at = NULL, lost_count = lost_count + 1,
           lost_in_row = lost_in_row + 1
         WHERE status = 'LEASED'",
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query("UPDATE batch_executions SET source_lease_at = NULL WHERE source_lease_at IS NOT NULL")
        .execute(&mut *conn)
        .await?;
    for seq in unsettled(&mut *conn, now).await? {
        transition::settle(conn, seq, None, now).await?;
    }
    let (_, script) = overlap::admit(conn, Script::default(), running_batches, now).await?;
    script.run(conn).await?;
    let working: Vec<i64> =
        sqlx::query_scalar("SELECT seq FROM batch_executions WHERE status = $1 ORDER BY seq")
            .bind(State::Running.as_str())
            .fetch_all(conn)
            .await?;
    Ok(working.into_iter().map(BatchSeq).collect())
}

/// Batches that drain, or whose time is over.
async fn unsettled(
    db: impl sqlx::SqliteExecutor<'_>,
    now: DateTime<Utc>,
) -> Result<Vec<BatchSeq>, sqlx::Error> {
    // Those with a slot have an index of their own.
    let seqs: Vec<i64> = sqlx::query_scalar(
        "SELECT seq FROM batch_executions WHERE status IN ('RUNNING', 'PAUSING', 'STOPPING') AND status <> 'RUNNING'
         UNION SELECT seq FROM batch_executions
           WHERE deadline_at <= $1 AND status NOT IN ('COMPLETED', 'FAILED', 'STOPPED')",
    )
    .bind(ms(now))
    .fetch_all(db)
    .await?;
    Ok(seqs.into_iter().map(BatchSeq).collect())
}

pub(super) async fn settle(store: &SqliteStore, now: DateTime<Utc>) -> Result<Vec<Batch>, StoreError> {
    // Mostly there is none, and then no lock is taken.
    let mut seqs = unsettled(&store.readers, now).await.map_err(error::store)?;
    let broken = lost::batches(&store.readers).await.map_err(error::store)?;
    let running_batches = store.limits.running_batches;
    let next = overlap::next(&store.readers, running_batches, now).await.map_err(error::store)?;
    if seqs.is_empty() && broken.is_empty() && next.is_none() {
        return Ok(Vec::new());
    }
    let mut tx = store.begin().await?;
    for seq in &seqs {
        transition::settle(&mut tx, *seq, None, now).await.map_err(error::store)?;
    }
    // Looked for again: one that was paused meanwhile rests.
    for seq in lost::batches(&mut *tx).await.map_err(error::store)? {
        lost::break_up(&mut tx, seq, now).await.map_err(error::store)?;
        seqs.push(seq);
    }
    let admitted = overlap::admit(&mut tx, Script::default(), running_batches, now);
    let (mut moved, script) = admitted.await.map_err(error::store)?;
    moved.extend(seqs);
    store.commit_all(tx, script, &moved).await
}

pub(super) async fn set_back(store: &SqliteStore, step: SetBack) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    for sql in [
        "UPDATE batch_slices SET ready_at = ready_at - $1 WHERE status = 'READY' AND ready_at >= $2",
        "UPDATE batch_slices SET lease_until_at = lease_until_at - $1 WHERE status = 'LEASED' AND lease_until_at >= $2",
        "UPDATE batch_execution_details SET not_before_at = not_before_at - $1
         WHERE status = 'PENDING' AND not_before_at >= $2
           AND batch_seq IN (SELECT seq FROM batch_executions WHERE ended_at IS NULL)",
    ] {
        let moved = sqlx::query(sql).bind(step.by.num_milliseconds()).bind(ms(step.from));
        moved.execute(&mut *tx).await.map_err(error::store)?;
    }
    tx.commit().await.map_err(error::store)
}
