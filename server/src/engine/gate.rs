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

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::{sync::Notify, time::Instant};

use crate::{
    clock,
    domain::{
        id::BatchSeq,
        spec::BatchSpec,
        upstream::{Breaker, Pressure, PressureCause, Signal, Tripped, UpstreamId, UpstreamRecord},
    },
    fetch::{Denied, Permits, Verdict},
    store::{Store, StoreError},
};

pub mod bucket;
#[cfg(test)]
mod tests;

use bucket::Bucket;

/// Hold after a push-back that names no time; doubled up to the maximum while no success lies between.
const HOLD: Duration = Duration::from_secs(60);
const HOLD_MAX: Duration = Duration::from_secs(15 * 60);
/// Whoever is turned away while a probe is on its way asks again after this.
const PROBE_POLL: Duration = Duration::from_secs(1);
/// For so long the items leave every second probe to [`Gates::canary`]. If nobody sends it, they go on themselves.
const CANARY_WAIT: Duration = Duration::from_secs(3);

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
}

/// Stands for a reader that is none; batches count from 1.
const NO_BATCH: BatchSeq = BatchSeq(0);

/// All gates of this node.
pub struct Gates {
    store: Arc<dyn Store>,
    open: Mutex<HashMap<UpstreamId, Arc<Gate>>>,
    /// What the store knew when the node started: taken once, when the gate is made.
    known: Mutex<HashMap<UpstreamId, UpstreamRecord>>,
}

impl Gates {
    /// Reads what is durable of the upstreams.
    pub async fn load(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let known = store.upstreams().await?.into_iter().map(|record| (record.id.clone(), record)).collect();
        Ok(Self { store, open: Mutex::default(), known: Mutex::new(known) })
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
            own: Arc::new(Mutex::new(Bucket::full(terms.rate_per_s, terms.burst))),
            turn: tokio::sync::Mutex::new(()),
        };
        self.store.put_upstream(&gate.record()).await?;
        Ok(Arc::new(lane))
    }

    /// Batches that are not over and have sent requests to an upstream since this node started.
    pub fn batches_at(&self, upstream: &UpstreamId) -> Vec<BatchSeq> {
        let gate = locked(&self.open).get(upstream).cloned();
        gate.map(|gate| gate.state().own.keys().copied().collect()).unwrap_or_default()
    }

    /// The gate of an upstream, made if nobody has used it yet.
    pub fn gate(&self, upstream: &UpstreamId, host: &str, terms: Terms) -> Arc<Gate> {
        let mut gates = locked(&self.open);
        let gate = gates.entry(upstream.clone()).or_insert_with(|| {
            let known = locked(&self.known).remove(upstream);
            Arc::new(Gate::new(upstream.clone(), host.to_owned(), terms, known, Arc::clone(&self.store)))
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
    epoch: Instant,
}

struct State {
    bucket: Bucket,
    /// What each lane permits; the largest holds.
    lanes: BTreeMap<usize, Terms>,
    next_ticket: usize,
    /// Each batch's own bucket. It outlives the lane, so that a pause and a resume do not fill it.
    own: HashMap<BatchSeq, Arc<Mutex<Bucket>>>,
    /// The upstream was in use by an earlier process.
    was_in_use: bool,
    held: Option<Held>,
    push_backs: u32,
    breaker: Breaker,
    /// Probes that failed since it tripped.
    failed_probes: u32,
    /// Batches that had an answer, with the time of the last one.
    answered: HashMap<BatchSeq, Instant>,
    /// The same of the last batch that ended.
    answered_last: Option<Instant>,
    /// Since when requests have had to wait for the rate.
    limited_since: Option<DateTime<Utc>>,
    waiting: usize,
}

#[derive(Clone, Copy)]
struct Held {
    until: DateTime<Utc>,
    opens: Instant,
    since: DateTime<Utc>,
    /// It is stored, so that a crash does not take back what somebody has seen.
    is_stored: bool,
}

impl Gate {
    fn new(
        id: UpstreamId,
        host: String,
        terms: Terms,
        known: Option<UpstreamRecord>,
        store: Arc<dyn Store>,
    ) -> Self {
        let epoch = Instant::now();
        let now = clock::now();
        // An upstream that was in use may just have had its burst: the bucket of a new process begins empty.
        let bucket = match &known {
            Some(_) => Bucket::empty(terms.rate_per_s, terms.burst),
            None => Bucket::full(terms.rate_per_s, terms.burst),
        };
        let held = known.as_ref().and_then(|record| record.held_until).and_then(|until| {
            let left = (until - now).to_std().ok()?;
            Some(Held { until, opens: epoch + left, since: now, is_stored: true })
        });
        // A probe that was due, or on its way, is due now. How long it has been down counts from now on.
        let breaker = known.as_ref().and_then(|record| record.tripped).map_or(Breaker::CLOSED, |tripped| {
            let probe_at = (tripped.probe_at - now).to_std().unwrap_or_default();
            Breaker::Tripped { since: Duration::ZERO, probe_at, wait: tripped.wait }
        });
        Self {
            id,
            host,
            store,
            state: Mutex::new(State {
                bucket,
                lanes: BTreeMap::new(),
                next_ticket: 0,
                own: HashMap::new(),
                was_in_use: known.is_some(),
                held,
                push_backs: known.map_or(0, |record| record.push_backs),
                breaker,
                failed_probes: 0,
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
        state.refit();
        ticket
    }

    fn own(&self, batch: BatchSeq, terms: Terms) -> Arc<Mutex<Bucket>> {
        let now = self.epoch.elapsed();
        let mut state = self.state();
        let was_in_use = state.was_in_use;
        let bucket = state.own.entry(batch).or_insert_with(|| {
            let mut bucket = Bucket::full(terms.rate_per_s, terms.burst);
            if was_in_use {
                bucket.drain(now);
            }
            Arc::new(Mutex::new(bucket))
        });
        Arc::clone(bucket)
    }

    fn leave(&self, ticket: usize) {
        let mut state = self.state();
        state.lanes.remove(&ticket);
        state.refit();
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

    /// A probe has been due for a while, and nobody is about to send one. Where a batch runs, its own items are the
    /// probes; but they may all be waiting for something else.
    pub fn wants_probe(&self) -> bool {
        let now = self.epoch.elapsed();
        let state = self.state();
        let due = state.breaker.shut_until().is_some_and(|until| until + PROBE_POLL <= now);
        (due || state.is_canarys_turn(now))
            && state.shut(self.epoch, Sender::Probe).is_none()
            && state.waiting == 0
    }

    /// Probes that failed since it tripped: which one is next.
    pub fn failed_probes(&self) -> u32 {
        self.state().failed_probes
    }

    /// Tells the breaker. Answers whether what must be durable has changed.
    fn signal(&self, signal: Signal) -> bool {
        let now = self.epoch.elapsed();
        let mut state = self.state();
        let interval = state.lanes.values().map(|terms| terms.probe_interval).min().unwrap_or(Duration::MAX);
        let before = state.breaker;
        state.breaker = before.next(signal, now, interval);
        match (before, state.breaker) {
            (Breaker::Probing { .. }, Breaker::Tripped { .. }) => state.failed_probes += 1,
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

/// What keeps requests from being sent.
#[derive(Clone, Copy)]
struct Shut {
    opens: Instant,
    /// The same by the wall clock.
    until: DateTime<Utc>,
    /// What it is shown as, once it is stored.
    cause: PressureCause,
    since: DateTime<Utc>,
    is_stored: bool,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    Item,
    /// A request that no item is charged or credited with.
    Probe,
}

impl State {
    /// Every second probe is not an item's: those that are left may all be bad ones, and then they say nothing of the
    /// upstream.
    fn is_canarys_turn(&self, now: Duration) -> bool {
        let due = match self.breaker {
            Breaker::Tripped { probe_at, .. } => probe_at,
            Breaker::Closed { .. } | Breaker::Probing { .. } => return false,
        };
        self.failed_probes % 2 == 1 && due <= now && now < due + CANARY_WAIT
    }

    /// The cause that lasts longest.
    fn shut(&self, epoch: Instant, sender: Sender) -> Option<Shut> {
        let now = Instant::now();
        let canary = sender == Sender::Item && self.is_canarys_turn(epoch.elapsed());
        let held = self.held.map(|held| Shut {
            opens: held.opens,
            until: held.until,
            cause: PressureCause::PushedBack,
            since: held.since,
            is_stored: held.is_stored,
        });
        let broken = self.breaker.shut_until().map(|until| {
            let until = epoch + until;
            let opens = match self.breaker {
                // It may be answered at any moment.
                Breaker::Probing { .. } => until.min(now + PROBE_POLL),
                Breaker::Closed { .. } | Breaker::Tripped { .. } if canary => now + PROBE_POLL,
                Breaker::Closed { .. } | Breaker::Tripped { .. } => until,
            };
            let since = self.breaker.tripped_since().map_or(now, |since| epoch + since);
            let wall = clock::now();
            let since = wall - span(now.saturating_duration_since(since));
            let until = wall + span(opens.saturating_duration_since(now));
            Shut { opens, until, cause: PressureCause::Outage, since, is_stored: true }
        });
        [held, broken].into_iter().flatten().filter(|shut| shut.opens > now).max_by_key(|shut| shut.opens)
    }

    /// The largest rate of the lanes is the upstream's.
    fn refit(&mut self) {
        let largest = self.lanes.values().max_by(|a, b| a.rate_per_s.total_cmp(&b.rate_per_s));
        if let Some(terms) = largest {
            self.bucket.set(terms.rate_per_s, terms.burst);
        }
    }
}

/// One batch's way through one gate.
pub struct Lane {
    gate: Arc<Gate>,
    batch: BatchSeq,
    ticket: usize,
    terms: Terms,
    sender: Sender,
    own: Arc<Mutex<Bucket>>,
    turn: tokio::sync::Mutex<()>,
}

impl Lane {
    /// When the gate opens, if it is held.
    pub fn opens(&self) -> Option<Instant> {
        self.gate.shut().map(|shut| shut.opens)
    }

    /// Since when the upstream is down, if it is.
    pub fn tripped_since(&self) -> Option<Instant> {
        self.gate.tripped_since()
    }

    /// The host's name.
    pub fn host(&self) -> &str {
        &self.gate.host
    }

    /// It has asked for less, and nothing else since.
    pub fn is_pushed_back(&self) -> bool {
        self.gate.state().push_backs > 0
    }

    /// The upstream has answered another batch since then.
    pub fn answered_others_since(&self, since: Instant) -> bool {
        let state = self.gate.state();
        let live = state.answered.iter().filter(|(batch, _)| **batch != self.batch).map(|(_, at)| *at);
        live.chain(state.answered_last).any(|at| at >= since)
    }

    /// A request for one of the batch's items has had an answer, in this process.
    pub fn has_answered(&self) -> bool {
        self.gate.state().answered.contains_key(&self.batch)
    }

    /// It is there, though it has answered no item: a list was read.
    pub async fn lives(&self) {
        let push_backs = std::mem::take(&mut self.gate.state().push_backs);
        if self.gate.signal(Signal::Answer) || push_backs > 0 {
            self.persist().await;
        }
    }

    /// The batch's first items were all refused, or met nobody.
    pub async fn refused(&self) {
        if self.gate.signal(Signal::Refused) {
            self.persist().await;
        }
    }

    /// Requests permitted per second while the gate is open.
    pub fn permitted_per_s(&self) -> f64 {
        locked(&self.own).rate_per_s().min(self.gate.state().bucket.rate_per_s())
    }

    /// How the upstream holds the batch back now, if it does.
    pub fn pressure(&self) -> Option<Pressure> {
        let shut = self.gate.shut().filter(|shut| shut.is_stored);
        let state = self.gate.state();
        let (cause, permitted_per_s, since) = match (shut, state.limited_since) {
            (Some(shut), _) => (shut.cause, 0.0, shut.since),
            (None, Some(since)) => (PressureCause::RateLimited, state.bucket.rate_per_s(), since),
            (None, None) => return None,
        };
        Some(Pressure {
            upstream: self.gate.id.clone(),
            host: self.gate.host.clone(),
            cause,
            permitted_per_s,
            held_until: shut.map(|shut| shut.until),
            since,
        })
    }

    async fn persist(&self) {
        if let Err(error) = self.gate.store.put_upstream(&self.gate.record()).await {
            tracing::warn!(batch_seq = self.batch.0, error = %error, "the gate's state could not be stored");
        }
        if let Some(held) = &mut self.gate.state().held {
            held.is_stored = true;
        }
    }

    /// Takes a permit from both buckets, or says how long to wait.
    fn try_take(&self) -> Result<(), Refused> {
        let gate = &*self.gate;
        let now = gate.epoch.elapsed();
        let mut state = gate.state();
        if let Some(shut) = state.shut(gate.epoch, self.sender) {
            return Err(Refused::Held(Denied { until: shut.until }));
        }
        if state.held.take().is_some() {
            // Whoever just asked for less does not get the burst at once.
            state.bucket.drain(now);
        }
        let mut own = locked(&self.own);
        let wait = state.bucket.wait(now).max(own.wait(now));
        if wait.is_zero() {
            state.bucket.take(now);
            own.take(now);
            // With the breaker not closed this is the probe. Its quick try and its way through the server take time too.
            let until = now + 2 * self.terms.attempt_timeout + PROBE_POLL;
            state.breaker = state.breaker.next(Signal::Probe { until }, now, self.terms.probe_interval);
            if state.waiting == 1 {
                state.limited_since = None;
            }
            return Ok(());
        }
        state.limited_since.get_or_insert_with(clock::now);
        Err(Refused::Wait(wait))
    }
}

enum Refused {
    Held(Denied),
    Wait(Duration),
}

/// Counts a waiter for as long as it lives.
struct Waiting<'a>(&'a Gate);

impl<'a> Waiting<'a> {
    fn at(gate: &'a Gate) -> Self {
        gate.state().waiting += 1;
        Self(gate)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.waiting -= 1;
        if state.waiting == 0 {
            state.limited_since = None;
        }
    }
}

#[async_trait]
impl Permits for Lane {
    async fn acquire(&self) -> Result<(), Denied> {
        let _waiting = Waiting::at(&self.gate);
        let _lane = self.turn.lock().await;
        // Waiting for the lane's own bucket must not keep other lanes from the gate.
        loop {
            let wait = locked(&self.own).wait(self.gate.epoch.elapsed());
            if wait.is_zero() {
                break;
            }
            if let Some(shut) = self.gate.state().shut(self.gate.epoch, self.sender) {
                return Err(Denied { until: shut.until });
            }
            tokio::time::sleep(wait).await;
        }
        let _gate = self.gate.turn.lock().await;
        loop {
            let changed = self.gate.changed.notified();
            match self.try_take() {
                Ok(()) => return Ok(()),
                Err(Refused::Held(denied)) => return Err(denied),
                Err(Refused::Wait(wait)) => {
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = changed => {}
                    }
                }
            }
        }
    }

    async fn observe(&self, verdict: Verdict) {
        match verdict {
            Verdict::PushBack { retry_after } => {
                self.gate.hold(retry_after);
                self.persist().await;
            }
            Verdict::Alive => {
                self.gate.state().answered.insert(self.batch, Instant::now());
                self.lives().await;
            }
            Verdict::Failing => {
                if self.gate.signal(Signal::Failure) {
                    self.persist().await;
                }
            }
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.gate.leave(self.ticket);
    }
}

fn span(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
