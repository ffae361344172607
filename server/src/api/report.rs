//! Reports on the wire.

use haul_proto::v1;

use super::{
    batch::{failure_class, progress},
    time,
};
use crate::{control::Report, domain::id::BatchId};

pub(super) fn report(report: Report) -> v1::Report {
    let batch = &report.snapshot.batch;
    let failures = report
        .failures
        .into_iter()
        .map(|group| v1::FailureGroup {
            failure_class: failure_class(group.class).into(),
            reason: group.reason,
            http_status: group.http_status.unwrap_or(0).into(),
            items: group.items,
            sample_keys: group.sample_keys,
        })
        .collect();
    v1::Report {
        name: batch.id.name(),
        revision: batch.revision,
        r#final: batch.state.is_terminal(),
        progress: Some(progress(&report.snapshot)),
        failures,
        active_duration: Some(time::duration(report.active)),
        paused_duration: Some(time::duration(report.paused)),
        floor_duration: Some(time::duration(report.floor)),
        requests_sent: batch.counts.requests,
        records_changed: batch.counts.records_changed,
        lost_leases: report.lost_leases,
        child_batches: report.children.iter().map(BatchId::name).collect(),
    }
}
