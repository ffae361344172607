//! Counts what is sent and received. What is dropped on its way counts as sent: it may have arrived.

use std::task::{Context, Poll};

use futures::{FutureExt, future::BoxFuture};
use tower::Service;

use super::{Call, FetchError};
use crate::{domain::request::Response, failpoint};

#[derive(Debug, Clone)]
pub(super) struct Observe<S> {
    inner: S,
}

impl<S> Observe<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S> Service<Call> for Observe<S>
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
        let meter = call.meter.clone();
        meter.sent();
        let reply = self.inner.call(call);
        async move {
            failpoint::reached("request.before").await;
            let reply = reply.await;
            match &reply {
                Ok(response) => meter.received(response.bytes_received),
                // There was no connection to send it on.
                Err(
                    FetchError::Unsendable(_)
                    | FetchError::Forbidden(_)
                    | FetchError::Dns(_)
                    | FetchError::Connect(_),
                ) => meter.unsent(),
                Err(_) => {}
            }
            reply
        }
        .boxed()
    }
}
