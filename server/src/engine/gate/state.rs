//! What a gate knows, and what it makes of that: whether it is shut, and until when.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::{PROBE_POLL, Terms, bucket::Bucket, span};
use crate::{
    clock,
    domain::{
        id::BatchSeq,
        upstream::{Breaker, PressureCause},
    },
};

/// For so long the items leave every second probe to [`super::Gates::canary`]. If nobody sends it, they go on themselves.
const CANARY_WAIT: Duration = Duration::from_secs(3);

pub(super) struct State {
    pub(super) bucket: Bucket,
    /// What each lane permits; the largest holds.
    pub(super) lanes: BTreeMap<usize, Terms>,
    pub(super) next_ticket: usize,
    /// Each batch's own bucket. It outlives the lane, so that a pause and a resume do not fill it.
    pub(super) own: HashMap<BatchSeq, Arc<Mutex<Bucket>>>,
    /// The upstream was in use by an earlier process.
    pub(super) was_in_use: bool,
    pub(super) held: Option<Held>,
    pub(super) push_backs: u32,
    pub(super) breaker: Breaker,
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
    /// Since when requests have had to wait for the rate.
    pub(super) limited_since: Option<DateTime<Utc>>,
    pub(super) waiting: usize,
}

#[derive(Clone, Copy)]
pub(super) struct Held {
    pub(super) until: DateTime<Utc>,
    pub(super) opens: Instant,
    pub(super) since: DateTime<Utc>,
    /// It is stored, so that a crash does not take back what somebody has seen.
    pub(super) is_stored: bool,
}

/// What keeps requests from being sent.
#[derive(Clone, Copy)]
pub(super) struct Shut {
    pub(super) opens: Instant,
    /// The same by the wall clock.
    pub(super) until: DateTime<Utc>,
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
    pub(super) fn refit(&mut self, now: Duration) {
        let largest = self.lanes.values().max_by(|a, b| a.rate_per_s.total_cmp(&b.rate_per_s));
        if let Some(terms) = largest {
            self.bucket.set(now, terms.rate_per_s, terms.burst);
        }
    }
}
