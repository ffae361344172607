//! Requests: one tower stack over pooled clients.
//!
//! ```text
//! quick try → rate → attempt timeout → observe → wire
//! ```
//!
//! The stack sends one request and reads its reply to the end, within bounds. It repeats nothing but the quick try;
//! every other repeat is an attempt, and comes from the store.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;
use tower::{ServiceBuilder, ServiceExt, util::BoxCloneSyncService};

use crate::domain::request::{Request, Response};

pub mod classify;
mod meter;
mod observe;
mod outbound;
mod quick_try;
mod rate;
mod resolve;
mod timeout;
mod wire;

pub use meter::Meter;
pub use outbound::{BadEntry, Forbidden, Outbound};
pub use rate::{Denied, Held, Permit, Permits, Verdict};
pub use wire::ClientError;

/// A request on its way, with all that the layers need to know.
#[derive(Clone)]
pub struct Call {
    /// What to send.
    pub request: Request,
    /// User-Agent header.
    pub user_agent: Arc<str>,
    /// From the first byte sent to the last byte received.
    pub timeout: Duration,
    /// Largest body, after decompression.
    pub body_bytes_max: u64,
    /// Who says when it may be sent.
    pub permits: Arc<dyn Permits>,
    /// Withdraws it as long as it was not sent.
    pub withdrawn: CancellationToken,
    /// Counts what was sent and received.
    pub meter: Arc<Meter>,
}

/// Why there is no reply.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FetchError {
    /// The gate is held: nothing was sent.
    #[error("gate held until {until}")]
    Held {
        /// When it opens.
        until: DateTime<Utc>,
    },
    /// Withdrawn before it was sent.
    #[error("withdrawn")]
    Withdrawn,
    /// It cannot be sent as it is.
    #[error("cannot be sent: {0}")]
    Unsendable(String),
    /// The outbound policy forbids its target: nothing was sent.
    #[error("{0}")]
    Forbidden(String),
    /// The host's name has no address, or no answer.
    #[error("name resolution failed: {0}")]
    Dns(String),
    /// No connection.
    #[error("connect failed: {0}")]
    Connect(String),
    /// The connection broke before the first byte of the reply.
    #[error("connection broke before an answer: {0}")]
    Broken(String),
    /// The reply was cut.
    #[error("reply was cut: {0}")]
    Truncated(String),
    /// It took longer than allowed.
    #[error("no complete answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The body is larger than allowed.
    #[error("body is larger than {0} bytes")]
    BodyTooLarge(u64),
}

/// The stack, ready to be called.
#[derive(Clone)]
pub struct Fetcher(BoxCloneSyncService<Call, Response, FetchError>);

impl Fetcher {
    /// Builds the stack over a new connection pool. Nothing is sent to where `outbound` forbids.
    pub fn new(outbound: Outbound) -> Result<Self, ClientError> {
        let stack = ServiceBuilder::new()
            // Outermost, so that its second request pays the limiter and has its own timeout.
            .layer_fn(quick_try::QuickTry::new)
            // A permit is taken only when the request can go out at once.
            .layer_fn(rate::Rate::new)
            // Inside the limiter: waiting for a permit is not the upstream's fault.
            .layer_fn(timeout::Timeout::new)
            // Innermost, so that it counts what really was sent.
            .layer_fn(observe::Observe::new)
            .service(wire::Wire::new(outbound)?);
        Ok(Self(BoxCloneSyncService::new(stack)))
    }

    /// Sends one request and reads its reply to the end.
    pub async fn fetch(&self, call: Call) -> Result<Response, FetchError> {
        self.0.clone().oneshot(call).await
    }
}
