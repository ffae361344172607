//! A batch's row as a value.

use std::{collections::HashMap, sync::Arc, time::Duration};

use sqlx::{Row, sqlite::SqliteRow};

use super::{error, instant};
use crate::{
    domain::{
        batch::{Batch, DrainMode, End, EndReason, Kind, Pause, PauseCause, State},
        id::{BatchId, BatchSeq},
        listing::ListVersion,
        progress::Counts,
        spec::BatchSpec,
    },
    store::StoreError,
};

pub(super) fn from_row(
    row: &SqliteRow,
    specs: &mut HashMap<BatchSeq, Arc<BatchSpec>>,
) -> Result<Batch, StoreError> {
    let seq = BatchSeq(row.get("seq"));
    let state = word(row, "status", State::parse)?;
    let spec = if let Some(spec) = specs.get(&seq) {
        Arc::clone(spec)
    } else {
        let spec: BatchSpec = serde_json::from_str(row.get("spec"))
            .map_err(|e| error::damaged(&format!("spec of batch {}: {e}", seq.0)))?;
        let spec = Arc::new(spec);
        if !state.is_terminal() {
            specs.insert(seq, Arc::clone(&spec));
        }
        spec
    };
    if state.is_terminal() {
        specs.remove(&seq);
    }
    let text = |column| row.get::<Option<String>, _>(column).unwrap_or_default();
    let at = |column| row.get::<Option<i64>, _>(column).map(instant);
    let span = |column| Duration::from_millis(row.get::<i64, _>(column).try_into().unwrap_or(0));
    let pause = optional_word(row, "pause_cause", PauseCause::parse)?.map(|cause| Pause {
        cause,
        reason: text("pause_reason"),
        message: text("pause_message"),
    });
    let end = optional_word(row, "end_reason", EndReason::parse)?
        .map(|reason| End { reason, message: text("end_message") });
    let list = match row.get::<Option<String>, _>("list_date") {
        Some(date) => Some(ListVersion {
            list_date: date.parse().map_err(|_| error::damaged("list_date"))?,
            sha256: text("list_sha256"),
        }),
        None => None,
    };
    let parent = row.get::<Option<i64>, _>("parent_seq").map(BatchSeq);
    let kind = Kind::parse(row.get("kind"), parent)
        .ok_or_else(|| error::damaged(&format!("kind of batch {} and its parent", seq.0)))?;
    Ok(Batch {
        seq,
        id: BatchId::stored(row.get("name")),
        kind,
        state,
        pause,
        end,
        drain: optional_word(row, "drain_mode", DrainMode::parse)?,
        spec,
        list,
        expanded: row.get("expanded"),
        counts: counts(row),
        revision: row.get("revision"),
        control_revision: row.get("control_revision"),
        created_at: instant(row.get("created_at")),
        started_at: at("started_at"),
        ended_at: at("ended_at"),
        purge_at: at("purge_at"),
        state_since: instant(row.get("state_since_at")),
        stalled_since: at("stalled_at"),
        active: span("active_ms"),
        paused: span("paused_ms"),
    })
}

fn counts(row: &SqliteRow) -> Counts {
    Counts {
        total: row.get("total_count"),
        duplicates: row.get("duplicate_count"),
        succeeded: row.get("successful_count"),
        failed: row.get("failed_count"),
        skipped: row.get("skipped_count"),
        canceled: row.get("canceled_count"),
        returned: row.get("returned_count"),
        records: row.get("records_count"),
        records_changed: row.get("records_changed"),
        bytes_received: row.get("bytes_received"),
        requests: row.get("requests_count"),
        retried_attempts: row.get("retried_attempts"),
        failed_items_by_class: [
            row.get("temporary_items"),
            row.get("permanent_items"),
            row.get("system_items"),
        ],
        failed_attempts_by_class: [
            row.get("temporary_attempts"),
            row.get("permanent_attempts"),
            row.get("system_attempts"),
        ],
    }
}

/// A word of a closed set.
pub(super) fn word<T>(row: &SqliteRow, column: &str, parse: fn(&str) -> Option<T>) -> Result<T, StoreError> {
    optional_word(row, column, parse)?.ok_or_else(|| error::damaged(column))
}

/// A word of a closed set, or nothing.
pub(super) fn optional_word<T>(
    row: &SqliteRow,
    column: &str,
    parse: fn(&str) -> Option<T>,
) -> Result<Option<T>, StoreError> {
    match row.get::<Option<&str>, _>(column) {
        None => Ok(None),
        Some(text) => parse(text).map(Some).ok_or_else(|| error::damaged(&format!("{column} {text:?}"))),
    }
}
