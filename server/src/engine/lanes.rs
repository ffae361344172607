//! The lanes that a batch's requests wait in: one where all of them go to the same upstream, else one for each upstream
//! that its items lead to, joined with the first request there and left some time after the last.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Engine,
    gate::{Lane, Terms},
};
use crate::{
    connector::{Connector, Origin},
    domain::{batch::Batch, id::BatchSeq},
    progress::Pace,
    store::StoreError,
};

/// Lanes of a batch that are remembered while nothing waits in them.
const IDLE_LANES_MAX: usize = 1_024;
/// Upstreams whose pressure is shown.
const PRESSURES_MAX: usize = 100;

pub(super) struct Lanes {
    engine: Arc<Engine>,
    batch: BatchSeq,
    terms: Terms,
    only: Option<Arc<Lane>>,
    joined: Mutex<HashMap<Origin, Joined>>,
}

struct Joined {
    lane: Arc<Lane>,
    used: Instant,
}

impl Joined {
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.lane) == 1
    }
}

impl Lanes {
    pub(super) async fn of(
        engine: &Arc<Engine>,
        batch: &Batch,
        connector: &dyn Connector,
    ) -> Result<Self, StoreError> {
        let mut lanes = Self {
            engine: Arc::clone(engine),
            batch: batch.seq,
            terms: Terms::of(&batch.spec),
            only: None,
            joined: Mutex::default(),
        };
        if let Some(origin) = connector.origin() {
            lanes.only = Some(lanes.join(origin).await?);
        }
        Ok(lanes)
    }

    /// The lane of all requests, where it is one.
    pub(super) fn only(&self) -> Option<&Arc<Lane>> {
        self.only.as_ref()
    }

    /// The lane of requests to an origin.
    pub(super) async fn to(&self, origin: &Origin) -> Result<Arc<Lane>, StoreError> {
        if let Some(joined) = self.joined().get_mut(origin) {
            joined.used = Instant::now();
            return Ok(Arc::clone(&joined.lane));
        }
        // Two at once may join twice; the second lane is left at once.
        let lane = self.join(origin).await?;
        let mut joined = self.joined();
        if joined.len() >= IDLE_LANES_MAX {
            leave_older_half(&mut joined);
        }
        let entry = joined.entry(origin.clone()).or_insert(Joined { lane, used: Instant::now() });
        Ok(Arc::clone(&entry.lane))
    }

    /// What the upstreams say about the batch's pace.
    pub(super) fn pace(&self) -> Pace {
        let lanes: Vec<Arc<Lane>> = match &self.only {
            Some(only) => vec![Arc::clone(only)],
            None => self.joined().values().map(|joined| Arc::clone(&joined.lane)).collect(),
        };
        let now = Instant::now();
        let waits = lanes
            .iter()
            .map(|lane| lane.opens().map_or(Duration::ZERO, |opens| opens.saturating_duration_since(now)));
        Pace {
            gate_wait: waits.min().unwrap_or_default(),
            permitted_per_s: if lanes.is_empty() {
                self.terms.rate_per_s
            } else {
                lanes.iter().map(|lane| lane.permitted_per_s()).sum()
            },
            pressure: lanes.iter().filter_map(|lane| lane.pressure()).take(PRESSURES_MAX).collect(),
        }
    }

    async fn join(&self, origin: &Origin) -> Result<Arc<Lane>, StoreError> {
        self.engine.gates.join(&origin.upstream(), &origin.host, self.batch, self.terms).await
    }

    fn joined(&self) -> MutexGuard<'_, HashMap<Origin, Joined>> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leaves those in which nothing waits, but for the half of them that was used last.
fn leave_older_half(joined: &mut HashMap<Origin, Joined>) {
    let mut used: Vec<Instant> =
        joined.values().filter(|joined| joined.is_idle()).map(|joined| joined.used).collect();
    if used.is_empty() {
        return;
    }
    let middle = used.len() / 2;
    let (_, middle, _) = used.select_nth_unstable(middle);
    joined.retain(|_, joined| !joined.is_idle() || joined.used > *middle);
}
