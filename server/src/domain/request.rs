//! Requests and replies as connectors see them.

use std::{ops::Range, time::Duration};

use bytes::Bytes;

/// A request that a connector asks for. Only GET exists so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Absolute http or https URL, at most 8 KiB.
    pub url: String,
    /// What the Accept header says.
    pub accept: &'static str,
    /// The bytes of the file there that are asked for, as they lie there; without one, all of it. Whoever does not give
    /// parts answers with all.
    pub part: Option<Range<u64>>,
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
    /// What it says of the file, where a part of one was asked for.
    pub file: FileHead,
}

/// What a reply says of the file that its body is all or a part of, as received.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileHead {
    /// `ETag`.
    pub etag: Option<String>,
    /// Last-Modified.
    pub last_modified: Option<String>,
    /// Content-Range.
    pub content_range: Option<String>,
    /// Content-Encoding: the body is not as the file is.
    pub content_encoding: Option<String>,
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
