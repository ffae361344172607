//! What a node knows of its work on a batch, beside what is committed.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, OnceLock},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use super::{Pace, PaceSource, Snapshot, Told};
use crate::domain::{
    batch::{Batch, State},
    failure::FailureClass,
    outlook::{Outlook, Speed},
    progress::Throughput,
    upstream::Pressure,
};

/// Most keys that a snapshot names.
const CURRENT_KEYS_MAX: usize = 32;
/// What "lately" means.
const LATELY: Duration = Duration::from_secs(60);
/// Seconds that are further apart are not of one stretch of work.
const UNSEEN: Duration = Duration::from_secs(5);
/// Samples of a batch's counts are at least so far apart.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);
/// Outcomes from which on the attempts that they took are taken for the rule.
const OUTCOMES_MIN: i64 = 10;
/// So many seconds in which all was sent that could be are taken for granted, and less the more of them were seen.
const TRUST_S: f64 = 10.0;
/// Nobody is as slow as that for ever.
const SHARE_MIN: f64 = 0.01;
/// What the newest of the times that requests took counts for.
const NEWEST: f64 = 1.0 / 16.0;

pub(super) struct Work {
    pub(super) in_flight: HashMap<i64, InFlight>,
    active_workers: usize,
    samples: VecDeque<Sample>,
    pub(super) pace: Option<PaceSource>,
    /// The latest time that an item waits for.
    pub(super) last_due: Option<DateTime<Utc>>,
    /// The host of its source, if that cannot be read now.
    pub(super) source: Option<Pressure>,
    pub(super) told: Told,
    /// Answers, and what was in the way.
    pub(super) signs: u64,
    /// Attempts that are over and had a request.
    answered: u64,
    /// What a request takes, in seconds.
    request_s: Option<f64>,
    seconds: VecDeque<Second>,
}

pub(super) struct InFlight {
    key: String,
    since: Instant,
    pub(super) began: Arc<OnceLock<DateTime<Utc>>>,
    returned: bool,
    over: bool,
}

#[derive(Clone, Copy)]
struct Sample {
    at: Instant,
    records: i64,
    outcomes: i64,
    attempts: i64,
}

impl Sample {
    fn of(batch: &Batch) -> Self {
        let counts = &batch.counts;
        let outcomes = counts.succeeded + counts.failed;
        let in_passing = |by_class: &[i64; 3]| by_class[FailureClass::Temporary as usize];
        Self {
            at: Instant::now(),
            records: counts.records,
            outcomes,
            // The last one of an item that failed in passing is its outcome.
            attempts: outcomes + in_passing(&counts.failed_attempts_by_class)
                - in_passing(&counts.failed_items_by_class),
        }
    }
}

/// What was sent by some second, and what could have been.
#[derive(Clone, Copy)]
struct Second {
    at: Instant,
    sent: u64,
    sendable: f64,
    /// What can be sent from then on, while there is something to send and the gate is open.
    per_s: f64,
}

impl Work {
    pub(super) fn new(batch: &Batch) -> Self {
        Self {
            in_flight: HashMap::new(),
            active_workers: 0,
            samples: VecDeque::from([Sample::of(batch)]),
            pace: None,
            last_due: None,
            source: None,
            told: Told::default(),
            signs: 0,
            answered: 0,
            request_s: None,
            seconds: VecDeque::new(),
        }
    }

    pub(super) fn begin(
        &mut self,
        index: i64,
        key: &str,
        returned: bool,
        began: Arc<OnceLock<DateTime<Utc>>>,
    ) {
        self.active_workers += 1;
        let item = InFlight { key: key.to_owned(), since: Instant::now(), began, returned, over: false };
        self.in_flight.insert(index, item);
    }

    pub(super) fn end(&mut self, index: i64, took: Option<Duration>) {
        self.active_workers = self.active_workers.saturating_sub(1);
        if let Some(item) = self.in_flight.get_mut(&index) {
            item.over = true;
        }
        if let Some(took) = took.map(|took| took.as_secs_f64()) {
            self.answered += 1;
            self.signs += 1;
            self.request_s = Some(self.request_s.map_or(took, |known| known + NEWEST * (took - known)));
        }
    }

    /// Requests that wait for their answer.
    pub(super) fn under_way(&self) -> i64 {
        self.in_flight.values().filter(|item| !item.over && item.began.get().is_some()).count() as i64
    }

    /// Attempts that are over and not committed.
    pub(super) fn uncommitted(&self) -> i64 {
        self.in_flight.values().filter(|item| item.over).count() as i64
    }

    pub(super) fn sample(&mut self, batch: &Batch) {
        let sample = Sample::of(batch);
        let last = self.samples.back().map(|last| last.at);
        if last.is_none_or(|last| sample.at.duration_since(last) >= SAMPLE_INTERVAL) {
            self.samples.push_back(sample);
        }
        // One older than the window is kept to measure from.
        while self.samples.get(1).is_some_and(|second| sample.at.duration_since(second.at) > LATELY) {
            self.samples.pop_front();
        }
    }

    /// Notes what was sent by now and, by the pace if there is something to send, what can be sent from now on.
    pub(super) fn note(&mut self, batch: &Batch, pace: Option<&Pace>) {
        let now = Instant::now();
        // It was paused, or the process was stopped: what could have been sent in that time is not known.
        if self.seconds.back().is_some_and(|last| now.duration_since(last.at) > UNSEEN) {
            self.seconds.clear();
        }
        let sendable = self
            .seconds
            .back()
            .map_or(0.0, |last| last.sendable + last.per_s * now.duration_since(last.at).as_secs_f64());
        let open = pace.filter(|pace| pace.gate_wait.is_some_and(|wait| wait.is_zero()));
        let per_s = open.map(|pace| self.within_workers(batch, pace, 1.0).per_s);
        let per_s = per_s.filter(|per_s| per_s.is_finite()).unwrap_or(0.0);
        // A connection that does not come to be is under way for a while, and never answered.
        let before = self.seconds.back().map_or(0, |last| last.sent);
        let sent = before.max(self.answered + self.under_way() as u64);
        self.seconds.push_back(Second { at: now, sent, sendable, per_s });
        while self.seconds.get(1).is_some_and(|second| now.duration_since(second.at) > LATELY) {
            self.seconds.pop_front();
        }
    }

    /// What of that which could be sent lately was.
    fn share_sent(&self) -> f64 {
        let (Some(first), Some(last)) = (self.seconds.front(), self.seconds.back()) else { return 1.0 };
        let seen = last.at.duration_since(first.at).as_secs_f64() / LATELY.as_secs_f64();
        let trusted = TRUST_S * (1.0 - seen).max(0.0) * last.per_s;
        let sendable = last.sendable - first.sendable + trusted;
        if sendable <= 0.0 {
            return 1.0;
        }
        (((last.sent - first.sent) as f64 + trusted) / sendable).clamp(SHARE_MIN, 1.0)
    }

    /// A pace, as far as its workers can keep up with it, or a share of that.
    fn within_workers(&self, batch: &Batch, pace: &Pace, share: f64) -> Speed {
        let workers = batch.spec.fetch.workers;
        let workers = f64::from(pace.at_once.map_or(workers, |max| max.min(workers)));
        let per_s_max = self.request_s.map_or(f64::INFINITY, |request_s| workers / request_s);
        pace.speed.within(per_s_max, share)
    }

    /// When the last item is expected to be final.
    pub(super) fn estimated_completion(
        &self,
        batch: &Batch,
        pace: &Pace,
        now: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        if !batch.expanded {
            return None;
        }
        let counts = &batch.counts;
        let last_due = self.last_due.filter(|_| counts.returned > 0);
        let outlook = Outlook {
            open: counts.open(),
            outcomes: counts.succeeded + counts.failed,
            attempts_per_item: self.attempts_per_item(batch),
            on_the_way: self.under_way(),
            speed: self.within_workers(batch, pace, self.share_sent()),
            gate_wait: pace.gate_wait?,
            request_time: Duration::try_from_secs_f64(self.request_s.unwrap_or(0.0)).unwrap_or_default(),
            last_due: last_due.map(|at| (at - now).to_std().unwrap_or_default()),
            retry: batch.spec.fetch.retry(),
        };
        now.checked_add_signed(TimeDelta::from_std(outlook.wait()?).ok()?)
    }

    /// Attempts for each item that came to an outcome lately; of a batch that does not yet say, over all of it.
    fn attempts_per_item(&self, batch: &Batch) -> f64 {
        let latest = Sample::of(batch);
        let lately = self.oldest(&latest).filter(|from| latest.outcomes - from.outcomes >= OUTCOMES_MIN);
        let (attempts, outcomes) = match lately {
            Some(from) => (latest.attempts - from.attempts, latest.outcomes - from.outcomes),
            None => (latest.attempts, latest.outcomes),
        };
        if outcomes > 0 { attempts as f64 / outcomes as f64 } else { 1.0 }
    }

    /// The oldest sample that still counts.
    fn oldest(&self, latest: &Sample) -> Option<&Sample> {
        self.samples.iter().find(|sample| latest.at.duration_since(sample.at) <= LATELY)
    }

    fn throughput(&self, batch: &Batch) -> Throughput {
        let latest = Sample::of(batch);
        let Some(from) = self.oldest(&latest) else { return Throughput::default() };
        let minutes = latest.at.duration_since(from.at).as_secs_f64() / 60.0;
        // Shorter than this says nothing.
        if minutes < SAMPLE_INTERVAL.as_secs_f64() / 60.0 || batch.state != State::Running {
            return Throughput::default();
        }
        Throughput {
            items_per_min: (latest.outcomes - from.outcomes) as f64 / minutes,
            records_per_min: (latest.records - from.records) as f64 / minutes,
        }
    }

    /// What is known without asking the gate.
    pub(super) fn snapshot(&self, batch: &Arc<Batch>) -> Snapshot {
        let in_flight = self.in_flight.len() as i64;
        let source = self.source.clone().filter(|_| batch.state == State::Running);
        Snapshot {
            batch: Arc::clone(batch),
            in_flight: in_flight.min(batch.counts.open()),
            in_flight_returned: self.in_flight.values().filter(|item| item.returned).count() as i64,
            active_workers: self.active_workers as i32,
            current_keys: self.current_keys(),
            throughput: self.throughput(batch),
            estimated_completion: None,
            pressure: source.into_iter().collect(),
        }
    }

    fn current_keys(&self) -> Vec<String> {
        let mut items: Vec<&InFlight> = self.in_flight.values().collect();
        items.sort_by_key(|item| item.since);
        let mut seen = HashSet::new();
        items
            .into_iter()
            .map(|item| &item.key)
            .filter(|key| seen.insert(*key))
            .take(CURRENT_KEYS_MAX)
            .cloned()
            .collect()
    }
}
