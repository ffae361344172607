//! Finds batches that stand still though nothing holds them back: items are due, workers are free, the gate is open, and
//! nothing moves. That is a fault of ours, whatever it is, and nobody else would tell of it.
//!
//! It looks on from outside, once a second, and waits for nobody: neither for the runner, which may be what is stuck, nor
//! for the store.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio::{task::JoinHandle, time::Instant};

use super::Engine;
use crate::{
    clock,
    domain::{
        batch::State,
        id::{BatchId, BatchSeq},
    },
    progress::{Glance, Moved},
};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Whoever has not looked for so long was stopped himself, and with him all that could have moved.
const AWAY: Duration = Duration::from_secs(5);

pub(super) async fn run(engine: Arc<Engine>) {
    let mut vigils: HashMap<BatchSeq, Vigil> = HashMap::new();
    let mut store_fails = false;
    loop {
        tokio::select! {
            () = engine.draining.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let mut gone = std::mem::take(&mut vigils);
        for entry in engine.hub.running() {
            let glance = entry.look(clock::now());
            let batch = &glance.batch;
            let mut vigil = gone.remove(&batch.seq).unwrap_or_else(|| Vigil::over(&batch.id));
            match vigil.look(&glance, Instant::now(), engine.stall_after) {
                Some(News::Began) => began(&glance, engine.stall_after),
                Some(News::Over(excuse)) => over(&batch.id, excuse),
                None => {}
            }
            vigil.write(&engine, &glance);
            vigils.insert(batch.seq, vigil);
        }
        // The store knows that one that does not run does not stand still.
        for vigil in gone.values().filter(|vigil| vigil.stalled.is_some()) {
            over(&vigil.batch, Some(Excuse::NotRunning));
        }
        let failed = engine.store_trouble.lasts().filter(|lasted| *lasted >= engine.stall_after);
        if std::mem::replace(&mut store_fails, failed.is_some()) != store_fails {
            told_of_store(failed);
        }
        let stalled = store_fails || vigils.values().any(|vigil| vigil.stalled.is_some());
        engine.stalled.send_if_modified(|known| std::mem::replace(known, stalled) != stalled);
    }
}

fn told_of_store(failed: Option<Duration>) {
    let Some(failed) = failed else {
        tracing::warn!(action = "store", status = "over", "the store fails no more, or nobody writes to it");
        return;
    };
    tracing::error!(
        action = "store",
        status = "fails",
        failed_ms = failed.as_millis() as u64,
        "nothing could be written to the store for a while: batches wait for it and lose nothing; look at its disk"
    );
}

fn began(glance: &Glance, after: Duration) {
    tracing::error!(
        batch_id = %glance.batch.id,
        action = "stall",
        status = "began",
        due_items = glance.due,
        free_workers = free_workers(glance),
        requests_under_way = glance.under_way,
        uncommitted_items = glance.uncommitted,
        gate = "open",
        still_ms = after.as_millis() as u64,
        "the batch stands still though nothing holds it back: this is a fault of the server; a restart loses nothing"
    );
}

fn over(batch: &BatchId, excuse: Option<Excuse>) {
    let now = excuse.map_or("moves", Excuse::as_str);
    tracing::warn!(batch_id = %batch, action = "stall", status = "over", now);
}

/// Why a batch need not move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Excuse {
    /// Open, paused, draining or over.
    NotRunning,
    /// Every open item is under way or waits for its time, or the source has not been read so far.
    NothingDue,
    /// By push-back, by its breaker or by an operator.
    GateHeld,
    /// The rate is used up, or as many requests are on the way as may be.
    NoPermit,
    /// What is under way decides whether more is asked.
    AwaitsAnswer,
    NoFreeWorker,
}

impl Excuse {
    fn as_str(self) -> &'static str {
        match self {
            Self::NotRunning => "does not run",
            Self::NothingDue => "nothing is due",
            Self::GateHeld => "the gate is held",
            Self::NoPermit => "the rate is used up",
            Self::AwaitsAnswer => "an answer decides",
            Self::NoFreeWorker => "all workers are busy",
        }
    }
}

/// Why it need not move now, if it need not.
fn excuse(glance: &Glance) -> Option<Excuse> {
    let pace = glance.pace.as_ref();
    let is = |excuse, holds: bool| holds.then_some(excuse);
    is(Excuse::NotRunning, glance.batch.state != State::Running)
        .or(is(Excuse::NothingDue, glance.due == 0))
        .or(is(Excuse::GateHeld, pace.is_some_and(|pace| pace.gate_wait != Some(Duration::ZERO))))
        .or(is(Excuse::NoPermit, pace.is_some_and(|pace| pace.has_permit == Some(false))))
        .or(is(Excuse::AwaitsAnswer, glance.awaits_answer && glance.under_way > 0))
        .or(is(Excuse::NoFreeWorker, free_workers(glance) == 0))
}

/// Workers that could send. Where it is known that a permit is there, one that waits for it all the same is free.
fn free_workers(glance: &Glance) -> i64 {
    let has_permit = glance.pace.as_ref().is_some_and(|pace| pace.has_permit == Some(true));
    let busy = if has_permit { glance.under_way } else { glance.active_workers };
    i64::from(glance.batch.spec.fetch.workers) - busy
}

#[derive(Debug, PartialEq, Eq)]
enum News {
    Began,
    Over(Option<Excuse>),
}

/// What is known of one batch.
struct Vigil {
    batch: BatchId,
    moved: Moved,
    looked: Option<Instant>,
    /// Since when it has stood still without an excuse.
    since: Option<Instant>,
    /// It stands still, and that was told: since when.
    stalled: Option<DateTime<Utc>>,
    writing: Option<JoinHandle<()>>,
}

impl Vigil {
    fn over(batch: &BatchId) -> Self {
        Self {
            batch: batch.clone(),
            moved: Moved::default(),
            looked: None,
            since: None,
            stalled: None,
            writing: None,
        }
    }

    /// Looks. There is news once when it begins, and once when it is over.
    fn look(&mut self, glance: &Glance, now: Instant, after: Duration) -> Option<News> {
        let excuse = excuse(glance);
        let was_away = self.looked.replace(now).is_some_and(|last| now.duration_since(last) > AWAY);
        let has_moved = std::mem::replace(&mut self.moved, glance.moved) != glance.moved;
        if has_moved || excuse.is_some() {
            self.since = excuse.is_none().then_some(now);
            return self.stalled.take().map(|_| News::Over(excuse));
        }
        if was_away {
            self.since = None;
        }
        let since = *self.since.get_or_insert(now);
        if self.stalled.is_some() || now.duration_since(since) < after {
            return None;
        }
        self.stalled = Some(clock::now() - now.duration_since(since));
        Some(News::Began)
    }

    /// Has the store and whoever watches know, as soon as the store can be written.
    fn write(&mut self, engine: &Arc<Engine>, glance: &Glance) {
        let is_writing = self.writing.as_ref().is_some_and(|writing| !writing.is_finished());
        if is_writing || glance.batch.stalled_since.is_some() == self.stalled.is_some() {
            return;
        }
        let (own, batch, since) = (Arc::clone(engine), glance.batch.seq, self.stalled);
        self.writing = Some(engine.tasks.spawn(async move {
            let written = tokio::select! {
                written = own.store.set_stalled(batch, since) => written,
                () = own.draining.cancelled() => return,
            };
            match written {
                Ok(Some(batch)) => own.hub.publish(batch, &[]),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(batch_seq = batch.0, error = %error, "a stall could not be recorded");
                }
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::outlook::Speed,
        progress::{Hub, Pace},
        store::{
            Store,
            conformance::fixture::batch::inline,
            sqlite::{Limits, SqliteStore},
        },
    };

    const SECOND: Duration = Duration::from_secs(1);

    /// A batch that could send and does not.
    async fn still() -> Glance {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("haul.db"), Limits::default()).await.unwrap();
        let batch = store.create_batch(inline("still", &["1"]), clock::now()).await.unwrap().batch;
        let workers = batch.spec.fetch.workers;
        assert!(batch.state == State::Running && workers == 10, "{workers} workers");
        Glance {
            batch: Arc::new(batch),
            due: 1,
            under_way: 0,
            active_workers: 0,
            uncommitted: 0,
            awaits_answer: false,
            pace: Some(Pace { speed: Speed::steady(5.0), ..Pace::default() }),
            moved: Moved::default(),
        }
    }

    #[tokio::test]
    async fn a_batch_that_waits_for_something_does_not_stand_still() {
        use Excuse::{AwaitsAnswer, GateHeld, NoFreeWorker, NoPermit, NotRunning, NothingDue};
        let still = still().await;
        let in_state = |state| {
            let batch = Arc::new(crate::domain::batch::Batch { state, ..(*still.batch).clone() });
            Glance { batch, ..still.clone() }
        };
        let with = |pace| Glance { pace: Some(pace), ..still.clone() };
        let many_hosts = Pace { has_permit: None, ..Pace::default() };
        for (case, glance, expected) in [
            ("nothing is in its way", still.clone(), None),
            ("nobody works on it", Glance { pace: None, ..still.clone() }, None),
            ("one worker is busy", Glance { under_way: 1, active_workers: 1, ..still.clone() }, None),
            ("all wait at an open gate", Glance { active_workers: 10, ..still.clone() }, None),
            ("outcomes are not committed", Glance { uncommitted: 50, ..still.clone() }, None),
            ("an answer is awaited that is nowhere", Glance { awaits_answer: true, ..still.clone() }, None),
            ("nobody works on many hosts", with(many_hosts.clone()), None),
            ("an upload that is slow", in_state(State::Open), Some(NotRunning)),
            ("queued", in_state(State::Queued), Some(NotRunning)),
            ("draining", in_state(State::Pausing), Some(NotRunning)),
            ("paused", in_state(State::Paused), Some(NotRunning)),
            ("stopping", in_state(State::Stopping), Some(NotRunning)),
            ("backoff, or a source that is read", Glance { due: 0, ..still.clone() }, Some(NothingDue)),
            (
                "a held gate, or an open breaker",
                with(Pace { gate_wait: Some(SECOND), ..Pace::default() }),
                Some(GateHeld),
            ),
            ("held without end", with(Pace { gate_wait: None, ..Pace::default() }), Some(GateHeld)),
            (
                "a request in ten minutes",
                with(Pace { has_permit: Some(false), ..Pace::default() }),
                Some(NoPermit),
            ),
            (
                "the first items are asked",
                Glance { awaits_answer: true, under_way: 5, ..still.clone() },
                Some(AwaitsAnswer),
            ),
            (
                "all workers wait for a slow upstream",
                Glance { under_way: 10, active_workers: 10, ..still.clone() },
                Some(NoFreeWorker),
            ),
            (
                "all workers wait for one of many hosts",
                Glance { active_workers: 10, ..with(many_hosts) },
                Some(NoFreeWorker),
            ),
        ] {
            assert_eq!(excuse(&glance), expected, "{case}");
        }
    }

    #[tokio::test]
    async fn time_in_which_nobody_looks_makes_no_end_look_farther() {
        let mut batch = (*still().await.batch).clone();
        batch.expanded = true;
        batch.counts.total = 1_000;
        batch.counts.succeeded = 100;
        tokio::time::pause();
        let entry = Hub::default().follow(&batch);
        entry.set_pace(Arc::new(|| Pace { speed: Speed::steady(5.0), ..Pace::default() }));
        let second = async |index: i64| {
            for index in 5 * index..5 * index + 5 {
                entry.begin(index, "1", false, Arc::default());
                entry.end(index, Some(SECOND / 10));
            }
            tokio::time::advance(SECOND).await;
            entry.look(clock::now());
            let now = clock::now();
            (entry.snapshot(now).estimated_completion.unwrap() - now).num_seconds()
        };
        for index in 0..30 {
            let left = second(index).await;
            assert!((150..=220).contains(&left), "900 items at 5/s: {left} s");
        }
        tokio::time::advance(600 * SECOND).await;
        for index in 30..100 {
            let left = second(index).await;
            assert!((150..=220).contains(&left), "after ten minutes: {left} s");
        }
    }

    #[tokio::test]
    async fn a_stall_is_told_once_when_it_began_and_once_when_it_is_over() {
        let still = still().await;
        let mut vigil = Vigil::over(&still.batch.id);
        let start = Instant::now();
        let mut look = |glance: &Glance, second| vigil.look(glance, start + second * SECOND, 5 * SECOND);
        let held =
            Glance { pace: Some(Pace { gate_wait: Some(SECOND), ..Pace::default() }), ..still.clone() };
        let signs = |signs| Glance { moved: Moved { signs, ..still.moved }, ..still.clone() };
        // However long the gate was held, the time counts from its opening.
        let held_for: Vec<_> = (0..90).filter_map(|second| look(&held, second)).collect();
        assert_eq!(held_for, []);
        let told: Vec<_> = (90..150).filter_map(|second| Some((second, look(&still, second)?))).collect();
        assert_eq!(told, [(95, News::Began)]);
        assert_eq!(look(&signs(1), 150), Some(News::Over(None)), "it moves");
        assert_eq!((151..156).find_map(|second| look(&signs(second.into()), second)), None, "and goes on");
        let told: Vec<_> =
            (156..200).filter_map(|second| Some((second, look(&signs(155), second)?))).collect();
        assert_eq!(told, [(160, News::Began)], "and stands still again");
        assert_eq!(
            look(&Glance { moved: signs(155).moved, ..held }, 200),
            Some(News::Over(Some(Excuse::GateHeld)))
        );
        // The process was frozen for ten minutes: it gets its time again.
        assert_eq!(look(&signs(155), 201), None);
        let told: Vec<_> =
            (801..820).filter_map(|second| Some((second, look(&signs(155), second)?))).collect();
        assert_eq!(told, [(806, News::Began)]);
    }
}
