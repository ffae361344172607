//! An upstream with made answers, or none.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

type Reply = Arc<dyn Fn(&str) -> Vec<u8> + Send + Sync>;

/// Head and body of a chart with nothing to tell, which is a success.
pub(crate) const NOTHING: (&str, &str) = (
    "400 Bad Request\r\ncontent-type: application/json",
    r#"{"chart":{"result":null,"error":{"code":"Bad Request","description":"Data doesn't exist for startDate = 1, endDate = 2"}}}"#,
);

/// Answers as long as it is not dropped.
pub(crate) struct Canned {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Canned {
    /// Takes requests and says nothing.
    pub(crate) async fn silent() -> Self {
        Self::start(None).await
    }

    /// Answers with a status line and headers, such as `429 Too Many Requests\r\nretry-after: 0`.
    pub(crate) async fn saying(head: &str) -> Self {
        Self::showing(head, "").await
    }

    /// The same with a body.
    pub(crate) async fn showing(head: &str, body: &str) -> Self {
        let (head, body) = (head.to_owned(), body.to_owned());
        Self::choosing(move |_| (head.clone(), body.clone())).await
    }

    /// Head and body are made from the request.
    pub(crate) async fn choosing<B: AsRef<[u8]>>(
        reply: impl Fn(&str) -> (String, B) + Send + Sync + 'static,
    ) -> Self {
        let whole = move |request: &str| {
            let (head, body) = reply(request);
            let body = body.as_ref();
            let length = body.len();
            let head = format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            [head.as_bytes(), body].concat()
        };
        Self::start(Some(Arc::new(whole))).await
    }

    async fn start(reply: Option<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let task = JoinSet::from_iter([serve(listener, reply, Arc::clone(&requests))]);
        Self { address, requests, _task: task }
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many came.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn serve(listener: TcpListener, reply: Option<Reply>, requests: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        connections.spawn(answer(connection, reply.clone(), Arc::clone(&requests)));
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(mut connection: TcpStream, reply: Option<Reply>, requests: Arc<AtomicUsize>) {
    let mut request = [0; 4_096];
    let Ok(length @ 1..) = connection.read(&mut request).await else { return };
    requests.fetch_add(1, Ordering::SeqCst);
    match reply {
        Some(reply) => {
            let reply = reply(&String::from_utf8_lossy(&request[..length]));
            let _ = connection.write_all(&reply).await;
        }
        // Open until the other side has had enough.
        None => while matches!(connection.read(&mut request).await, Ok(1..)) {},
    }
}
