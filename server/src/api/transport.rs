//! One port for gRPC over HTTP/2, grpc-web over HTTP/1.1 and HTTP/2, and a word to whoever else comes by.
//!
//! ```text
//!  listener ─▶ connection: first bytes, age ─▶ origin ─▶ CORS ─▶ grpc-web ─▶ edge ─▶ services
//!                                                          └─▶ nothing here
//! ```
//!
//! Each connection is served by itself, since each has its own end: an age with jitter, at which its streams are told
//! and it takes no new call, and a grace after which it is cut off. Connections beyond the limit are closed at once.

use std::{sync::Arc, time::Duration};

use axum::{Extension, Router, middleware};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tonic::{service::Routes, transport::Server};
use tonic_web::GrpcWebLayer;

use super::edge::Edge;

mod connection;
mod origin;
mod other;
#[cfg(test)]
mod tests;

use connection::Connection;
pub use origin::{BadOrigin, Origins};

const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const STREAMS_PER_CONNECTION: u32 = 256;
/// Names and values of a request's headers in all, bytes.
const HEADERS_MAX_BYTES: u32 = 16 << 10;
/// Streams that a client opens and resets before we have looked at them, and streams that it made us reset: more, and
/// it means harm.
const RESETS_MAX: usize = 32;
const RESETS_BY_US_MAX: usize = 256;
/// Part of the age that is drawn by lot, either way: connections that were made together do not end together.
const AGE_JITTER: f64 = 0.1;
/// After an accept that failed: out of file descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// When the streams of a connection are to end: the node leaves, or the connection is old. With each request.
#[derive(Debug, Clone)]
pub(super) struct Lifetime(pub(super) CancellationToken);

/// Bounds of connections.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// At a time.
    pub connections: usize,
    /// From the connection to enough bytes to know what it speaks.
    pub first_bytes: Duration,
    /// From the connection to the time when its client is asked to make a new one, ± 10 %.
    pub age: Duration,
    /// From then to the time when it is cut off.
    pub grace: Duration,
}

/// Where services are added to.
pub fn services() -> Routes {
    // Without tonic's own answer to what is not there.
    Routes::from(Router::new())
}

/// What is served, and how.
#[derive(Debug, Clone)]
pub struct Doors {
    routes: Routes,
    limits: Limits,
}

impl Doors {
    /// Services, reachable for pages of `origins` too.
    pub fn new(services: Routes, edge: Edge, origins: Origins, limits: Limits) -> Self {
        let app = services
            .into_axum_router()
            .route_layer(edge)
            .route_layer(GrpcWebLayer::new())
            // Outside of it, since it answers what it does not know with 400 and not a word.
            .route_layer(middleware::from_fn(other::only_grpc))
            .fallback(other::nothing_here)
            .layer(origins.cors())
            .layer(middleware::from_fn_with_state(Arc::new(origins), origin::only_allowed));
        Self { routes: Routes::from(app).prepare(), limits }
    }

    /// Serves until `closing`, and then until every connection has ended. Streams are told to end by `draining`.
    pub async fn serve(self, listener: TcpListener, draining: CancellationToken, closing: CancellationToken) {
        let places = Arc::new(Semaphore::new(self.limits.connections));
        let mut connections = JoinSet::new();
        let mut refused = 0_u64;
        loop {
            let accepted = tokio::select! {
                () = closing.cancelled() => break,
                Some(_ended) = connections.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((io, _)) => {
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                        refused += 1;
                        if refused.is_power_of_two() {
                            tracing::warn!(limit = self.limits.connections, refused, "too many connections");
                        }
                        continue;
                    };
                    let (doors, draining, closing) = (self.clone(), draining.child_token(), closing.clone());
                    connections.spawn(async move {
                        doors.connection(io, draining, closing).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(error = %error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // Nobody is let wait for an accept that does not come.
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    async fn connection(self, io: TcpStream, ends: CancellationToken, closing: CancellationToken) {
        let Limits { age, grace, first_bytes, .. } = self.limits;
        let age = age.mul_f64(1.0 + AGE_JITTER * (2.0 * rand::random::<f64>() - 1.0));
        let gone = CancellationToken::new();
        let io = Connection::new(io, first_bytes, gone.clone());
        let server = Server::builder()
            .accept_http1(true)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .max_concurrent_streams(STREAMS_PER_CONNECTION)
            .http2_max_header_list_size(HEADERS_MAX_BYTES)
            .http2_max_pending_accept_reset_streams(Some(RESETS_MAX))
            .http2_max_local_error_reset_streams(Some(RESETS_BY_US_MAX))
            // With a grace this cuts the connection off at the end of it, and does nothing before.
            .max_connection_age(age)
            .max_connection_age_grace(grace)
            .layer(Extension(Lifetime(ends.clone())))
            .add_routes(self.routes);
        let over = async move {
            tokio::select! {
                () = tokio::time::sleep(age) => ends.cancel(),
                () = closing.cancelled() => {}
                () = gone.cancelled() => {}
            }
        };
        let this_one = tokio_stream::once(Ok::<_, std::io::Error>(io)).chain(tokio_stream::pending());
        if let Err(error) = server.serve_with_incoming_shutdown(this_one, over).await {
            tracing::debug!(error = %error, "a connection failed");
        }
    }
}
