//! Requests and replies as connectors see them.

use std::time::Duration;

use bytes::Bytes;

/// A request that a connector asks for. Only GET exists so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Absolute http or https URL, at most 8 KiB.
    pub url: String,
    /// What the Accept header says.
    pub accept: &'static str,
}

/// A reply, read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Content-Type, at most 256 bytes; empty where there is none.
    pub content_type: String,
    /// Retry-After as received.
    pub retry_after: Option<String>,
    /// Date as received: what time it is there.
    pub date: Option<String>,
    /// The body, after decompression.
    pub body: Bytes,
    /// Body bytes received, before decompression where that is known.
    pub bytes_received: i64,
    /// From the first byte sent to the last byte received.
    pub latency: Duration,
}

/// What a connector finds wrong with a reply. `fetch::classify` gives it a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A status other than success that says nothing more.
    Status,
    /// The upstream says that there is no such thing.
    NotFound(String),
    /// The upstream refuses what was asked, by its own words.
    Refused(String),
    /// An HTML page where data was asked for: an outage page or a proxy's word.
    HtmlPage,
    /// Not what was asked for at all: cut, or no JSON.
    Garbage(String),
    /// Well-formed, yet not of the shape that the endpoint has.
    Undecodable(String),
    /// Bars of another length than asked for.
    GranularityMismatch {
        /// Asked for.
        asked: String,
        /// Got.
        got: String,
    },
    /// A reply about another symbol than the one asked for.
    SymbolMismatch {
        /// Asked for.
        asked: String,
        /// Got.
        got: String,
    },
}
