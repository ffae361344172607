//! One more request, at once, when a connection broke before the first byte of the reply.
//!
//! Pooled connections are closed by the other side whenever it likes, and a request that meets such a close says
//! nothing about the item. Requests are idempotent so far (GET only). The client does not tell whether the connection
//! was a reused one, so a fresh one that breaks gets its second try too: one, never more.

use std::task::{Context, Poll};

use futures::{FutureExt, future::BoxFuture};
use tower::{Service, ServiceExt};

use super::{Call, FetchError};
use crate::domain::request::Response;

#[derive(Debug, Clone)]
pub(super) struct QuickTry<S> {
    inner: S,
}

impl<S> QuickTry<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S> Service<Call> for QuickTry<S>
where
    S: Service<Call, Response = Response, Error = FetchError> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = FetchError;
    type Future = BoxFuture<'static, Result<Response, FetchError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), FetchError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let fresh = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, fresh.clone());
        async move {
            match ready.call(call.clone()).await {
                Err(FetchError::Broken(_)) => fresh.oneshot(call).await,
                reply => reply,
            }
        }
        .boxed()
    }
}
