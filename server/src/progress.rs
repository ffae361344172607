//! The hub: what is committed of each live batch, with what the node knows beside it, for whoever watches.
//!
//! A figure is published after its commit, never before; revisions only grow. Watchers hold one slot each, so a slow
//! one misses updates and never gets a wrong one.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::SetBack,
    domain::{
        batch::{Batch, DrainMode, State},
        id::{BatchId, BatchSeq},
        outlook::Speed,
        progress::Throughput,
        upstream::Pressure,
    },
};

mod glance;
mod news;
mod shared;
mod work;

pub use glance::{Glance, Moved, Told};
pub use news::News;
pub use shared::Shared;
use work::Work;

/// A batch at one revision, with estimates.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// As committed.
    pub batch: Arc<Batch>,
    /// Items under way, their outcome not yet committed.
    pub in_flight: i64,
    /// Of these, items that came back before.
    pub in_flight_returned: i64,
    /// Workers busy with an attempt.
    pub active_workers: i32,
    /// Keys under way, longest-running first.
    pub current_keys: Vec<String>,
    /// Lately.
    pub throughput: Throughput,
    /// When the last item is expected to be final.
    pub estimated_completion: Option<DateTime<Utc>>,
    /// What holds the batch back.
    pub pressure: Vec<Pressure>,
}

impl Snapshot {
    /// A batch that no node works on.
    pub fn idle(batch: Batch) -> Self {
        Self {
            batch: Arc::new(batch),
            in_flight: 0,
            in_flight_returned: 0,
            active_workers: 0,
            current_keys: Vec::new(),
            throughput: Throughput::default(),
            estimated_completion: None,
            pressure: Vec::new(),
        }
    }

    /// Items that came back from an attempt and wait.
    pub fn waiting_retry(&self) -> i64 {
        let counts = &self.batch.counts;
        (counts.returned - self.in_flight_returned).clamp(0, counts.open() - self.in_flight)
    }

    /// Items that wait for a worker: the rest.
    pub fn pending(&self) -> i64 {
        self.batch.counts.open() - self.in_flight - self.waiting_retry()
    }
}

/// What the batch's upstream says about its pace.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Requests that the batch may send per second while the gate is open, next to others that wait there.
    pub speed: Speed,
    /// Requests that may be on the way at once.
    pub at_once: Option<u32>,
    /// Whether a request need not wait now; not known where requests go to several upstreams.
    pub has_permit: Option<bool>,
    /// What remains of a held gate; nothing where it is held without end.
    pub gate_wait: Option<Duration>,
    /// How it holds the batch back.
    pub pressure: Vec<Pressure>,
}

impl Default for Pace {
    /// Of a batch that asks nobody.
    fn default() -> Self {
        Self {
            speed: Speed::UNLIMITED,
            at_once: None,
            has_permit: Some(true),
            gate_wait: Some(Duration::ZERO),
            pressure: Vec::new(),
        }
    }
}

/// Asked for a batch's pace whenever a snapshot is made.
pub type PaceSource = Arc<dyn Fn() -> Pace + Send + Sync>;

/// All live batches of this node.
#[derive(Default)]
pub struct Hub {
    entries: Mutex<Entries>,
    boards: news::Boards,
    encodings: Arc<AtomicU64>,
}

#[derive(Default)]
struct Entries {
    live: HashMap<BatchSeq, Arc<Entry>>,
    by_id: HashMap<BatchId, BatchSeq>,
}

impl Hub {
    /// Makes a committed state known, with the items that it settled, to whoever follows the batch. An older revision
    /// than the one that is known is dropped: two commits may come to be published in the other order.
    pub fn publish(&self, batch: Batch, settled: &[i64]) {
        let (seq, ended) = (batch.seq, batch.state.is_terminal());
        let entry = match self.live(seq) {
            Some(entry) => entry,
            // Whoever asked for news of all batches has not heard of this one.
            None if !ended && self.boards.is_read() => self.follow(&batch),
            None => return,
        };
        entry.settle(batch, settled);
        if ended {
            // Watchers keep the last state; nothing follows it.
            self.forget(seq);
        }
        self.boards.post(seq);
    }

    /// Tells an entry what the store has under its batch's name by now. If that is not the batch, it ended and is gone, and
    /// nobody will ever tell its end: it is followed no more. Answers whether it is there.
    pub fn catch_up(&self, seq: BatchSeq, read: Option<Batch>) -> bool {
        let read = read.filter(|batch| batch.seq == seq);
        let is_there = read.is_some();
        match read {
            Some(batch) => self.publish(batch, &[]),
            None => self.forget(seq),
        }
        is_there
    }

    fn forget(&self, seq: BatchSeq) {
        let mut entries = locked(&self.entries);
        let Some(entry) = entries.live.remove(&seq) else { return };
        let id = entry.batch.borrow().id.clone();
        // The name may be another batch's by now.
        if entries.by_id.get(&id) == Some(&seq) {
            entries.by_id.remove(&id);
        }
    }

    /// Begins to follow a batch that was live when it was read, if nobody does. It may have ended meanwhile, and then
    /// nobody would ever tell the entry: read it again, and have it [catch up](Self::catch_up).
    pub fn follow(&self, batch: &Batch) -> Arc<Entry> {
        let mut entries = locked(&self.entries);
        if let Some(entry) = entries.live.get(&batch.seq) {
            return Arc::clone(entry);
        }
        let entry = Arc::new(Entry::new(batch.clone(), Arc::clone(&self.encodings)));
        entries.live.insert(batch.seq, Arc::clone(&entry));
        // The name is the newer one's, whichever was read last.
        let named = entries.by_id.entry(batch.id.clone()).or_insert(batch.seq);
        *named = batch.seq.max(*named);
        drop(entries);
        self.boards.post(batch.seq);
        entry
    }

    /// The entries of the batches that run.
    pub fn running(&self) -> Vec<Arc<Entry>> {
        let runs = |entry: &&Arc<Entry>| entry.batch.borrow().state == State::Running;
        locked(&self.entries).live.values().filter(runs).cloned().collect()
    }

    /// The entry of a batch that this node knows to be live.
    pub fn live(&self, batch: BatchSeq) -> Option<Arc<Entry>> {
        locked(&self.entries).live.get(&batch).cloned()
    }

    /// The entry of a batch by its name, if it [is current](Entry::is_current).
    pub fn named(&self, batch: &BatchId) -> Option<Arc<Entry>> {
        let entries = locked(&self.entries);
        entries.live.get(entries.by_id.get(batch)?).filter(|entry| entry.is_current()).cloned()
    }

    /// Hears from now on which batches began or changed.
    pub fn news(&self) -> News {
        self.boards.open()
    }

    /// How many times a batch was encoded for watchers.
    pub fn encodings(&self) -> u64 {
        self.encodings.load(Ordering::Relaxed)
    }
}

/// One live batch.
pub struct Entry {
    work: Mutex<Work>,
    batch: watch::Sender<Arc<Batch>>,
    /// Canceled when the batch does not run any more: what was not sent by then is not sent.
    sending: Mutex<CancellationToken>,
    /// Read from the store since it is in the hub.
    current: AtomicBool,
    /// What watchers were told last.
    shared: Mutex<Option<Arc<Shared>>>,
    encodings: Arc<AtomicU64>,
    /// Canceled when what is in flight is to be cut off.
    in_flight: Mutex<CancellationToken>,
}

impl Entry {
    fn new(batch: Batch, encodings: Arc<AtomicU64>) -> Self {
        let entry = Self {
            work: Mutex::new(Work::new(&batch)),
            batch: watch::channel(Arc::new(batch)).0,
            sending: Mutex::default(),
            in_flight: Mutex::default(),
            current: AtomicBool::new(false),
            shared: Mutex::new(None),
            encodings,
        };
        entry.withdraw(&entry.batch.borrow());
        entry
    }

    /// Follows the committed states.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Batch>> {
        self.batch.subscribe()
    }

    /// Whether nothing can have been committed before that it was never told: somebody has read the store and published
    /// that since the entry is in the hub.
    pub fn is_current(&self) -> bool {
        self.current.load(Ordering::Acquire)
    }

    /// Says that somebody has.
    pub fn set_current(&self) {
        self.current.store(true, Ordering::Release);
    }

    /// Who to ask for the batch's pace.
    pub fn set_pace(&self, pace: PaceSource) {
        locked(&self.work).pace = Some(pace);
    }

    /// Canceled as soon as it is known here that the batch does not run any more.
    pub fn sending(&self) -> CancellationToken {
        locked(&self.sending).clone()
    }

    /// Canceled as soon as it is known here that the batch wants its attempts cut off.
    pub fn cut_off(&self) -> CancellationToken {
        locked(&self.in_flight).clone()
    }

    /// Has the batch's tokens say what its state does.
    fn withdraw(&self, batch: &Batch) {
        let say = |token: &Mutex<CancellationToken>, canceled| {
            let mut token = locked(token);
            if canceled {
                token.cancel();
            } else if token.is_cancelled() {
                *token = CancellationToken::new();
            }
        };
        say(&self.sending, batch.state != State::Running);
        say(&self.in_flight, batch.drain == Some(DrainMode::Abort));
    }

    /// An item waits for its time.
    pub fn wait_until(&self, at: DateTime<Utc>) {
        let mut work = locked(&self.work);
        work.last_due = work.last_due.max(Some(at));
    }

    /// The clock was set back, and who waits with it.
    pub fn set_back(&self, step: SetBack) {
        let mut work = locked(&self.work);
        work.last_due = work.last_due.map(|at| step.moved(at));
    }

    /// Its source cannot be read now, or can again.
    pub fn set_source(&self, unread: Option<Pressure>) {
        locked(&self.work).source = unread;
    }

    /// A worker takes an item; its attempt begins when `began` is set.
    pub fn begin(&self, index: i64, key: &str, returned: bool, began: Arc<OnceLock<DateTime<Utc>>>) {
        locked(&self.work).begin(index, key, returned, began);
    }

    /// An attempt ended; its outcome is not committed yet. `took`: what it took since its request was sent, if one was.
    pub fn end(&self, index: i64, took: Option<Duration>) {
        locked(&self.work).end(index, took);
    }

    /// Its runner says what it waits for.
    pub fn tell(&self, told: Told) {
        locked(&self.work).told = told;
    }

    /// Something is in the way that is told elsewhere: the store fails, or a gate that was open is held.
    pub fn hindered(&self) {
        locked(&self.work).signs += 1;
    }

    /// Looks, once a second, what there is to do and what moves.
    pub fn look(&self, now: DateTime<Utc>) -> Glance {
        let (snapshot, pace) = self.read(now);
        let mut work = locked(&self.work);
        let under_way = work.under_way();
        let is_due = work.told.next_due.is_some_and(|due| due <= now);
        let due =
            snapshot.pending() - work.told.held_back + if is_due { snapshot.waiting_retry() } else { 0 };
        work.note(&snapshot.batch, pace.as_ref().filter(|_| due > 0));
        Glance {
            due: due.max(0),
            under_way,
            uncommitted: work.uncommitted(),
            awaits_answer: work.told.awaits_answer,
            moved: Moved {
                counts: snapshot.batch.counts,
                control_revision: snapshot.batch.control_revision,
                signs: work.signs,
                under_way,
            },
            active_workers: snapshot.active_workers.into(),
            pace,
            batch: snapshot.batch,
        }
    }

    /// Indexes of the items whose attempt is under way or not yet committed, and when it began, if it has.
    pub fn in_flight(&self) -> Vec<(i64, Option<DateTime<Utc>>)> {
        locked(&self.work).in_flight.iter().map(|(index, item)| (*index, item.began.get().copied())).collect()
    }

    /// Items that this node works on no more, without a commit.
    pub fn drop_items(&self, indexes: &[i64]) {
        let mut work = locked(&self.work);
        for index in indexes {
            work.in_flight.remove(index);
        }
    }

    fn settle(&self, batch: Batch, settled: &[i64]) {
        let mut work = locked(&self.work);
        for index in settled {
            work.in_flight.remove(index);
        }
        if batch.state.is_terminal() {
            work.in_flight.clear();
        }
        // Under the lock: the counts and what is in flight change together.
        self.batch.send_if_modified(|known| {
            let newer = batch.revision > known.revision;
            if newer {
                work.sample(&batch);
                self.withdraw(&batch);
                *known = Arc::new(batch);
            }
            newer
        });
    }

    /// The batch as it stands, with the estimates that were made when the first watcher asked for this revision: one
    /// snapshot, and so one encoding, serves them all. Of one that is older than `age_max` the estimates are made anew.
    pub fn shared(&self, now: DateTime<Utc>, age_max: Duration) -> Arc<Shared> {
        let mut shared = locked(&self.shared);
        let revision = self.batch.borrow().revision;
        if let Some(known) = shared.as_ref().filter(|known| known.serves(revision, age_max)) {
            return Arc::clone(known);
        }
        let made = Arc::new(Shared::new(self.snapshot(now), Arc::clone(&self.encodings)));
        *shared = Some(Arc::clone(&made));
        made
    }

    /// The batch as it stands, with estimates.
    pub fn snapshot(&self, now: DateTime<Utc>) -> Snapshot {
        self.read(now).0
    }

    fn read(&self, now: DateTime<Utc>) -> (Snapshot, Option<Pace>) {
        let work = locked(&self.work);
        let batch = Arc::clone(&self.batch.borrow());
        let mut snapshot = work.snapshot(&batch);
        let pace = work.pace.clone().filter(|_| batch.state == State::Running);
        // The pace asks the gate: not under the lock.
        drop(work);
        let pace = pace.map(|pace| pace());
        if let Some(pace) = &pace {
            snapshot.pressure.extend(pace.pressure.iter().cloned());
            snapshot.estimated_completion = locked(&self.work).estimated_completion(&batch, pace, now);
        }
        (snapshot, pace)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
