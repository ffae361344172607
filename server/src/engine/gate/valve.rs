//! One gate: what it remembers, and what the requests that pass have told it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    PROBE_POLL, Terms,
    bucket::Bucket,
    locked, span,
    state::{Held, OperatorHeld, Sender, Shut, State, fresh},
    turns::Turns,
};
use crate::{
    clock,
    domain::{
        id::BatchSeq,
        upstream::{
            AskedHold, Breaker, Configured, Pace, Signal, Slowed, Tripped, UpstreamId, UpstreamRecord,
        },
    },
    store::{Store, StoreError},
};

/// Hold after a push-back that names no time; doubled up to the maximum while no success lies between.
const HOLD: Duration = Duration::from_secs(60);
pub(super) const HOLD_MAX: Duration = Duration::from_secs(15 * 60);

/// The valve in front of one upstream.
pub struct Gate {
    pub(super) id: UpstreamId,
    pub(super) host: String,
    store: Arc<dyn Store>,
    state: Mutex<State>,
    /// What was stored last, if that is known. It is stored in order: an older state never overwrites a newer one.
    stored: tokio::sync::Mutex<Option<UpstreamRecord>>,
    /// Its time zero: when the node started.
    pub(super) epoch: Instant,
}

impl Gate {
    /// Of an upstream that nobody has used yet.
    pub(super) fn unknown(
        id: UpstreamId,
        host: String,
        limit: (f64, u32),
        store: Arc<dyn Store>,
        epoch: Instant,
    ) -> Self {
        let state = State {
            bucket: fresh(false, limit.0, limit.1),
            limit,
            configured: Configured::default(),
            pace: Pace::FULL,
            lanes: BTreeMap::new(),
            next_ticket: 0,
            turns: Turns::default(),
            own: HashMap::new(),
            was_in_use: false,
            is_in_use: false,
            held: None,
            operator: None,
            push_backs: 0,
            breaker: Breaker::CLOSED,
            tripped_at: None,
            prober: None,
            failed_probes: 0,
            turn_is_passed: false,
            answered: HashMap::new(),
            answered_last: None,
            limited_since: None,
            in_flight: 0,
        };
        Self { id, host, store, state: Mutex::new(state), stored: tokio::sync::Mutex::default(), epoch }
    }

    /// Of one that an earlier process has used.
    pub(super) fn known(record: UpstreamRecord, store: Arc<dyn Store>, epoch: Instant) -> Self {
        let (elapsed, now) = (epoch.elapsed(), clock::now());
        let limit = (record.rate_per_s, record.burst);
        let gate = Self::unknown(record.id, record.host, limit, store, epoch);
        let mut state = gate.state();
        state.was_in_use = true;
        state.configured = record.configured;
        let held_for = record.held.and_then(|held| held.left(now));
        state.held = held_for.map(|left| Held {
            until: now + span(left),
            opens: Instant::now() + left,
            since: record.held.and_then(|held| held.since).map_or(now, |since| since.min(now)),
            is_stored: true,
        });
        state.operator = record.operator.map(OperatorHeld::new).filter(OperatorHeld::lasts);
        state.push_backs = record.push_backs;
        if let Some(tripped) = record.tripped {
            // A probe that was due, or on its way, is due now. How long it has been down counts from now on.
            let due_in = (tripped.probe_at - now).to_std().unwrap_or_default();
            let probe_at = elapsed + due_in.min(tripped.wait);
            state.breaker = Breaker::Tripped { since: elapsed, probe_at, wait: tripped.wait };
            state.tripped_at = Some(tripped.since);
        }
        if let Some(Slowed { share, from }) = record.slowed {
            state.pace = match (from - now).to_std() {
                // It grows from the hold's end, at the latest.
                Ok(left) => Pace::waiting(share, elapsed + left.min(held_for.unwrap_or_default())),
                Err(_) => Pace::grown(share, (now - from).to_std().unwrap_or_default(), elapsed),
            };
        }
        state.refit(elapsed);
        drop(state);
        gate
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    pub(super) fn enter(&self, terms: Terms) -> usize {
        let mut state = self.state();
        let ticket = state.enter(terms, self.epoch.elapsed());
        // Whoever sleeps for a permit may have slept for an older rate.
        state.turns.wake_next();
        ticket
    }

    pub(super) fn own(&self, batch: BatchSeq, terms: Terms) -> Arc<Mutex<Bucket>> {
        let mut state = self.state();
        let was_in_use = state.was_in_use;
        let own = || Arc::new(Mutex::new(fresh(was_in_use, terms.rate_per_s, terms.burst)));
        Arc::clone(state.own.entry(batch).or_insert_with(own))
    }

    /// Whoever leaves while his probe is on its way hears no more of it: the turn is the others' at once.
    pub(super) fn leave(&self, ticket: usize) {
        let mut state = self.state();
        state.lanes.remove(&ticket);
        state.turns.close(ticket);
        state.turns.wake_next();
        state.refit(self.epoch.elapsed());
        let was_prober = state.prober.take_if(|prober| *prober == ticket).is_some();
        drop(state);
        if was_prober {
            self.signal(Signal::Abandoned);
        }
    }

    /// What is to outlive the process.
    pub(super) fn record(&self) -> UpstreamRecord {
        let (now, elapsed) = (clock::now(), self.epoch.elapsed());
        let state = self.state();
        let tripped = match state.breaker {
            Breaker::Closed { .. } => None,
            Breaker::Tripped { probe_at, wait, .. } => Some((probe_at, wait)),
            // Whoever comes after a crash does not know what became of it.
            Breaker::Probing { wait, .. } => Some((elapsed, wait)),
        };
        let slowed = state.pace.share(elapsed) < 1.0;
        UpstreamRecord {
            id: self.id.clone(),
            host: self.host.clone(),
            configured: state.configured,
            rate_per_s: state.limit.0,
            burst: state.limit.1,
            held: state.held.map(|held| AskedHold { since: Some(held.since), until: held.until }),
            push_backs: state.push_backs,
            tripped: tripped.map(|(probe_at, wait)| Tripped {
                since: state.tripped_at.unwrap_or(now),
                probe_at: now + span(probe_at.saturating_sub(elapsed)),
                wait,
            }),
            slowed: slowed.then(|| Slowed {
                share: state.pace.share(elapsed),
                from: now + span(state.pace.grows_from().saturating_sub(elapsed)),
            }),
            operator: state.operator.as_ref().filter(|held| held.lasts()).map(|held| held.hold.clone()),
        }
    }

    /// Makes what is to outlive the process durable, unless it is.
    pub(super) async fn store(&self) -> Result<(), StoreError> {
        let mut stored = self.stored.lock().await;
        let record = self.record();
        if stored.as_ref() == Some(&record) {
            return Ok(());
        }
        self.put(&mut stored, record).await
    }

    async fn put(
        &self,
        stored: &mut Option<UpstreamRecord>,
        record: UpstreamRecord,
    ) -> Result<(), StoreError> {
        // Of a write that fails, or that nobody waits for any more, it is not known what came of it.
        *stored = None;
        self.store.put_upstream(&record).await?;
        *stored = Some(record);
        Ok(())
    }

    /// The same with something changed that holds only once it is stored.
    pub(super) async fn change<E: From<StoreError>>(
        &self,
        change: impl FnOnce(&mut UpstreamRecord) -> Result<bool, E>,
        carry_out: impl FnOnce(&mut State, UpstreamRecord),
    ) -> Result<(), E> {
        let mut stored = self.stored.lock().await;
        let mut record = self.record();
        if change(&mut record)? {
            self.put(&mut stored, record.clone()).await?;
            carry_out(&mut self.state(), record);
        }
        Ok(())
    }

    /// What keeps an item's request from being sent now, if anything does.
    pub(super) fn shut(&self) -> Option<Shut> {
        self.state().shut(self.epoch, Sender::Item)
    }

    /// Since when its breaker is not closed.
    pub fn tripped_since(&self) -> Option<Instant> {
        self.state().breaker.tripped_since().map(|since| self.epoch + since)
    }

    /// A probe is due, and nobody is about to send one. Where a batch runs, its own items are the probes, unless they
    /// all wait for something else: that shows after a while.
    pub fn wants_probe(&self) -> bool {
        let now = self.epoch.elapsed();
        let state = self.state();
        let patience = if state.lanes.is_empty() { Duration::ZERO } else { PROBE_POLL };
        let due = state.breaker.shut_until().is_some_and(|until| until + patience <= now);
        (due || state.is_canarys_turn(now))
            && state.shut(self.epoch, Sender::Probe).is_none()
            && state.turns.waiting() == 0
    }

    /// Probes that failed since it tripped: which one is next.
    pub fn failed_probes(&self) -> u32 {
        self.state().failed_probes
    }

    /// There is nothing to ask with that is no item's: in the canary's turn the items go on at once.
    pub fn pass_turn(&self) {
        self.state().turn_is_passed = true;
    }

    /// Tells the breaker. Answers whether what must be durable has changed.
    pub(super) fn signal(&self, signal: Signal) -> bool {
        let now = self.epoch.elapsed();
        let mut state = self.state();
        let interval = state.lanes.values().map(|terms| terms.probe_interval).min().unwrap_or(Duration::MAX);
        let before = state.breaker;
        state.breaker = before.next(signal, now, interval);
        match (before, state.breaker) {
            (Breaker::Probing { .. }, Breaker::Tripped { .. }) if signal != Signal::Abandoned => {
                state.failed_probes += 1;
                state.turn_is_passed = false;
            }
            (_, Breaker::Closed { .. }) => state.failed_probes = 0,
            _ => {}
        }
        let (was, is) = (before.tripped_since(), state.breaker.tripped_since());
        if is.is_none() && was.is_some() {
            // Whoever has just come back does not get the burst at once.
            state.bucket.drain(now);
        }
        let shut_until = state.breaker.shut_until();
        if was.is_some() != is.is_some() {
            state.tripped_at = is.map(|_| clock::now());
        }
        if was != is || before.shut_until() != shut_until {
            state.turns.wake_all();
        }
        drop(state);
        match (was, is) {
            (None, Some(_)) => {
                tracing::warn!(upstream = self.id.as_str(), "breaker tripped: the upstream is down");
            }
            (Some(_), None) => {
                tracing::info!(upstream = self.id.as_str(), "breaker closed: the upstream answers");
            }
            _ => {}
        }
        before.shut_until() != shut_until
    }

    /// Holds it for all, unless it is held for longer already.
    pub(super) fn hold(&self, asked: Option<Duration>) {
        let now = clock::now();
        let mut state = self.state();
        let held = state.held.is_some_and(|held| held.opens > Instant::now());
        // One of several that were under way together says what the first one said.
        state.push_backs += u32::from(!held);
        let in_a_row = state.push_backs;
        let wait = match asked {
            Some(wait) => wait,
            None if held => return,
            None => HOLD.saturating_mul(1 << (in_a_row - 1).min(16)).min(HOLD_MAX),
        };
        let opens = Instant::now() + wait;
        let (elapsed, opens_at) = (self.epoch.elapsed(), self.epoch.elapsed() + wait);
        if !state.is_adaptive() {
            // All of its batches would rather be told to wait.
        } else if held {
            state.pace = state.pace.held_until(opens_at);
        } else {
            state.pace = state.pace.halved(elapsed, opens_at);
        }
        state.repace(elapsed);
        if state.held.is_none_or(|held| held.opens < opens) {
            let since = state.held.filter(|held| held.until > now).map_or(now, |held| held.since);
            state.held = Some(Held { until: now + span(wait), opens, since, is_stored: false });
        }
        let permitted_per_s = state.permitted(elapsed).0;
        state.turns.wake_all();
        drop(state);
        tracing::warn!(
            upstream = self.id.as_str(),
            hold_ms = wait.as_millis() as u64,
            permitted_per_s,
            "gate held: asked to send less"
        );
        if !held {
            self.signal(Signal::PushBack { in_a_row });
        }
    }
}
