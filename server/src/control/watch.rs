//! `WatchProgress`: snapshot first, conflated updates, heartbeat, terminal.
//!
//! A watch holds one receiver of the hub and what it sent last: its memory does not grow with the reader's slowness.

use std::{sync::Arc, time::Duration};

use futures::{Stream, stream};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Control, Followed, ReadError};
use crate::{
    clock,
    domain::{
        batch::{Batch, State},
        id::BatchId,
    },
    progress::{Entry, Snapshot},
};

/// How a watch behaves. Out of bounds is moved to the nearest bound.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Newest revision that the client has.
    pub known_revision: i64,
    /// Least time between two updates; a change of state does not wait.
    pub min_interval: Option<Duration>,
    /// Silence after which a heartbeat is sent.
    pub heartbeat_interval: Option<Duration>,
}

const MIN_INTERVAL: (Duration, Duration, Duration) =
    (Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(60));
const HEARTBEAT_INTERVAL: (Duration, Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(15), Duration::from_secs(60));
/// Clients come back spread over so long.
const RECONNECT_MAX: Duration = Duration::from_secs(5);

/// What a watcher is told.
#[derive(Debug)]
pub enum Event {
    /// Full state, first of all.
    Snapshot(Box<Snapshot>),
    /// Full state after a change, and how many changes it stands for beside its own.
    Update(Box<Snapshot>, i64),
    /// Full state at the end. Nothing follows.
    Terminal(Box<Snapshot>, i64),
    /// The first state was sent, or was known.
    InitialSyncDone,
    /// Nothing new.
    Heartbeat {
        /// Newest revision known.
        revision: i64,
    },
    /// The node is leaving: come back after that time. Nothing follows.
    Draining {
        /// Already spread over clients.
        reconnect_after: Duration,
    },
}

impl Control {
    /// Watches one batch to its end.
    pub async fn watch(
        &self,
        id: &BatchId,
        options: Options,
        draining: CancellationToken,
    ) -> Result<impl Stream<Item = Event> + Send + 'static, ReadError> {
        let followed = self.followed(self.stored(id).await?).await?;
        let watch = Watch {
            min_interval: bounded(options.min_interval, MIN_INTERVAL),
            heartbeat_interval: bounded(options.heartbeat_interval, HEARTBEAT_INTERVAL),
            known_revision: options.known_revision,
            draining,
            phase: match followed {
                Followed::Over(batch) => Phase::Over(Some(batch)),
                Followed::Live(entry) => Phase::First(Live { updates: entry.subscribe(), entry }),
            },
        };
        Ok(stream::unfold(watch, |mut watch| async move { watch.next().await.map(|event| (event, watch)) }))
    }
}

fn bounded(asked: Option<Duration>, (min, default, max): (Duration, Duration, Duration)) -> Duration {
    asked.unwrap_or(default).clamp(min, max)
}

struct Watch {
    min_interval: Duration,
    heartbeat_interval: Duration,
    known_revision: i64,
    draining: CancellationToken,
    phase: Phase,
}

enum Phase {
    /// Ended before the watch began.
    Over(Option<Box<Batch>>),
    First(Live),
    SyncDone(Live, Sent),
    Following(Live, Sent),
    Done,
}

struct Live {
    entry: Arc<Entry>,
    updates: watch::Receiver<Arc<Batch>>,
}

#[derive(Clone, Copy)]
struct Sent {
    revision: i64,
    state: State,
    /// Last state that was sent.
    state_at: Instant,
    /// Last event of any kind.
    at: Instant,
}

impl Watch {
    async fn next(&mut self) -> Option<Event> {
        match std::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Done | Phase::Over(None) => None,
            Phase::Over(Some(batch)) => Some(Event::Terminal(Box::new(Snapshot::idle(*batch)), 0)),
            Phase::First(mut live) => {
                live.updates.mark_unchanged();
                let snapshot = live.entry.snapshot(clock::now());
                if snapshot.batch.state.is_terminal() {
                    return Some(Event::Terminal(Box::new(snapshot), 0));
                }
                let now = Instant::now();
                let batch = &snapshot.batch;
                let revision = batch.revision.max(self.known_revision);
                let sent = Sent { revision, state: batch.state, state_at: now, at: now };
                if batch.revision > self.known_revision {
                    self.phase = Phase::SyncDone(live, sent);
                    return Some(Event::Snapshot(Box::new(snapshot)));
                }
                self.phase = Phase::Following(live, sent);
                Some(Event::InitialSyncDone)
            }
            Phase::SyncDone(live, sent) => {
                self.phase = Phase::Following(live, Sent { at: Instant::now(), ..sent });
                Some(Event::InitialSyncDone)
            }
            Phase::Following(live, sent) => self.follow(live, sent).await,
        }
    }

    async fn follow(&mut self, mut live: Live, mut sent: Sent) -> Option<Event> {
        loop {
            let (revision, state) = {
                let batch = live.updates.borrow_and_update();
                (batch.revision, batch.state)
            };
            // The end is told in any case, also to a client that knows more than this store does.
            let news = revision > sent.revision || state.is_terminal();
            let due = sent.state_at + self.min_interval;
            if news && (state != sent.state || Instant::now() >= due) {
                let snapshot = live.entry.snapshot(clock::now());
                let conflated = (snapshot.batch.revision - sent.revision - 1).max(0);
                if snapshot.batch.state.is_terminal() {
                    return Some(Event::Terminal(Box::new(snapshot), conflated));
                }
                sent.revision = snapshot.batch.revision;
                sent.state = snapshot.batch.state;
                sent.state_at = Instant::now();
                sent.at = sent.state_at;
                self.phase = Phase::Following(live, sent);
                return Some(Event::Update(Box::new(snapshot), conflated));
            }
            let heartbeat = sent.at + self.heartbeat_interval;
            tokio::select! {
                biased;
                () = self.draining.cancelled() => {
                    let reconnect_after = RECONNECT_MAX.mul_f64(rand::random());
                    return Some(Event::Draining { reconnect_after });
                }
                // An entry that is gone has told its last state before.
                changed = live.updates.changed() => if changed.is_err() { return None },
                () = tokio::time::sleep_until(due), if news => {}
                () = tokio::time::sleep_until(heartbeat) => {
                    sent.at = Instant::now();
                    self.phase = Phase::Following(live, sent);
                    return Some(Event::Heartbeat { revision });
                }
            }
        }
    }
}
