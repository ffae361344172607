//! Items: what an attempt leaves in them, and what readers see of them.

use std::time::Duration;

use sqlx::{Row, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{batch::optional_word, batch::word, error, instant, ms};
use crate::{
    domain::{
        failure::{Failure, FailureClass},
        id::BatchSeq,
        item::{Item, KeptBody, Next, Outcome, Reply, State},
        report::{FailureGroup, GROUPS_MAX, SAMPLE_KEYS_MAX},
    },
    store::{Commit, FetchedBody, Recording, StoreError},
};

/// Given back before a request was sent, and with no time to wait for: the item is as it was.
pub(super) fn is_untouched(recording: &Recording) -> bool {
    recording.attempt.requests == 0 && recording.attempt.outcome == Outcome::Released { not_before: None }
}

/// Writes the item's row, and the attempt's if it is worth one.
pub(super) async fn record(
    conn: &mut SqliteConnection,
    commit: &Commit,
    recording: &Recording,
    records: i64,
    changed: i64,
) -> Result<(), sqlx::Error> {
    let number = recording.item.recorded + 1;
    let tells = recording.is_worth_a_row();
    let attempt = &recording.attempt;
    let (becomes, is_charged, not_before) = match recording.next {
        Next::Succeeded => ("SUCCEEDED", true, None),
        Next::Failed => ("FAILED", true, None),
        Next::HeldBack => ("PENDING", false, None),
        // What waited already goes on waiting.
        Next::Open { charged, not_before, .. } => {
            ("PENDING", charged, not_before.or(recording.item.not_before))
        }
    };
    let (reply, failure, outcome, left_out) = match &attempt.outcome {
        Outcome::Succeeded { reply, records } => (Some(reply), None, "SUCCEEDED", records.left_out()),
        Outcome::Failed(failure) => (None, Some(failure), "FAILED", 0),
        Outcome::Released { .. } if is_untouched(recording) => return Ok(()),
        Outcome::Released { .. } => (None, None, "RELEASED", 0),
    };
    let http_status = reply
        .map(|reply| reply.http_status)
        .or_else(|| failure.and_then(|failure| failure.http_status))
        .map(i64::from);
    let class = failure.map(|failure| failure.class.as_str());
    let reason = failure.map(|failure| failure.reason.as_str());
    let message = failure.map(|failure| failure.message.as_str());
    let retry_after = failure.and_then(|failure| failure.retry_after).map(|wait| wait.as_millis() as i64);

    let written = sqlx::query(
        "UPDATE batch_execution_details SET
           status = $3, attempts = attempts + $4, recorded_attempts = recorded_attempts + $5, not_before_at = $6,
           error_class = CASE WHEN $21 THEN error_class ELSE $7 END,
           error_reason = CASE WHEN $21 THEN error_reason ELSE $8 END,
           error_message = CASE WHEN $21 THEN error_message ELSE $9 END,
           retry_after_ms = CASE WHEN $21 THEN retry_after_ms ELSE $10 END,
           http_status = CASE WHEN $21 THEN http_status ELSE $11 END,
           records_inserted = $12, records_changed = $13, size_bytes = $14, sha256 = $15, content_type = $16,
           latency_ms = $17, rows_left_out = $22, node = $18, first_attempt_at = coalesce(first_attempt_at, $19), last_attempt_at = $19,
           updated_at = $20, last_attempt_end_at = $23, bytes_received = $24,
           first_active_ms = CASE WHEN $3 = 'PENDING' THEN coalesce(first_active_ms, (
             SELECT max(active_ms + $19 - state_since_at, 0) FROM batch_executions WHERE seq = $1)) END
         WHERE batch_seq = $1 AND item_index = $2 AND status = 'PENDING'",
    )
    .bind(commit.batch.0)
    .bind(recording.item.index)
    .bind(becomes)
    .bind(is_charged)
    .bind(tells)
    .bind(not_before.map(ms))
    .bind(class)
    .bind(reason)
    .bind(message)
    .bind(retry_after)
    .bind(http_status)
    .bind(records)
    .bind(changed)
    .bind(reply.map(|reply| reply.size_bytes))
    .bind(reply.map(|reply| reply.sha256.as_slice()))
    .bind(reply.map(|reply| reply.content_type.as_str()))
    .bind(reply.map(|reply| reply.latency.as_millis() as i64))
    .bind(commit.node.as_str())
    .bind(ms(attempt.started_at))
    .bind(ms(commit.now))
    // The latest failure is shown until another outcome: a release is none.
    .bind(matches!(attempt.outcome, Outcome::Released { .. }))
    .bind(left_out as i64)
    .bind(ms(attempt.ended_at))
    .bind(attempt.bytes_received)
    .execute(&mut *conn)
    .await?;
    if written.rows_affected() != 1 {
        // The lease was ours, so nobody else may have ended the item.
        return Err(sqlx::Error::Protocol(format!(
            "item {} of batch {} is final already",
            recording.item.index, commit.batch.0
        )));
    }
    if !tells {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO item_attempts (batch_seq, item_index, number, outcome, charged, started_at, ended_at, node, requests,
           bytes_received, http_status, error_class, error_reason, error_message, retry_after_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
    )
    .bind(commit.batch.0)
    .bind(recording.item.index)
    .bind(i64::from(number))
    .bind(outcome)
    .bind(is_charged)
    .bind(ms(attempt.started_at))
    .bind(ms(attempt.ended_at))
    .bind(commit.node.as_str())
    .bind(i64::from(attempt.requests))
    .bind(attempt.bytes_received)
    .bind(http_status)
    .bind(class)
    .bind(reason)
    .bind(message)
    .bind(retry_after)
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) fn from_row(row: &SqliteRow) -> Result<Item, StoreError> {
    let state = word(row, "state", State::parse)?;
    let at = |column| row.get::<Option<i64>, _>(column).map(instant);
    let text = |column| row.get::<Option<String>, _>(column).unwrap_or_default();
    let http_status = status(row);
    let failure = failure(row)?;
    let reply = match (state, row.get::<Option<Vec<u8>>, _>("sha256")) {
        (State::Succeeded, Some(sha256)) => Some(Reply {
            http_status: http_status.unwrap_or(0),
            size_bytes: row.get::<Option<i64>, _>("size_bytes").unwrap_or(0),
            sha256: sha256.try_into().map_err(|_| error::damaged("sha256"))?,
            content_type: text("content_type"),
            latency: millis(row, "latency_ms").unwrap_or_default(),
        }),
        _ => None,
    };
    Ok(Item {
        index: row.get("item_index"),
        key: row.get("item_key"),
        columns: row.get("columns"),
        state,
        attempts: row.get("attempts"),
        records_written: row.get("records_inserted"),
        records_changed: row.get("records_changed"),
        first_attempt_at: at("first_attempt_at"),
        last_attempt_at: at("last_attempt_at"),
        last_attempt_node: row.get("node"),
        not_before: if state == State::Pending { at("not_before_at") } else { None },
        reply,
        failure,
        skip_reason: (state == State::Skipped).then(|| text("error_reason")),
        updated_at: at("state_at"),
    })
}

/// HTTP status of the last reply.
pub(super) fn status(row: &SqliteRow) -> Option<u16> {
    row.get::<Option<i64>, _>("http_status").and_then(|status| u16::try_from(status).ok())
}

/// The failure of an item or an attempt.
pub(super) fn failure(row: &SqliteRow) -> Result<Option<Failure>, StoreError> {
    let text = |column| row.get::<Option<String>, _>(column).unwrap_or_default();
    let class = optional_word(row, "error_class", FailureClass::parse)?;
    Ok(class.map(|class| Failure {
        class,
        reason: text("error_reason"),
        http_status: status(row),
        message: text("error_message"),
        retry_after: millis(row, "retry_after_ms"),
        push_back: false,
        held_back: false,
    }))
}

fn millis(row: &SqliteRow, column: &str) -> Option<Duration> {
    row.get::<Option<i64>, _>(column).map(|ms| Duration::from_millis(ms.try_into().unwrap_or(0)))
}

/// The index of a key.
pub(super) async fn index(pool: &SqlitePool, batch: BatchSeq, key: &str) -> Result<Option<i64>, StoreError> {
    sqlx::query_scalar(
        "SELECT item_index FROM batch_execution_details WHERE batch_seq = $1 AND item_key = $2",
    )
    .bind(batch.0)
    .bind(key)
    .fetch_optional(pool)
    .await
    .map_err(error::store)
}

pub(super) async fn body(
    pool: &SqlitePool,
    batch: BatchSeq,
    key: &str,
) -> Result<Option<FetchedBody>, StoreError> {
    let row = sqlx::query(
        "SELECT body, http_status, content_type, fetched_at FROM kept_bodies
         WHERE batch_seq = $1 AND item_index =
           (SELECT item_index FROM batch_execution_details WHERE batch_seq = $1 AND item_key = $2)",
    )
    .bind(batch.0)
    .bind(key)
    .fetch_optional(pool)
    .await
    .map_err(error::store)?;
    Ok(row.map(|row| FetchedBody {
        body: KeptBody {
            zstd: row.get("body"),
            http_status: u16::try_from(row.get::<i64, _>("http_status")).unwrap_or(0),
            content_type: row.get("content_type"),
        },
        fetched_at: instant(row.get("fetched_at")),
    }))
}

pub(super) async fn failure_groups(
    pool: &SqlitePool,
    batch: BatchSeq,
) -> Result<Vec<FailureGroup>, StoreError> {
    let groups = sqlx::query(
        "SELECT error_class, error_reason, http_status, count(*) AS items FROM batch_execution_details
         WHERE batch_seq = $1 AND status = 'FAILED' GROUP BY 1, 2, 3 ORDER BY items DESC, 1, 2, 3 LIMIT $2",
    )
    .bind(batch.0)
    .bind(GROUPS_MAX as i64)
    .fetch_all(pool)
    .await
    .map_err(error::store)?;
    let mut failures = Vec::with_capacity(groups.len());
    for row in &groups {
        let http_status: Option<i64> = row.get("http_status");
        let reason: String = row.get::<Option<String>, _>("error_reason").unwrap_or_default();
        let class = word(row, "error_class", FailureClass::parse)?;
        let sample_keys = sqlx::query_scalar(
            "SELECT item_key FROM batch_execution_details WHERE batch_seq = $1 AND status = 'FAILED' AND error_class = $2
               AND error_reason IS $3 AND http_status IS $4 ORDER BY item_index LIMIT $5",
        )
        .bind(batch.0)
        .bind(class.as_str())
        .bind(&reason)
        .bind(http_status)
        .bind(SAMPLE_KEYS_MAX as i64)
        .fetch_all(pool)
        .await
        .map_err(error::store)?;
        failures.push(FailureGroup {
            class,
            reason,
            http_status: http_status.and_then(|status| u16::try_from(status).ok()),
            items: row.get("items"),
            sample_keys,
        });
    }
    Ok(failures)
}
