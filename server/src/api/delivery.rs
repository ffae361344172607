//! A stream on its way to a reader that may be slow.
//!
//! ```text
//!  stream ──▶ encoder ──▶ delivery ──▶ connection
//!                            ▲
//!                         watchdog: a look each 30 s
//! ```
//!
//! HTTP/2 does not come for more while it has no room for what it took, so a stream never learns that its reader is stuck.
//! A watchdog beside the body does, and messages pass without it: thousands of streams wake no task of their own for
//! each. It stands behind the encoder, which asks a stream for more whether there is room or not. If there is no room for
//! [`STUCK_MAX`], the body and all that the stream holds are given up; the reader finds the reason when it reads on.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use tokio::{task::JoinSet, time::Instant};
use tonic::Status;

use super::status::ApiError;

/// A reader that takes nothing for so long is given up.
const STUCK_MAX: Duration = Duration::from_secs(30);

/// The body of a stream, until its reader is stuck: then UNAVAILABLE, `SLOW_CONSUMER`.
pub(super) struct Delivery<B> {
    state: Arc<Mutex<State<B>>>,
    /// Ends with the body.
    _watchdog: JoinSet<()>,
}

enum State<B> {
    Open {
        body: B,
        /// When the connection took something, until it comes for more.
        taken_at: Option<Instant>,
    },
    Stuck,
    Over,
}

impl<B: Send + 'static> Delivery<B> {
    pub(super) fn new(body: B) -> Self {
        let state = Arc::new(Mutex::new(State::Open { body, taken_at: None }));
        let mut watchdog = JoinSet::new();
        watchdog.spawn(watch(Arc::clone(&state)));
        Self { state, _watchdog: watchdog }
    }
}

impl<B: Body<Data = Bytes, Error = Status> + Unpin> Body for Delivery<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut state = locked(&self.state);
        match &mut *state {
            State::Open { body, taken_at } => {
                let polled = Pin::new(body).poll_frame(cx);
                *taken_at = polled.is_ready().then(Instant::now);
                polled
            }
            State::Stuck => {
                *state = State::Over;
                Poll::Ready(Some(end(ApiError::SlowConsumer)))
            }
            State::Over => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &*locked(&self.state) {
            State::Open { body, .. } => body.is_end_stream(),
            State::Stuck => false,
            State::Over => true,
        }
    }
}

impl<B> State<B> {
    /// Gives up a reader that is stuck; otherwise says when it can be stuck at the earliest.
    fn look(&mut self) -> Option<Instant> {
        let Self::Open { taken_at, .. } = self else { return None };
        let now = Instant::now();
        let stuck_at = taken_at.unwrap_or(now) + STUCK_MAX;
        if stuck_at <= now {
            *self = Self::Stuck;
            return None;
        }
        Some(stuck_at)
    }
}

async fn watch<B>(state: Arc<Mutex<State<B>>>) {
    loop {
        let Some(stuck_at) = locked(&state).look() else { return };
        tokio::time::sleep_until(stuck_at).await;
    }
}

/// What ends a body whose headers are sent.
pub(super) fn end(error: ApiError) -> Result<Frame<Bytes>, Status> {
    let mut trailers = HeaderMap::new();
    Status::from(error).add_header(&mut trailers)?;
    Ok(Frame::trailers(trailers))
}

fn locked<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::{Stream, StreamExt, stream};
    use tonic::{
        Code,
        codec::{Codec, EncodeBody, SingleMessageCompressionOverride},
    };

    use super::*;

    type Sent = Delivery<tonic::body::Body>;

    /// A stream as a handler's is sent.
    fn sent(stream: impl Stream<Item = u64> + Send + 'static) -> Sent {
        let encoder = haul_proto::Codec::<u64, ()>::default().encoder();
        let compression = SingleMessageCompressionOverride::default();
        let body = EncodeBody::new_server(encoder, stream.map(Ok), None, compression, None);
        Delivery::new(tonic::body::Body::new(body))
    }

    /// One number a second. The stream holds `held`.
    fn numbers(held: &Arc<()>) -> impl Stream<Item = u64> + Send + 'static + use<> {
        stream::unfold((1, Arc::clone(held)), |(n, held)| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((n, (n + 1, held)))
        })
    }

    async fn next(body: &mut Sent) -> Option<Frame<Bytes>> {
        std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await.map(Result::unwrap)
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_its_time_gets_everything() {
        let mut body = sent(numbers(&Arc::default()));
        for n in 1..=5 {
            let data = next(&mut body).await.unwrap().into_data().unwrap();
            assert_eq!(data[..], [0, 0, 0, 0, 2, 8, n]);
            tokio::time::sleep(STUCK_MAX.mul_f64(0.9)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_is_stuck_is_told_so_and_the_stream_is_let_go_meanwhile() {
        let held = Arc::default();
        let mut body = sent(numbers(&held));
        assert!(next(&mut body).await.unwrap().is_data());
        tokio::time::sleep(STUCK_MAX + Duration::from_secs(1)).await;
        assert_eq!(Arc::strong_count(&held), 1, "nothing holds the stream any more");
        assert!(!body.is_end_stream());
        let trailers = next(&mut body).await.unwrap().into_trailers().unwrap();
        assert_eq!(Status::from_header_map(&trailers).unwrap().code(), Code::Unavailable);
        assert!(body.is_end_stream() && next(&mut body).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_is_an_end_and_silence_is_no_slowness() {
        let quiet = stream::once(async {
            tokio::time::sleep(STUCK_MAX * 10).await;
            7
        });
        let mut body = sent(quiet);
        assert!(next(&mut body).await.unwrap().is_data());
        let trailers = next(&mut body).await.unwrap().into_trailers().unwrap();
        assert_eq!(Status::from_header_map(&trailers).unwrap().code(), Code::Ok);
    }

    #[tokio::test]
    async fn who_hangs_up_ends_the_stream() {
        let held = Arc::default();
        drop(sent(numbers(&held)));
        while Arc::strong_count(&held) > 1 {
            tokio::task::yield_now().await;
        }
    }
}
