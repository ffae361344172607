//! Plans on the wire.

use haul_proto::v1;

use super::{batch::kind, spec, time};
use crate::{
    control::Plan,
    domain::{
        id::BatchId,
        request::Request,
        spec::{FetchPolicy, Source},
    },
};

/// The answer to a start that is only to be validated.
pub(super) fn validated(plan: Plan) -> v1::StartBatchResponse {
    let parent = match (plan.kind.parent(), &plan.spec.source) {
        (Some(_), Source::BatchItems { batch, .. }) => batch.name(),
        _ => String::new(),
    };
    let batch = v1::Batch {
        kind: kind(plan.kind).into(),
        parent_batch: parent,
        spec: Some(spec::render(&plan.spec, plan.list.as_ref(), v1::BatchView::Full)),
        ..v1::Batch::default()
    };
    v1::StartBatchResponse {
        batch: Some(batch),
        outcome: v1::start_batch_response::Outcome::Validated.into(),
        plan: Some(self::plan(plan)),
    }
}

fn plan(plan: Plan) -> v1::Plan {
    let Plan { spec, tally, .. } = plan;
    let upstream = plan.upstream.name();
    let floor_duration = Some(time::duration(plan.floor));
    let conflict = |batch: BatchId| v1::Conflict {
        batch: batch.name(),
        kind: v1::conflict::Kind::SharedUpstream.into(),
        upstream: upstream.clone(),
    };
    let upstreams = v1::UpstreamPlan {
        upstream: upstream.clone(),
        requests: tally.requests,
        requests_per_second: spec.fetch.rate_per_s,
        burst: spec.fetch.burst as i32,
        floor_duration,
    };
    v1::Plan {
        total_items: tally.items,
        total_is_partial: plan.is_partial,
        skipped_items: tally.skipped,
        duplicate_items: tally.duplicates,
        sample_duplicate_keys: tally.duplicate_keys,
        requests: tally.requests,
        floor_duration,
        upstreams: if tally.requests > 0 { vec![upstreams] } else { Vec::new() },
        first_requests: tally
            .first_requests
            .into_iter()
            .map(|(key, first)| request(key, first, &spec.fetch))
            .collect(),
        conflicts: plan.sharing.into_iter().map(conflict).collect(),
        warnings: plan.warnings,
    }
}

fn request(item_key: String, request: Request, fetch: &FetchPolicy) -> v1::PlannedRequest {
    let headers = [("Accept", request.accept), ("User-Agent", fetch.user_agent.as_str())];
    v1::PlannedRequest {
        item_key,
        method: "GET".to_owned(),
        url: request.url,
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
    }
}
