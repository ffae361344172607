//! One batch's way through one gate.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{sync::Notify, time::Instant};

use super::{Gate, PROBE_POLL, Sender, Terms, bucket::Bucket, locked};
use crate::{
    clock,
    domain::{
        id::BatchSeq,
        upstream::{Pressure, PressureCause, Signal},
    },
    failpoint,
    fetch::{Denied, Held, Permit, Permits, Verdict},
};

/// A lane whose own bucket is due no later than this after the gate's does not stand aside. Timers have this grain.
const GRAIN: Duration = Duration::from_millis(1);

/// One batch's way through one gate.
pub struct Lane {
    pub(super) gate: Arc<Gate>,
    pub(super) batch: BatchSeq,
    pub(super) ticket: usize,
    pub(super) terms: Terms,
    pub(super) sender: Sender,
    pub(super) own: Arc<Mutex<Bucket>>,
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

    /// An operator wants nothing sent.
    pub fn is_held_by_operator(&self) -> bool {
        self.gate.held_by_operator().is_some()
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

    /// What remains of a held gate; nothing where it is held without end.
    pub fn gate_wait(&self) -> Option<Duration> {
        let Some(shut) = self.gate.shut() else { return Some(Duration::ZERO) };
        shut.ends.then(|| shut.opens.saturating_duration_since(Instant::now()))
    }

    /// Requests permitted per second while the gate is open.
    pub fn permitted_per_s(&self) -> f64 {
        // One lock after the other: `try_take` holds the gate's while it takes this one.
        let own = locked(&self.own).rate_per_s();
        own.min(self.gate.state().permitted(self.gate.epoch.elapsed()).0)
    }

    /// How the upstream holds the batch back now, if it does.
    pub fn pressure(&self) -> Option<Pressure> {
        let shut = self.gate.shut().filter(|shut| shut.is_stored);
        let now = self.gate.epoch.elapsed();
        let state = self.gate.state();
        let (cause, permitted_per_s, since) = match (shut, state.limited_since) {
            (Some(shut), _) => (shut.cause, 0.0, shut.since),
            (None, Some(since)) if state.is_slowed(now) => {
                (PressureCause::PushedBack, state.permitted(now).0, since)
            }
            (None, Some(since)) => (PressureCause::RateLimited, state.permitted(now).0, since),
            (None, None) => return None,
        };
        Some(Pressure {
            upstream: self.gate.id.clone(),
            host: self.gate.host.clone(),
            cause,
            permitted_per_s,
            held_until: shut.filter(|shut| shut.ends).map(|shut| shut.until),
            since,
        })
    }

    async fn persist(&self) {
        failpoint::reached("gate.before").await;
        if let Err(error) = self.gate.store().await {
            tracing::warn!(batch_seq = self.batch.0, error = %error, "the gate's state could not be stored");
        }
        failpoint::reached("gate.held").await;
        if let Some(held) = &mut self.gate.state().held {
            held.is_stored = true;
        }
    }

    /// Takes a permit from both buckets, if it is this one's turn, or says how long to wait at most: nothing where
    /// somebody else says when.
    fn try_take(&self, waiter: u64) -> Result<InFlight, Refused> {
        let (gate, lane) = (&*self.gate, self.ticket);
        let now = gate.epoch.elapsed();
        let mut state = gate.state();
        if let Some(shut) = state.shut(gate.epoch, self.sender) {
            return Err(Refused::Held(Denied { until: shut.until }));
        }
        if state.held.take().is_some() {
            // Whoever just asked for less does not get the burst at once.
            state.bucket.drain(now);
        }
        if !state.turns.is_first(lane, waiter) {
            return Err(Refused::Wait(None));
        }
        state.repace(now);
        let mut own = locked(&self.own);
        let (shared_wait, own_wait) = (state.bucket.wait(now), own.wait(now));
        if own_wait > shared_wait + GRAIN {
            // Waiting for the lane's own bucket must not keep other lanes from the gate.
            state.turns.step_back(lane);
            state.turns.wake_next();
            return Err(Refused::Wait(Some(own_wait)));
        }
        if !state.turns.step_in(lane) {
            return Err(Refused::Wait(None));
        }
        let wait = shared_wait.max(own_wait);
        if !wait.is_zero() || state.is_full() {
            state.limited_since.get_or_insert_with(clock::now);
            // The end of a request is told.
            return Err(Refused::Wait((!state.is_full()).then_some(wait)));
        }
        state.bucket.take(now);
        own.take(now);
        state.in_flight += 1;
        state.turns.serve(lane, waiter);
        if state.turns.has_waiters(lane) {
            // It is in the order before anybody is asked again, so that its share is its own however late it wakes.
            if own.wait(now) <= state.bucket.wait(now) + GRAIN {
                state.turns.step_in(lane);
            }
            state.turns.wake_first(lane);
        }
        state.turns.wake_next();
        // With the breaker not closed this is the probe. Its quick try and its way through the server take time too.
        let until = now + 2 * self.terms.attempt_timeout + PROBE_POLL;
        state.breaker = state.breaker.next(Signal::Probe { until }, now, self.terms.probe_interval);
        state.prober = state.breaker.tripped_since().map(|_| lane);
        if state.turns.waiting() == 0 {
            state.limited_since = None;
        }
        let (gate, own) = (Arc::clone(&self.gate), Arc::clone(&self.own));
        Ok(InFlight { gate, own, ticket: self.ticket, taken_at: now })
    }
}

enum Refused {
    Held(Denied),
    Wait(Option<Duration>),
}

/// A request that waits, for as long as it does.
struct Waiter<'a> {
    lane: &'a Lane,
    number: u64,
    woken: Arc<Notify>,
}

impl<'a> Waiter<'a> {
    fn at(lane: &'a Lane) -> Self {
        let (number, woken) = lane.gate.state().turns.join(lane.ticket);
        Self { lane, number, woken }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut state = self.lane.gate.state();
        state.turns.leave(self.lane.ticket, self.number);
        if state.turns.waiting() == 0 {
            state.limited_since = None;
        }
    }
}

/// A request that is on its way, for as long as it is.
struct InFlight {
    gate: Arc<Gate>,
    own: Arc<Mutex<Bucket>>,
    ticket: usize,
    taken_at: Duration,
}

impl Held for InFlight {
    fn unused(&mut self) {
        let mut state = self.gate.state();
        state.bucket.give_back(self.taken_at);
        locked(&self.own).give_back(self.taken_at);
        let was_probe = state.prober.take_if(|prober| *prober == self.ticket).is_some();
        state.turns.wake_next();
        drop(state);
        if was_probe {
            self.gate.signal(Signal::Abandoned);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.in_flight -= 1;
        if state.configured.in_flight_max.is_some() {
            state.turns.wake_next();
        }
    }
}

#[async_trait]
impl Permits for Lane {
    async fn acquire(&self) -> Result<Permit, Denied> {
        let waiter = Waiter::at(self);
        loop {
            match self.try_take(waiter.number) {
                Ok(taken) => return Ok(Permit::new(taken)),
                Err(Refused::Held(denied)) => return Err(denied),
                Err(Refused::Wait(None)) => waiter.woken.notified().await,
                Err(Refused::Wait(Some(wait))) => {
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = waiter.woken.notified() => {}
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
