//! The upstream: whether it answers one request for a chart.

use chrono::{DateTime, Utc};
use haul_client::cli::{number, time};

use super::{
    Finding, Group,
    clock::Dated,
    probe::{Probe, advice, said},
};
use crate::{
    connector::{self, Origin},
    domain::{
        datum::Records,
        item::Subject,
        spec::{BatchSpec, Connector, Window},
        window::Range,
    },
    fetch::classify,
};

const GROUP: Group = Group::Upstream;
/// Asked for where nothing names a code.
const WELL_KNOWN: &str = "7203";
const DAYS: u32 = 5;

pub(super) async fn check(
    spec: &BatchSpec,
    key: Option<String>,
    probe: &Probe<'_>,
    now: DateTime<Utc>,
    dates: &mut Vec<Dated>,
) -> Vec<Finding> {
    let mut spec = spec.clone();
    let what = match &mut spec.connector {
        Connector::YahooChart(chart) => {
            chart.window = Window::Range(Range::Days(DAYS));
            "chart"
        }
        Connector::HttpFetch(_) => "request",
    };
    let connector = connector::build(&spec);
    let is_guess = key.is_none();
    let key = key.as_deref().unwrap_or(WELL_KNOWN);
    let item = Subject::keyed(key);
    let request = connector.request(item);
    let of_request = || request.as_ref().ok().and_then(|request| Origin::of_url(&request.url));
    let Some(origin) = &connector.origin().cloned().or_else(of_request) else {
        return vec![GROUP.skipped("name", "which upstream is asked depends on the item")];
    };
    let mut findings = Vec::new();
    // In brackets, an address is not a name.
    let name = origin.host.trim_matches(['[', ']']);
    match tokio::net::lookup_host((name, origin.port)).await {
        Ok(addresses) => {
            let count = number::plural(addresses.count() as i64, "address", "addresses");
            findings.push(GROUP.ok("name", format!("{name} has {count}")));
        }
        Err(error) => {
            let message = format!("{name} has no address: {error}");
            return vec![GROUP.fail("name", message, "check baseUrl, and the resolver of this machine")];
        }
    }
    if let Some(held) = probe.held(GROUP, origin, now) {
        findings.push(held);
        return findings;
    }
    if is_guess && what != "chart" {
        findings
            .push(GROUP.skipped(what, "no item is known to ask with; name one in a spec with inlineItems"));
        return findings;
    }
    let request = match request {
        Ok(request) => request,
        Err(failure) => {
            findings.push(GROUP.fail(what, said(&failure), "correct the spec"));
            return findings;
        }
    };
    let reply = probe.get(origin, request.clone(), spec.fetch.body_bytes_max, dates).await;
    let decoded = reply.and_then(|reply| match connector.decode(item, &request, &reply) {
        Ok(records) => Ok((records, reply)),
        Err(fault) => Err(classify::reply(&fault, &reply, now)),
    });
    findings.push(match decoded {
        Ok((Records::PriceHistory(history), reply)) => {
            let rows = number::plural(history.prices.len() as i64, "bar", "bars");
            let took = time::duration(reply.latency);
            let message = format!(
                "{rows} of {} from {} in {took}, as {:?}",
                history.symbol, origin.host, spec.fetch.user_agent
            );
            if history.prices.is_empty() {
                GROUP.warn(
                    "chart",
                    message,
                    "there was no session in these five days, or the code is not known there",
                )
            } else {
                GROUP.ok("chart", message)
            }
        }
        Ok((Records::Response(response), reply)) => {
            let size = number::plural(response.size_bytes, "byte", "bytes");
            let (status, took) = (response.http_status, time::duration(reply.latency));
            GROUP.ok(what, format!("HTTP {status}, {size} from {} in {took}", origin.host))
        }
        // Whoever says so is there, and gives answers.
        Err(failure) if is_guess && failure.reason == "NOT_FOUND" => {
            let message =
                format!("{} answers; it has no {key}, which stands for codes not known here", origin.host);
            GROUP.ok("chart", message)
        }
        Err(failure) => {
            GROUP.fail(what, format!("{key} from {}: {}", origin.host, said(&failure)), advice(&failure))
        }
    });
    findings
}
