//! The gate: the valve in front of one upstream, shared by all batches.
//!
//! Each batch that works on an upstream has a [`Lane`]. A request waits first for its turn in its lane, then for its
//! lane's turn at the gate, so that batches share by turns; the permit is taken in the moment in which both buckets
//! have one, or not at all. While the gate is held nobody waits: the request is given back, uncharged.

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
        upstream::{Pressure, PressureCause, UpstreamId, UpstreamRecord},
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
        rate_per_s: f64,
        burst: u32,
    ) -> Result<Arc<Lane>, StoreError> {
        let gate = self.gate(upstream, host, rate_per_s, burst);
        let ticket = gate.enter(rate_per_s, burst);
        let lane = Lane {
            gate: Arc::clone(&gate),
            batch,
            ticket,
            own: gate.own(batch, rate_per_s, burst),
            turn: tokio::sync::Mutex::new(()),
        };
        // Durable before the first request: after a crash the bucket is known to have been in use.
        self.store.put_upstream(&gate.record()).await?;
        Ok(Arc::new(lane))
    }

    /// Opens a lane for a reader that is no batch, such as a plan. It never lifts the limit of the batches there are.
    pub async fn visit(
        &self,
        upstream: &UpstreamId,
        host: &str,
        rate_per_s: f64,
        burst: u32,
    ) -> Result<Arc<Lane>, StoreError> {
        let gate = self.gate(upstream, host, rate_per_s, burst);
        let (rate_per_s, burst) = {
            let state = gate.state();
            let lifts = !state.lanes.is_empty() && rate_per_s >= state.bucket.rate_per_s();
            if lifts { (state.bucket.rate_per_s(), state.bucket.burst()) } else { (rate_per_s, burst) }
        };
        let lane = Lane {
            ticket: gate.enter(rate_per_s, burst),
            gate: Arc::clone(&gate),
            batch: NO_BATCH,
            own: Arc::new(Mutex::new(Bucket::full(rate_per_s, burst))),
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

    /// The batch is over: nothing of it need be remembered.
    pub fn forget(&self, batch: BatchSeq) {
        for gate in locked(&self.open).values() {
            gate.state().own.remove(&batch);
        }
    }

    fn gate(&self, upstream: &UpstreamId, host: &str, rate_per_s: f64, burst: u32) -> Arc<Gate> {
        let mut gates = locked(&self.open);
        let gate = gates.entry(upstream.clone()).or_insert_with(|| {
            let known = locked(&self.known).remove(upstream);
            Arc::new(Gate::new(
                upstream.clone(),
                host.to_owned(),
                rate_per_s,
                burst,
                known,
                Arc::clone(&self.store),
            ))
        });
        Arc::clone(gate)
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
    lanes: BTreeMap<usize, (f64, u32)>,
    next_ticket: usize,
    /// Each batch's own bucket. It outlives the lane, so that a pause and a resume do not fill it.
    own: HashMap<BatchSeq, Arc<Mutex<Bucket>>>,
    /// The upstream was in use by an earlier process.
    was_in_use: bool,
    held: Option<Held>,
    push_backs: u32,
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
        rate_per_s: f64,
        burst: u32,
        known: Option<UpstreamRecord>,
        store: Arc<dyn Store>,
    ) -> Self {
        let epoch = Instant::now();
        let now = clock::now();
        // An upstream that was in use may just have had its burst: the bucket of a new process begins empty.
        let bucket = match &known {
            Some(_) => Bucket::empty(rate_per_s, burst),
            None => Bucket::full(rate_per_s, burst),
        };
        let held = known.as_ref().and_then(|record| record.held_until).and_then(|until| {
            let left = (until - now).to_std().ok()?;
            Some(Held { until, opens: epoch + left, since: now, is_stored: true })
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

    fn enter(&self, rate_per_s: f64, burst: u32) -> usize {
        let mut state = self.state();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.lanes.insert(ticket, (rate_per_s, burst));
        state.refit();
        ticket
    }

    fn own(&self, batch: BatchSeq, rate_per_s: f64, burst: u32) -> Arc<Mutex<Bucket>> {
        let now = self.epoch.elapsed();
        let mut state = self.state();
        let was_in_use = state.was_in_use;
        let bucket = state.own.entry(batch).or_insert_with(|| {
            let mut bucket = Bucket::full(rate_per_s, burst);
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
        let state = self.state();
        UpstreamRecord {
            id: self.id.clone(),
            host: self.host.clone(),
            rate_per_s: state.bucket.rate_per_s(),
            burst: state.bucket.burst(),
            held_until: state.held.map(|held| held.until),
            push_backs: state.push_backs,
        }
    }

    /// Until when it is held, if it is.
    fn held(&self) -> Option<Held> {
        self.state().held.filter(|held| held.opens > Instant::now())
    }

    /// Holds it for all, unless it is held for longer already.
    fn hold(&self, asked: Option<Duration>) {
        let now = clock::now();
        let mut state = self.state();
        let held = state.held.is_some_and(|held| held.opens > Instant::now());
        let wait = match asked {
            Some(wait) => wait,
            // One of several that were under way together: it says what the first one said.
            None if held => return,
            None => {
                let doubled = HOLD.saturating_mul(1 << state.push_backs.min(16));
                state.push_backs += 1;
                doubled.min(HOLD_MAX)
            }
        };
        let opens = Instant::now() + wait;
        if state.held.is_none_or(|held| held.opens < opens) {
            let since = state.held.filter(|held| held.until > now).map_or(now, |held| held.since);
            let until = now + TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX);
            state.held = Some(Held { until, opens, since, is_stored: false });
        }
        drop(state);
        self.changed.notify_waiters();
        tracing::warn!(
            upstream = self.id.as_str(),
            hold_ms = wait.as_millis() as u64,
            "gate held: asked to send less"
        );
    }
}

impl State {
    /// The largest rate of the lanes is the upstream's.
    fn refit(&mut self) {
        if let Some((rate_per_s, burst)) = self.lanes.values().copied().max_by(|a, b| a.0.total_cmp(&b.0)) {
            self.bucket.set(rate_per_s, burst);
        }
    }
}

/// One batch's way through one gate.
pub struct Lane {
    gate: Arc<Gate>,
    batch: BatchSeq,
    ticket: usize,
    own: Arc<Mutex<Bucket>>,
    turn: tokio::sync::Mutex<()>,
}

impl Lane {
    /// Until when the gate is held, if it is.
    pub fn held_until(&self) -> Option<(DateTime<Utc>, Instant)> {
        self.gate.held().map(|held| (held.until, held.opens))
    }

    /// Requests permitted per second while the gate is open.
    pub fn permitted_per_s(&self) -> f64 {
        locked(&self.own).rate_per_s().min(self.gate.state().bucket.rate_per_s())
    }

    /// How the upstream holds the batch back now, if it does.
    pub fn pressure(&self) -> Option<Pressure> {
        let held = self.gate.held().filter(|held| held.is_stored);
        let state = self.gate.state();
        let (cause, permitted_per_s, since) = match (held, state.limited_since) {
            (Some(held), _) => (PressureCause::PushedBack, 0.0, held.since),
            (None, Some(since)) => (PressureCause::RateLimited, state.bucket.rate_per_s(), since),
            (None, None) => return None,
        };
        Some(Pressure {
            upstream: self.gate.id.clone(),
            host: self.gate.host.clone(),
            cause,
            permitted_per_s,
            held_until: held.map(|held| held.until),
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
        if let Some(held) = state.held {
            if held.opens > Instant::now() {
                return Err(Refused::Held(Denied { until: held.until }));
            }
            // Whoever just asked for less does not get the burst at once.
            state.held = None;
            state.bucket.drain(now);
        }
        let mut own = locked(&self.own);
        let wait = state.bucket.wait(now).max(own.wait(now));
        if wait.is_zero() {
            state.bucket.take(now);
            own.take(now);
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
            if let Some(held) = self.gate.held() {
                return Err(Denied { until: held.until });
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
                if std::mem::take(&mut self.gate.state().push_backs) > 0 {
                    self.persist().await;
                }
            }
            Verdict::Failing => {}
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.gate.leave(self.ticket);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
