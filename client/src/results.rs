//! Reading final items as they come, each chunk once, through restarts of the server.
//!
//! A stream that breaks is opened again behind the cursor of the last chunk that the caller was given.

use std::time::Duration;

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use haul_proto::v1;
use tokio::time::Instant;
use tonic::Streaming;

use crate::{Client, Error, backoff};

/// Headers are sent at once.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(10);

/// What to read.
#[derive(Clone, Debug, Default)]
pub struct ResultsOptions {
    /// Resume strictly after this cursor; empty: from the start.
    pub after_cursor: String,
    /// Only these items, as in a list of items; empty: all.
    pub filter: String,
    /// Go on until the batch has ended and everything was sent.
    pub follow: bool,
    /// Kept bodies up to this size come with their items; 0: none, at most 1 MiB.
    pub inline_body_limit_bytes: i64,
}

/// What a reader is told.
#[derive(Debug)]
pub enum ResultsEvent {
    /// Final items, and the cursor behind them. Nothing follows one that is `complete`.
    Chunk(v1::StreamResultsResponse),
    /// The stream was cut; the next one is on its way.
    Reconnecting {
        /// Reconnects in a row, from 1.
        attempt: u32,
        /// What cut it.
        error: Error,
    },
    /// The stream is open again, after [`Reconnecting`](Self::Reconnecting).
    Reconnected,
}

struct Results {
    client: Client,
    request: v1::StreamResultsRequest,
    stream: Option<Streaming<v1::StreamResultsResponse>>,
    opened: Option<Instant>,
    attempt: u32,
    wait: Duration,
    /// The caller was told of a cut, and of no new stream since.
    is_cut: bool,
    is_over: bool,
}

pub(crate) fn results(
    client: Client,
    name: String,
    options: ResultsOptions,
) -> BoxStream<'static, Result<ResultsEvent, Error>> {
    let ResultsOptions { after_cursor, filter, follow, inline_body_limit_bytes } = options;
    let results = Results {
        client,
        request: v1::StreamResultsRequest { name, after_cursor, filter, follow, inline_body_limit_bytes },
        stream: None,
        opened: None,
        attempt: 0,
        wait: Duration::ZERO,
        is_cut: false,
        is_over: false,
    };
    stream::unfold(results, |mut results| async move {
        let event = results.next().await?;
        Some((event, results))
    })
    .boxed()
}

impl Results {
    async fn next(&mut self) -> Option<Result<ResultsEvent, Error>> {
        if self.is_over {
            return None;
        }
        match self.event().await {
            Ok(Some(ResultsEvent::Chunk(chunk))) => {
                self.request.after_cursor.clone_from(&chunk.cursor);
                self.is_over = chunk.complete;
                Some(Ok(ResultsEvent::Chunk(chunk)))
            }
            Ok(Some(event)) => Some(Ok(event)),
            // Whoever follows is told of the end.
            Ok(None) if self.request.follow => {
                Some(Ok(self.reconnect(self.client.malformed("StreamResults", "complete"))))
            }
            Ok(None) => None,
            Err(error) if error.is_broken_stream() => Some(Ok(self.reconnect(error))),
            Err(error) => {
                self.is_over = true;
                Some(Err(error))
            }
        }
    }

    /// The next chunk, or that there is a new stream; none at the end of one.
    async fn event(&mut self) -> Result<Option<ResultsEvent>, Error> {
        let client = self.client.clone();
        let refused = |status| Error::from_status(client.server(), HEADERS_TIMEOUT, status);
        if self.stream.is_none() {
            tokio::time::sleep(std::mem::take(&mut self.wait)).await;
            let mut stub = client.stub();
            let opened =
                tokio::time::timeout(HEADERS_TIMEOUT, stub.stream_results(self.request.clone())).await;
            let no_answer =
                |_| Error::NoAnswer { server: client.server().to_owned(), after: HEADERS_TIMEOUT };
            self.stream = Some(opened.map_err(no_answer)?.map_err(refused)?.into_inner());
            self.opened = Some(Instant::now());
            if std::mem::take(&mut self.is_cut) {
                return Ok(Some(ResultsEvent::Reconnected));
            }
        }
        match &mut self.stream {
            Some(stream) => Ok(stream.message().await.map_err(refused)?.map(ResultsEvent::Chunk)),
            None => Ok(None),
        }
    }

    fn reconnect(&mut self, error: Error) -> ResultsEvent {
        let options = self.client.options();
        self.stream = None;
        if self.opened.take().is_some_and(|opened| opened.elapsed() >= options.healthy_after) {
            self.attempt = 0;
        }
        self.attempt = self.attempt.saturating_add(1);
        self.is_cut = true;
        let drawn = backoff::stream(options.backoff_min, options.backoff_max, self.attempt);
        self.wait = error.retry_after().map_or(drawn, |asked| asked.min(options.backoff_max));
        ResultsEvent::Reconnecting { attempt: self.attempt, error }
    }
}
