//! Response bodies, whole or breaking off.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A body.
#[derive(Debug)]
pub(crate) enum SimBody {
    Whole(Option<Bytes>),
    /// Sends what there is, then fails, which makes the server close the connection. The response has to say a larger
    /// `Content-Length`.
    BreaksOff(Break),
}

/// How far a body that breaks off has come.
#[derive(Debug)]
pub(crate) enum Break {
    Part(Bytes),
    /// The part is in the server's hands: wait once, so that it is written out before the connection ends.
    Flush,
    End,
}

/// The connection is to be closed.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the connection is closed on purpose")]
pub(crate) struct Closed;

impl Body for SimBody {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::BreaksOff(at) => match std::mem::replace(at, Break::End) {
                Break::Part(bytes) => {
                    *at = Break::Flush;
                    Poll::Ready(Some(Ok(Frame::data(bytes))))
                }
                Break::Flush => {
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                Break::End => Poll::Ready(Some(Err(Closed))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::BreaksOff(_) => SizeHint::default(),
        }
    }
}
