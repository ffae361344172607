//! A watch of one batch, to its end.

use std::{sync::Arc, time::Duration};

use futures::{Stream, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    super::{Control, Followed, ReadError},
    BEHIND_MAX, Event, FRESH, HEARTBEAT_INTERVAL, Live, MIN_INTERVAL, Options, Sent, bounded,
};
use crate::{
    clock,
    domain::{batch::Batch, id::BatchId},
    progress::{Shared, Snapshot},
};

impl Control {
    /// Watches one batch to its end.
    pub async fn watch(
        &self,
        id: &BatchId,
        options: Options,
        draining: CancellationToken,
    ) -> Result<impl Stream<Item = Event> + Send + 'static, ReadError> {
        // Of a batch that is followed already the hub knows the newest state: a thousand watchers that come back at
        // once cost the store nothing.
        let followed = match self.hub.named(id) {
            Some(entry) => Followed::Live(entry),
            None => self.followed(self.stored(id).await?).await?,
        };
        let watch = Watch {
            control: self.clone(),
            min_interval: bounded(options.min_interval, MIN_INTERVAL),
            heartbeat_interval: bounded(options.heartbeat_interval, HEARTBEAT_INTERVAL),
            known_revision: options.known_revisions.get(id).copied().unwrap_or(0),
            draining,
            phase: match followed {
                Followed::Over(batch) => Phase::Over(batch),
                Followed::Live(entry) => Phase::First(Live::new(entry)),
                Followed::Gone => return Err(self.missing(id).await),
            },
        };
        Ok(stream::unfold(watch, |mut watch| async move { watch.next().await.map(|event| (event, watch)) }))
    }
}

struct Watch {
    control: Control,
    min_interval: Duration,
    heartbeat_interval: Duration,
    known_revision: i64,
    draining: CancellationToken,
    phase: Phase,
}

enum Phase {
    /// Ended before the watch began.
    Over(Box<Batch>),
    First(Live),
    SyncDone(Live, Sent),
    /// The last field: when anything was sent last.
    Following(Live, Sent, Instant),
    Done,
}

impl Watch {
    async fn next(&mut self) -> Option<Event> {
        match std::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Done => None,
            Phase::Over(batch) => Some(Event::Terminal(Arc::new(Shared::alone(Snapshot::idle(*batch))), 0)),
            Phase::First(live) => Some(self.first(live).await),
            Phase::SyncDone(live, sent) => {
                self.phase = Phase::Following(live, sent, Instant::now());
                Some(Event::InitialSyncDone)
            }
            Phase::Following(live, sent, last) => self.follow(live, sent, last).await,
        }
    }

    async fn first(&mut self, mut live: Live) -> Event {
        if live.updates.borrow_and_update().revision < self.known_revision {
            tokio::select! {
                () = self.catch_up(&mut live) => {}
                () = self.draining.cancelled() => return Event::draining(),
            }
        }
        live.updates.mark_unchanged();
        let shared = live.entry.shared(clock::now(), FRESH);
        let batch = &shared.snapshot().batch;
        if batch.state.is_terminal() {
            return Event::Terminal(shared, 0);
        }
        let now = Instant::now();
        let revision = batch.revision.max(self.known_revision);
        let sent = Sent { revision, state: batch.state, at: now };
        if batch.revision > self.known_revision {
            self.phase = Phase::SyncDone(live, sent);
            return Event::Snapshot(shared);
        }
        self.phase = Phase::Following(live, sent, now);
        Event::InitialSyncDone
    }

    /// Waits for what the client knows already, and then asks the store itself.
    async fn catch_up(&self, live: &mut Live) {
        let known = |batch: &Arc<Batch>| batch.revision >= self.known_revision || batch.state.is_terminal();
        let caught_up = tokio::time::timeout(BEHIND_MAX, live.updates.wait_for(known)).await.is_ok();
        if caught_up {
            return;
        }
        let id = live.updates.borrow().id.clone();
        match self.control.store.batch(&id).await {
            Ok(Some(batch)) => self.control.hub.publish(batch, &[]),
            Ok(None) => {}
            Err(error) => tracing::warn!(batch_id = %id, error = %error, "the batch could not be read"),
        }
    }

    async fn follow(&mut self, mut live: Live, mut sent: Sent, mut last: Instant) -> Option<Event> {
        loop {
            let (revision, state) = {
                let batch = live.updates.borrow_and_update();
                (batch.revision, batch.state)
            };
            // The end is told in any case, also to a client that knows more than this store does.
            let news = revision > sent.revision || state.is_terminal();
            let due = sent.due(state, self.min_interval);
            if news && Instant::now() >= due {
                let shared = live.entry.shared(clock::now(), Duration::MAX);
                let batch = &shared.snapshot().batch;
                let conflated = sent.conflated(batch.revision);
                if batch.state.is_terminal() {
                    return Some(Event::Terminal(shared, conflated));
                }
                last = Instant::now();
                sent = Sent { revision: batch.revision, state: batch.state, at: last };
                self.phase = Phase::Following(live, sent, last);
                return Some(Event::Update(shared, conflated));
            }
            tokio::select! {
                biased;
                () = self.draining.cancelled() => return Some(Event::draining()),
                // An entry that is gone has told its last state before.
                changed = live.updates.changed() => if changed.is_err() { return None },
                () = tokio::time::sleep_until(due), if news => {}
                () = tokio::time::sleep_until(last + self.heartbeat_interval) => {
                    last = Instant::now();
                    self.phase = Phase::Following(live, sent, last);
                    return Some(Event::Heartbeat { revision: sent.revision });
                }
            }
        }
    }
}
