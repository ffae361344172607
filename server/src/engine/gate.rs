//! The gate: the valve in front of one upstream, shared by all batches.
//!
//! Each batch that works on an upstream has a [`Lane`]. A request waits first for its turn in its lane, then for its
//! lane's turn at the gate, so that batches share by turns; the permit is taken in the moment in which both buckets
//! have one, or not at all. While the gate is held nobody waits: the request is given back, uncharged. A gate is held
//! because the upstream asked for less, or because its breaker tripped; then one request passes now and again, to see.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::TimeDelta;
use tokio::{sync::Notify, time::Instant};

use crate::{
    clock,
    domain::{
        id::BatchSeq,
        spec::BatchSpec,
        upstream::{Breaker, Signal, Tripped, UpstreamId, UpstreamRecord},
    },
    store::{Store, StoreError},
};

pub mod bucket;
mod idle;
mod lane;
mod state;
#[cfg(test)]
mod tests;

use bucket::Bucket;
pub use lane::Lane;
use state::{Held, Sender, Shut, State};

/// Hold after a push-back that names no time; doubled up to the maximum while no success lies between.
const HOLD: Duration = Duration::from_secs(60);
const HOLD_MAX: Duration = Duration::from_secs(15 * 60);
/// Whoever is turned away while a probe is on its way asks again after this.
const PROBE_POLL: Duration = Duration::from_secs(1);

/// What a batch permits, and expects of its upstream.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Requests per second.
    pub rate_per_s: f64,
    /// Requests at once after idleness.
    pub burst: u32,
    /// One request takes no longer.
    pub attempt_timeout: Duration,
    /// Longest wait between probes of an upstream that is down.
    pub probe_interval: Duration,
}

impl Terms {
    /// Those of a spec.
    pub fn of(spec: &BatchSpec) -> Self {
        let fetch = &spec.fetch;
        Self {
            rate_per_s: fetch.rate_per_s,
            burst: fetch.burst,
            attempt_timeout: fetch.attempt_timeout,
            probe_interval: spec.outage.probe_interval,
        }
    }

    /// A bucket that nobody has used since the process began. Where an earlier one did, the burst may just have gone when
    /// it ended: the bucket was empty when this process began, and has filled at the rate since.
    fn bucket(&self, was_in_use: bool) -> Bucket {
        if was_in_use {
            Bucket::empty(self.rate_per_s, self.burst)
        } else {
            Bucket::full(self.rate_per_s, self.burst)
        }
    }
}

/// Stands for a reader that is none; batches count from 1.
const NO_BATCH: BatchSeq = BatchSeq(0);

/// All gates of this node.
pub struct Gates {
    store: Arc<dyn Store>,
    open: Mutex<HashMap<UpstreamId, Arc<Gate>>>,
    /// What the store knew when the node started: taken once, when the gate is made.
    known: Mutex<HashMap<UpstreamId, UpstreamRecord>>,
    /// When that was. No earlier process has sent anything since.
    epoch: Instant,
}

impl Gates {
    /// Reads what is durable of the upstreams.
    pub async fn load(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let known = store.upstreams().await?.into_iter().map(|record| (record.id.clone(), record)).collect();
        Ok(Self { store, open: Mutex::default(), known: Mutex::new(known), epoch: Instant::now() })
    }

    /// Opens a lane for a batch, or for reading its source.
    pub async fn join(
        &self,
        upstream: &UpstreamId,
        host: &str,
        batch: BatchSeq,
        terms: Terms,
    ) -> Result<Arc<Lane>, StoreError> {
        let gate = self.gate(upstream, host, terms);
        let ticket = gate.enter(terms);
        let lane = Lane {
            gate: Arc::clone(&gate),
            batch,
            ticket,
            terms,
            sender: Sender::Item,
            own: gate.own(batch, terms),
            turn: tokio::sync::Mutex::new(()),
        };
        // Durable before the first request: after a crash the bucket is known to have been in use.
        self.store.put_upstream(&gate.record()).await?;
        Ok(Arc::new(lane))
    }

    /// Opens a lane for a probe of a batch: see [`State::is_canarys_turn`].
    pub async fn canary(
        &self,
        upstream: &UpstreamId,
        host: &str,
        batch: BatchSeq,
        terms: Terms,
    ) -> Result<Arc<Lane>, StoreError> {
        let mut lane = self.join(upstream, host, batch, terms).await?;
        if let Some(lane) = Arc::get_mut(&mut lane) {
            lane.sender = Sender::Probe;
        }
        Ok(lane)
    }

    /// Opens a lane for a reader that is no batch, such as a plan. It never lifts the limit of the batches there are.
    pub async fn visit(
        &self,
        upstream: &UpstreamId,
        host: &str,
        mut terms: Terms,
    ) -> Result<Arc<Lane>, StoreError> {
        let gate = self.gate(upstream, host, terms);
        {
            let state = gate.state();
            if !state.lanes.is_empty() && terms.rate_per_s >= state.bucket.rate_per_s() {
                (terms.rate_per_s, terms.burst) = (state.bucket.rate_per_s(), state.bucket.burst());
            }
        }
        let lane = Lane {
            ticket: gate.enter(terms),
            gate: Arc::clone(&gate),
            batch: NO_BATCH,
            terms,
            sender: Sender::Probe,
            own: Arc::new(Mutex::new(terms.bucket(false))),
            turn: tokio::sync::Mutex::new(()),
        };
        self.store.put_upstream(&gate.record()).await?;
        Ok(Arc::new(lane))
    }

    /// The gate of an upstream, made if nobody has used it yet.
    pub fn gate(&self, upstream: &UpstreamId, host: &str, terms: Terms) -> Arc<Gate> {
        let mut gates = locked(&self.open);
        let gate = gates.entry(upstream.clone()).or_insert_with(|| {
            let known = locked(&self.known).remove(upstream);
            let store = Arc::clone(&self.store);
            Arc::new(Gate::new(upstream.clone(), host.to_owned(), terms, known, store, self.epoch))
        });
        Arc::clone(gate)
    }

    /// The batch is over: nothing of it need be remembered.
    pub fn forget(&self, batch: BatchSeq) {
        for gate in locked(&self.open).values() {
            let mut state = gate.state();
            state.own.remove(&batch);
            let last = state.answered.remove(&batch);
            state.answered_last = state.answered_last.max(last);
        }
    }
}

/// The valve in front of one upstream.
pub struct Gate {
    id: UpstreamId,
    host: String,
    store: Arc<dyn Store>,
    state: Mutex<State>,
    /// Who is next. Fair: tokio's mutex is first come, first served.
    turn: tokio::sync::Mutex<()>,
    changed: Notify,
    /// Its time zero: when the node started.
    epoch: Instant,
}

impl Gate {
    fn new(
        id: UpstreamId,
        host: String,
        terms: Terms,
        known: Option<UpstreamRecord>,
        store: Arc<dyn Store>,
        epoch: Instant,
    ) -> Self {
        let (elapsed, now) = (epoch.elapsed(), clock::now());
        let was_in_use = known.is_some();
        let held = known.as_ref().and_then(|record| record.held_until).and_then(|until| {
            let left = (until - now).to_std().ok()?;
            Some(Held { until, opens: Instant::now() + left, since: now, is_stored: true })
        });
        // A probe that was due, or on its way, is due now. How long it has been down counts from now on.
        let breaker = known.as_ref().and_then(|record| record.tripped).map_or(Breaker::CLOSED, |tripped| {
            let probe_at = elapsed + (tripped.probe_at - now).to_std().unwrap_or_default();
            Breaker::Tripped { since: elapsed, probe_at, wait: tripped.wait }
        });
        Self {
            id,
            host,
            store,
            state: Mutex::new(State {
                bucket: terms.bucket(was_in_use),
                lanes: BTreeMap::new(),
                next_ticket: 0,
                own: HashMap::new(),
                was_in_use,
                held,
                push_backs: known.map_or(0, |record| record.push_backs),
                breaker,
                prober: None,
                failed_probes: 0,
                turn_is_passed: false,
                answered: HashMap::new(),
                answered_last: None,
                limited_since: None,
                waiting: 0,
            }),
            turn: tokio::sync::Mutex::new(()),
            changed: Notify::new(),
            epoch,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    fn enter(&self, terms: Terms) -> usize {
        let mut state = self.state();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.lanes.insert(ticket, terms);
        state.refit(self.epoch.elapsed());
        ticket
    }

    fn own(&self, batch: BatchSeq, terms: Terms) -> Arc<Mutex<Bucket>> {
        let mut state = self.state();
        let was_in_use = state.was_in_use;
        let bucket = state.own.entry(batch).or_insert_with(|| Arc::new(Mutex::new(terms.bucket(was_in_use))));
        Arc::clone(bucket)
    }

    /// Whoever leaves while his probe is on its way hears no more of it: the turn is the others' at once.
    fn leave(&self, ticket: usize) {
        let mut state = self.state();
        state.lanes.remove(&ticket);
        state.refit(self.epoch.elapsed());
        let was_prober = state.prober.take_if(|prober| *prober == ticket).is_some();
        drop(state);
        if was_prober {
            self.signal(Signal::Abandoned);
        }
    }

    fn record(&self) -> UpstreamRecord {
        let (now, elapsed) = (clock::now(), self.epoch.elapsed());
        let state = self.state();
        let tripped = match state.breaker {
            Breaker::Closed { .. } => None,
            Breaker::Tripped { since, probe_at, wait } => Some((since, probe_at, wait)),
            // Whoever comes after a crash does not know what became of it.
            Breaker::Probing { since, wait, .. } => Some((since, elapsed, wait)),
        };
        UpstreamRecord {
            id: self.id.clone(),
            host: self.host.clone(),
            rate_per_s: state.bucket.rate_per_s(),
            burst: state.bucket.burst(),
            held_until: state.held.map(|held| held.until),
            push_backs: state.push_backs,
            tripped: tripped.map(|(since, probe_at, wait)| Tripped {
                since: now - span(elapsed.saturating_sub(since)),
                probe_at: now + span(probe_at.saturating_sub(elapsed)),
                wait,
            }),
        }
    }

    /// What keeps an item's request from being sent now, if anything does.
    fn shut(&self) -> Option<Shut> {
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
            && state.waiting == 0
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
    fn signal(&self, signal: Signal) -> bool {
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
        drop(state);
        if was != is || before.shut_until() != shut_until {
            self.changed.notify_waiters();
        }
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
    fn hold(&self, asked: Option<Duration>) {
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
        if state.held.is_none_or(|held| held.opens < opens) {
            let since = state.held.filter(|held| held.until > now).map_or(now, |held| held.since);
            state.held = Some(Held { until: now + span(wait), opens, since, is_stored: false });
        }
        drop(state);
        self.changed.notify_waiters();
        tracing::warn!(
            upstream = self.id.as_str(),
            hold_ms = wait.as_millis() as u64,
            "gate held: asked to send less"
        );
        if !held {
            self.signal(Signal::PushBack { in_a_row });
        }
    }
}

fn span(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
