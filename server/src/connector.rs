//! What haul knows about upstreams. A connector turns an item into a request and a reply into records, and nothing else:
//! it reads no clock, opens no connection and keeps no state between calls, so that a kept body can be decoded again.
//!
//! A connector never says what happens next: it names a [`Fault`], and the fetch side gives that a class.

mod http_fetch;
mod origin;
mod yahoo_chart;

pub use http_fetch::{HttpFetch, STORED_BODY_BYTES_MAX, TEMPLATE_BYTES_MAX, fixed_origin};
pub use origin::Origin;
pub use yahoo_chart::YahooChart;

use chrono::{DateTime, Utc};

use crate::domain::{
    datum::Records,
    failure::Failure,
    item::Subject,
    request::{Fault, Request, Response},
    spec::{self, BatchSpec, FetchPolicy},
};

/// Knows one upstream's requests and replies. Pure: no clock, no network.
pub trait Connector: Send + Sync + 'static {
    /// Scheme, host and port that all its requests go to; nothing where that is each item's own.
    fn origin(&self) -> Option<&Origin>;

    /// The request of one item. Fails for good, with the class PERMANENT, where the item makes none.
    fn request(&self, item: Subject<'_>) -> Result<Request, Failure>;

    /// Settings that are allowed and yet look wrong for this upstream, for `requests` of them sent from `now` on: a
    /// sentence each, with the way out.
    fn advice(&self, fetch: &FetchPolicy, requests: i64, now: DateTime<Utc>) -> Vec<String>;

    /// What a reply of any status holds: a pure function of the connector's settings, the item, the request that it makes
    /// and the reply.
    fn decode(&self, item: Subject<'_>, request: &Request, response: &Response) -> Result<Records, Fault>;
}

/// The connector of a spec.
pub fn build(spec: &BatchSpec) -> Box<dyn Connector> {
    match &spec.connector {
        spec::Connector::YahooChart(settings) => Box::new(YahooChart::new(settings, &spec.as_of)),
        spec::Connector::HttpFetch(settings) => Box::new(HttpFetch::new(settings, spec)),
    }
}
