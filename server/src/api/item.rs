//! Items on the wire.

use haul_proto::v1;

use super::{batch::failure_class, spec::columns, time};
use crate::domain::{
    failure::Failure,
    item::{Item, Reply, State},
};

pub(super) fn item(item: Item) -> v1::Item {
    let state = match item.state {
        State::Pending => v1::item::State::Pending,
        State::Running => v1::item::State::Running,
        State::Succeeded => v1::item::State::Succeeded,
        State::Failed => v1::item::State::Failed,
        State::Skipped => v1::item::State::Skipped,
        State::Canceled => v1::item::State::Canceled,
    };
    v1::Item {
        index: item.index,
        spec: Some(v1::ItemSpec { key: item.key, columns: item.columns.as_deref().and_then(columns) }),
        state: state.into(),
        attempt_count: item.attempts as i32,
        records_written: item.records_written,
        records_changed: item.records_changed,
        first_attempt_time: item.first_attempt_at.map(time::timestamp),
        last_attempt_time: item.last_attempt_at.map(time::timestamp),
        last_attempt_node: item.last_attempt_node.map(|node| format!("nodes/{node}")).unwrap_or_default(),
        next_attempt_time: item.not_before.map(time::timestamp),
        result: item.reply.map(result),
        error: item.failure.map(error),
        skip_reason: item.skip_reason.unwrap_or_default(),
        update_time: item.updated_at.map(time::timestamp),
    }
}

fn result(reply: Reply) -> v1::ItemResult {
    v1::ItemResult {
        http_status: reply.http_status.into(),
        size_bytes: reply.size_bytes,
        sha256: reply.sha256.to_vec(),
        content_type: reply.content_type,
        latency: Some(time::duration(reply.latency)),
        inline_body: Vec::new(),
    }
}

fn error(failure: Failure) -> v1::ItemError {
    v1::ItemError {
        failure_class: failure_class(failure.class).into(),
        reason: failure.reason,
        http_status: failure.http_status.unwrap_or(0).into(),
        message: failure.message,
        retry_after: failure.retry_after.map(time::duration),
    }
}
