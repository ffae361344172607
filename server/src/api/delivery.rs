//! A stream on its way to a reader that may be slow.
//!
//! ```text
//!  stream ──▶ task ──channel, 1 slot──▶ connection
//! ```
//!
//! HTTP/2 does not ask a stream for more while the reader takes nothing, so a stream alone never learns that its reader
//! is stuck. A task of its own waits for room first and only then for the next message, so what is made is new when it
//! is sent, and one message waits at most. If there is no room for [`STUCK_MAX`], the stream and all it holds are given
//! up; the reader finds the reason when it reads on.

use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use tokio::{sync::mpsc, task::JoinSet};
use tonic::Status;

use super::status::ApiError;

/// A reader that takes nothing for so long is given up.
const STUCK_MAX: Duration = Duration::from_secs(30);

/// The stream, until its reader is stuck: then UNAVAILABLE, `SLOW_CONSUMER`. Whatever `stream` holds is let go then.
pub(super) fn unless_stuck<T: Send + 'static>(
    stream: impl Stream<Item = Result<T, Status>> + Send + 'static,
) -> impl Stream<Item = Result<T, Status>> + Send + 'static {
    let (sender, messages) = mpsc::channel(1);
    // Ends with the stream that is returned.
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut stream = Box::pin(stream);
        loop {
            let room = match tokio::time::timeout(STUCK_MAX, sender.reserve()).await {
                Ok(Ok(room)) => room,
                Ok(Err(_)) => return Ok(()),
                Err(_) => return Err(ApiError::SlowConsumer),
            };
            let Some(message) = stream.next().await else { return Ok(()) };
            room.send(message);
        }
    });
    stream::unfold((messages, task), |(mut messages, mut task)| async move {
        if let Some(message) = messages.recv().await {
            return Some((message, (messages, task)));
        }
        match task.join_next().await? {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some((Err(error.into()), (messages, task))),
            Err(bug) => std::panic::resume_unwind(bug.into_panic()),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tonic::Code;

    use super::*;

    /// Numbers without end, each made when it is asked for.
    fn numbers(
        made: &Arc<AtomicUsize>,
    ) -> impl Stream<Item = Result<usize, Status>> + Send + 'static + use<> {
        let made = Arc::clone(made);
        stream::repeat_with(move || Ok(made.fetch_add(1, Ordering::SeqCst)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_its_time_gets_everything_in_order_and_little_is_made_ahead() {
        let made = Arc::default();
        let mut read = Box::pin(unless_stuck(numbers(&made)));
        for n in 0..5 {
            assert_eq!(read.next().await.unwrap().unwrap(), n);
            tokio::time::sleep(STUCK_MAX.mul_f64(0.9)).await;
            assert!(made.load(Ordering::SeqCst) <= n + 2, "one waits at most");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_is_stuck_is_told_so_and_the_stream_is_let_go_meanwhile() {
        let made = Arc::default();
        let mut read = Box::pin(unless_stuck(numbers(&made)));
        assert_eq!(read.next().await.unwrap().unwrap(), 0);
        tokio::time::sleep(STUCK_MAX + Duration::from_secs(1)).await;
        assert_eq!(Arc::strong_count(&made), 1, "nothing holds the stream any more");
        assert_eq!(read.next().await.unwrap().unwrap(), 1, "what was on its way");
        let status = read.next().await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(read.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_is_an_end_and_silence_is_no_slowness() {
        let quiet = stream::once(async {
            tokio::time::sleep(STUCK_MAX * 10).await;
            Ok(7)
        });
        let read: Vec<_> = unless_stuck(quiet).map(Result::unwrap).collect().await;
        assert_eq!(read, [7]);
    }

    #[tokio::test]
    async fn who_hangs_up_ends_the_stream() {
        let made = Arc::default();
        let read = unless_stuck(numbers(&made).chain(stream::pending()));
        drop(read);
        while Arc::strong_count(&made) > 1 {
            tokio::task::yield_now().await;
        }
    }
}
