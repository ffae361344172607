//! Gates that nobody needs any more.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Gate, Gates, Lane, locked, state::OperatorHeld, valve::HOLD_MAX};
use crate::domain::upstream::{Breaker, Configured, UpstreamId};

/// An upstream that is down is forgotten so long after somebody should have asked it.
const DOWN_MAX: Duration = Duration::from_secs(3600);

impl Gates {
    /// Forgets the gates that nobody uses and that have nothing to remember: a new one would be as they are. So a batch
    /// that leads to very many upstreams leaves none of them behind; the store knows their names.
    pub fn forget_idle(&self) {
        locked(&self.all).retain(|_, gate| Arc::strong_count(gate) > 1 || !gate.is_idle());
    }

    /// Since when an upstream's breaker is not closed.
    pub fn tripped_since(&self, upstream: &UpstreamId) -> Option<Instant> {
        self.get(upstream)?.tripped_since()
    }
}

impl Gate {
    fn is_idle(&self) -> bool {
        let (now, state) = (self.epoch.elapsed(), self.state());
        let is_filled = state.bucket.is_full(now) && state.own.values().all(|own| locked(own).is_full(now));
        let is_held =
            state.held.is_some_and(|held| held.opens.elapsed() < HOLD_MAX || held.opens > Instant::now());
        let is_down = match state.breaker {
            Breaker::Closed { .. } => false,
            Breaker::Tripped { probe_at: until, .. } | Breaker::Probing { until, .. } => {
                until + DOWN_MAX > now
            }
        };
        let is_steered = state.configured != Configured::default()
            || state.operator.as_ref().is_some_and(OperatorHeld::lasts)
            || state.pace.share(now) < 1.0;
        // Whether a live batch has had an answer decides on its start probe.
        let is_answering = !state.lanes.is_empty() || !state.answered.is_empty();
        is_filled && !is_held && !is_down && !is_steered && !is_answering
    }
}

impl Lane {
    /// Its batch starts without a probe, and need not know whether it has had an answer here.
    pub fn forget_answer(&self) {
        let mut state = self.gate.state();
        let last = state.answered.remove(&self.batch);
        state.answered_last = state.answered_last.max(last);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        domain::{
            id::BatchSeq,
            upstream::{BreakerState, Change},
        },
        engine::gate::Terms,
        fetch::{Permits, Verdict},
        store::sqlite::{Limits, SqliteStore},
    };

    const TERMS: Terms = Terms {
        rate_per_s: 10.0,
        burst: 2,
        weight: 1.0,
        adaptive_pace: true,
        attempt_timeout: Duration::from_secs(1),
        probe_interval: Duration::from_secs(1),
    };

    fn names(gates: &Gates) -> Vec<String> {
        let open = locked(&gates.all);
        let mut names: Vec<String> = open.keys().map(|id| id.as_str().to_owned()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn only_what_has_nothing_to_remember_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("haul.db"), Limits::default()).await.unwrap();
        let gates = Gates::load(Arc::new(store)).await.unwrap();
        let join = async |host: &str| {
            let upstream = UpstreamId::of("https", host, 443);
            gates.join(&upstream, host, BatchSeq(1), TERMS).await.unwrap()
        };
        let joined = join("joined.test").await;
        let (spent, held, down) =
            (join("spent.test").await, join("held.test").await, join("down.test").await);
        drop(join("unused.test").await);
        spent.acquire().await.unwrap();
        held.observe(Verdict::PushBack { retry_after: Some(Duration::from_secs(60)) }).await;
        down.refused().await;
        assert!(gates.tripped_since(&UpstreamId::of("https", "down.test", 443)).is_some());
        assert_eq!(gates.tripped_since(&UpstreamId::of("https", "unused.test", 443)), None);
        drop((spent, held, down));
        gates.forget_idle();
        assert_eq!(names(&gates), ["down.test", "held.test", "joined.test", "spent.test"]);
        // Its permit comes back at the rate.
        tokio::time::pause();
        tokio::time::advance(Duration::from_millis(101)).await;
        gates.forget_idle();
        assert_eq!(names(&gates), ["down.test", "held.test", "joined.test"]);
        tokio::time::advance(Duration::from_secs(2 * 3600)).await;
        gates.forget_idle();
        assert_eq!(names(&gates), ["joined.test"]);
        tokio::time::resume();
        joined.observe(Verdict::Alive).await;
        let answered = join("answered.test").await;
        answered.observe(Verdict::Alive).await;
        joined.forget_answer();
        drop((joined, answered));
        gates.forget_idle();
        assert_eq!(names(&gates), ["answered.test"]);
        // Each is known all the same, and limits that are set of one are remembered.
        let all = gates.all().await.unwrap();
        assert_eq!(all.len(), 6);
        let down: Vec<&str> = all
            .iter()
            .filter(|gate| gate.upstream().breaker != BreakerState::Closed)
            .map(|gate| gate.id.as_str())
            .collect();
        assert_eq!(down, ["down.test"], "it reads as it was left");
        let joined_again = join("down.test").await;
        assert!(joined_again.tripped_since().is_some(), "and is as it reads");
        drop(joined_again);
        let unused = gates.find(&UpstreamId::of("https", "unused.test", 443)).await.unwrap().unwrap();
        assert_eq!((unused.upstream().rate_per_s, unused.upstream().burst), (10.0, 2));
        let limits = Change { burst: Some(Some(1)), ..Change::default() };
        unused.set_limits(limits, None).await.unwrap();
        drop(unused);
        gates.forget_idle();
        assert_eq!(names(&gates), ["answered.test", "down.test", "unused.test"]);
        assert!(gates.find(&UpstreamId::of("https", "nobody.test", 443)).await.unwrap().is_none());
    }
}
