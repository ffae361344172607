//! A socket that must say what it speaks before long, and that tells when it is gone.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Sleep,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// As long as HTTP/2's preface; no request of HTTP/1.1 that names its host is shorter.
const FIRST_BYTES: usize = 24;

/// One connection.
pub(super) struct Connection {
    io: TcpStream,
    /// Until the first bytes are there: how many are not, and how long they are waited for. hyper has limits of its own
    /// for all that follows, but none for them.
    greeting: Option<(usize, Pin<Box<Sleep>>)>,
    /// Whether what is to be written has waited for company.
    has_waited: bool,
    _gone: DropGuard,
}

impl Connection {
    /// `gone` is canceled when it is dropped.
    pub(super) fn new(io: TcpStream, first_bytes: Duration, gone: CancellationToken) -> Self {
        // Small answers are not held back for company. A socket that refuses is broken, which its first use tells.
        let _ = io.set_nodelay(true);
        let greeting = Some((FIRST_BYTES, Box::pin(tokio::time::sleep(first_bytes))));
        Self { io, greeting, has_waited: false, _gone: gone.drop_guard() }
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.io.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        let Some((missing, patience)) = &mut self.greeting else { return read };
        let Poll::Ready(result) = read else {
            ready!(patience.as_mut().poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        };
        *missing = missing.saturating_sub(buf.filled().len() - before);
        if *missing == 0 {
            self.greeting = None;
        }
        Poll::Ready(result)
    }
}

/// Small messages of many streams leave together. A write waits one turn of the scheduler, in which streams that the same
/// news woke add theirs; and there are no vectored writes, with which h2 would write each message of 256 bytes and more by
/// itself. With a write for each message, telling thousands of watchers costs nearly twice as much.
impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if !std::mem::replace(&mut self.has_waited, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.has_waited = false;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::poll;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn who_is_ready_has_its_say_before_a_write_which_waits_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, accepted) =
            tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (mut client, (io, _)) = (client.unwrap(), accepted.unwrap());
        let mut connection = Connection::new(io, Duration::from_secs(9), CancellationToken::new());
        for _ in 0..2 {
            assert!(poll!(pin!(connection.write(b"ne"))).is_pending());
            connection.write_all(b"ne").await.unwrap();
            assert!(poll!(pin!(connection.write_all(b"ws"))).is_ready(), "what follows goes with it");
            connection.flush().await.unwrap();
        }
        let mut heard = [0; 8];
        client.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"newsnews");
    }
}
