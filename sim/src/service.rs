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
use crate::form;
use crate::gate::{Arrival, Gate};
use crate::log::Endpoint;
use crate::market::Market;
use crate::session::{self, COOKIE_PATH, CRUMB_PATH};

/// Where the exchange has its file.
pub(crate) const LIST_PATH: &str = "/markets/statistics-equities/misc/tvdivq0000001vg2-att/data_j.xls";
/// Where the edge is told how to refuse.
const REFUSE_PATH: &str = "/_sim/refuse";
/// Below it is an API that knows every thing it is asked for.
const API_PATH: &str = "/api/";
const CHART_PATHS: [&str; 2] = ["/v8/finance/chart/", "/v7/finance/chart/"];

const PLAIN: &str = "text/plain";

/// Everything that requests share.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) seed: u64,
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
            return Ok(answer::whole(StatusCode::OK, PLAIN, "ok"));
        }
        if path == REFUSE_PATH && method == Method::POST {
            return Ok(self.set_refusal(request.uri().query().unwrap_or_default()));
        }
        let (endpoint, response) = match (method.as_str(), path) {
            ("GET" | "HEAD", LIST_PATH) => {
                let list = self.list_xls.clone();
                (Endpoint::List, answer::whole(StatusCode::OK, "application/vnd.ms-excel", list))
            }
            ("GET" | "HEAD", path) if path.starts_with(API_PATH) => (Endpoint::Api, thing(request.uri())),
            ("GET", COOKIE_PATH) => (Endpoint::Cookie, session::cookie()),
            ("GET", CRUMB_PATH) => (Endpoint::Crumb, session::crumb(self.seed, request.headers())),
            _ => (Endpoint::Other, answer::whole(StatusCode::NOT_FOUND, PLAIN, "no such page\n")),
        };
        let status = response.status().as_u16();
        let fate = self.gate.admit(&Arrival { endpoint, status, ..arrival(peer, &request) });
        pause(fate.delay).await;
        self.carry_out(answer::page(response, &fate)).await
    }

    /// `how` is a form of [`form::refuse`], or `none`.
    fn set_refusal(&self, query: &str) -> Response<SimBody> {
        let how = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "how");
        let how = how.map(|(_, value)| value.into_owned()).unwrap_or_default();
        let refuse = if how == "none" { Ok(None) } else { form::refuse(&how).map(Some) };
        match refuse {
            Ok(refuse) => {
                self.gate.refuse(refuse);
                answer::whole(StatusCode::OK, PLAIN, format!("{how}\n"))
            }
            Err(way_out) => answer::whole(
                StatusCode::BAD_REQUEST,
                PLAIN,
                format!("how {how:?}: {way_out}, or none to lift it\n"),
            ),
        }
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
        self.carry_out(answer::chart(&plan, &fate, &self.market, symbol)).await
    }

    async fn carry_out(&self, outcome: Outcome) -> Result<Response<SimBody>, Closed> {
        match outcome {
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

/// A few words about whatever was asked for, the same each time.
fn thing(uri: &http::Uri) -> Response<SimBody> {
    let thing = serde_json::json!({"path": uri.path(), "query": uri.query()});
    answer::whole(StatusCode::OK, answer::JSON, thing.to_string())
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
