//! Plans on the wire.

use std::collections::BTreeMap;

use haul_proto::v1;

use super::{batch::kind, spec, time};
use crate::{
    control::Plan,
    domain::{
        overlap::Meeting,
        request::Request,
        spec::{FetchPolicy, Source},
    },
    store::InTheWay,
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
    let floor_duration = Some(time::duration(plan.floor));
    let met = plan.in_the_way.into_iter().filter_map(in_the_way);
    let sharing = plan.sharing.into_iter().map(|(batch, upstream)| v1::Conflict {
        batch: batch.name(),
        kind: v1::conflict::Kind::SharedUpstream.into(),
        upstream: upstream.name(),
    });
    let conflicts = met.chain(sharing).collect();
    let upstreams =
        plan.upstreams.into_iter().filter(|planned| planned.requests > 0).map(|planned| v1::UpstreamPlan {
            upstream: planned.upstream.name(),
            requests: planned.requests,
            requests_per_second: spec.fetch.rate_per_s,
            burst: spec.fetch.burst as i32,
            floor_duration: Some(time::duration(planned.floor)),
        });
    v1::Plan {
        total_items: tally.items,
        total_is_partial: plan.is_partial,
        skipped_items: tally.skipped,
        duplicate_items: tally.duplicates,
        sample_duplicate_keys: tally.duplicate_keys,
        requests: tally.requests,
        floor_duration,
        upstreams: upstreams.collect(),
        first_requests: tally
            .first_requests
            .into_iter()
            .map(|(key, first)| request(key, first, &spec.fetch))
            .collect(),
        conflicts,
        warnings: plan.warnings,
    }
}

fn in_the_way(other: InTheWay) -> Option<v1::Conflict> {
    let kind = match other.meeting {
        Meeting::Wait => v1::conflict::Kind::QueuedBehind,
        Meeting::Replace => v1::conflict::Kind::Canceled,
        Meeting::Skip => v1::conflict::Kind::Skipped,
        // They run beside each other; or the plan was refused.
        Meeting::Start | Meeting::Full => return None,
    };
    Some(v1::Conflict { batch: other.batch.name(), kind: kind.into(), upstream: String::new() })
}

fn request(item_key: String, request: Request, fetch: &FetchPolicy) -> v1::PlannedRequest {
    let own = [("Accept", request.accept), ("User-Agent", fetch.user_agent.as_str())];
    let is_given = |name: &str| request.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
    let own = own.into_iter().filter(|(name, _)| !is_given(name));
    let mut headers: BTreeMap<String, String> =
        own.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    headers.extend(request.headers);
    let method = request.method.as_str().to_owned();
    v1::PlannedRequest { item_key, method, url: request.url, headers }
}
