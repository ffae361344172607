//! Batches and their progress on the wire.

use haul_proto::v1;

use super::{spec, time};
use crate::{
    domain::{
        batch::{Kind, PauseCause, State},
        etag,
        failure::FailureClass,
        id::BatchId,
        progress::percentage,
        upstream::{Pressure, PressureCause},
    },
    progress::Snapshot,
};

pub(super) fn batch(snapshot: &Snapshot, view: v1::BatchView) -> v1::Batch {
    let batch = &snapshot.batch;
    let cause = |cause| match cause {
        PauseCause::UpstreamOutage => v1::batch::PauseCause::UpstreamOutage,
        PauseCause::User => v1::batch::PauseCause::User,
        PauseCause::SystemFailure => v1::batch::PauseCause::SystemFailure,
    };
    let (pause, end) = (batch.pause.as_ref(), batch.end.as_ref());
    v1::Batch {
        name: batch.id.name(),
        kind: kind(batch.kind).into(),
        state: state(batch.state).into(),
        pause_cause: pause.map(|pause| cause(pause.cause)).unwrap_or_default().into(),
        pause_reason: pause.map(|pause| pause.reason.clone()).unwrap_or_default(),
        pause_message: pause.map(|pause| pause.message.clone()).unwrap_or_default(),
        end_reason: end.map(|end| end.reason.as_str().to_owned()).unwrap_or_default(),
        end_message: end.map(|end| end.message.clone()).unwrap_or_default(),
        spec: Some(spec::render(&batch.spec, batch.list.as_ref(), view)),
        progress: Some(progress(snapshot)),
        create_time: Some(time::timestamp(batch.created_at)),
        start_time: batch.started_at.map(time::timestamp),
        end_time: batch.ended_at.map(time::timestamp),
        purge_time: batch.purge_at.map(time::timestamp),
        parent_batch: batch.parent().map(BatchId::name).unwrap_or_default(),
        etag: etag::of(batch),
        revision: batch.revision,
    }
}

pub(super) fn kind(kind: Kind) -> v1::batch::Kind {
    match kind {
        Kind::Fetch => v1::batch::Kind::Fetch,
        Kind::Redecode { .. } => v1::batch::Kind::Redecode,
        Kind::Retry { .. } => v1::batch::Kind::Retry,
    }
}

fn state(state: State) -> v1::batch::State {
    match state {
        State::Open => v1::batch::State::Open,
        State::Queued => v1::batch::State::Queued,
        State::Running => v1::batch::State::Running,
        State::Pausing => v1::batch::State::Pausing,
        State::Paused => v1::batch::State::Paused,
        State::Stopping => v1::batch::State::Stopping,
        State::Completed => v1::batch::State::Completed,
        State::Failed => v1::batch::State::Failed,
        State::Stopped => v1::batch::State::Stopped,
    }
}

pub(super) fn failure_class(class: FailureClass) -> v1::FailureClass {
    match class {
        FailureClass::Temporary => v1::FailureClass::Temporary,
        FailureClass::Permanent => v1::FailureClass::Permanent,
        FailureClass::System => v1::FailureClass::System,
    }
}

pub(super) fn progress(snapshot: &Snapshot) -> v1::Progress {
    let batch = &snapshot.batch;
    let counts = &batch.counts;
    let failures = FailureClass::ALL
        .into_iter()
        .zip(counts.failed_items_by_class)
        .zip(counts.failed_attempts_by_class)
        .filter(|((_, items), attempts)| *items > 0 || *attempts > 0)
        .map(|((class, failed_items), failed_attempts)| v1::FailureCount {
            failure_class: failure_class(class).into(),
            failed_items,
            failed_attempts,
        })
        .collect();
    v1::Progress {
        total_items: counts.total,
        total_is_partial: !batch.expanded,
        processed_items: counts.processed(),
        succeeded_items: counts.succeeded,
        failed_items: counts.failed,
        skipped_items: counts.skipped,
        canceled_items: counts.canceled,
        pending_items: snapshot.pending(),
        waiting_retry_items: snapshot.waiting_retry(),
        in_flight_items: snapshot.in_flight,
        percentage: percentage(counts, batch.state == State::Completed),
        current_item_keys: snapshot.current_keys.clone(),
        estimated_completion_time: snapshot.estimated_completion.map(time::timestamp),
        items_per_minute: snapshot.throughput.items_per_min,
        records_per_minute: snapshot.throughput.records_per_min,
        records_written: counts.records,
        bytes_received: counts.bytes_received,
        retried_attempts: counts.retried_attempts,
        failures,
        host_pressure: snapshot.pressure.iter().map(pressure).collect(),
        active_workers: snapshot.active_workers,
        stall_time: batch.stalled_since.map(time::timestamp),
    }
}

fn pressure(pressure: &Pressure) -> v1::HostPressure {
    let cause = match pressure.cause {
        PressureCause::RateLimited => v1::host_pressure::Cause::RateLimited,
        PressureCause::PushedBack => v1::host_pressure::Cause::PushedBack,
        PressureCause::Outage => v1::host_pressure::Cause::Outage,
        PressureCause::Operator => v1::host_pressure::Cause::Operator,
    };
    let opens = pressure.held_until.map(time::timestamp);
    let (held_until, next_probe_time) = match pressure.cause {
        PressureCause::Outage => (None, opens),
        PressureCause::RateLimited | PressureCause::PushedBack | PressureCause::Operator => (opens, None),
    };
    v1::HostPressure {
        upstream: pressure.upstream.name(),
        host: pressure.host.clone(),
        cause: cause.into(),
        permitted_requests_per_second: pressure.permitted_per_s,
        held_until,
        since: Some(time::timestamp(pressure.since)),
        next_probe_time,
    }
}
