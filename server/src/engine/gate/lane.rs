//! One batch's way through one gate.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;

use super::{Gate, PROBE_POLL, Sender, Terms, bucket::Bucket, locked};
use crate::{
    clock,
    domain::{
        id::BatchSeq,
        upstream::{Pressure, PressureCause, Signal},
    },
    failpoint,
    fetch::{Denied, Permits, Verdict},
};

/// One batch's way through one gate.
pub struct Lane {
    pub(super) gate: Arc<Gate>,
    pub(super) batch: BatchSeq,
    pub(super) ticket: usize,
    pub(super) terms: Terms,
    pub(super) sender: Sender,
    pub(super) own: Arc<Mutex<Bucket>>,
    pub(super) turn: tokio::sync::Mutex<()>,
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
        // One lock after the other: `try_take` holds the gate's while it takes this one.
        let own = locked(&self.own).rate_per_s();
        own.min(self.gate.state().bucket.rate_per_s())
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
        failpoint::reached("gate.before").await;
        if let Err(error) = self.gate.store.put_upstream(&self.gate.record()).await {
            tracing::warn!(batch_seq = self.batch.0, error = %error, "the gate's state could not be stored");
        }
        failpoint::reached("gate.held").await;
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
            state.prober = state.breaker.tripped_since().map(|_| self.ticket);
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
            Verdict::Refusing => self.lives().await,
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
