//! Items: what an attempt leaves in them, and what readers see of them.

use std::{borrow::Cow, sync::LazyLock, time::Duration};

use chrono::{DateTime, Utc};
use sqlx::{Row, SqlitePool, sqlite::SqliteRow};

use super::{batch::optional_word, batch::word, error, instant, ms, script::Script};
use crate::{
    domain::{
        batch::Batch,
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

/// Items per statement.
const ITEMS_PER_UPDATE: usize = 32;

/// The statement for one to [`ITEMS_PER_UPDATE`] items. Its text is made once.
static UPDATE_ITEMS: LazyLock<Vec<String>> = LazyLock::new(|| {
    (0..=ITEMS_PER_UPDATE)
        .map(|items| {
            format!(
                "WITH shared (node, now) AS (VALUES (?, ?)), \
                 came (item_index, status, charged, tells, not_before_at, keeps, class, reason, message, retry_after_ms, \
                   http_status, records, changed, size_bytes, sha256, content_type, latency_ms, left_out, started_at, \
                   ended_at, bytes, active_ms) AS (VALUES {}) \
                 UPDATE batch_execution_details AS item SET \
                   status = came.status, attempts = attempts + charged, recorded_attempts = recorded_attempts + tells, \
                   not_before_at = came.not_before_at, \
                   error_class = CASE WHEN keeps THEN error_class ELSE class END, \
                   error_reason = CASE WHEN keeps THEN error_reason ELSE reason END, \
                   error_message = CASE WHEN keeps THEN error_message ELSE message END, \
                   retry_after_ms = CASE WHEN keeps THEN item.retry_after_ms ELSE came.retry_after_ms END, \
                   http_status = CASE WHEN keeps THEN item.http_status ELSE came.http_status END, \
                   records_inserted = records, records_changed = changed, size_bytes = came.size_bytes, \
                   sha256 = came.sha256, content_type = came.content_type, latency_ms = came.latency_ms, \
                   rows_left_out = left_out, node = shared.node, \
                   first_attempt_at = coalesce(first_attempt_at, started_at), last_attempt_at = started_at, \
                   updated_at = now, last_attempt_end_at = ended_at, bytes_received = bytes, \
                   first_active_ms = CASE WHEN came.status = 'PENDING' THEN coalesce(first_active_ms, active_ms) END \
                 FROM came CROSS JOIN shared \
                 WHERE item.batch_seq = ? AND item.item_index = came.item_index AND item.status = 'PENDING'",
                vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"; items].join(", ")
            )
        })
        .collect()
});

const INSERT_ATTEMPT: &str = "INSERT INTO item_attempts (batch_seq, item_index, number, outcome, charged, started_at, ended_at, node, requests, \
       bytes_received, http_status, error_class, error_reason, error_message, retry_after_ms) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// An attempt, and what became of its item's records.
pub(super) struct Recorded<'a> {
    pub(super) recording: Cow<'a, Recording>,
    pub(super) records: i64,
    pub(super) changed: i64,
}

/// Ends the script unless the statement before it wrote so many rows.
const WROTE: &str = "SELECT CASE WHEN changes() <> ? THEN json(?) END";

/// Adds what attempts leave in their items' rows, and rows for the attempts that are worth one. `before` is the batch as
/// the commit found it.
pub(super) fn record(script: &mut Script, before: &Batch, commit: &Commit, recorded: &[Recorded<'_>]) {
    let touched: Vec<&Recorded<'_>> =
        recorded.iter().filter(|recorded| !is_untouched(&recorded.recording)).collect();
    let active_ms = before.active.as_millis() as i64 - ms(before.state_since);
    for items in touched.chunks(ITEMS_PER_UPDATE) {
        script.add(&UPDATE_ITEMS[items.len()]).bind(commit.node.as_str()).bind(ms(commit.now));
        for item in items {
            bind_item(script, item, active_ms);
        }
        script.bind(commit.batch.0);
        // The leases were ours, so nobody else may have ended an item of them.
        script.add(WROTE).bind(items.len() as i64).bind("an item of the group is final already");
    }
    for Recorded { recording, .. } in touched.iter().filter(|recorded| recorded.recording.is_worth_a_row()) {
        let (attempt, columns) = (&recording.attempt, Columns::of(recording));
        script
            .add(INSERT_ATTEMPT)
            .bind(commit.batch.0)
            .bind(recording.item.index)
            .bind(i64::from(recording.item.recorded + 1))
            .bind(columns.outcome)
            .bind(columns.is_charged)
            .bind(ms(attempt.started_at))
            .bind(ms(attempt.ended_at))
            .bind(commit.node.as_str())
            .bind(i64::from(attempt.requests))
            .bind(attempt.bytes_received)
            .bind(columns.http_status)
            .bind(columns.failure.map(|failure| failure.class.as_str()))
            .bind(columns.failure.map(|failure| failure.reason.as_str()))
            .bind(columns.failure.map(|failure| failure.message.as_str()))
            .bind(columns.retry_after_ms);
    }
}

fn bind_item(script: &mut Script, Recorded { recording, records, changed }: &Recorded<'_>, active_ms: i64) {
    let (attempt, columns) = (&recording.attempt, Columns::of(recording));
    let left_out = match &attempt.outcome {
        Outcome::Succeeded { records, .. } => records.left_out() as i64,
        Outcome::Failed(_) | Outcome::Released { .. } => 0,
    };
    script
        .bind(recording.item.index)
        .bind(columns.becomes)
        .bind(columns.is_charged)
        .bind(recording.is_worth_a_row())
        .bind(columns.not_before.map(ms))
        // The latest failure is shown until another outcome: a release is none.
        .bind(matches!(attempt.outcome, Outcome::Released { .. }))
        .bind(columns.failure.map(|failure| failure.class.as_str()))
        .bind(columns.failure.map(|failure| failure.reason.as_str()))
        .bind(columns.failure.map(|failure| failure.message.as_str()))
        .bind(columns.retry_after_ms)
        .bind(columns.http_status)
        .bind(records)
        .bind(changed)
        .bind(columns.reply.map(|reply| reply.size_bytes))
        .bind(columns.reply.map(|reply| reply.sha256.as_slice()))
        .bind(columns.reply.map(|reply| reply.content_type.as_str()))
        .bind(columns.reply.map(|reply| reply.latency.as_millis() as i64))
        .bind(left_out)
        .bind(ms(attempt.started_at))
        .bind(ms(attempt.ended_at))
        .bind(attempt.bytes_received)
        .bind((active_ms + ms(attempt.started_at)).max(0));
}

/// What an attempt means for the columns of its item and its own.
struct Columns<'a> {
    outcome: &'static str,
    becomes: &'static str,
    is_charged: bool,
    not_before: Option<DateTime<Utc>>,
    reply: Option<&'a Reply>,
    failure: Option<&'a Failure>,
    http_status: Option<i64>,
    retry_after_ms: Option<i64>,
}

impl<'a> Columns<'a> {
    fn of(recording: &'a Recording) -> Self {
        let (becomes, is_charged, not_before) = match recording.next {
            Next::Succeeded => ("SUCCEEDED", true, None),
            Next::Failed => ("FAILED", true, None),
            Next::HeldBack => ("PENDING", false, None),
            // What waited already goes on waiting.
            Next::Open { charged, not_before, .. } => {
                ("PENDING", charged, not_before.or(recording.item.not_before))
            }
        };
        let (reply, failure, outcome) = match &recording.attempt.outcome {
            Outcome::Succeeded { reply, .. } => (Some(reply), None, "SUCCEEDED"),
            Outcome::Failed(failure) => (None, Some(failure), "FAILED"),
            Outcome::Released { .. } => (None, None, "RELEASED"),
        };
        let http_status = reply
            .map(|reply| reply.http_status)
            .or_else(|| failure.and_then(|failure| failure.http_status))
            .map(i64::from);
        let retry_after_ms =
            failure.and_then(|failure| failure.retry_after).map(|wait| wait.as_millis() as i64);
        Self { outcome, becomes, is_charged, not_before, reply, failure, http_status, retry_after_ms }
    }
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
