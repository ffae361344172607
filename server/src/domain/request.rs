//! Requests and replies as connectors see them.

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Longest URL, in bytes.
pub const URL_BYTES_MAX: usize = 8 * 1024;

/// How something is asked for. Both are idempotent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Head and body.
    #[default]
    Get,
    /// The head alone.
    Head,
}

impl Method {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
        }
    }
}

/// What is done with a reply's body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reading {
    /// It is collected, as far as the batch allows.
    #[default]
    Whole,
    /// It is collected, up to so many bytes.
    UpTo(u64),
    /// It is counted and hashed, and never held.
    Digest,
}

/// A request that a connector asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// How.
    pub method: Method,
    /// Absolute http or https URL, at most [`URL_BYTES_MAX`].
    pub url: String,
    /// What the Accept header says, unless `headers` do.
    pub accept: &'static str,
    /// Other headers, by name in lower case.
    pub headers: Vec<(String, String)>,
    /// The bytes of the file there that are asked for, as they lie there; without one, all of it. Whoever does not give
    /// parts answers with all.
    pub part: Option<Range<u64>>,
    /// What is done with the reply's body.
    pub reading: Reading,
}

impl Request {
    /// Asks for all that is there.
    pub fn get(url: String, accept: &'static str) -> Self {
        let (method, headers, reading) = (Method::Get, Vec::new(), Reading::Whole);
        Self { method, url, accept, headers, part: None, reading }
    }
}

/// What is known of a body that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// Bytes after decompression.
    pub bytes: u64,
    /// SHA-256.
    pub sha256: [u8; 32],
}

impl Digest {
    /// Of a body.
    pub fn of(body: &[u8]) -> Self {
        Self { bytes: body.len() as u64, sha256: Sha256::digest(body).into() }
    }
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
    /// The body, after decompression; empty where it was not collected.
    pub body: Bytes,
    /// Set where the body was not collected, and once it was asked for.
    pub digest: Option<Digest>,
    /// Body bytes received, before decompression where that is known.
    pub bytes_received: i64,
    /// From the first byte sent to the last byte received.
    pub latency: Duration,
    /// What it says of the file, where a part of one was asked for.
    pub file: FileHead,
}

impl Response {
    /// Size and hash of the body.
    pub fn digest(&self) -> Digest {
        self.digest.unwrap_or_else(|| Digest::of(&self.body))
    }
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
    /// Larger than so many bytes.
    TooLarge(u64),
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
