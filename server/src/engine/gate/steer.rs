//! A gate as people see and steer it.

use std::time::Duration;

use super::{Gate, Sender, span, state::OperatorHeld};
use crate::{
    clock,
    domain::{
        text,
        upstream::{
            Breaker, BreakerState, Change, Configured, HoldCause, Holding, OperatorHold, PressureCause,
            Signal, Upstream, UpstreamId,
        },
    },
    store::StoreError,
};

/// Why limits are not set.
#[derive(Debug, thiserror::Error)]
pub enum LimitsError {
    /// They are others by now.
    #[error("the limits of {} are others by now", .0.name())]
    EtagMismatch(UpstreamId, Configured),
    /// They could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Gate {
    /// As it stands.
    pub fn upstream(&self) -> Upstream {
        let (now, elapsed) = (clock::now(), self.epoch.elapsed());
        let state = self.state();
        let at = |time: Duration| now + span(time.saturating_sub(elapsed));
        let (breaker, failures) = match state.breaker {
            Breaker::Closed { failures } => (BreakerState::Closed, failures),
            Breaker::Tripped { .. } => (BreakerState::Tripped, 0),
            Breaker::Probing { .. } => (BreakerState::Probing, 0),
        };
        let shut = state.shut(self.epoch, Sender::Item);
        let cause = match shut.map(|shut| shut.cause) {
            Some(PressureCause::PushedBack) => Some(HoldCause::RetryAfter),
            Some(PressureCause::Operator) => Some(HoldCause::Operator),
            // Its probe may be due, or on its way: it is held until that is answered.
            _ => (breaker != BreakerState::Closed).then_some(HoldCause::Breaker),
        };
        let held = cause.map(|cause| Holding {
            cause,
            until: shut.filter(|shut| shut.ends && cause != HoldCause::Breaker).map(|shut| shut.until),
            since: shut.map(|shut| shut.since).or(state.tripped_at).unwrap_or(now),
            message: match cause {
                HoldCause::RetryAfter => {
                    format!("the upstream asked for less, {} in a row", times(state.push_backs))
                }
                HoldCause::Breaker => {
                    "the upstream does not answer: it is asked again at its probe".to_owned()
                }
                HoldCause::Operator => {
                    state.operator.as_ref().map(|held| held.hold.reason.clone()).unwrap_or_default()
                }
            },
        });
        let (rate_per_s, burst) = state.permitted(elapsed);
        Upstream {
            id: self.id.clone(),
            configured: state.configured,
            rate_per_s: if held.is_some() { 0.0 } else { rate_per_s },
            burst,
            in_flight: state.in_flight,
            waiting: state.turns.waiting(),
            held,
            breaker,
            failures,
            push_backs: state.push_backs,
            tripped_at: state.tripped_at,
            probe_at: state.breaker.shut_until().map(at),
            live_batches: 0,
            at: now,
        }
    }

    /// Limits that an operator has set.
    pub fn configured(&self) -> Configured {
        self.state().configured
    }

    /// What an operator holds it by now.
    pub fn held_by_operator(&self) -> Option<OperatorHold> {
        self.state().operator.as_ref().filter(|held| held.lasts()).map(|held| held.hold.clone())
    }

    /// Changes the limits that an operator has set, if they have that etag. Durable before it answers, and in force.
    pub async fn set_limits(&self, change: Change, etag: Option<&str>) -> Result<(), LimitsError> {
        let set = self.change(
            |record| {
                let before = record.configured;
                if etag.is_some_and(|etag| etag != before.etag(&self.id)) {
                    return Err(LimitsError::EtagMismatch(self.id.clone(), before));
                }
                record.configured = change.of(before);
                Ok(true)
            },
            |state, record| {
                state.configured = record.configured;
                state.refit(self.epoch.elapsed());
                state.turns.wake_next();
            },
        );
        set.await
    }

    /// Holds it, for a time or until somebody releases it. Durable before it answers.
    pub async fn hold_by_operator(
        &self,
        span_held: Option<Duration>,
        reason: &str,
    ) -> Result<(), StoreError> {
        let now = clock::now();
        let hold = self.change(
            |record| {
                let since = record.operator.as_ref().map_or(now, |hold| hold.since);
                let until = span_held.map(|held| now + span(held));
                record.operator = Some(OperatorHold { since, until, reason: text::message(reason) });
                Ok::<_, StoreError>(true)
            },
            |state, record| {
                state.operator = record.operator.map(OperatorHeld::new);
                state.turns.wake_all();
            },
        );
        hold.await?;
        tracing::warn!(upstream = self.id.as_str(), action = "HoldGate", reason, "gate held by an operator");
        Ok(())
    }

    /// Ends whatever holds it. A breaker that is not closed stays so, and its probe is due at once.
    pub(super) async fn release(&self) -> Result<(), StoreError> {
        let now = self.epoch.elapsed();
        let release = self.change(
            |record| {
                let is_held = record.operator.take().is_some()
                    | record.held.take().is_some_and(|held| held.until > clock::now());
                if let Some(tripped) = &mut record.tripped {
                    tripped.probe_at = tripped.probe_at.min(clock::now());
                }
                if let Some(slowed) = &mut record.slowed {
                    slowed.from = slowed.from.min(clock::now());
                }
                Ok::<_, StoreError>(is_held || record.tripped.is_some())
            },
            |state, _| {
                state.operator = None;
                if state.held.take().is_some() {
                    // Whoever just asked for less does not get the burst at once.
                    state.bucket.drain(now);
                    state.pace = state.pace.released(now);
                }
                state.turn_is_passed = true;
            },
        );
        release.await?;
        self.signal(Signal::Released);
        Ok(())
    }
}

fn times(count: u32) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}
