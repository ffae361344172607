//! `UpstreamService`.

use std::time::Duration;

use haul_proto::v1::{self, upstream_service_server::UpstreamService};
use prost_types::FieldMask;
use sha2::{Digest, Sha256};
use tonic::{Request, Response};

use super::{
    page::{self, Call, Page},
    read,
    service::{Answer, Service, bounded, checked_etag, invalid},
    status::{ApiError, Violation, both},
    time,
};
use crate::{
    control::SetLimits,
    domain::{
        filter::UpstreamField,
        upstream::{BreakerState, Change, HoldCause, Upstream, UpstreamId},
    },
};

const UPSTREAMS_DEFAULT: usize = 50;
const UPSTREAMS_MAX: usize = 1_000;
const HOLD_MIN: Duration = Duration::from_secs(1);
const HOLD_MAX: Duration = Duration::from_secs(30 * 86_400);

const RATE: &str = "configured_requests_per_second";
const BURST: &str = "configured_burst";
const IN_FLIGHT: &str = "configured_max_in_flight";

#[tonic::async_trait]
impl UpstreamService for Service {
    async fn get_upstream(
        &self,
        request: Request<v1::GetUpstreamRequest>,
    ) -> Answer<v1::GetUpstreamResponse> {
        let id = named("name", &request.into_inner().name)?;
        let found = self.control.upstream(&id).await.map_err(ApiError::from)?;
        Ok(Response::new(v1::GetUpstreamResponse { upstream: Some(upstream(&found)) }))
    }

    async fn list_upstreams(
        &self,
        request: Request<v1::ListUpstreamsRequest>,
    ) -> Answer<v1::ListUpstreamsResponse> {
        Ok(Response::new(self.list(request.into_inner()).await?))
    }

    async fn update_upstream(
        &self,
        request: Request<v1::UpdateUpstreamRequest>,
    ) -> Answer<v1::UpdateUpstreamResponse> {
        self.stays()?;
        let set = limits(request.into_inner())?;
        let found = self.control.set_limits(set).await.map_err(ApiError::from)?;
        let set = &found.configured;
        tracing::info!(
            upstream = found.id.as_str(),
            action = "UpdateUpstream",
            rate_per_s = set.rate_per_s,
            burst = set.burst,
            in_flight_max = set.in_flight_max,
            "limits set"
        );
        Ok(Response::new(v1::UpdateUpstreamResponse { upstream: Some(upstream(&found)) }))
    }

    async fn hold_gate(&self, request: Request<v1::HoldGateRequest>) -> Answer<v1::HoldGateResponse> {
        self.stays()?;
        let v1::HoldGateRequest { name, duration, reason } = request.into_inner();
        let (id, (span, reason)) = both(named("name", &name), both(hold_span(duration), bounded(reason)))?;
        let found = self.control.hold_gate(&id, span, reason).await.map_err(ApiError::from)?;
        Ok(Response::new(v1::HoldGateResponse { upstream: Some(upstream(&found)) }))
    }

    async fn release_gate(
        &self,
        request: Request<v1::ReleaseGateRequest>,
    ) -> Answer<v1::ReleaseGateResponse> {
        self.stays()?;
        let v1::ReleaseGateRequest { name, reason } = request.into_inner();
        let (id, reason) = both(named("name", &name), bounded(reason))?;
        let found = self.control.release_gate(&id).await.map_err(ApiError::from)?;
        tracing::info!(upstream = id.as_str(), action = "ReleaseGate", reason, "gate released");
        Ok(Response::new(v1::ReleaseGateResponse { upstream: Some(upstream(&found)) }))
    }
}

impl Service {
    async fn list(
        &self,
        mut request: v1::ListUpstreamsRequest,
    ) -> Result<v1::ListUpstreamsResponse, ApiError> {
        let limit = page::size(std::mem::take(&mut request.page_size), UPSTREAMS_DEFAULT, UPSTREAMS_MAX);
        let page_token = std::mem::take(&mut request.page_token);
        let call = Call::new("ListUpstreams", &request);
        let page = both(limit, self.tokens.page(&call, &page_token));
        let (filter, (limit, after)) = both(read::filter::<UpstreamField>(&request.filter), page)?;
        let mut found = self.control.upstreams().await?;
        if let Some([after]) = after {
            // One that was there is always there.
            let at = found.iter().position(|upstream| place(&upstream.id) == after);
            found.drain(..at.map_or(0, |at| at + 1));
        }
        found.retain(|upstream| filter.matches(upstream));
        let mut page = Page::new();
        for shown in found.iter().take(limit).map(upstream) {
            if !page.take(shown) {
                break;
            }
        }
        let shown = page.messages.len();
        let last = shown.checked_sub(1).filter(|_| shown < found.len()).map(|last| &found[last].id);
        let next = last.map(|last| self.tokens.make(&call, [place(last)]));
        Ok(v1::ListUpstreamsResponse { upstreams: page.messages, next_page_token: next.unwrap_or_default() })
    }
}

/// A name in a page token, which has numbers alone.
fn place(id: &UpstreamId) -> i64 {
    let hash = Sha256::digest(id.as_str());
    i64::from_be_bytes(hash[..8].try_into().expect("eight bytes"))
}

fn named(field: &str, name: &str) -> Result<UpstreamId, ApiError> {
    UpstreamId::from_name(name).ok_or_else(|| {
        let problem = format!(
            "{name:?} is not upstreams/{{host}} for https on port 443, nor upstreams/{{scheme}}-{{host}}-{{port}} for \
             others, in lower case, with the colons of an IPv6 address as \"_\""
        );
        invalid(field, problem)
    })
}

fn hold_span(given: Option<prost_types::Duration>) -> Result<Option<Duration>, ApiError> {
    let Some(given) = given else { return Ok(None) };
    if let Some(span) = time::span(&given).filter(|span| (HOLD_MIN..=HOLD_MAX).contains(span)) {
        return Ok(Some(span));
    }
    let problem =
        format!("{given} is not between 1s and 2592000s (30 d); leave it out to hold until ReleaseGate");
    Err(invalid("duration", problem))
}

fn limits(request: v1::UpdateUpstreamRequest) -> Result<SetLimits, ApiError> {
    let v1::UpdateUpstreamRequest { upstream, update_mask, allow_missing } = request;
    let Some(given) = upstream else {
        return Err(invalid("upstream", "is missing: give name and the limits to be set"));
    };
    let guards = both(named("upstream.name", &given.name), checked_etag(given.etag.clone()));
    let ((id, etag), change) = both(guards, change(&given, update_mask))?;
    Ok(SetLimits { id, change, etag, allow_missing })
}

/// What is named in the mask, or is there where there is none, each within its bounds.
fn change(given: &v1::Upstream, mask: Option<FieldMask>) -> Result<Change, ApiError> {
    let paths = mask.map(|mask| mask.paths).unwrap_or_default();
    let known = [RATE, BURST, IN_FLIGHT];
    let unknown =
        paths.iter().enumerate().filter(|(_, path)| !known.contains(&path.as_str())).map(|(n, path)| {
            let problem = format!("{path:?} cannot be set; there are {}", known.join(", "));
            Violation::new(format!("update_mask.paths[{n}]"), problem)
        });
    let mut faults: Vec<Violation> = unknown.collect();
    let is_named = |path: &str, is_there: bool| {
        if paths.is_empty() { is_there } else { paths.iter().any(|named| named == path) }
    };
    let mut change = Change::default();
    if is_named(RATE, given.configured_requests_per_second.is_some()) {
        let rate = given.configured_requests_per_second;
        if let Some(rate) = rate.filter(|rate| !(0.001..=1_000_000.0).contains(rate)) {
            faults.push(outside(RATE, &rate.to_string(), "0.001 and 1000000"));
        }
        change.rate_per_s = Some(rate);
    }
    let mut whole = |path: &'static str, given: Option<i32>, max: i32| {
        if let Some(value) = given.filter(|value| is_named(path, true) && !(1..=max).contains(value)) {
            faults.push(outside(path, &value.to_string(), &format!("1 and {max}")));
        }
        is_named(path, given.is_some()).then(|| given.and_then(|value| u32::try_from(value).ok()))
    };
    change.burst = whole(BURST, given.configured_burst, 100_000);
    change.in_flight_max = whole(IN_FLIGHT, given.configured_max_in_flight, 10_000);
    if faults.is_empty() { Ok(change) } else { Err(ApiError::Invalid(faults)) }
}

fn outside(path: &str, value: &str, bounds: &str) -> Violation {
    let problem =
        format!("{value} is not between {bounds}; name it in update_mask and leave it out to unset it");
    Violation::new(format!("upstream.{path}"), problem)
}

fn upstream(found: &Upstream) -> v1::Upstream {
    let held = found.held.as_ref();
    let cause = match held.map(|held| held.cause) {
        None => v1::upstream::HoldCause::Unspecified,
        Some(HoldCause::RetryAfter) => v1::upstream::HoldCause::RetryAfter,
        Some(HoldCause::Breaker) => v1::upstream::HoldCause::Breaker,
        Some(HoldCause::Operator) => v1::upstream::HoldCause::Operator,
    };
    let state = match found.breaker {
        BreakerState::Closed => v1::breaker::State::Closed,
        BreakerState::Tripped => v1::breaker::State::Tripped,
        BreakerState::Probing => v1::breaker::State::Probing,
    };
    let whole = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    v1::Upstream {
        name: found.id.name(),
        origin: found.id.url(),
        credential: String::new(),
        configured_requests_per_second: found.configured.rate_per_s,
        configured_burst: found.configured.burst.map(whole),
        configured_max_in_flight: found.configured.in_flight_max.map(whole),
        effective_requests_per_second: found.rate_per_s,
        effective_burst: whole(found.burst),
        in_flight_requests: whole(found.in_flight),
        waiting_items: found.waiting as i64,
        hold_cause: cause.into(),
        held_until: held.and_then(|held| held.until).map(time::timestamp),
        held_since: held.map(|held| time::timestamp(held.since)),
        hold_message: held.map(|held| held.message.clone()).unwrap_or_default(),
        breaker: Some(v1::Breaker {
            state: state.into(),
            consecutive_failures: whole(found.failures),
            consecutive_push_backs: whole(found.push_backs),
            trip_time: found.tripped_at.map(time::timestamp),
            next_probe_time: found.probe_at.map(time::timestamp),
        }),
        live_batches: found.live_batches,
        update_time: Some(time::timestamp(found.at)),
        etag: found.configured.etag(&found.id),
    }
}
