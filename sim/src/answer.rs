//! Turns a verdict into an answer, or into a connection without one.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};

use crate::body::{Break, SimBody};
use crate::chart::{Plan, Refusal, error_body};
use crate::config::OutageKind;
use crate::fault::{Fault, Permanent};
use crate::gate::{Fate, Verdict};
use crate::hash::Hash;
use crate::market::Market;

/// What the connection does next.
#[derive(Debug)]
pub(crate) enum Outcome {
    Answer(Response<SimBody>),
    /// Closes without an answer.
    Close,
    /// Hangs, then closes.
    Stall,
}

pub(crate) const JSON: &str = "application/json;charset=utf-8";
const HTML: &str = "text/html";
const PLAIN: &str = "text/plain";
const EXCUSE: &str = "<!DOCTYPE html><html lang=\"en-us\"><head><title>Will be right back</title></head><body><h1>Will be right back...</h1>\
                      <p>Thank you for your patience. Our engineers are working quickly to resolve the issue.</p></body></html>";
const BAD_GATEWAY: &str =
    "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>";
/// Neither JSON nor text.
const GARBAGE: &[u8] = b"{\"chart\":{\"result\":[{\"meta\":\x00\xff\xfe{{{\x1f\x8b,,]";

/// The outcome of a chart request.
pub(crate) fn chart(plan: &Plan, fate: &Fate, market: &Market, symbol: &str) -> Outcome {
    let status = |code: u16| StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Outcome::Answer(match fate.verdict {
        Verdict::Answer => with_cache(whole(status(plan.status()), JSON, plan.body(market))),
        Verdict::Permanent(Permanent::Delisted) => whole(StatusCode::OK, JSON, delisted(symbol)),
        Verdict::Permanent(Permanent::NotFound) => refused(&Refusal::NoSuchSymbol),
        Verdict::Permanent(Permanent::Unprocessable) => refused(&Refusal::Unprocessable),
        Verdict::Fault(Fault::RateLimited) => too_many(fate, HTML),
        Verdict::Fault(Fault::Http429 | Fault::Refused | Fault::Agent) => {
            // Both forms are seen; which one comes is the symbol's.
            let as_text = Hash::new(0).with_text(symbol).below(2) == 0;
            too_many(fate, if as_text { PLAIN } else { HTML })
        }
        Verdict::Fault(Fault::Http500) => whole(
            status(500),
            JSON,
            error_body("Internal Server Error", "Unexpected error, please try again later"),
        ),
        Verdict::Fault(Fault::Http502) => whole(status(502), HTML, BAD_GATEWAY),
        Verdict::Fault(Fault::Http503) => {
            whole(status(503), HTML, "<html><body><h1>503 Service Unavailable</h1></body></html>")
        }
        Verdict::Fault(Fault::Garbage) => whole(StatusCode::OK, "application/json", GARBAGE),
        Verdict::Fault(Fault::HtmlPage) => whole(StatusCode::OK, HTML, EXCUSE),
        Verdict::Fault(Fault::Truncated) => truncated(status(plan.status()), plan.body(market)),
        Verdict::Fault(Fault::Stall) => return Outcome::Stall,
        Verdict::Fault(Fault::Reset | Fault::Outage) => return Outcome::Close,
        Verdict::Outage(kind) => return outage(kind),
    })
}

/// The outcome of a request for anything else: the edge is all that may stand before it.
pub(crate) fn page(response: Response<SimBody>, fate: &Fate) -> Outcome {
    match fate.verdict {
        Verdict::Outage(kind) => outage(kind),
        Verdict::Fault(_) => Outcome::Answer(too_many(fate, PLAIN)),
        Verdict::Answer | Verdict::Permanent(_) => Outcome::Answer(response),
    }
}

fn outage(kind: OutageKind) -> Outcome {
    match kind {
        OutageKind::Status503 => Outcome::Answer(whole(StatusCode::SERVICE_UNAVAILABLE, HTML, EXCUSE)),
        OutageKind::HtmlPage => Outcome::Answer(whole(StatusCode::OK, HTML, EXCUSE)),
        OutageKind::Reset => Outcome::Close,
    }
}

/// An answer with a whole body, whose length is sent.
pub(crate) fn whole(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<SimBody> {
    let mut response = Response::new(SimBody::Whole(Some(body.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn refused(refusal: &Refusal) -> Response<SimBody> {
    whole(StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::NOT_FOUND), JSON, refusal.body())
}

fn with_cache(mut response: Response<SimBody>) -> Response<SimBody> {
    let headers = response.headers_mut();
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=10, stale-while-revalidate=20"),
    );
    headers.insert(header::VARY, HeaderValue::from_static("Origin,Accept-Encoding"));
    response
}

fn too_many(fate: &Fate, content_type: &'static str) -> Response<SimBody> {
    let body = if content_type == HTML { "Edge: Too Many Requests" } else { "Too Many Requests\r\n" };
    let mut response = whole(StatusCode::TOO_MANY_REQUESTS, content_type, body);
    if let Some(value) = fate.retry_after.as_deref().and_then(|value| HeaderValue::from_str(value).ok()) {
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
    response
}

/// Says the whole length and sends half.
fn truncated(status: StatusCode, mut body: Vec<u8>) -> Response<SimBody> {
    let length = body.len();
    body.truncate(length / 2);
    let mut response = whole(status, JSON, Bytes::new());
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    *response.body_mut() = SimBody::BreaksOff(Break::Part(body.into()));
    response
}

/// The shape some delisted symbols have: a result of another exchange without currency, listing or bars.
fn delisted(symbol: &str) -> Vec<u8> {
    let period = |start: i64, end: i64| serde_json::json!({"timezone": "JST", "start": start, "end": end, "gmtoffset": 32_400});
    let (open, close) = (1_729_036_800, 1_729_058_400);
    serde_json::json!({"chart": {"result": [{
        "meta": {
            "currency": null, "symbol": symbol, "exchangeName": "YHD", "fullExchangeName": "YHD",
            "instrumentType": "MUTUALFUND", "firstTradeDate": null, "regularMarketTime": 1_561_759_658,
            "hasPrePostMarketData": false, "gmtoffset": 32_400, "timezone": "JST", "exchangeTimezoneName": "Asia/Tokyo",
            "priceHint": 2,
            "currentTradingPeriod": {
                "pre": period(open, open), "regular": period(open, close), "post": period(close, close),
            },
            "dataGranularity": "1d", "range": "",
            "validRanges": ["1mo", "3mo", "6mo", "ytd", "1y", "2y", "5y", "10y", "max"],
        },
        "indicators": {"quote": [{}], "adjclose": [{}]},
    }], "error": null}})
    .to_string()
    .into_bytes()
}
