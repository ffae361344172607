//! One request: which part is asked, what it would be answered, what becomes of it.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, USER_AGENT};
use http::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;

use crate::answer::{self, Outcome};
use crate::body::{Closed, SimBody};
use crate::chart;
use crate::clock::Clock;
use crate::gate::{Arrival, Gate};
use crate::log::Endpoint;
use crate::market::Market;

/// Where the exchange has its file.
pub(crate) const LIST_PATH: &str = "/markets/statistics-equities/misc/tvdivq0000001vg2-att/data_j.xls";
const CHART_PATHS: [&str; 2] = ["/v8/finance/chart/", "/v7/finance/chart/"];

/// Everything that requests share.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) clock: Clock,
    pub(crate) market: Market,
    pub(crate) list_xls: Bytes,
    pub(crate) gate: Gate,
    pub(crate) stall: Duration,
}

impl Service {
    /// Answers, or fails to have the connection closed.
    pub(crate) async fn serve<B>(
        &self,
        peer: IpAddr,
        request: Request<B>,
    ) -> Result<Response<SimBody>, Closed> {
        let (method, path) = (request.method(), request.uri().path());
        if let Some(symbol) = chart_symbol(method, path) {
            return self.serve_chart(peer, &request, &symbol).await;
        }
        if path == "/healthz" {
            return Ok(answer::whole(StatusCode::OK, "text/plain", "ok"));
        }
        let is_list = path == LIST_PATH && (method == Method::GET || method == Method::HEAD);
        let (endpoint, status) = if is_list { (Endpoint::List, 200) } else { (Endpoint::Other, 404) };
        let fate = self.gate.admit(&Arrival { endpoint, status, ..arrival(peer, &request) });
        pause(fate.delay).await;
        Ok(if is_list {
            answer::whole(StatusCode::OK, "application/vnd.ms-excel", self.list_xls.clone())
        } else {
            answer::whole(StatusCode::NOT_FOUND, "text/plain", "no such page\n")
        })
    }

    async fn serve_chart<B>(
        &self,
        peer: IpAddr,
        request: &Request<B>,
        symbol: &str,
    ) -> Result<Response<SimBody>, Closed> {
        let query = request.uri().query().unwrap_or_default();
        let key = symbol.strip_suffix(".T").unwrap_or(symbol);
        let listed = symbol.len() > key.len() && self.market.issue(key).is_some();
        let plan = chart::plan(&self.market, symbol, query, self.clock.now_s());
        let fate = self.gate.admit(&Arrival {
            endpoint: Endpoint::Chart,
            key: Some(key),
            listed,
            status: plan.status(),
            ..arrival(peer, request)
        });
        pause(fate.delay).await;
        match answer::chart(&plan, &fate, &self.market, symbol) {
            Outcome::Answer(response) => Ok(response),
            Outcome::Close => Err(Closed),
            Outcome::Stall => {
                pause(self.stall).await;
                Err(Closed)
            }
        }
    }
}

fn arrival<B>(peer: IpAddr, request: &Request<B>) -> Arrival<'_> {
    Arrival {
        peer,
        method: request.method().as_str(),
        path: request.uri().path(),
        query: request.uri().query().unwrap_or_default(),
        user_agent: user_agent(request.headers()),
        endpoint: Endpoint::Other,
        key: None,
        listed: false,
        status: 404,
    }
}

fn user_agent(headers: &HeaderMap) -> &str {
    headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The symbol of a chart's path, decoded.
fn chart_symbol(method: &Method, path: &str) -> Option<String> {
    let symbol = CHART_PATHS.iter().find_map(|start| path.strip_prefix(start))?;
    let is_symbol = *method == Method::GET && !symbol.is_empty() && !symbol.contains('/');
    is_symbol.then(|| percent_decode_str(symbol).decode_utf8_lossy().into_owned())
}

async fn pause(length: Duration) {
    if !length.is_zero() {
        tokio::time::sleep(length).await;
    }
}
