//! A server on every address of this machine: each of 127.0.0.0/8 is a host of its own.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    head: String,
}

impl Asked {
    /// A header's value; empty where there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    /// The host that it was sent to, without its port.
    pub(crate) fn host(&self) -> &str {
        self.header("host").split(':').next().unwrap_or_default()
    }
}

/// What is said to it.
pub(crate) enum Answer {
    /// Status line and headers, and a body.
    Whole(&'static str, Vec<u8>),
    /// A body of so many times the same piece, which is sent as it is read.
    Long(&'static str, Vec<u8>, usize),
    /// A body that goes on and on.
    Endless,
}

type Reply = Arc<dyn Fn(&Asked) -> Answer + Send + Sync>;

pub(crate) struct Hosts {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    _task: JoinSet<()>,
}

impl Hosts {
    pub(crate) async fn saying(reply: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let task = JoinSet::from_iter([serve(listener, Arc::new(reply), Arc::clone(&asked))]);
        Self { port, asked, _task: task }
    }

    /// `127.0.0.1:PORT` and so on; the first one is 1.
    pub(crate) fn host(&self, nth: usize) -> String {
        format!("127.0.{}.{}:{}", nth / 250, nth % 250, self.port)
    }

    /// Everything that came.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(listener: TcpListener, reply: Reply, asked: Arc<Mutex<Vec<Asked>>>) {
    let mut connections = JoinSet::new();
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        connections.spawn(answer(connection, Arc::clone(&reply), Arc::clone(&asked)));
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(mut connection: TcpStream, reply: Reply, asked: Arc<Mutex<Vec<Asked>>>) {
    // No client of these tests sends a request before it has the last answer.
    let mut head = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = connection.read(&mut head).await {
        let head = String::from_utf8_lossy(&head[..length]).into_owned();
        let mut words = head.split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let request = Asked { method, path, head };
        asked.lock().unwrap().push(request.clone());
        if !say(&mut connection, reply(&request), &request.method).await {
            return;
        }
    }
}

/// Answers whether the connection is of use still.
async fn say(connection: &mut TcpStream, answer: Answer, method: &str) -> bool {
    let (head, piece, times) = match answer {
        Answer::Whole(head, body) => (head, body, 1),
        Answer::Long(head, piece, times) => (head, piece, times),
        Answer::Endless => {
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            let mut alive = connection.write_all(head.as_bytes()).await.is_ok();
            while alive {
                alive = connection.write_all(b"1\r\nx\r\n").await.is_ok();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            return false;
        }
    };
    let head = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n", piece.len() * times);
    let mut alive = connection.write_all(head.as_bytes()).await.is_ok();
    for _ in 0..if method == "HEAD" { 0 } else { times } {
        alive = alive && connection.write_all(&piece).await.is_ok();
    }
    alive
}
