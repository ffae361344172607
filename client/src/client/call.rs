//! How a call is made: its deadline, and its repeats while the server is unavailable.

use std::{future::Future, time::Duration};

use tokio::time::Instant;
use tonic::{Request, Response, Status};
use tower::{ServiceBuilder, ServiceExt};

use super::{Client, Shared, Stub};
use crate::{ClientOptions, Error, retry::Repeats};

impl Client {
    /// One call of an RPC that may be repeated: by its nature, or for the request id that it carries. The deadline is that of
    /// all its repeats together, and goes to the server too, so that it does not work for nobody.
    pub(crate) async fn call<M, R, F, Fut>(&self, deadline: Duration, message: M, rpc: F) -> Result<R, Error>
    where
        M: Clone,
        F: Fn(Stub, Request<M>) -> Fut,
        Fut: Future<Output = Result<Response<R>, Status>>,
    {
        self.call_with(&self.shared.options, deadline, message, rpc).await
    }

    pub(super) async fn call_with<M, R, F, Fut>(
        &self,
        options: &ClientOptions,
        deadline: Duration,
        message: M,
        rpc: F,
    ) -> Result<R, Error>
    where
        M: Clone,
        F: Fn(Stub, Request<M>) -> Fut,
        Fut: Future<Output = Result<Response<R>, Status>>,
    {
        let Shared { server, throttle, .. } = self.shared.as_ref();
        let end = Instant::now() + deadline;
        let once = |message: M| {
            let left = end.saturating_duration_since(Instant::now());
            let mut request = Request::new(message);
            request.set_timeout(left);
            let answer = rpc(self.stub(), request);
            async move {
                // tonic's own limit ends with the headers of the answer.
                match tokio::time::timeout(left, answer).await {
                    Ok(Ok(answer)) => Ok(answer.into_inner()),
                    Ok(Err(status)) => Err(Error::from_status(server, deadline, status)),
                    Err(_) => Err(Error::NoAnswer { server: server.clone(), after: deadline }),
                }
            }
        };
        let repeats = Repeats::new(options.clone(), throttle.clone(), end);
        ServiceBuilder::new().retry(repeats).service_fn(once).oneshot(message).await
    }
}
