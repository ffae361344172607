//! What every call of `haul.v1` passes first: its caller's rate, its deadline, and a net under a handler that panics; a
//! stream the one that gives up a stuck reader, too.
//!
//! A call that runs out of time is answered and its handler dropped; what must not be left half done is carried out by
//! the engine, whoever still waits for it. gRPC's own limit stands around this layer and ends calls without details:
//! the deadline here begins a moment earlier, so it is the one that is heard.

use std::{
    collections::{HashMap, HashSet},
    future::{Future, ready},
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, TryFutureExt, future::BoxFuture};
use haul_proto::FILE_DESCRIPTOR_SET;
use http::{Request, Response};
use http_body::Frame;
use prost::Message;
use prost_types::FileDescriptorSet;
use tokio::time::{Instant, Sleep};
use tonic::{Status, body::Body, transport::server::TcpConnectInfo};
use tower::{BoxError, Layer, Service};

use super::{
    delivery::{Delivery, end},
    status::ApiError,
};

#[cfg(test)]
mod tests;

/// Of a unary call that names no deadline.
const DEADLINE: Duration = Duration::from_secs(60);
/// The library ends a call at its `grpc-timeout` too, without a reason: who fires first of one instant is chance.
const AHEAD: Duration = Duration::from_millis(2);
/// Callers whose calls are counted. Those beyond are not.
const CALLERS_MAX: usize = 10_000;
const PACKAGE: &str = "/haul.v1.";

/// The layer.
#[derive(Clone)]
pub struct Edge {
    /// Paths of unary methods.
    unary: Arc<HashSet<String>>,
    callers: Option<Arc<Mutex<Callers>>>,
}

impl Edge {
    /// One that lets each caller make so many calls a second, and as many at once; 0 is any number.
    pub fn new(calls_per_s: f64) -> Self {
        let callers = (calls_per_s > 0.0).then(|| Arc::new(Mutex::new(Callers::new(calls_per_s))));
        Self { unary: Arc::new(unary()), callers }
    }

    fn admit<B>(&self, request: &Request<B>) -> Result<(), ApiError> {
        let Some(callers) = &self.callers else { return Ok(()) };
        let info = request.extensions().get::<TcpConnectInfo>();
        let Some(address) = info.and_then(TcpConnectInfo::remote_addr) else { return Ok(()) };
        let mut callers = callers.lock().unwrap_or_else(PoisonError::into_inner);
        let caller = address.ip().to_canonical();
        callers.admit(caller, Instant::now()).map_err(|wait| ApiError::ApiRate {
            limit_per_s: callers.calls_per_s,
            caller: caller.to_string(),
            wait,
        })
    }

    fn deadline<B>(&self, request: &Request<B>) -> Option<Duration> {
        let given = request.headers().get("grpc-timeout").and_then(|value| timeout(value.to_str().ok()?));
        given.or_else(|| self.unary.contains(request.uri().path()).then_some(DEADLINE))
    }
}

impl<S> Layer<S> for Edge {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Guarded { edge: self.clone(), inner }
    }
}

/// A service behind the layer.
#[derive(Clone)]
pub struct Guarded<S> {
    edge: Edge,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if !request.uri().path().starts_with(PACKAGE) {
            return self.inner.call(request).map_ok(|response| response.map(Body::new)).boxed();
        }
        if let Err(error) = self.edge.admit(&request) {
            return ready(Ok(Status::from(error).into_http())).boxed();
        }
        let is_stream = !self.edge.unary.contains(request.uri().path());
        let mut deadline = self.edge.deadline(&request).map(Deadline::after);
        let handler = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        async move {
            let outcome = tokio::select! {
                biased;
                outcome = handler => outcome,
                error = passed(&mut deadline) => return Ok(Status::from(error).into_http()),
            };
            match outcome {
                Ok(response) => response.map(|response| {
                    response.map(|body| {
                        let rest = Rest { body: Some(Body::new(body)), deadline };
                        if is_stream { Body::new(Delivery::new(rest)) } else { Body::new(rest) }
                    })
                }),
                Err(panic) => Ok(Status::from(panicked(panic)).into_http()),
            }
        }
        .boxed()
    }
}

struct Deadline {
    after: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl Deadline {
    fn after(after: Duration) -> Self {
        Self { after, sleep: Box::pin(tokio::time::sleep(after.saturating_sub(AHEAD))) }
    }
}

/// Ends when the deadline passes, if there is one.
async fn passed(deadline: &mut Option<Deadline>) -> ApiError {
    match deadline {
        Some(Deadline { after, sleep }) => {
            sleep.await;
            ApiError::Deadline { after: *after }
        }
        None => std::future::pending().await,
    }
}

/// What follows the headers: a stream may run out of time, or panic, after it began.
struct Rest {
    body: Option<Body>,
    deadline: Option<Deadline>,
}

impl http_body::Body for Rest {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Rest { body: Some(body), deadline } = &mut *self else { return Poll::Ready(None) };
        let late = deadline.as_mut().and_then(|deadline| {
            let passed = deadline.sleep.as_mut().poll(cx).is_ready();
            passed.then_some(deadline.after)
        });
        let error = match late {
            Some(after) => ApiError::Deadline { after },
            None => match catch_unwind(AssertUnwindSafe(|| Pin::new(body).poll_frame(cx))) {
                Ok(polled) => return polled,
                Err(panic) => panicked(panic),
            },
        };
        self.body = None;
        Poll::Ready(Some(end(error)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> ApiError {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    ApiError::Panicked(text.unwrap_or_default())
}

/// A `grpc-timeout`: up to eight digits and a unit.
fn timeout(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let digits = text.strip_suffix(unit)?;
    if digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        'H' => Some(Duration::from_secs(amount * 3_600)),
        'M' => Some(Duration::from_secs(amount * 60)),
        'S' => Some(Duration::from_secs(amount)),
        'm' => Some(Duration::from_millis(amount)),
        'u' => Some(Duration::from_micros(amount)),
        'n' => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

/// Paths of the contract's unary methods. A stream has no deadline that its caller does not set.
fn unary() -> HashSet<String> {
    let mut paths = HashSet::new();
    // The bytes are this build's own.
    for file in FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap_or_default().file {
        for service in &file.service {
            for method in &service.method {
                if !method.client_streaming() && !method.server_streaming() {
                    paths.insert(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
                }
            }
        }
    }
    paths
}

/// When each caller's calls are due, if they came one by one at the rate (GCRA).
struct Callers {
    calls_per_s: f64,
    interval: Duration,
    /// How far a caller may be ahead: one second's calls.
    ahead: Duration,
    due: HashMap<IpAddr, Instant>,
}

impl Callers {
    fn new(calls_per_s: f64) -> Self {
        let interval = Duration::from_secs_f64((1.0 / calls_per_s).min(DEADLINE.as_secs_f64()));
        Self {
            calls_per_s,
            interval,
            ahead: Duration::from_secs(1).saturating_sub(interval),
            due: HashMap::new(),
        }
    }

    /// Counts a call, or says how long to wait.
    fn admit(&mut self, caller: IpAddr, now: Instant) -> Result<(), Duration> {
        let due = self.due.get(&caller).map_or(now, |due| (*due).max(now));
        let wait = due.saturating_duration_since(now + self.ahead);
        if !wait.is_zero() {
            return Err(wait);
        }
        if self.due.len() >= CALLERS_MAX {
            self.due.retain(|_, due| *due > now);
        }
        if self.due.len() < CALLERS_MAX || self.due.contains_key(&caller) {
            self.due.insert(caller, due + self.interval);
        }
        Ok(())
    }
}
