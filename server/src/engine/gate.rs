//! The gate: the valve in front of one upstream, shared by all batches.
//!
//! Each batch that works on an upstream has a [`Lane`]. A request waits for its turn in its lane and for its lane's turn
//! at the gate, which go by the batches' priorities; the permit is taken in the moment in which both buckets have one,
//! or not at all, and given back when the request is over. While the gate is held nobody waits: the request is given
//! back, uncharged. A gate is held because the upstream asked for less, or by an operator, or because its breaker
//! tripped; then one request passes now and again, to see.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::TimeDelta;
use tokio::{sync::Notify, time::Instant};

use crate::{
    domain::{
        id::BatchSeq,
        spec::BatchSpec,
        upstream::{UpstreamId, UpstreamRecord},
    },
    store::{Store, StoreError},
};

pub mod bucket;
mod idle;
mod lane;
mod share;
mod state;
mod steer;
#[cfg(test)]
mod tests;
mod turns;
mod valve;

pub use lane::Lane;
use state::{Sender, fresh};
pub use steer::LimitsError;
pub use valve::Gate;

/// Whoever is turned away while a probe is on its way asks again after this.
const PROBE_POLL: Duration = Duration::from_secs(1);

/// What a batch permits, and expects of its upstream.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Requests per second.
    pub rate_per_s: f64,
    /// Requests at once after idleness.
    pub burst: u32,
    /// Its share where others wait too.
    pub weight: f64,
    /// The upstream's rate may be lowered on push-back.
    pub adaptive_pace: bool,
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
            weight: (f64::from(spec.priority) / 20.0).exp2(),
            adaptive_pace: fetch.adaptive_pace,
            attempt_timeout: fetch.attempt_timeout,
            probe_interval: spec.outage.probe_interval,
        }
    }
}

/// Limit of an upstream that nobody has used and nothing is set of: a batch's own by default.
const LIMIT: (f64, u32) = (5.0, 20);

/// Stands for a reader that is none; batches count from 1.
const NO_BATCH: BatchSeq = BatchSeq(0);

/// All gates of this node.
pub struct Gates {
    store: Arc<dyn Store>,
    /// Of the upstreams that were ever used, by name, but for those that have nothing to remember.
    all: Mutex<BTreeMap<UpstreamId, Arc<Gate>>>,
    released: Notify,
    /// When the node started. No earlier process has sent anything since.
    epoch: Instant,
}

impl Gates {
    /// Reads what is durable of the upstreams.
    pub async fn load(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let epoch = Instant::now();
        let gate = |record: UpstreamRecord| {
            (record.id.clone(), Arc::new(Gate::known(record, Arc::clone(&store), epoch)))
        };
        let all = store.upstreams().await?.into_iter().map(gate).collect();
        Ok(Self { store, all: Mutex::new(all), released: Notify::new(), epoch })
    }

    /// Opens a lane for a batch, or for reading its source.
    pub async fn join(
        &self,
        upstream: &UpstreamId,
        host: &str,
        batch: BatchSeq,
        terms: Terms,
    ) -> Result<Arc<Lane>, StoreError> {
        let gate = self.gate(upstream, host, terms).await?;
        let ticket = gate.enter(terms);
        let lane = Lane {
            gate: Arc::clone(&gate),
            batch,
            ticket,
            terms,
            sender: Sender::Item,
            own: gate.own(batch, terms),
        };
        // Durable before the first request: after a crash the bucket is known to have been in use.
        gate.store().await?;
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
        let gate = self.gate(upstream, host, terms).await?;
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
            own: Arc::new(Mutex::new(fresh(false, terms.rate_per_s, terms.burst))),
        };
        gate.store().await?;
        Ok(Arc::new(lane))
    }

    /// The gate of an upstream, made if nobody has used it yet.
    pub async fn gate(
        &self,
        upstream: &UpstreamId,
        host: &str,
        terms: Terms,
    ) -> Result<Arc<Gate>, StoreError> {
        let made = || self.made(upstream, || self.unknown(upstream, host, (terms.rate_per_s, terms.burst)));
        Ok(self.find(upstream).await?.unwrap_or_else(made))
    }

    /// The gate of an upstream that has something to remember.
    pub fn get(&self, upstream: &UpstreamId) -> Option<Arc<Gate>> {
        locked(&self.all).get(upstream).cloned()
    }

    /// The gate of an upstream that was ever used.
    pub async fn find(&self, upstream: &UpstreamId) -> Result<Option<Arc<Gate>>, StoreError> {
        if let Some(gate) = self.get(upstream) {
            return Ok(Some(gate));
        }
        let record = self.store.upstream(upstream).await?;
        Ok(record.map(|record| self.made(upstream, || self.known(record))))
    }

    /// The gate of an upstream, made with the limit of one that nobody has used.
    pub async fn found_or_made(&self, upstream: &UpstreamId) -> Result<Arc<Gate>, StoreError> {
        let (_, host, _) = upstream.origin();
        let made = || self.made(upstream, || self.unknown(upstream, &host, LIMIT));
        Ok(self.find(upstream).await?.unwrap_or_else(made))
    }

    /// The gates of all upstreams that were ever used, by name.
    pub async fn all(&self) -> Result<Vec<Arc<Gate>>, StoreError> {
        let forgotten = |record: UpstreamRecord| (record.id.clone(), Arc::new(self.known(record)));
        let mut all: BTreeMap<_, _> = self.store.upstreams().await?.into_iter().map(forgotten).collect();
        all.extend(locked(&self.all).iter().map(|(id, gate)| (id.clone(), Arc::clone(gate))));
        Ok(all.into_values().collect())
    }

    fn made(&self, upstream: &UpstreamId, make: impl FnOnce() -> Gate) -> Arc<Gate> {
        let mut gates = locked(&self.all);
        Arc::clone(gates.entry(upstream.clone()).or_insert_with(|| Arc::new(make())))
    }

    /// One that was forgotten here comes back as the store knows it.
    fn known(&self, record: UpstreamRecord) -> Gate {
        Gate::known(record, Arc::clone(&self.store), self.epoch)
    }

    fn unknown(&self, upstream: &UpstreamId, host: &str, limit: (f64, u32)) -> Gate {
        Gate::unknown(upstream.clone(), host.to_owned(), limit, Arc::clone(&self.store), self.epoch)
    }

    /// Somebody releases a gate.
    pub async fn released(&self) {
        self.released.notified().await;
    }

    /// Ends whatever holds a gate, and says so to whoever waits for it without standing there.
    pub async fn release(&self, gate: &Gate) -> Result<(), StoreError> {
        gate.release().await?;
        self.released.notify_waiters();
        Ok(())
    }

    /// The batch is over: nothing of it need be remembered.
    pub fn forget(&self, batch: BatchSeq) {
        for gate in locked(&self.all).values() {
            let mut state = gate.state();
            state.own.remove(&batch);
            let last = state.answered.remove(&batch);
            state.answered_last = state.answered_last.max(last);
        }
    }
}

fn span(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
