//! Watching a batch to its end, or all that match a filter without an end.
//!
//! ```text
//!   open ──▶ snapshot, updates ──▶ terminal ──▶ end
//!    ▲            │
//!    └── wait ◀───┴─ broken, unavailable, silent, draining
//! ```
//!
//! A new stream is told the revisions that the caller has, so nothing is said twice and nothing goes back. Silence of
//! three heartbeat intervals is a broken stream: a ping may prove that a proxy lives, but not the watch. What a new stream
//! cannot mend ends the watch, decided by code and reason; and the end of the batch is the terminal event, never a state:
//! there may be states that this client does not know.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use haul_proto::v1::{self, watch_progress_request::Target, watch_progress_response::Event};
use tokio::time::Instant;
use tonic::{Code, Streaming};

use crate::{Client, Error, Refusal, backoff};

/// Missed heartbeats that make a stream a broken one.
const HEARTBEATS_MISSED_MAX: u32 = 3;
/// No server asks for more (5 s); one that does is not obeyed for ever.
const DRAIN_WAIT_MAX: Duration = Duration::from_mins(1);
/// What a server takes; it sends no more batches than that at a time either.
const KNOWN_REVISIONS_MAX: usize = 1000;

/// How to watch.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// Least time between two updates; a change of state does not wait. 100 ms to 60 s, default 500 ms.
    pub min_interval: Duration,
    /// Silence after which the server shows that it lives. 1 s to 60 s, default 15 s.
    pub heartbeat_interval: Duration,
    /// How much of the batch each event carries. Default: all but the contents of its source and connector.
    pub view: v1::BatchView,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            min_interval: Duration::from_millis(500),
            heartbeat_interval: Duration::from_secs(15),
            view: v1::BatchView::Basic,
        }
    }
}

/// What a watch tells. The last batch seen is always the whole truth.
#[derive(Debug)]
pub enum WatchEvent {
    /// Where the batch stands as a stream begins.
    Snapshot(v1::Batch),
    /// Where it stands after a change.
    Update(v1::Batch),
    /// Its end. Nothing follows.
    Terminal(v1::Batch),
    /// The stream was cut; the next one is on its way.
    Reconnecting {
        /// Reconnects in a row, from 1.
        attempt: u32,
        /// What cut it. A server that announced its leaving: reason `SERVER_DRAINING`.
        error: Error,
    },
    /// The stream is open again, after [`Reconnecting`](Self::Reconnecting).
    Reconnected,
}

/// What a watch by filter tells: each batch's events as of a watch of that batch alone.
#[derive(Debug)]
pub enum MatchEvent {
    /// Where a batch stands that the caller has not: it matches as the watch begins, or has come to.
    Snapshot(v1::Batch),
    /// Where it stands after a change.
    Update(v1::Batch),
    /// Its end. Nothing follows for this batch.
    Terminal(v1::Batch),
    /// `batches/{id}`, which no longer matches, or is gone. It may come to match again.
    Removed(String),
    /// The stream was cut; the next one is on its way.
    Reconnecting {
        /// Reconnects in a row, from 1.
        attempt: u32,
        /// What cut it. A server that announced its leaving: reason `SERVER_DRAINING`.
        error: Error,
    },
    /// The stream is open again, after [`Reconnecting`](Self::Reconnecting).
    Reconnected,
}

struct Watch {
    client: Client,
    target: Target,
    options: WatchOptions,
    /// The newest revisions that the caller has, by the batch's name.
    known: BTreeMap<String, i64>,
    stream: Option<Streaming<v1::WatchProgressResponse>>,
    opened: Option<Instant>,
    attempt: u32,
    wait: Duration,
    /// The caller was told of a cut, and of no new stream since.
    is_cut: bool,
    ended: bool,
}

/// One batch.
pub(crate) fn watch(
    client: Client,
    name: String,
    options: WatchOptions,
) -> BoxStream<'static, Result<WatchEvent, Error>> {
    let events = Watch::stream(client, Target::Name(name), options);
    let of_one = |event| async move {
        match event {
            Ok(MatchEvent::Snapshot(batch)) => Some(Ok(WatchEvent::Snapshot(batch))),
            Ok(MatchEvent::Update(batch)) => Some(Ok(WatchEvent::Update(batch))),
            Ok(MatchEvent::Terminal(batch)) => Some(Ok(WatchEvent::Terminal(batch))),
            Ok(MatchEvent::Reconnecting { attempt, error }) => {
                Some(Ok(WatchEvent::Reconnecting { attempt, error }))
            }
            Ok(MatchEvent::Reconnected) => Some(Ok(WatchEvent::Reconnected)),
            // Only of watches by filter.
            Ok(MatchEvent::Removed(_)) => None,
            Err(error) => Some(Err(error)),
        }
    };
    events.filter_map(of_one).boxed()
}

/// All that match a filter.
pub(crate) fn watch_matching(
    client: Client,
    filter: String,
    options: WatchOptions,
) -> BoxStream<'static, Result<MatchEvent, Error>> {
    Watch::stream(client, Target::Filter(filter), options)
}

impl Watch {
    fn stream(
        client: Client,
        target: Target,
        options: WatchOptions,
    ) -> BoxStream<'static, Result<MatchEvent, Error>> {
        let watch = Self {
            client,
            target,
            options,
            known: BTreeMap::new(),
            stream: None,
            opened: None,
            attempt: 0,
            wait: Duration::ZERO,
            is_cut: false,
            ended: false,
        };
        stream::unfold(watch, |mut watch| async move {
            let event = watch.next().await?;
            Some((event, watch))
        })
        .boxed()
    }

    async fn next(&mut self) -> Option<Result<MatchEvent, Error>> {
        if self.ended {
            return None;
        }
        loop {
            match self.message().await {
                Ok(Some(event)) => {
                    if let Some(event) = self.receive(event) {
                        return Some(Ok(event));
                    }
                }
                Ok(None) if std::mem::take(&mut self.is_cut) => return Some(Ok(MatchEvent::Reconnected)),
                Ok(None) => {}
                Err(error) => return Some(self.interrupted(error)),
            }
        }
    }

    /// The next event; none where a new stream was opened first, or a message has none that is known.
    async fn message(&mut self) -> Result<Option<Event>, Error> {
        let silence = self.silence();
        let Some(stream) = &mut self.stream else {
            tokio::time::sleep(std::mem::take(&mut self.wait)).await;
            self.stream = Some(self.open().await?);
            self.opened = Some(Instant::now());
            return Ok(None);
        };
        match tokio::time::timeout(silence, stream.message()).await {
            Ok(Ok(Some(message))) => Ok(message.event),
            Ok(Ok(None)) => Err(self.client.malformed("WatchProgress", "a terminal event")),
            Ok(Err(status)) => Err(Error::from_status(self.client.server(), silence, status)),
            Err(_) => Err(self.silent()),
        }
    }

    async fn open(&self) -> Result<Streaming<v1::WatchProgressResponse>, Error> {
        let request = v1::WatchProgressRequest {
            target: Some(self.target.clone()),
            known_revisions: self
                .known
                .iter()
                .map(|(name, revision)| v1::KnownRevision { name: name.clone(), revision: *revision })
                .collect(),
            min_interval: wire(self.options.min_interval),
            heartbeat_interval: wire(self.options.heartbeat_interval),
            view: self.options.view.into(),
        };
        let mut stub = self.client.stub();
        // Headers are sent at once, whatever there is to tell: the limit of silence holds for them too.
        match tokio::time::timeout(self.silence(), stub.watch_progress(request)).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(Error::from_status(self.client.server(), self.silence(), status)),
            Err(_) => Err(self.silent()),
        }
    }

    /// What the caller is to see of an event.
    fn receive(&mut self, event: Event) -> Option<MatchEvent> {
        match event {
            Event::Snapshot(batch) => self.newer(&batch).then_some(MatchEvent::Snapshot(batch)),
            Event::Update(batch) => self.newer(&batch).then_some(MatchEvent::Update(batch)),
            Event::Terminal(batch) => {
                self.known.remove(&batch.name);
                if matches!(self.target, Target::Name(_)) {
                    self.ended = true;
                    self.stream = None;
                }
                Some(MatchEvent::Terminal(batch))
            }
            Event::Removed(name) => {
                self.known.remove(&name);
                Some(MatchEvent::Removed(name))
            }
            Event::Draining(draining) => Some(self.draining(draining)),
            Event::InitialSyncDone(_) | Event::Heartbeat(_) => None,
        }
    }

    fn newer(&mut self, batch: &v1::Batch) -> bool {
        let known = self.known.get(&batch.name);
        let newer = known.is_none_or(|known| batch.revision > *known);
        // Of more than a server may send, one may be told again.
        if newer && (known.is_some() || self.known.len() < KNOWN_REVISIONS_MAX) {
            self.known.insert(batch.name.clone(), batch.revision);
        }
        newer
    }

    fn draining(&mut self, draining: v1::Draining) -> MatchEvent {
        let asked =
            draining.reconnect_after.and_then(|wait| Duration::try_from(wait).ok()).unwrap_or_default();
        self.reconnect(Error::Refused(Box::new(Refusal {
            code: Code::Unavailable,
            reason: "SERVER_DRAINING".to_owned(),
            message: "the server is leaving".to_owned(),
            violations: Vec::new(),
            metadata: HashMap::new(),
            retry_after: Some(asked.min(DRAIN_WAIT_MAX)),
        })))
    }

    fn interrupted(&mut self, error: Error) -> Result<MatchEvent, Error> {
        if error.is_broken_stream() {
            Ok(self.reconnect(error))
        } else {
            self.ended = true;
            self.stream = None;
            Err(error)
        }
    }

    fn reconnect(&mut self, error: Error) -> MatchEvent {
        let options = self.client.options();
        self.stream = None;
        let opened = self.opened.take();
        if opened.is_some_and(|opened| opened.elapsed() >= options.healthy_after) {
            self.attempt = 0;
        }
        self.attempt = self.attempt.saturating_add(1);
        self.is_cut = true;
        self.wait = error
            .retry_after()
            .unwrap_or_else(|| backoff::stream(options.backoff_min, options.backoff_max, self.attempt));
        MatchEvent::Reconnecting { attempt: self.attempt, error }
    }

    fn silence(&self) -> Duration {
        self.options.heartbeat_interval * HEARTBEATS_MISSED_MAX
    }

    fn silent(&self) -> Error {
        Error::NoAnswer { server: self.client.server().to_owned(), after: self.silence() }
    }
}

fn wire(duration: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(duration).ok()
}
