//! One server: store, engine and doors put together, listening.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use haul_proto::{
    FILE_DESCRIPTOR_SET,
    v1::{
        dataset_service_server::DatasetServiceServer, haul_service_server::HaulServiceServer,
        upstream_service_server::UpstreamServiceServer,
    },
};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::codec::CompressionEncoding;
use tonic_health::{ServingStatus, server::HealthReporter};

use super::folder::{Folder, FolderError};
use crate::{
    api::{self, Defaults, Doors, Edge, Limits as ConnectionLimits, Origins, Service},
    config::{Config, ConfigError},
    control::Control,
    engine::Engine,
    fetch::{ClientError, Fetcher},
    progress::Hub,
    shutdown,
    source::file::Roots,
    store::{
        Store, StoreError,
        sqlite::{Limits, MigrateError, SqliteStore},
    },
};

/// What health checks may ask for by this name: it does not serve while a batch stands still though nothing holds it back.
const ENGINE: &str = "haul.engine";
/// Largest message either way.
const MESSAGE_MAX_BYTES: usize = 4 << 20;
/// Connections at a time, if the process may have twice as many files open.
const CONNECTIONS_MAX: usize = 4_096;
/// A connection says within that time what it speaks.
const FIRST_BYTES_WITHIN: Duration = Duration::from_secs(10);
/// An old connection is cut off after that.
const CONNECTION_GRACE: Duration = Duration::from_secs(60);
/// After that the process ends, whatever is still under way.
const SHUTDOWN_MAX: Duration = Duration::from_secs(15);
/// Connections that did not end by themselves are cut off after that.
const CONNECTIONS_GRACE: Duration = Duration::from_secs(3);

/// A server that listens.
pub struct Node {
    address: SocketAddr,
    store: Arc<dyn Store>,
    engine: Arc<Engine>,
    health: HealthReporter,
    /// Streams end.
    draining: CancellationToken,
    /// No new connection.
    closing: CancellationToken,
    server: TaskTracker,
    /// Held until the very end.
    _folder: Folder,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data folder cannot be written.
    #[error("{0}")]
    Folder(String),
    /// Another server has the store.
    #[error(
        "{} is held by another hauld{}: stop that one, or give another --data-dir",
        database.display(),
        address.map(|address| format!(" at {address}")).unwrap_or_default()
    )]
    Held {
        /// The store's file.
        database: PathBuf,
        /// Where the other one is reached.
        address: Option<SocketAddr>,
    },
    /// A folder of files cannot be read.
    #[error("file root: {0}")]
    Roots(io::Error),
    /// The store cannot be opened.
    #[error("{}: {source}", database.display())]
    Store {
        /// The store's file.
        database: PathBuf,
        /// Why.
        source: MigrateError,
    },
    /// The store was opened and then failed.
    #[error(transparent)]
    Storage(#[from] StoreError),
    /// Requests cannot be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; give another with --listen (port 0 takes a free one)")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The port file cannot be written.
    #[error("port file {}: {source}", path.display())]
    PortFile {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl From<FolderError> for NodeError {
    fn from(error: FolderError) -> Self {
        Self::Folder(error.to_string())
    }
}

impl Node {
    /// Opens the store, goes on with what was under way and listens.
    pub(super) async fn start(config: &Config, mut folder: Folder) -> Result<Self, NodeError> {
        let roots = Arc::new(Roots::new(&config.file_roots).map_err(NodeError::Roots)?);
        let listen = |source| NodeError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;

        let limits = Limits { running_batches: config.running_batches, live_batches: config.live_batches };
        let store = SqliteStore::open(&folder.database, limits)
            .await
            .map_err(|source| NodeError::Store { database: folder.database.clone(), source })?;
        let store: Arc<dyn Store> = Arc::new(store);
        let hub = Arc::new(Hub::default());
        let outbound = config.outbound()?;
        let fetcher = Fetcher::new(outbound.clone())?;
        let stall_after = Duration::from_secs(config.stall_after_s.into());
        let engine =
            Engine::new(Arc::clone(&store), Arc::clone(&hub), fetcher, Arc::clone(&roots), stall_after)
                .await?;
        folder.announce(address).map_err(|error| NodeError::Folder(error.to_string()))?;
        if let Some(path) = &config.port_file {
            write_port(path, address.port())
                .map_err(|source| NodeError::PortFile { path: path.clone(), source })?;
        }
        let draining = CancellationToken::new();
        let closing = CancellationToken::new();
        let control = Control::new(Arc::clone(&store), hub, Arc::clone(&engine));
        let defaults = Defaults {
            zone: config.time_zone,
            list_uri: config.list_uri.clone(),
            user_agent: config.user_agent.clone(),
            roots,
            outbound,
        };
        // What a client sends may be compressed. Answers are not: most clients say that they can read it, whether or not
        // they gain by it, and each watcher would then pay for bytes that are made once for all of them.
        let service = Service::new(control, defaults, draining.clone());
        let upstreams = UpstreamServiceServer::new(service.clone())
            .max_decoding_message_size(MESSAGE_MAX_BYTES)
            .max_encoding_message_size(MESSAGE_MAX_BYTES)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd);
        let datasets = DatasetServiceServer::new(service.clone())
            .max_decoding_message_size(MESSAGE_MAX_BYTES)
            .max_encoding_message_size(MESSAGE_MAX_BYTES)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd);
        let service = HaulServiceServer::new(service)
            .max_decoding_message_size(MESSAGE_MAX_BYTES)
            .max_encoding_message_size(MESSAGE_MAX_BYTES)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd);
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<HaulServiceServer<Service>>().await;
        health.set_serving::<UpstreamServiceServer<Service>>().await;
        health.set_serving::<DatasetServiceServer<Service>>().await;
        health.set_service_status(ENGINE, ServingStatus::Serving).await;
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        };
        let (Ok(v1), Ok(v1alpha)) = (reflection().build_v1(), reflection().build_v1alpha()) else {
            return Err(StoreError::Fault("the compiled descriptors do not parse".to_owned()).into());
        };
        let services = api::services()
            .add_service(service)
            .add_service(upstreams)
            .add_service(datasets)
            .add_service(health_service)
            .add_service(v1)
            .add_service(v1alpha);
        let limits = ConnectionLimits {
            connections: CONNECTIONS_MAX.min(open_files() / 2),
            first_bytes: FIRST_BYTES_WITHIN,
            age: Duration::from_secs(config.connection_age_s.get().into()),
            grace: CONNECTION_GRACE,
        };
        let origins = Origins::parse(&config.allowed_origins).map_err(ConfigError::Origin)?;
        let doors = Doors::new(services, Edge::new(config.api_rate), origins, limits);
        // Nothing may fail after this: from here on requests are sent. Before the first call is answered, since what an
        // earlier process left half done is settled here, and nobody should see it as it was.
        let resumed = engine.start().await?;
        let server = TaskTracker::new();
        server.spawn(doors.serve(listener, draining.clone(), closing.clone()));
        server
            .spawn(draining.clone().run_until_cancelled_owned(tell_health(engine.stalled(), health.clone())));
        server.close();

        tracing::info!(address = %address, store = %folder.database.display(), resumed, "listening");
        Ok(Self { address, store, engine, health, draining, closing, server, _folder: folder })
    }

    /// Where it is reached.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends in good order, within 15 s: nothing new is sent, watchers are told, requests in flight are waited for,
    /// leases are handed back.
    pub async fn shutdown(self) {
        let cap = tokio::time::timeout(SHUTDOWN_MAX, self.end());
        tokio::select! {
            ended = cap => if ended.is_err() {
                tracing::warn!("the end took too long and is cut short");
            },
            _ = shutdown::requested() => tracing::warn!("asked to end again: at once"),
        }
    }

    async fn end(self) {
        self.health.set_not_serving::<HaulServiceServer<Service>>().await;
        self.health.set_not_serving::<UpstreamServiceServer<Service>>().await;
        self.health.set_not_serving::<DatasetServiceServer<Service>>().await;
        self.health.set_service_status(ENGINE, ServingStatus::NotServing).await;
        self.draining.cancel();
        self.closing.cancel();
        self.engine.drain().await;
        if tokio::time::timeout(CONNECTIONS_GRACE, self.server.wait()).await.is_err() {
            tracing::info!("connections that did not end are cut off");
        }
        self.store.close().await;
        tracing::info!("ended");
    }
}

/// Tells whoever asks for its health whether the engine does its work.
async fn tell_health(mut stalled: watch::Receiver<bool>, health: HealthReporter) {
    while stalled.changed().await.is_ok() {
        let is_stalled = *stalled.borrow_and_update();
        let status = if is_stalled { ServingStatus::NotServing } else { ServingStatus::Serving };
        health.set_service_status(ENGINE, status).await;
    }
}

/// How many files and sockets the process may have open: as many as the system lets it.
fn open_files() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let soft = limit.current;
    limit.current = limit.maximum;
    let files = if setrlimit(Resource::Nofile, limit).is_ok() { limit.maximum } else { soft };
    files.map_or(usize::MAX, |files| files as usize)
}

/// Written beside and moved, so that a reader never sees half of it.
fn write_port(path: &std::path::Path, port: u16) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    std::fs::write(&beside, format!("{port}\n"))?;
    std::fs::rename(beside, path)
}
