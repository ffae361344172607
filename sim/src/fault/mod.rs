//! How chart requests fail, and which ones do.
//!
//! Whether a request fails is a hash of the seed, its symbol and how many tries of that symbol came before it; a
//! request that met the limit or an outage was no try. Two runs with one seed therefore fail alike, in whatever order the symbols come.

mod dealer;
mod permanent;

pub(crate) use dealer::Dealer;
pub(crate) use permanent::Permanent;

use serde::Serialize;

/// A failure, as the log names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// Over the limit of its address: 429.
    RateLimited,
    /// Refused by the edge: 429.
    Refused,
    /// An agent the edge does not like: 429.
    Agent,
    /// Turned away by the edge: 401.
    Unauthorized,
    /// Turned away by the edge: 403.
    Forbidden,
    /// 429 for no reason.
    #[serde(rename = "http_429")]
    Http429,
    #[serde(rename = "http_500")]
    Http500,
    #[serde(rename = "http_502")]
    Http502,
    #[serde(rename = "http_503")]
    Http503,
    /// No answer for long, then the connection is closed.
    Stall,
    /// The connection is closed in the middle of the body.
    Truncated,
    /// 200, said to be JSON, and is none.
    Garbage,
    /// 200 with a page of excuses.
    HtmlPage,
    /// The connection is closed without an answer.
    Reset,
    /// Down altogether.
    Outage,
}

/// Those that come in passing, all equally likely.
pub(crate) const PASSING: [Fault; 9] = [
    Fault::Http429,
    Fault::Http500,
    Fault::Http502,
    Fault::Http503,
    Fault::Stall,
    Fault::Truncated,
    Fault::Garbage,
    Fault::HtmlPage,
    Fault::Reset,
];
