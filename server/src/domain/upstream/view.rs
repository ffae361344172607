//! An upstream as people and services see it.

use chrono::{DateTime, Utc};

use super::{Configured, UpstreamId};

/// An upstream as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// Its id.
    pub id: UpstreamId,
    /// Limits that an operator has set.
    pub configured: Configured,
    /// Permitted now, requests per second; 0 while the gate is held.
    pub rate_per_s: f64,
    /// Permitted now at once.
    pub burst: u32,
    /// Requests in flight.
    pub in_flight: u32,
    /// Requests that wait for a permit.
    pub waiting: usize,
    /// What holds its gate, the cause that lasts longest.
    pub held: Option<Holding>,
    /// Where its breaker stands.
    pub breaker: BreakerState,
    /// Of its breaker: failures in a row.
    pub failures: u32,
    /// Of its breaker: holds by push-back in a row.
    pub push_backs: u32,
    /// Of its breaker: since when it is not closed.
    pub tripped_at: Option<DateTime<Utc>>,
    /// Of its breaker: when the next probe goes out.
    pub probe_at: Option<DateTime<Utc>>,
    /// Live batches whose items are fetched from it.
    pub live_batches: i32,
    /// When all this was so.
    pub at: DateTime<Utc>,
}

/// What holds a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// Why.
    pub cause: HoldCause,
    /// When it ends by itself, if that is known.
    pub until: Option<DateTime<Utc>>,
    /// Since when.
    pub since: DateTime<Utc>,
    /// For people.
    pub message: String,
}

/// Why a gate is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldCause {
    /// The upstream asked to wait.
    RetryAfter,
    /// The breaker tripped.
    Breaker,
    /// An operator wants it.
    Operator,
}

impl HoldCause {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::RetryAfter, Self::Breaker, Self::Operator];

    /// The contract's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RetryAfter => "RETRY_AFTER",
            Self::Breaker => "BREAKER",
            Self::Operator => "OPERATOR",
        }
    }
}

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Requests pass.
    Closed,
    /// Nothing passes until the next probe is due.
    Tripped,
    /// One request is on its way, to see.
    Probing,
}

impl BreakerState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Tripped, Self::Probing];

    /// The contract's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::Tripped => "TRIPPED",
            Self::Probing => "PROBING",
        }
    }
}
