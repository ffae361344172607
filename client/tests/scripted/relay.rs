//! Between client and server: a network that can break.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

pub(super) struct Relay {
    pub(super) address: SocketAddr,
    received: watch::Receiver<u64>,
    frozen: watch::Sender<bool>,
    connections: Arc<Mutex<JoinSet<()>>>,
    _listener: JoinSet<()>,
}

impl Relay {
    pub(super) async fn start(server: SocketAddr) -> Self {
        let outer = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = outer.local_addr().unwrap();
        let (counter, received) = watch::channel(0);
        let (frozen, freeze) = watch::channel(false);
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let made = connections.clone();
        let mut listener = JoinSet::new();
        listener.spawn(async move {
            while let Ok((client, _)) = outer.accept().await {
                let (counter, freeze) = (counter.clone(), freeze.clone());
                made.lock().unwrap().spawn(async move {
                    let Ok(server) = TcpStream::connect(server).await else { return };
                    let (client_says, client_hears) = client.into_split();
                    let (server_says, server_hears) = server.into_split();
                    let answered = watch::Sender::new(0);
                    // A connection is gone as soon as one side of it is.
                    tokio::select! {
                        () = pump(client_says, server_hears, freeze.clone(), &counter) => {}
                        () = pump(server_says, client_hears, freeze, &answered) => {}
                    }
                });
            }
        });
        Self { address, received, frozen, connections, _listener: listener }
    }

    pub(super) fn cut(&self) {
        self.connections.lock().unwrap().abort_all();
    }

    pub(super) fn freeze(&self) {
        self.frozen.send_replace(true);
    }

    pub(super) fn bytes_received(&self) -> u64 {
        *self.received.borrow()
    }

    pub(super) async fn receives(&self, more: u64) {
        let mut received = self.received.clone();
        let enough = *received.borrow() + more;
        received.wait_for(|bytes| *bytes >= enough).await.unwrap();
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut freeze: watch::Receiver<bool>,
    count: &watch::Sender<u64>,
) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        count.send_modify(|bytes| *bytes += length as u64);
        if freeze.wait_for(|frozen| !frozen).await.is_err() || to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}
