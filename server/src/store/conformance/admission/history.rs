//! Random histories of starts, commands, work and deaths under a few overlap keys. After every step: no key has two
//! batches at work that did not ask for it, nobody waits who could run, and nobody was let in before his turn.

use std::fmt::Write as _;

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::super::{
    fixture::{
        batch::{delayed, inline, keyed, opened, ranked},
        outcome,
        recording::Group,
    },
    harness::Harness,
};
use crate::{
    domain::{
        batch::{Batch, Command, DrainMode, State},
        spec::{Overlap, OverlapPolicy},
    },
    store::LeasedSlice,
};

const SEEDS: u64 = 6;
const STEPS: usize = 170;
const SLOTS: usize = 3;
const KEYS: [&str; 2] = ["nightly", "hourly"];
/// What makes a queue comes more often.
const POLICIES: [OverlapPolicy; 7] = [
    OverlapPolicy::Skip,
    OverlapPolicy::BufferOne,
    OverlapPolicy::BufferAll,
    OverlapPolicy::BufferAll,
    OverlapPolicy::BufferAll,
    OverlapPolicy::CancelOther,
    OverlapPolicy::AllowAll,
];

pub(super) async fn run(mut h: Harness) {
    h.bound(SLOTS, 1_000).await;
    let (mut started, mut patient) = (0, 0);
    for seed in 0..SEEDS {
        let mut history = History {
            rng: StdRng::seed_from_u64(seed),
            seed,
            leases: Vec::new(),
            told: format!("seed {seed}"),
            before: Vec::new(),
        };
        for n in 0..STEPS {
            history.step(&mut h, n).await;
            let (let_in, waited) = history.check(&h).await;
            started += let_in;
            patient += waited;
        }
        for batch in live(&h).await {
            h.stop_if_live(&batch).await;
        }
        h.pass(60);
        h.settle(h.now).await.unwrap();
        assert!(live(&h).await.is_empty(), "{}", history.told);
    }
    assert!(started > 60 && patient > 3, "the histories are worth their while: {started} {patient}");
}

async fn live(h: &Harness) -> Vec<Batch> {
    h.live_batches(None, 1_000).await.unwrap()
}

struct History {
    rng: StdRng,
    seed: u64,
    leases: Vec<(Batch, LeasedSlice)>,
    /// What was live before the step.
    before: Vec<Batch>,
    told: String,
}

impl History {
    async fn step(&mut self, h: &mut Harness, n: usize) {
        let live = live(h).await;
        let chosen = live.choose(&mut self.rng).cloned();
        let what = match (self.rng.random_range(0..100), chosen) {
            (0..25, _) | (_, None) => self.start(h, n).await,
            (25..45, Some(batch)) => {
                let claim = h.ask(&batch).await;
                let what = format!("{}: {claim:?}", batch.id);
                if let Some(slice) = claim.slice {
                    self.leases.push((batch, slice));
                }
                what
            }
            (45..65, _) => match self.leases.pop() {
                Some((batch, slice)) => {
                    let success = self.rng.random_bool(0.9);
                    let group = Group::new().release(&slice);
                    let group = if success { group.add_all(&slice, &outcome::success()) } else { group };
                    let state = h.record(&batch, group).await.batch.state;
                    format!("{}: worked on, done: {success} -> {state:?}", batch.id)
                }
                None => "nothing to give back".to_owned(),
            },
            (65..75, _) => {
                let seconds = self.rng.random_range(1..12);
                h.pass(seconds);
                let moved = h.settle(h.now).await.unwrap();
                format!("{seconds} s pass: {} move", moved.len())
            }
            (75..98, Some(batch)) => {
                let reason = String::new();
                let command = match self.rng.random_range(0..10) {
                    0..2 => Command::Pause { reason, drain: DrainMode::Finish },
                    2..7 => Command::Resume,
                    _ => Command::Stop { reason, drain: DrainMode::Finish },
                };
                let answer = h.command(&batch.id, &command, h.now).await;
                let answer = answer.map(|changed| changed.batch.state).map_err(|error| error.to_string());
                format!("{}: {command:?} -> {answer:?}", batch.id)
            }
            _ => {
                h.bound(SLOTS, 1_000).await;
                h.recover(h.now).await.unwrap();
                self.leases.clear();
                "the process dies".to_owned()
            }
        };
        write!(self.told, "\n{what}").unwrap();
    }

    async fn start(&mut self, h: &Harness, n: usize) -> String {
        let name = format!("seed{}-{n}", self.seed);
        let new = match self.rng.random_range(0..20) {
            0 => opened(&name),
            1 => inline(&name, &[]),
            _ => inline(&name, &["a", "b"]),
        };
        let new = ranked(new, self.rng.random_range(-2..3));
        let new =
            if self.rng.random_bool(0.2) { delayed(new, h.after(self.rng.random_range(0..30))) } else { new };
        let new = if self.rng.random_bool(0.8) {
            keyed(new, KEYS.choose(&mut self.rng).unwrap(), *POLICIES.choose(&mut self.rng).unwrap())
        } else {
            new
        };
        let asked =
            format!("{:?}, priority {}, {:?}", new.spec.overlap, new.spec.priority, new.spec.not_before);
        let created = h.create_batch(new, h.now).await.unwrap();
        format!("{name}: {asked} -> {:?}, {:?}", created.outcome, created.batch.state)
    }

    /// Answers with how many were let in, and how many more urgent ones behind them in their key went on waiting.
    async fn check(&mut self, h: &Harness) -> (usize, usize) {
        let now = live(h).await;
        let told = &self.told;
        let running = now.iter().filter(|batch| is_at_work(batch)).count();
        assert!(running <= SLOTS, "{running} at work: {told}");
        for key in KEYS {
            let alone = now
                .iter()
                .filter(|batch| is_at_work(batch) && key_of(batch) == Some(key) && !is_beside(batch));
            let alone: Vec<&str> = alone.map(|batch| batch.id.as_str()).collect();
            assert!(alone.len() <= 1, "{alone:?} are at work under {key}: {told}");
        }
        let waiting = |batch: &&Batch| batch.state == State::Queued && may_run(batch, &now, h);
        if let Some(idle) = now.iter().find(waiting) {
            assert_eq!(running, SLOTS, "{} waits for nothing: {told}", idle.id);
        }
        let was_new = |batch: &Batch| {
            let before = self.before.iter().find(|before| before.seq == batch.seq);
            before.is_none_or(|before| before.started_at.is_none())
        };
        let let_in: Vec<&Batch> =
            now.iter().filter(|batch| batch.state == State::Running && was_new(batch)).collect();
        let mut waited = 0;
        for batch in &let_in {
            // As it was before: it waited like the others.
            let mut before = now.clone();
            for waiting in before.iter_mut().filter(|waiting| waiting.seq == batch.seq) {
                (waiting.state, waiting.started_at) = (State::Queued, None);
            }
            for other in now.iter().filter(|other| other.seq != batch.seq) {
                let same_key = key_of(batch).is_some() && key_of(batch) == key_of(other);
                let in_line = same_key && !is_beside(batch);
                assert!(!in_line || other.seq > batch.seq, "{} overtook {}: {told}", batch.id, other.id);
                let is_waiting = other.state == State::Queued && is_due(other, h);
                let ahead = (other.spec.priority, batch.seq) > (batch.spec.priority, other.seq);
                let could = is_waiting && may_run(other, &before, h);
                assert!(!(ahead && could), "{} was let in before {}: {told}", batch.id, other.id);
                waited += usize::from(in_line && is_waiting && other.spec.priority > batch.spec.priority);
            }
        }
        let counts = (let_in.len(), waited);
        self.before = now;
        counts
    }
}

fn is_at_work(batch: &Batch) -> bool {
    matches!(batch.state, State::Running | State::Pausing | State::Stopping)
}

fn key_of(batch: &Batch) -> Option<&str> {
    batch.spec.overlap.as_ref().map(|Overlap { key, .. }| key.as_str())
}

fn is_beside(batch: &Batch) -> bool {
    batch.spec.overlap.as_ref().is_some_and(|overlap| overlap.policy == OverlapPolicy::AllowAll)
}

fn is_due(batch: &Batch, h: &Harness) -> bool {
    batch.spec.not_before.is_none_or(|time| time <= h.now)
}

/// The rule of admission in other words than the store's.
fn may_run(batch: &Batch, live: &[Batch], h: &Harness) -> bool {
    let Some(key) = key_of(batch) else { return is_due(batch, h) };
    let mut others = live.iter().filter(|other| other.seq != batch.seq && key_of(other) == Some(key));
    let in_the_way = |other: &Batch| other.seq < batch.seq || other.started_at.is_some();
    is_due(batch, h) && (is_beside(batch) || batch.started_at.is_some() || !others.any(in_the_way))
}
