//! A watch of every live batch that matches a filter.
//!
//! ```text
//!  hub ── marks: which batches changed ──▶ due: one slot per batch ──▶ one event at a time
//! ```
//!
//! A mark says that there is something to look at; what is told is the state at the time of telling.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::{Stream, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    super::{Control, Followed},
    Event, FRESH, HEARTBEAT_INTERVAL, Live, MIN_INTERVAL, Options, Sent, bounded,
};
use crate::{
    clock,
    domain::{
        filter::{BatchField, Filter},
        id::{BatchId, BatchSeq},
    },
    progress::{Hub, News, Shared, Snapshot},
    store::StoreError,
};

/// Most batches that one watch follows at a time.
pub const WATCHED_MAX: usize = 1_000;
/// Live batches are read so many at a time.
const PAGE: usize = 500;

/// Why a watch by filter does not begin.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// More than [`WATCHED_MAX`] match.
    #[error("more than {WATCHED_MAX} live batches match")]
    TooMany,
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Control {
    /// Watches every live batch that matches, for as long as somebody reads.
    pub async fn watch_matching(
        &self,
        filter: Filter<BatchField>,
        options: Options,
        draining: CancellationToken,
    ) -> Result<impl Stream<Item = Event> + Send + 'static, WatchError> {
        // Heard before the store is read, so that no batch falls between.
        let news = self.hub.news();
        let mut watched = BTreeMap::new();
        let mut first = VecDeque::new();
        let mut after = None;
        loop {
            let page = self.store.live_batches(after, PAGE).await?;
            after = page.last().map(|batch| batch.seq);
            let full = page.len() == PAGE;
            for batch in page.into_iter().filter(|batch| filter.matches(batch)) {
                let seq = batch.seq;
                let Followed::Live(entry) = self.followed(batch).await? else { continue };
                let live = Live::new(entry);
                if filter.matches(&**live.updates.borrow()) {
                    watched.insert(seq, Watched { live, sent: None });
                    first.push_back(First::Live(seq));
                }
            }
            if watched.len() > WATCHED_MAX {
                return Err(WatchError::TooMany);
            }
            if !full {
                break;
            }
        }
        let mut known: HashMap<BatchId, i64> = options.known_revisions;
        for watched in watched.values_mut() {
            let batch = Arc::clone(&watched.live.updates.borrow());
            watched.sent = known.remove(&batch.id).map(|revision| Sent {
                revision,
                state: batch.state,
                at: Instant::now(),
            });
        }
        // What the client has and is not watched now has ended or left meanwhile.
        first.extend(known.into_keys().map(First::Gone));
        let watch = Many {
            control: self.clone(),
            hub: Arc::clone(&self.hub),
            filter,
            news,
            min_interval: bounded(options.min_interval, MIN_INTERVAL),
            heartbeat_interval: bounded(options.heartbeat_interval, HEARTBEAT_INTERVAL),
            draining,
            watched,
            first: Some(first),
            due: BTreeMap::new(),
            last: Instant::now(),
            over: false,
        };
        Ok(stream::unfold(watch, |mut watch| async move { watch.next().await.map(|event| (event, watch)) }))
    }
}

struct Many {
    control: Control,
    hub: Arc<Hub>,
    filter: Filter<BatchField>,
    news: News,
    min_interval: Duration,
    heartbeat_interval: Duration,
    draining: CancellationToken,
    watched: BTreeMap<BatchSeq, Watched>,
    /// What is told first of all, until `InitialSyncDone`.
    first: Option<VecDeque<First>>,
    /// Batches that may have something to be told, and when: one slot each.
    due: BTreeMap<BatchSeq, Instant>,
    /// When anything was sent last.
    last: Instant,
    over: bool,
}

struct Watched {
    live: Live,
    /// Nothing until its snapshot.
    sent: Option<Sent>,
}

enum First {
    Live(BatchSeq),
    Gone(BatchId),
}

impl Many {
    async fn next(&mut self) -> Option<Event> {
        if self.over {
            return None;
        }
        let event = match self.first().await {
            Some(event) => event,
            None => self.follow().await,
        };
        self.last = Instant::now();
        self.over = matches!(event, Event::Draining { .. } | Event::TooMany | Event::Failed(_));
        Some(event)
    }

    /// The next of the first events, if any is left.
    async fn first(&mut self) -> Option<Event> {
        while let Some(first) = self.first.as_mut()?.pop_front() {
            let event = match first {
                First::Live(seq) => self.tell(seq),
                First::Gone(id) => Some(self.gone(id).await),
            };
            if event.is_some() {
                return event;
            }
        }
        self.first = None;
        Some(Event::InitialSyncDone)
    }

    /// A batch that the client has and that is not watched now.
    async fn gone(&self, id: BatchId) -> Event {
        match self.control.store.batch(&id).await {
            Ok(Some(batch)) if batch.state.is_terminal() => {
                Event::Terminal(Arc::new(Shared::alone(Snapshot::idle(batch))), 0)
            }
            // If it came to match since, it is told anew.
            Ok(_) => Event::Removed(id),
            Err(error) => Event::Failed(error),
        }
    }

    async fn follow(&mut self) -> Event {
        loop {
            for seq in self.news.take() {
                match self.due_at(seq).await {
                    Ok(Some(at)) => drop(self.due.insert(seq, at)),
                    Ok(None) => {}
                    Err(error) => return Event::Failed(error),
                }
            }
            let earliest = self.due.iter().map(|(seq, at)| (*at, *seq)).min();
            if let Some((at, seq)) = earliest
                && at <= Instant::now()
            {
                self.due.remove(&seq);
                match self.tell(seq) {
                    Some(event) => return event,
                    None => continue,
                }
            }
            let next = earliest.map_or(self.last + self.heartbeat_interval, |(at, _)| at);
            tokio::select! {
                biased;
                () = self.draining.cancelled() => return Event::draining(),
                () = self.news.posted() => {}
                () = tokio::time::sleep_until(next), if earliest.is_some() => {}
                () = tokio::time::sleep_until(self.last + self.heartbeat_interval) => {
                    return Event::Heartbeat { revision: 0 };
                }
            }
        }
    }

    /// When a batch that changed is to be looked at.
    async fn due_at(&mut self, seq: BatchSeq) -> Result<Option<Instant>, StoreError> {
        let Some(watched) = self.watched.get(&seq) else {
            let Some(live) = self.hub.live(seq).map(Live::new) else { return Ok(None) };
            let id = live.updates.borrow().id.clone();
            let is_there = self.control.made_current(&live.entry, seq, &id).await?;
            let enters = is_there && self.filter.matches(&**live.updates.borrow());
            if enters {
                self.watched.insert(seq, Watched { live, sent: None });
            }
            return Ok(enters.then(Instant::now));
        };
        let state = watched.live.updates.borrow().state;
        Ok(Some(watched.sent.map_or_else(Instant::now, |sent| sent.due(state, self.min_interval))))
    }

    /// What is to be told of a batch now, if anything.
    fn tell(&mut self, seq: BatchSeq) -> Option<Event> {
        let watched = self.watched.get_mut(&seq)?;
        let age_max = if watched.sent.is_none() { FRESH } else { Duration::MAX };
        let shared = watched.live.entry.shared(clock::now(), age_max);
        let batch = &shared.snapshot().batch;
        let (id, revision, state) = (batch.id.clone(), batch.revision, batch.state);
        let matches = self.filter.matches(&**batch);
        let before = watched.sent;
        // What is told first is a state and no change.
        let conflated = |sent: Sent| if self.first.is_some() { 0 } else { sent.conflated(revision) };
        if state.is_terminal() {
            self.watched.remove(&seq);
            // One that nobody has heard of is none that ended.
            return before.map(|sent| Event::Terminal(shared, conflated(sent)));
        }
        if !matches {
            self.watched.remove(&seq);
            return before.map(|_| Event::Removed(id));
        }
        if before.is_none() && self.watched.len() > WATCHED_MAX {
            return Some(Event::TooMany);
        }
        if before.is_some_and(|sent| sent.revision >= revision) {
            return None;
        }
        let sent = Sent { revision, state, at: Instant::now() };
        self.watched.get_mut(&seq)?.sent = Some(sent);
        Some(match before {
            Some(sent) if self.first.is_none() => Event::Update(shared, sent.conflated(revision)),
            _ => Event::Snapshot(shared),
        })
    }
}
