//! The attempt timeout: from the first byte sent to the last byte received, the body included.

use std::task::{Context, Poll};

use futures::{FutureExt, future::BoxFuture};
use tower::Service;

use super::{Call, FetchError};
use crate::domain::request::Response;

#[derive(Debug, Clone)]
pub(super) struct Timeout<S> {
    inner: S,
}

impl<S> Timeout<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S> Service<Call> for Timeout<S>
where
    S: Service<Call, Response = Response, Error = FetchError>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = FetchError;
    type Future = BoxFuture<'static, Result<Response, FetchError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), FetchError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let allowed = call.timeout;
        let reply = self.inner.call(call);
        async move { tokio::time::timeout(allowed, reply).await.unwrap_or(Err(FetchError::Timeout(allowed))) }
            .boxed()
    }
}
