//! What a simulator is told at its start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::SimError;
use crate::list::{ListDate, SERVED_DATE};

/// How the simulator listens, what it serves and how it misbehaves. The default listens on a free port of the
/// loopback address and never fails.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Decides every price and every fault. The list of issues does not depend on it.
    pub seed: u64,
    /// The list served is cut to its first rows; `None` serves it whole.
    pub items: Option<usize>,
    /// Share of chart requests that fail in passing, 0 to 1. No symbol fails in passing more than twice.
    pub faults: f64,
    /// Share of codes that always fail, 0 to 1.
    pub permanent: f64,
    /// Limit of chart requests per client address; above it the answer is 429.
    pub limit: Option<RateLimit>,
    /// The `Retry-After` header of every 429.
    pub retry_after: RetryAfter,
    /// Wait before each answer.
    pub latency: Duration,
    /// Added to `latency`: seeded, uniform from nothing to this.
    pub latency_jitter: Duration,
    /// How long a stalled request hangs before its connection is closed.
    pub stall: Duration,
    /// When the chart endpoint is down altogether. Where two overlap the first in the list holds.
    pub outages: Vec<Outage>,
    /// How the chart endpoint refuses from the start on, until told otherwise ([`crate::Sim::refuse`]).
    pub refuse: Option<Refuse>,
    /// Whether agents that HTTP libraries send by themselves, and requests without one, are answered 429.
    pub refuse_libraries: bool,
    /// The day that the list says it is of.
    pub list_date: ListDate,
    /// Request log, JSON lines, appended.
    pub log: Option<PathBuf>,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            seed: 1,
            items: None,
            faults: 0.0,
            permanent: 0.0,
            limit: None,
            retry_after: RetryAfter::Seconds(1),
            latency: Duration::ZERO,
            latency_jitter: Duration::ZERO,
            stall: Duration::from_mins(1),
            outages: Vec::new(),
            refuse: None,
            refuse_libraries: false,
            list_date: SERVED_DATE,
            log: None,
        }
    }
}

/// A strict token bucket: `burst` requests at once, then `rate_per_s` of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateLimit {
    /// Requests a second, above 0.
    pub rate_per_s: f64,
    /// Requests that may come at once, at least 1.
    pub burst: u32,
}

/// The forms of the `Retry-After` header (RFC 9110, section 10.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// No such header.
    None,
    /// `Retry-After: 5`.
    Seconds(u64),
    /// An HTTP date this many seconds from now, rounded up to a whole second.
    Date(u64),
    /// Seconds and date by turns, beginning with seconds.
    Alternate(u64),
}

/// A time in which the chart endpoint answers nothing useful, counted from the start of the simulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// First moment of it.
    pub start_after: Duration,
    /// Its length.
    pub duration: Duration,
    /// What clients see.
    pub kind: OutageKind,
}

/// What clients see of an outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutageKind {
    /// 503 without a `Retry-After`, with a page saying "Will be right back".
    Status503,
    /// 200 with that page.
    HtmlPage,
    /// The connection is closed without an answer.
    Reset,
}

/// How the edge in front of the chart endpoint refuses. But for [`Refuse::Deny`] it looks at nothing that is asked for
/// and knows no end but being lifted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refuse {
    /// 429 to everything.
    All {
        /// What each 429 says.
        retry_after: RetryAfter,
    },
    /// Once an address has sent more than `requests` within `window`, 429 to all it sends in the time of `hold`, however
    /// slowly; then it begins anew.
    After {
        /// Requests that pass within any window.
        requests: u32,
        /// Its length.
        window: Duration,
        /// How long the address stays refused.
        hold: Duration,
        /// What each 429 says.
        retry_after: RetryAfter,
    },
    /// Down.
    Down(OutageKind),
    /// A credential that is no good, or a caller who is not let in.
    Deny {
        /// What it is answered with.
        status: DenyStatus,
        /// Only requests for charts of these symbols, without their `.T`; empty means whatever is asked for.
        keys: Vec<String>,
        /// How long, from when it was told; `None` until it is lifted.
        lasts: Option<Duration>,
    },
}

/// How a caller is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenyStatus {
    /// 401, in the words of the provider.
    Unauthorized,
    /// 403, with a page.
    Forbidden,
}

impl SimConfig {
    /// Refuses what has no meaning, naming the field, its value and the way out.
    pub(crate) fn check(&self) -> Result<(), SimError> {
        share("faults", self.faults)?;
        share("permanent", self.permanent)?;
        if let Some(limit) = self.limit {
            if !(limit.rate_per_s.is_finite() && (1e-6..=1e6).contains(&limit.rate_per_s)) {
                return Err(setting(
                    "rate",
                    &limit.rate_per_s,
                    "choose a number above 0, up to 1000000 requests a second",
                ));
            }
            if limit.burst == 0 {
                return Err(setting("burst", &limit.burst, "choose 1 or more"));
            }
        }
        if self.items == Some(0) {
            return Err(setting("items", &0, "choose 1 or more, or leave it out to serve the whole list"));
        }
        Ok(())
    }
}

fn share(name: &'static str, value: f64) -> Result<(), SimError> {
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(setting(name, &value, "choose a share from 0 to 1"))
    }
}

fn setting(name: &'static str, value: &impl ToString, way_out: &'static str) -> SimError {
    SimError::Setting { name, value: value.to_string(), way_out }
}
