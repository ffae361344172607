//! Waits for a permit and tells the gate where no reply came of it.

use std::task::{Context, Poll};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::{FutureExt, future::BoxFuture};
use tower::{Service, ServiceExt};

use super::{Call, FetchError, classify};
use crate::domain::request::Response;

/// Who says when a request may be sent. The engine's gate is one.
#[async_trait]
pub trait Permits: Send + Sync {
    /// Waits until a request may be sent, and takes the permit. Dropped before it is ready, it has taken nothing.
    async fn acquire(&self) -> Result<Permit, Denied>;
    /// What the request that a permit was taken for says about the upstream. The stack tells of one that had no reply;
    /// what a reply says is told by the caller, who knows what is in it.
    async fn observe(&self, verdict: Verdict);
}

/// Held for as long as the request is on its way, and given back when that is dropped.
pub struct Permit(Box<dyn Held>);

/// What a permit holds.
pub trait Held: Send {
    /// The request was not sent, and will not be: it cost the upstream nothing.
    fn unused(&mut self) {}
}

impl Held for () {}

impl Permit {
    /// One that gives back what it holds.
    pub fn new(held: impl Held + 'static) -> Self {
        Self(Box::new(held))
    }
}

/// The gate is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    /// When it opens by itself; far away where it does not.
    pub until: DateTime<Utc>,
}

/// What a reply says about the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It lives.
    Alive,
    /// It asks for less, for that long if it says so.
    PushBack {
        /// As asked for.
        retry_after: Option<std::time::Duration>,
    },
    /// It failed.
    Failing,
    /// It lives, and refuses whoever asks.
    Refusing,
}

#[derive(Debug, Clone)]
pub(super) struct Rate<S> {
    inner: S,
}

impl<S> Rate<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S> Service<Call> for Rate<S>
where
    S: Service<Call, Response = Response, Error = FetchError> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = FetchError;
    type Future = BoxFuture<'static, Result<Response, FetchError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), FetchError>> {
        // The inner service is asked once the permit is there.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let inner = self.inner.clone();
        async move {
            let permits = call.permits.clone();
            let mut permit = tokio::select! {
                biased;
                () = call.withdrawn.cancelled() => return Err(FetchError::Withdrawn),
                permit = permits.acquire() => permit.map_err(|denied| FetchError::Held { until: denied.until })?,
            };
            let reply = inner.oneshot(call).await;
            // A target that is forbidden or is none is found out on the way.
            if matches!(reply, Err(FetchError::Forbidden(_) | FetchError::Unsendable(_))) {
                permit.0.unused();
            }
            drop(permit);
            if let Some(verdict) = reply.as_ref().err().and_then(classify::silence) {
                permits.observe(verdict).await;
            }
            reply
        }
        .boxed()
    }
}
