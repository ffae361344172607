//! The dispatcher of one batch: claims slices, keeps its workers busy, takes back what returns.
//!
//! No worker sleeps: an item that must wait goes back to its slice, a slice in which all that is left waits goes back
//! to the store. While the gate is held nothing is started.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    Engine, Fault,
    gate::Lane,
    held::{Held, Lease},
    recorder::{Answer, Message, Recorder},
    worker::{Finished, Job, Workshop},
};
use crate::{
    clock,
    domain::{
        batch::{Batch, State},
        failure::FailureClass,
        id::{BatchId, BatchSeq},
        item::{Next, OpenItem, Outcome, RetryPolicy, settle},
    },
    failpoint,
    fetch::Meter,
    progress::{Entry, Told},
    store::{LeaseWrite, Recording, StoreError},
};

mod claim;
mod due;
mod lease;
mod log;
mod probe;

use claim::Claiming;
use due::from_now;
use probe::StartProbe;

/// Longest sleep: whatever should have woken the runner and did not is found out by then.
const POLL: Duration = Duration::from_secs(1);
/// Waits shorter than this are not worth giving a lease back for.
const PATIENCE: Duration = Duration::from_secs(1);
/// An item whose gate is held while others of its batch go on asks again after this: the gate may be released before.
const HELD_LOOK: Duration = Duration::from_secs(10);

pub(super) struct Runner {
    engine: Arc<Engine>,
    batch: BatchId,
    seq: BatchSeq,
    retry: RetryPolicy,
    entry: Arc<Entry>,
    states: watch::Receiver<Arc<Batch>>,
    workshop: Arc<Workshop>,
    /// The lane of all its requests, where it is one.
    lane: Option<Arc<Lane>>,
    held: Held,
    /// Leases that the store did not take back. One that runs out would count as a worker that was lost.
    unreturned: Vec<LeaseWrite>,
    /// When it is asked again.
    return_at: Instant,
    workers: JoinSet<Finished>,
    free_workers: Vec<u32>,
    /// Outcomes that the recorder has and has not answered for.
    unanswered: usize,
    unanswered_max: usize,
    recorder: mpsc::Sender<Message>,
    answers: mpsc::Receiver<Answer>,
    withdrawn: CancellationToken,
    claiming: Option<Claiming>,
    /// Nothing is there to be claimed before this time, or before `return_at`.
    claim_at: Instant,
    /// When the first of those that are parked is due, as the store said last.
    parked_until: Option<DateTime<Utc>>,
    total_seen: i64,
    /// Nothing is started until this is recorded.
    fault: Option<Fault>,
    /// Set until an item has had an answer of its own.
    probe: Option<StartProbe>,
    /// How long an upstream may be down before the batch pauses.
    outage_hold: Duration,
    /// Since when the batch runs: the outage's clock starts anew with it.
    began: Instant,
    /// Looks out for a clock that is set back.
    steps: clock::Steps,
    /// When it is looked next where open items lead, in a batch with several upstreams.
    look_at: Instant,
    /// What the upstream said last while it was down.
    last_failure: Option<String>,
    /// When the request was sent that was the last one to succeed.
    last_success: Option<DateTime<Utc>>,
    /// What it said when it refused an item last.
    last_refusal: Option<String>,
    /// Refused items that the recorder has and has not answered for.
    refused_unrecorded: usize,
}

impl Runner {
    pub(super) fn new(
        engine: Arc<Engine>,
        batch: &Arc<Batch>,
        entry: Arc<Entry>,
        workshop: Workshop,
    ) -> Self {
        let fetch = &batch.spec.fetch;
        let unanswered_max = fetch.workers as usize + 4 * fetch.commit_group_size as usize;
        // An outcome each, and a flush for each at most.
        let (recorder, incoming) = mpsc::channel(2 * unanswered_max);
        let (answers_to, answers) = mpsc::channel(unanswered_max + 1);
        let recorder_task = Recorder::new(Arc::clone(&engine), Arc::clone(batch), incoming, answers_to);
        engine.tasks.spawn(recorder_task.run());
        let mut retry = fetch.retry();
        let lane = workshop.replies.lanes().and_then(|lanes| lanes.only().cloned());
        if workshop.replies.lanes().is_none() {
            // A kept body stays what it is: another attempt would come to the same.
            retry.attempts_max = 1;
        }
        // Where nothing is sent there is nobody to probe, and the first items of many upstreams say nothing of the others.
        let wants_probe = lane.as_ref().is_some_and(|lane| !lane.has_answered() && !has_answers(batch));
        let probe =
            wants_probe.then(|| StartProbe { items: fetch.probe_items as usize, unanswered: Vec::new() });
        Self {
            withdrawn: entry.sending().child_token(),
            batch: batch.id.clone(),
            seq: batch.seq,
            retry,
            states: entry.subscribe(),
            entry,
            workshop: Arc::new(workshop),
            lane,
            held: Held::default(),
            unreturned: Vec::new(),
            return_at: Instant::now(),
            workers: JoinSet::new(),
            free_workers: (1..=fetch.workers).rev().collect(),
            unanswered: 0,
            unanswered_max,
            recorder,
            answers,
            claiming: None,
            claim_at: Instant::now(),
            parked_until: None,
            total_seen: 0,
            fault: None,
            probe,
            outage_hold: batch.spec.outage.hold,
            began: Instant::now(),
            steps: clock::Steps::new(clock::now()),
            look_at: Instant::now(),
            last_failure: None,
            last_success: None,
            last_refusal: None,
            refused_unrecorded: 0,
            engine,
        }
    }

    /// Works until the batch is paused or over and nothing of it is under way.
    pub(super) async fn run(mut self) {
        let draining = self.engine.draining.clone();
        loop {
            let (state, total) = {
                let batch = self.states.borrow_and_update();
                (batch.state, batch.counts.total)
            };
            if total > self.total_seen {
                self.total_seen = total;
                self.claim_at = Instant::now();
            }
            if state != State::Running {
                // The outage's clock starts anew with the next RUNNING.
                self.began = Instant::now();
            }
            let works = state == State::Running && self.fault.is_none() && !draining.is_cancelled();
            let wake = if works { self.fill().await } else { self.settle_down(state).await };
            self.entry.tell(self.told());
            let over = !works && self.is_idle() && self.fault.is_none();
            if over
                && (draining.is_cancelled()
                    || !matches!(state, State::Running | State::Pausing | State::Stopping))
            {
                return;
            }
            tokio::select! {
                Some(finished) = self.workers.join_next(), if !self.workers.is_empty() => match finished {
                    Ok(finished) => self.finished(finished).await,
                    // Attempts catch their own panics, so this is a bug of ours; what was leased runs out by itself.
                    Err(error) => {
                        self.held = Held::default();
                        self.fault = Some(Fault::bug(format!("a worker was lost: {error}")));
                    }
                },
                Some(answer) = self.answers.recv() => self.answered(answer),
                (asked_at, answer) = claim::answer(&mut self.claiming) => self.claimed(asked_at, answer),
                changed = self.states.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(wake) => {}
                () = draining.cancelled(), if works => {}
            }
            // Whatever else is there already is taken along.
            while let Some(Ok(finished)) = self.workers.try_join_next() {
                self.finished(finished).await;
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.workers.is_empty() && self.unanswered == 0 && self.claiming.is_none() && self.held.is_empty()
    }

    /// Starts what may be started. Answers when to look again at the latest.
    async fn fill(&mut self) -> Instant {
        if self.withdrawn.is_cancelled() {
            self.withdrawn = self.entry.sending().child_token();
        }
        let now = clock::now();
        let mut wake = Instant::now() + POLL;
        if let Some(step) = self.steps.set_back(now) {
            self.held.set_back(step);
            self.entry.set_back(step);
            // What is parked is moved with it.
            self.claim_at = Instant::now();
        }
        self.renew(now).await;
        self.judge_refusals().await;
        self.judge_probe(false).await;
        self.judge_outage();
        self.judge_outages().await;
        if self.fault.is_some() {
            return Instant::now();
        }
        if let Some(opens) = self.lane.as_ref().and_then(|lane| lane.opens()) {
            if opens.saturating_duration_since(Instant::now()) > PATIENCE {
                // Not until a time of day: it is the gate that holds them, and it goes by a clock that does not jump.
                let given_back = self.held.give_back();
                self.write_leases(given_back).await;
                // It may be released before.
                self.claim_at = Instant::now();
            }
            return wake.min(opens);
        }
        let parked = self.held.park(now, PATIENCE);
        if !parked.is_empty() {
            self.write_leases(parked).await;
            self.claim_at = Instant::now();
        }
        while self.may_start()
            && let Some((lease, item)) = self.held.start_next(now)
        {
            self.start(lease, item);
        }
        self.claim_ahead(now);
        if self.workers.is_empty() && self.claiming.is_none() && self.states.borrow().expanded {
            self.judge_probe(true).await;
        }
        if self.claim_at > Instant::now() {
            wake = wake.min(self.claim_at);
        }
        if self.may_start()
            && let Some(due) = self.held.next_due()
        {
            wake = wake.min(from_now(due, now));
        }
        wake
    }

    fn may_start(&self) -> bool {
        !self.free_workers.is_empty()
            && self.unanswered + self.workers.len() < self.unanswered_max
            && self.may_ask()
    }

    /// Lets what is under way end, then gives the leases back.
    async fn settle_down(&mut self, state: State) -> Instant {
        self.withdrawn.cancel();
        let now = clock::now();
        self.renew(now).await;
        self.release_probe().await;
        if !self.workers.is_empty() || self.unanswered > 0 || self.claiming.is_some() {
            return Instant::now() + POLL;
        }
        if let Some(fault) = self.fault.take()
            && matches!(state, State::Running | State::Pausing)
            && !self.engine.pause_by(self.seq, &fault).await
        {
            if self.engine.draining.is_cancelled() {
                // The leases run out by themselves.
                self.held = Held::default();
            } else {
                // Nothing can be written: asked again until it can, and nothing is sent meanwhile.
                self.fault = Some(fault);
            }
            return Instant::now() + POLL;
        }
        let given_back = self.held.give_back();
        self.write_leases(given_back).await;
        Instant::now() + POLL
    }

    /// What it waits for, for whoever asks why nothing moves.
    fn told(&self) -> Told {
        Told {
            next_due: self.held.next_due().into_iter().chain(self.parked_until).min(),
            held_back: self.held.refused() as i64,
            awaits_answer: !self.workers.is_empty() && !self.may_ask(),
        }
    }

    fn start(&mut self, lease: Lease, item: OpenItem) {
        let Some(worker) = self.free_workers.pop() else { return };
        let meter = Arc::new(Meter::default());
        self.entry.begin(item.index, &item.key, item.not_before.is_some(), Arc::clone(meter.began()));
        let job = Job {
            lease,
            item,
            worker,
            meter,
            withdrawn: self.withdrawn.clone(),
            cut_off: self.entry.cut_off(),
            abort: self.engine.abort.clone(),
        };
        self.workers.spawn(Arc::clone(&self.workshop).attempt(job));
    }

    async fn finished(&mut self, finished: Finished) {
        self.free_workers.push(finished.worker);
        let attempt = &finished.attempt;
        let unsent = attempt.requests == 0;
        let was_made = !unsent || self.workshop.replies.lanes().is_none();
        let took = was_made.then(|| (attempt.ended_at - attempt.started_at).to_std().unwrap_or_default());
        self.entry.end(finished.item.index, took);
        let outcome = &attempt.outcome;
        if !self.held.holds(finished.lease) || (unsent && matches!(outcome, Outcome::Released { .. })) {
            self.entry.drop_items(&[finished.item.index]);
            // Of a lease that was lost nothing comes back: whoever has the slice does the item again.
            match finished.lane.as_ref().and_then(|lane| lane.opens()) {
                // The others may go on to upstreams that are open.
                Some(opens) if self.lane.is_none() => {
                    self.entry.hindered();
                    let wait = opens.saturating_duration_since(Instant::now()).min(HELD_LOOK);
                    self.held.put_off(finished.lease, finished.item, clock::now() + wait);
                }
                _ => self.held.put_first(finished.lease, finished.item),
            }
            return;
        }
        match &mut self.probe {
            Some(probe) if outcome.met_nobody() => return probe.unanswered.push(finished),
            // Its key makes no request, or it is open whose fault it is.
            Some(_) if unsent || outcome.is_held_back() => {}
            Some(_) => self.end_probe().await,
            None => {}
        }
        self.record(finished).await;
    }

    /// Hands an attempt to the recorder.
    async fn record(&mut self, finished: Finished) {
        let Finished { lease, item, worker, attempt, lane } = finished;
        // Whoever meets an upstream that is down learns nothing of the item.
        let is_down = lane.and_then(|lane| lane.tripped_since()).is_some();
        let next = match &attempt.outcome {
            Outcome::Failed(failure) if is_down && failure.class == FailureClass::Temporary => {
                self.last_failure = Some(failure.message.clone());
                Next::UNTOUCHED
            }
            outcome => settle(outcome, item.attempts, &self.retry, attempt.ended_at, rand::random()),
        };
        match &attempt.outcome {
            Outcome::Succeeded { .. } => self.last_success = self.last_success.max(Some(attempt.started_at)),
            Outcome::Failed(failure) if next == Next::HeldBack => {
                self.last_refusal = Some(failure.message.clone());
                self.refused_unrecorded += 1;
            }
            Outcome::Failed(_) | Outcome::Released { .. } => {}
        }
        let recording = Recording { slice: lease.slice, item, attempt, next };
        self.log(worker, &recording);
        failpoint::reached("outcome.before").await;
        self.unanswered += 1;
        // There is room for all that may be unanswered, so this never waits for the store.
        let _ = self.recorder.send(Message::Record(lease, Box::new(recording))).await;
        if self.workers.is_empty() {
            let _ = self.recorder.try_send(Message::Flush);
        }
    }

    fn answered(&mut self, answer: Answer) {
        let (Answer::Committed { recordings, .. } | Answer::Failed { recordings, .. }) = &answer;
        let is_held_back = |(_, recording): &&(Lease, Recording)| recording.next == Next::HeldBack;
        self.refused_unrecorded -= recordings.iter().filter(is_held_back).count();
        self.unanswered -= recordings.len();
        match answer {
            Answer::Committed { recordings, fenced, rejected, until } => {
                for lease in &fenced {
                    self.held.lose(*lease);
                }
                self.held.renewed(recordings.iter().map(|(lease, _)| *lease), until);
                for (lease, recording) in recordings {
                    self.settled(lease, recording, &rejected);
                }
                self.held.drop_done();
            }
            Answer::Failed { recordings, error } => {
                for (lease, recording) in recordings {
                    self.entry.drop_items(&[recording.item.index]);
                    self.held.put_first(lease, recording.item);
                }
                self.fault = Some(Fault::of(&error));
            }
        }
    }

    fn settled(&mut self, lease: Lease, recording: Recording, rejected: &[i64]) {
        let recorded = recording.item.recorded + u32::from(recording.is_worth_a_row());
        let Recording { item, next, attempt, .. } = recording;
        match next {
            Next::HeldBack => {
                let refused_at = Some(attempt.started_at);
                self.held.put_back(lease, OpenItem { recorded, not_before: None, refused_at, ..item });
            }
            Next::Succeeded | Next::Failed => self.held.finish(lease),
            Next::Open { .. } if rejected.contains(&item.index) => self.held.finish(lease),
            // After a failure of class SYSTEM the same commit has paused the batch.
            Next::Open { charged, not_before, system: _ } => {
                let attempts = item.attempts + u32::from(charged);
                let not_before = not_before.or(item.not_before);
                if let Some(at) = not_before {
                    self.entry.wait_until(at);
                }
                self.held.put_back(lease, OpenItem { attempts, recorded, not_before, ..item });
            }
        }
    }

    fn trouble(&mut self, error: &StoreError, what: &str) {
        tracing::error!(batch_id = %self.batch, error = %error, "{what}");
        self.engine.hindered(self.seq);
        if !error.is_transient() {
            self.fault = Some(Fault::of(error));
        }
    }
}

/// Whether an item of it has had an answer: a success, or a failure for good.
fn has_answers(batch: &Batch) -> bool {
    let counts = &batch.counts;
    counts.succeeded > 0 || counts.failed_attempts_by_class[FailureClass::Permanent as usize] > 0
}
