//! When a batch stops asking: its first items met nobody, its upstream stays down, or its items are refused.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::{
    super::{Fault, held::Lease, needs, worker::Finished},
    Runner,
};
use crate::{
    clock,
    domain::{batch::PauseCause, item::Outcome},
    fetch::classify,
    store::Refusals,
};

/// So many refused items in a row, none that was sent after them having succeeded, are not the items' fault.
const REFUSED_MAX: usize = 3;

/// Between two looks at where a batch's open items lead.
const LOOK_MIN: Duration = Duration::from_secs(1);
const LOOK_MAX: Duration = Duration::from_secs(5);
/// Hosts that a pause names.
const HOSTS_SAID: usize = 5;

/// The first items of a batch. If none of them gets an answer, the rest is not sent after them.
pub(super) struct StartProbe {
    /// How many.
    pub(super) items: usize,
    /// Attempts that are over without an answer, not recorded yet.
    pub(super) unanswered: Vec<Finished>,
}

impl Runner {
    /// An item has had an answer: none is held back any more.
    pub(super) async fn end_probe(&mut self) {
        self.release_probe().await;
        self.probe = None;
    }

    /// Records what was held back. Whatever is sent next has to find out anew.
    pub(super) async fn release_probe(&mut self) {
        let held_back =
            self.probe.as_mut().map(|probe| std::mem::take(&mut probe.unanswered)).unwrap_or_default();
        for finished in held_back {
            while self.unanswered >= self.unanswered_max {
                let Some(answer) = self.answers.recv().await else { return };
                self.answered(answer);
            }
            self.record(finished).await;
        }
    }

    /// Another item may be started, as far as it is known that somebody answers and takes what is asked.
    pub(super) fn may_ask(&self) -> bool {
        let refused = self.refused();
        let asked = |probe: &StartProbe| self.workers.len() + probe.unanswered.len() + refused;
        refused < self.refused_max() && self.probe.as_ref().is_none_or(|probe| asked(probe) < probe.items)
    }

    /// Items that were refused, and of which it is open whose fault that is.
    fn refused(&self) -> usize {
        self.held.refused() + self.refused_unrecorded
    }

    fn refused_max(&self) -> usize {
        self.probe.as_ref().map_or(REFUSED_MAX, |probe| probe.items.min(REFUSED_MAX))
    }

    /// Looks whose fault it is that items were refused. It is their own if one that was sent after them succeeded; it is
    /// not if there are several of them, or nothing else to ask with, and none has.
    pub(super) async fn judge_refusals(&mut self) {
        let own = self.last_success.map(|sent_at| self.held.refused_until(sent_at)).unwrap_or_default();
        self.fail_refused(own).await;
        let refused = self.held.refused();
        // What is under way may be the success that decides.
        if refused == 0 || !self.workers.is_empty() || self.unanswered > 0 || self.fault.is_some() {
            return;
        }
        let (is_last, has_succeeded) = {
            let batch = self.states.borrow();
            (batch.expanded && batch.counts.open() == refused as i64, batch.counts.succeeded > 0)
        };
        if is_last && has_succeeded {
            let all = self.held.refused_until(DateTime::<Utc>::MAX_UTC);
            self.fail_refused(all).await;
        } else if is_last || refused >= self.refused_max() {
            let (host, said) = (self.host(), self.last_refusal.as_deref().unwrap_or("refused"));
            let items = if refused == 1 { "an item" } else { "items, one after the other," };
            let message = format!("{host} refused {items} and took none that was sent later: {said}");
            self.fault = Some(Fault::refused(message));
        }
    }

    /// Records that items were refused through their own fault.
    async fn fail_refused(&mut self, refused: Vec<(Lease, i64)>) {
        if refused.is_empty() {
            return;
        }
        let refusals = Refusals {
            batch: self.seq,
            node: self.engine.node.clone(),
            now: clock::now(),
            items: refused.iter().map(|(lease, index)| (lease.slice, lease.epoch, *index)).collect(),
            failure: classify::own_refusal(),
        };
        match self.engine.store.fail_refused(&refusals).await {
            Ok(committed) => {
                for (lease, index) in refused {
                    self.held.finish_refused(lease, index);
                    if committed.fenced.contains(&lease.slice) {
                        self.held.lose(lease);
                    }
                }
                self.held.drop_done();
                tracing::info!(batch_id = %self.batch, items = refusals.items.len(), "refused through their own fault");
                self.engine.publish(committed, &[]);
            }
            Err(error) => self.trouble(&error, "refused items could not be recorded"),
        }
    }

    fn host(&self) -> &str {
        self.lane.as_ref().map_or("the upstream", |lane| lane.host())
    }

    /// Looks whether the first items are all over without an answer. Then the list is not burnt: they go back
    /// uncharged, the breaker trips, and the batch pauses. `exhausted`: there are no more items to ask with.
    pub(super) async fn judge_probe(&mut self, exhausted: bool) {
        let (Some(probe), Some(lane)) = (&self.probe, self.lane.clone()) else { return };
        if lane.is_held_by_operator() {
            // Whoever is not asked has refused nobody.
            return;
        }
        let asked = probe.unanswered.len() + self.refused();
        let is_over = exhausted || asked >= probe.items || lane.opens().is_some();
        if probe.unanswered.is_empty() || !self.workers.is_empty() || !is_over || self.fault.is_some() {
            return;
        }
        let failure = probe.unanswered.iter().rev().find_map(|finished| match &finished.attempt.outcome {
            Outcome::Failed(failure) => Some(failure),
            Outcome::Succeeded { .. } | Outcome::Released { .. } => None,
        });
        let Some(failure) = failure else {
            // All were given back after a request: asked again when the gate opens.
            return self.release_probe().await;
        };
        if self.refused() > 0 {
            // Somebody is there.
            return self.release_probe().await;
        }
        if lane.answered_others_since(self.began) {
            // Another batch has had an answer meanwhile: it is not the upstream.
            return self.end_probe().await;
        }
        self.fault = Some(Fault {
            cause: PauseCause::UpstreamOutage,
            reason: failure.outage_reason(),
            message: format!(
                "no item has had an answer from {}, so the others were not sent: {}",
                lane.host(),
                failure.message
            ),
        });
        lane.refused().await;
        self.release_probe().await;
    }

    /// The same of a batch with several upstreams: whether all have been that its open items lead to.
    pub(super) async fn judge_outages(&mut self) {
        let Some(lanes) = self.workshop.replies.lanes().filter(|lanes| lanes.only().is_none()) else {
            return;
        };
        if self.fault.is_some() || self.look_at > Instant::now() || !lanes.has_one_down() {
            return;
        }
        let looked = Instant::now();
        let batch = Arc::clone(&self.states.borrow());
        match needs::if_all_down(&self.engine, &batch).await {
            Ok(Some(down)) if down.since.max(self.began).elapsed() >= self.outage_hold => {
                let said = self.last_failure.as_deref().unwrap_or("no answer");
                let hosts: Vec<&str> =
                    down.upstreams.keys().map(|origin| origin.host.as_str()).take(HOSTS_SAID).collect();
                let more = if down.upstreams.len() > HOSTS_SAID { ", …" } else { "" };
                let message = format!(
                    "all that its items lead to is down ({}{more}), the last of it for {} s: {said}",
                    hosts.join(", "),
                    down.since.elapsed().as_secs()
                );
                let cause = PauseCause::UpstreamOutage;
                self.fault = Some(Fault { cause, reason: "UPSTREAM_UNREACHABLE", message });
            }
            Ok(_) => {}
            Err(error) => self.trouble(&error, "open items could not be looked at"),
        }
        // Where there is much to look at it is looked at less often.
        let pause = self.outage_hold.clamp(LOOK_MIN, LOOK_MAX);
        self.look_at = Instant::now() + pause.max(20 * looked.elapsed());
    }

    /// Looks whether the upstream has been down for so long that the batch pauses.
    pub(super) fn judge_outage(&mut self) {
        let Some(lane) = &self.lane else { return };
        let Some(since) = lane.tripped_since() else { return };
        let has_items = self.states.borrow().counts.open() > 0;
        if has_items && self.fault.is_none() && since.max(self.began).elapsed() >= self.outage_hold {
            let said = self.last_failure.as_deref().unwrap_or("no answer");
            self.fault = Some(Fault {
                cause: PauseCause::UpstreamOutage,
                reason: if lane.is_pushed_back() { "RATE_LIMITED" } else { "UPSTREAM_UNREACHABLE" },
                message: format!("{} has been down for {} s: {said}", lane.host(), since.elapsed().as_secs()),
            });
        }
    }
}
