//! Random histories: commands, claims, commits, lost leases and deaths on two batches, checked after every step.

mod ledger;

use std::{fmt::Write as _, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use self::ledger::{Lease, Ledger};
use super::{
    fixture::{
        batch::{filed, inline},
        outcome, page, price,
        recording::Group,
    },
    harness::{Harness, LEASE},
};
use crate::{
    domain::{
        batch::{Batch, Command, DrainMode},
        id::NodeId,
        item::Outcome,
        spec::FailurePolicy,
    },
    store::{NewBatch, PageRead, SourceLease, SourcePage},
};

const SEEDS: u64 = 12;
const STEPS: usize = 70;

/// By turns without limits, and with some that such a history may well meet.
fn limited(mut new: NewBatch, seed: u64) -> NewBatch {
    if seed % 2 == 1 {
        new.spec.failure = FailurePolicy { failed_items_max: Some(1), ..FailurePolicy::default() };
        new.spec.max_duration = Some(Duration::from_secs(200 + 20 * seed));
        new.spec.fetch.item_deadline = Duration::from_secs(60);
    }
    new
}

pub(super) async fn every_step_keeps_every_promise(mut h: Harness) {
    for seed in 0..SEEDS {
        History::new(&mut h, seed).await.run(&mut h).await;
    }
}

struct History {
    rng: StdRng,
    nodes: [NodeId; 2],
    batches: Vec<Batch>,
    ledger: Ledger,
    readers: Vec<(usize, SourceLease)>,
    /// What was done so far, shown when a promise is broken.
    told: String,
}

impl History {
    async fn new(h: &mut Harness, seed: u64) -> Self {
        let names = [format!("inline-{seed}"), format!("filed-{seed}")];
        let batches = vec![
            h.start(limited(inline(&names[0], &["a", "b", "a", "c", "d"]), seed)).await,
            h.start(limited(filed(&names[1]), seed)).await,
        ];
        let mut ledger = Ledger::new(batches.len());
        for (n, batch) in batches.iter().enumerate() {
            ledger.look(h, n, batch, "at the start").await;
        }
        Self {
            rng: StdRng::seed_from_u64(seed),
            nodes: [h.node.clone(), NodeId::generate()],
            batches,
            ledger,
            readers: Vec::new(),
            told: format!("seed {seed}"),
        }
    }

    async fn run(mut self, h: &mut Harness) {
        for _ in 0..STEPS {
            let n = self.rng.random_range(0..self.batches.len());
            self.step(h, n).await;
            for (n, batch) in self.batches.iter().enumerate() {
                self.ledger.look(h, n, batch, &self.told).await;
            }
        }
        for batch in &self.batches {
            h.stop_if_live(batch).await;
        }
        h.pass(60);
        h.recover(h.now).await.unwrap();
    }

    fn tell(&mut self, what: &str) {
        write!(self.told, "\n{what}").unwrap();
    }

    async fn step(&mut self, h: &mut Harness, n: usize) {
        match self.rng.random_range(0..100) {
            0..25 => self.claim(h, n).await,
            25..55 => self.commit(h, n).await,
            55..67 => self.read(h, n).await,
            67..85 => {
                let seconds = self.rng.random_range(0..25);
                self.tell(&format!("{seconds} s pass"));
                h.pass(seconds);
            }
            85..97 => self.order(h, n).await,
            97 => {
                self.tell("upkeep");
                h.settle(h.now).await.unwrap();
                h.purge(h.now).await.unwrap();
            }
            _ => {
                self.tell("the process dies");
                h.reopen().await;
                self.nodes[0] = h.node.clone();
                h.recover(h.now).await.unwrap();
                self.ledger.void();
            }
        }
    }

    async fn order(&mut self, h: &Harness, n: usize) {
        let batch = &self.batches[n];
        let reason = String::new();
        let drain = if self.rng.random_bool(0.3) { DrainMode::Abort } else { DrainMode::Finish };
        let command = match self.rng.random_range(0..20) {
            0..6 => Some(Command::Pause { reason, drain }),
            6..16 => Some(Command::Resume),
            16 => Some(Command::Stop { reason, drain }),
            _ => None,
        };
        let answer = match &command {
            Some(command) => h
                .command(&batch.id, command, h.now)
                .await
                .map(|changed| changed.batch.state)
                .map_err(|e| e.to_string()),
            None => Ok(h.break_down(batch).await.state),
        };
        self.tell(&format!("batch {n}: {command:?} -> {answer:?}"));
    }

    async fn claim(&mut self, h: &Harness, n: usize) {
        let node = self.nodes.choose(&mut self.rng).unwrap().clone();
        let claim = h.claim_slice(self.batches[n].seq, &node, h.now, h.now + LEASE).await.unwrap();
        self.tell(&format!("batch {n}: claim -> {claim:?}"));
        if let Some(slice) = claim.slice {
            self.ledger.lease(n, Lease { node, slice, until: h.now + LEASE, live: true }, h.now, &self.told);
        }
    }

    /// A group of attempts under one lease, live or not.
    async fn commit(&mut self, h: &Harness, n: usize) {
        let Some(at) = self.ledger.pick(n, &mut self.rng) else { return };
        let lease = self.ledger.leases[n][at].clone();
        let releases = self.rng.random_bool(0.3);
        let mut group =
            if releases { Group::new().release(&lease.slice) } else { Group::new().keep(&lease.slice) };
        let mut attempts = Vec::new();
        for place in 0..lease.slice.items.len() {
            if self.rng.random_bool(0.4) {
                let outcome = self.outcome(h);
                attempts.push(format!("{place} {outcome:?}"));
                group = if self.rng.random_bool(0.1) && matches!(outcome, Outcome::Released { .. }) {
                    group.add_unsent(&lease.slice, place, outcome)
                } else {
                    group.add(&lease.slice, place, outcome)
                };
            }
        }
        let commit = group.into_commit(self.batches[n].seq, &lease.node, h.now);
        let committed = h.commit(&commit).await.unwrap();
        self.tell(&format!(
            "batch {n}: commit of slice {} epoch {}, released: {releases}, {attempts:?} -> fenced {:?}, rejected {:?}, {:?}",
            lease.slice.no.0, lease.slice.epoch.0, committed.fenced, committed.rejected, committed.batch.state
        ));
        self.ledger.committed(n, at, &commit, &committed, &self.told);
    }

    fn outcome(&mut self, h: &Harness) -> Outcome {
        let close = f64::from(self.rng.random_range(0..3));
        match self.rng.random_range(0..11) {
            0..3 => outcome::success_with(price::closes(0, &[close])),
            3 => outcome::success_with(price::refused()),
            4 => outcome::permanent("NOT_FOUND", 404),
            5 | 6 => outcome::temporary(),
            7 => outcome::push_back(3),
            8 => outcome::refused(),
            9 => outcome::released(self.rng.random_bool(0.5).then(|| h.after(5))),
            _ => outcome::system(),
        }
    }

    /// Claims the source, or stores a page under some claim of it, live or not.
    async fn read(&mut self, h: &Harness, n: usize) {
        let batch = &self.batches[n];
        if let Some(lease) = h.ask_source(batch).await {
            self.readers.push((n, lease.clone()));
            self.tell(&format!("batch {n}: source claimed: {lease:?}"));
            return;
        }
        let Some((n, lease)) = self.readers.choose(&mut self.rng).cloned() else { return };
        let read = match self.rng.random_range(0..12) {
            0 => PageRead::Unreadable("gone".to_owned()),
            1 | 2 => PageRead::Release,
            draw => {
                let keys = ["p", "q", "r", "s", "t", "u", "v", "w"];
                let from = self.rng.random_range(0..keys.len() - 2);
                page::keys(&keys[from..from + self.rng.random_range(0..3)], (draw < 10).then_some("next"))
            }
        };
        let page = SourcePage {
            batch: self.batches[n].seq,
            epoch: lease.epoch,
            read,
            requests: self.rng.random_range(0..2),
            bytes_received: 0,
            lease_until: h.now + LEASE,
        };
        let expanded = h.expand(&page, h.now).await.unwrap();
        self.tell(&format!("batch {n}: {page:?} -> over: {}, {:?}", expanded.over, expanded.batch.state));
    }
}
