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
    _gone: DropGuard,
}

impl Connection {
    /// `gone` is canceled when it is dropped.
    pub(super) fn new(io: TcpStream, first_bytes: Duration, gone: CancellationToken) -> Self {
        // Small answers are not held back for company. A socket that refuses is broken, which its first use tells.
        let _ = io.set_nodelay(true);
        let greeting = Some((FIRST_BYTES, Box::pin(tokio::time::sleep(first_bytes))));
        Self { io, greeting, _gone: gone.drop_guard() }
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

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
