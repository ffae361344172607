//! What a gate knows, and what it makes of that: whether it is shut, and until when; how much is permitted.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::{PROBE_POLL, Terms, bucket::Bucket, span, turns::Turns};
use crate::{
    clock,
    domain::{
        id::BatchSeq,
        upstream::{Breaker, Configured, OperatorHold, Pace, PressureCause},
    },
};

/// For so long the items leave every second probe to [`super::Gates::canary`]. If nobody sends it, they go on themselves.
const CANARY_WAIT: Duration = Duration::from_secs(3);
/// Stands for no end: nobody waits for so long.
const FOREVER: Duration = Duration::from_secs(100 * 366 * 86_400);

pub(super) struct State {
    pub(super) bucket: Bucket,
    /// Requests per second and at once, before the pace is taken off.
    pub(super) limit: (f64, u32),
    pub(super) configured: Configured,
    pub(super) pace: Pace,
    /// What each lane permits; the largest holds.
    pub(super) lanes: BTreeMap<usize, Terms>,
    pub(super) next_ticket: usize,
    /// Who is next.
    pub(super) turns: Turns,
    /// Each batch's own bucket. It outlives the lane, so that a pause and a resume do not fill it.
    pub(super) own: HashMap<BatchSeq, Arc<Mutex<Bucket>>>,
    /// The upstream was in use by an earlier process.
    pub(super) was_in_use: bool,
    /// It is in use by this one.
    pub(super) is_in_use: bool,
    pub(super) held: Option<Held>,
    pub(super) operator: Option<OperatorHeld>,
    pub(super) push_backs: u32,
    pub(super) breaker: Breaker,
    /// Since when it is not closed, by the wall clock, and through restarts.
    pub(super) tripped_at: Option<DateTime<Utc>>,
    /// The lane that sent the last probe.
    pub(super) prober: Option<usize>,
    /// Probes that failed since it tripped.
    pub(super) failed_probes: u32,
    /// See [`super::Gate::pass_turn`]: since the last of them.
    pub(super) turn_is_passed: bool,
    /// Batches that had an answer, with the time of the last one.
    pub(super) answered: HashMap<BatchSeq, Instant>,
    /// The same of the last batch that ended.
    pub(super) answered_last: Option<Instant>,
    /// Since when requests have had to wait for the rate, or for others to end.
    pub(super) limited_since: Option<DateTime<Utc>>,
    pub(super) in_flight: u32,
}

#[derive(Clone, Copy)]
pub(super) struct Held {
    pub(super) until: DateTime<Utc>,
    pub(super) opens: Instant,
    pub(super) since: DateTime<Utc>,
    /// It is stored, so that a crash does not take back what somebody has seen.
    pub(super) is_stored: bool,
}

/// A hold by an operator. It is stored before it holds.
#[derive(Clone)]
pub(super) struct OperatorHeld {
    pub(super) hold: OperatorHold,
    /// When it ends; nothing: when it is released.
    opens: Option<Instant>,
}

impl OperatorHeld {
    pub(super) fn new(hold: OperatorHold) -> Self {
        // The clock may have been set back since.
        let left = |until: DateTime<Utc>| {
            (until - clock::now()).min(until - hold.since).to_std().unwrap_or_default()
        };
        let left = hold.until.map(left);
        Self { opens: left.map(|left| Instant::now() + left), hold }
    }

    pub(super) fn lasts(&self) -> bool {
        self.opens.is_none_or(|opens| opens > Instant::now())
    }
}

/// What keeps requests from being sent.
#[derive(Clone, Copy)]
pub(super) struct Shut {
    /// Far away if it does not end by itself.
    pub(super) opens: Instant,
    /// The same by the wall clock.
    pub(super) until: DateTime<Utc>,
    /// It ends by itself.
    pub(super) ends: bool,
    /// What it is shown as, once it is stored.
    pub(super) cause: PressureCause,
    pub(super) since: DateTime<Utc>,
    pub(super) is_stored: bool,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    Item,
    /// A request that no item is charged or credited with.
    Probe,
}

impl State {
    /// Every second probe is not an item's: those that are left may all be bad ones, and then they say nothing of the
    /// upstream.
    pub(super) fn is_canarys_turn(&self, now: Duration) -> bool {
        let due = match self.breaker {
            Breaker::Tripped { probe_at, .. } => probe_at,
            Breaker::Closed { .. } | Breaker::Probing { .. } => return false,
        };
        self.failed_probes % 2 == 1 && !self.turn_is_passed && due <= now && now < due + CANARY_WAIT
    }

    /// The cause that lasts longest.
    pub(super) fn shut(&self, epoch: Instant, sender: Sender) -> Option<Shut> {
        let (now, wall) = (Instant::now(), clock::now());
        let canary = sender == Sender::Item && self.is_canarys_turn(epoch.elapsed());
        let held = self.held.map(|held| Shut {
            opens: held.opens,
            until: held.until,
            ends: true,
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
            let until = wall + span(opens.saturating_duration_since(now));
            let since = self.tripped_at.unwrap_or(wall);
            Shut { opens, until, ends: true, cause: PressureCause::Outage, since, is_stored: true }
        });
        let operator = self.operator.as_ref().map(|held| Shut {
            opens: held.opens.unwrap_or(now + FOREVER),
            until: held.hold.until.unwrap_or(wall + span(FOREVER)),
            ends: held.opens.is_some(),
            cause: PressureCause::Operator,
            since: held.hold.since,
            is_stored: true,
        });
        let all = [held, broken, operator].into_iter().flatten();
        all.filter(|shut| shut.opens > now).max_by_key(|shut| shut.opens)
    }

    /// Counts a lane in.
    pub(super) fn enter(&mut self, terms: Terms, now: Duration) -> usize {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.lanes.insert(ticket, terms);
        self.turns.open(ticket, terms.weight);
        self.refit(now);
        if !self.is_in_use {
            // Nobody has used it since the process began: what it was like before counts for nothing.
            self.is_in_use = true;
            let (rate_per_s, burst) = self.permitted(now);
            self.bucket = fresh(self.was_in_use, rate_per_s, burst);
        }
        ticket
    }

    /// What an operator has set is the upstream's limit, else the largest rate of the lanes.
    pub(super) fn refit(&mut self, now: Duration) {
        let largest = self.lanes.values().max_by(|a, b| a.rate_per_s.total_cmp(&b.rate_per_s));
        let (rate_per_s, burst) = largest.map_or(self.limit, |terms| (terms.rate_per_s, terms.burst));
        self.limit =
            (self.configured.rate_per_s.unwrap_or(rate_per_s), self.configured.burst.unwrap_or(burst));
        self.repace(now);
    }

    /// The pace changes as time goes by.
    pub(super) fn repace(&mut self, now: Duration) {
        let (rate_per_s, burst) = self.permitted(now);
        let is = (self.bucket.rate_per_s(), self.bucket.burst());
        if is.0.total_cmp(&rate_per_s).is_ne() || is.1 != burst {
            self.bucket.set(now, rate_per_s, burst);
        }
    }

    /// Requests per second and at once that are permitted while the gate is open.
    pub(super) fn permitted(&self, now: Duration) -> (f64, u32) {
        let (rate_per_s, burst) = self.limit;
        if !self.is_adaptive() {
            return self.limit;
        }
        (self.pace.rate_per_s(rate_per_s, now), self.pace.burst(burst, now))
    }

    /// Its pace is lowered at this time.
    pub(super) fn is_slowed(&self, now: Duration) -> bool {
        self.permitted(now).0 < self.limit.0
    }

    /// Unless every batch there is has turned it off.
    pub(super) fn is_adaptive(&self) -> bool {
        self.lanes.is_empty() || self.lanes.values().any(|terms| terms.adaptive_pace)
    }

    /// As many requests are in flight as may be.
    pub(super) fn is_full(&self) -> bool {
        self.configured.in_flight_max.is_some_and(|max| self.in_flight >= max)
    }
}

/// A bucket that nobody has used since the process began. Where an earlier one did, the burst may just have gone when it
/// ended: the bucket was empty when this process began, and has filled at the rate since.
pub(super) fn fresh(was_in_use: bool, rate_per_s: f64, burst: u32) -> Bucket {
    if was_in_use { Bucket::empty(rate_per_s, burst) } else { Bucket::full(rate_per_s, burst) }
}
