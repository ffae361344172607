//! A way to a server that breaks as networks do.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use haul_proto::v1::haul_service_client::HaulServiceClient;
use tokio::{
    io::{AsyncReadExt, copy},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tonic::transport::{Channel, Endpoint};

use super::Server;

/// Passes connections on as long as it is not dropped.
pub(crate) struct Relay {
    address: SocketAddr,
    connections: Arc<Mutex<JoinSet<()>>>,
    cuts: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Relay {
    /// Each connection is cut off after so many bytes from the caller; those that come after the last bound have none.
    pub(crate) async fn to(server: &Server, bounds: impl IntoIterator<Item = u64>) -> Self {
        let mut bounds: Vec<u64> = bounds.into_iter().collect();
        bounds.reverse();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (server, cuts) = (server.address(), Arc::new(AtomicUsize::new(0)));
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let (alive, counted) = (Arc::clone(&connections), Arc::clone(&cuts));
        let task = JoinSet::from_iter([async move {
            loop {
                let (caller, _) = listener.accept().await.unwrap();
                let passed = pass(caller, server.clone(), bounds.pop().unwrap_or(u64::MAX), counted.clone());
                alive.lock().unwrap().spawn(passed);
            }
        }]);
        Self { address, connections, cuts, _task: task }
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The generated client by this way.
    pub(crate) fn stub(&self) -> HaulServiceClient<Channel> {
        HaulServiceClient::new(Endpoint::from_shared(self.url()).unwrap().connect_lazy())
    }

    /// Cuts every connection there is.
    pub(crate) fn cut(&self) {
        self.connections.lock().unwrap().abort_all();
    }

    /// Connections that came to their bound.
    pub(crate) fn cuts(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

async fn pass(mut caller: TcpStream, server: String, bound: u64, cuts: Arc<AtomicUsize>) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let (from_caller, mut to_caller) = caller.split();
    let (mut from_server, mut to_server) = server.split();
    let mut bounded = from_caller.take(bound);
    tokio::select! {
        _ = copy(&mut bounded, &mut to_server) => {}
        _ = copy(&mut from_server, &mut to_caller) => {}
    }
    if bounded.limit() == 0 {
        cuts.fetch_add(1, Ordering::SeqCst);
    }
}
