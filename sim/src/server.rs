//! The listening socket and its connections.
//!
//! Connections are served by hyper directly: a fault that closes a connection is an error of the service, at which hyper
//! drops the connection.
//!
//! ```text
//! start ── accept loop ── a task per connection     all owned by one tracker, all ended by one token
//! ```

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::{Refuse, SimConfig};
use crate::error::SimError;
use crate::gate::Gate;
use crate::list;
use crate::market::Market;
use crate::service::{LIST_PATH, Service};

/// How long running answers may take once the simulator stops.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(500);
/// Pause after a failed accept, which means too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A running simulator. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Sim {
    addr: SocketAddr,
    service: Arc<Service>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Starts a simulator; it listens when this returns.
pub async fn start(config: SimConfig) -> Result<Sim, SimError> {
    config.check()?;
    let clock = Clock::start();
    let mut rows = list::generate(list::SERVED_SEED, list::ISSUES);
    rows.truncate(config.items.unwrap_or(usize::MAX));
    let list_xls = list::to_xls(config.list_date, &rows)?.into();
    let gate = Gate::new(&config, clock)?;
    let bind = |source| SimError::Bind { addr: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(bind)?;
    let addr = listener.local_addr().map_err(bind)?;
    let market = Market::new(config.seed, &rows);
    let service = Arc::new(Service { seed: config.seed, clock, market, list_xls, gate, stall: config.stall });

    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    tasks.spawn(accept(listener, Arc::clone(&service), stop.clone(), tasks.clone()));
    Ok(Sim { addr, service, stop, tasks })
}

impl Sim {
    /// The address it listens on, with the port taken.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://127.0.0.1:PORT`, without a slash at its end.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Where the list of issues is.
    pub fn list_url(&self) -> String {
        format!("{}{LIST_PATH}", self.base_url())
    }

    /// From the next request on the edge refuses like this; `None` lifts what it did.
    pub fn refuse(&self, refuse: Option<Refuse>) {
        self.service.gate.refuse(refuse);
    }

    /// Stops listening and closes every connection within a second; the log is complete when it returns.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(listener: TcpListener, service: Arc<Service>, stop: CancellationToken, tasks: TaskTracker) {
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, peer)) => {
                drop(tasks.spawn(connection(stream, peer, Arc::clone(&service), stop.clone())));
            }
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, service: Arc<Service>, stop: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let served = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { service.serve(peer.ip(), request).await }
    });
    let mut connection = pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), served));
    // Errors are the closed connections of faults, and clients that went away.
    if let Some(ended) = stop.run_until_cancelled(connection.as_mut()).await {
        tracing::debug!(?ended, %peer, "connection ended");
        return;
    }
    connection.as_mut().graceful_shutdown();
    let ended = tokio::time::timeout(SHUTDOWN_GRACE, connection).await;
    tracing::debug!(?ended, %peer, "connection ended at shutdown");
}
