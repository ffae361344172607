//! What a history has seen so far, and what may follow from it.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use rand::{Rng, rngs::StdRng};

use super::super::harness::Harness;
use crate::{
    domain::{
        batch::{Batch, State},
        id::NodeId,
        item::{self, Item},
    },
    store::{Commit, Committed, Hold, LeasedSlice},
};

/// A lease that was granted.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    pub(super) node: NodeId,
    pub(super) slice: LeasedSlice,
    pub(super) until: DateTime<Utc>,
    /// Not given back, voided or overtaken, as far as the history knows.
    pub(super) live: bool,
}

/// Leases and last sights of every batch.
pub(super) struct Ledger {
    pub(super) leases: Vec<Vec<Lease>>,
    seen: Vec<Option<(Batch, Vec<Item>)>>,
    results: Vec<Vec<(i64, Item)>>,
    ended: Vec<HashSet<i64>>,
}

impl Ledger {
    pub(super) fn new(batches: usize) -> Self {
        Self {
            leases: vec![Vec::new(); batches],
            seen: vec![None; batches],
            results: vec![Vec::new(); batches],
            ended: vec![HashSet::new(); batches],
        }
    }

    /// A lease was granted: nobody else may hold its slice.
    pub(super) fn lease(&mut self, n: usize, lease: Lease, now: DateTime<Utc>, told: &str) {
        for other in self.leases[n].iter_mut().filter(|other| other.slice.no == lease.slice.no) {
            assert!(!other.live || other.until <= now, "two holders of slice {}: {told}", lease.slice.no.0);
            assert!(other.slice.epoch < lease.slice.epoch, "the epoch grows: {told}");
            other.live = false;
        }
        for item in &lease.slice.items {
            assert!(!self.ended[n].contains(&item.index), "item {} is final: {told}", item.index);
        }
        self.leases[n].push(lease);
    }

    /// Any lease that was granted, the latest ones more often.
    pub(super) fn pick(&self, n: usize, rng: &mut StdRng) -> Option<usize> {
        let last = self.leases[n].len().checked_sub(1)?;
        Some(if rng.random_bool(0.8) { last } else { rng.random_range(0..=last) })
    }

    /// Every lease is void.
    pub(super) fn void(&mut self) {
        for lease in self.leases.iter_mut().flatten() {
            lease.live = false;
        }
    }

    /// A group was committed or refused.
    pub(super) fn committed(
        &mut self,
        n: usize,
        at: usize,
        commit: &Commit,
        committed: &Committed,
        told: &str,
    ) {
        let lease = &mut self.leases[n][at];
        let fenced = committed.fenced.contains(&lease.slice.no);
        if !lease.live {
            assert!(fenced, "a lease that is over was taken: {told}");
        } else if lease.until > commit.now {
            assert!(!fenced, "a live lease was refused: {told}");
        }
        if fenced {
            lease.live = false;
            return;
        }
        for recording in &commit.attempts {
            let index = recording.item.index;
            let place = lease.slice.items.iter().position(|item| item.index == index).unwrap();
            let next = recording.next;
            match if committed.rejected.contains(&index) { item::Next::Failed } else { next } {
                item::Next::Succeeded | item::Next::Failed => {
                    assert!(self.ended[n].insert(index), "item {index} ended twice: {told}");
                    lease.slice.items.remove(place);
                }
                item::Next::HeldBack => {
                    let item = &mut lease.slice.items[place];
                    item.recorded += u32::from(recording.is_worth_a_row());
                    item.not_before = None;
                }
                item::Next::Open { charged, not_before, .. } => {
                    let item = &mut lease.slice.items[place];
                    item.attempts += u32::from(charged);
                    item.recorded += u32::from(recording.is_worth_a_row());
                    item.not_before = not_before.or(item.not_before);
                }
            }
        }
        match commit.leases[0].hold {
            Hold::Until(until) => lease.until = until,
            Hold::Release { .. } => lease.live = false,
        }
        lease.live &= !lease.slice.items.is_empty();
    }

    /// Looks at a batch again: what is there may follow from what was there.
    pub(super) async fn look(&mut self, h: &Harness, n: usize, batch: &Batch, told: &str) {
        let batch = h.read(batch).await;
        let items = h.items(&batch).await;
        if let Some((before, items_before)) = &self.seen[n] {
            let durable = |items: &[Item]| items.iter().map(durable).collect::<Vec<_>>();
            follows(before, &batch, durable(items_before) != durable(&items), told);
            for (before, item) in items_before.iter().zip(&items) {
                if is_final(before.state) {
                    assert_eq!(before, item, "a final item stays as it is: {told}");
                }
            }
        }
        if batch.state == State::Paused || batch.state.is_terminal() {
            for lease in &mut self.leases[n] {
                lease.live = false;
            }
        }
        self.read_results(h, n, &batch, told).await;
        self.seen[n] = Some((batch, items));
    }

    /// What one reader was told is told to all: from any place, in pages of any size, and for ever.
    async fn read_results(&mut self, h: &Harness, n: usize, batch: &Batch, told: &str) {
        let known = &mut self.results[n];
        let after = known.len() as i64;
        known.extend(h.results(batch.seq, after, 1_000).await.unwrap());
        for after in 0..=known.len() {
            for limit in [1, 3, 1_000] {
                let page = h.results(batch.seq, after as i64, limit).await.unwrap();
                let expected = &known[after..known.len().min(after + limit)];
                assert_eq!(page, expected, "{limit} results after {after}: {told}");
            }
        }
    }
}

fn is_final(state: item::State) -> bool {
    !matches!(state, item::State::Pending | item::State::Running)
}

/// What is recorded of an item: whether somebody holds it is not.
fn durable(item: &Item) -> Item {
    let state = if item.state == item::State::Running { item::State::Pending } else { item.state };
    Item { state, not_before: None, ..item.clone() }
}

fn follows(before: &Batch, after: &Batch, items_changed: bool, told: &str) {
    if before.state.is_terminal() {
        assert_eq!(before, after, "terminal stays terminal: {told}");
        return;
    }
    assert!(after.revision >= before.revision, "a revision went back: {told}");
    let visible = |batch: &Batch| Batch { revision: 0, control_revision: 0, ..batch.clone() };
    let changed = items_changed || visible(before) != visible(after);
    assert!(
        !changed || after.revision > before.revision,
        "a change without a revision: {told}\n{before:?}\n{after:?}"
    );
    assert!(changed || after.revision == before.revision, "a revision without a change: {told}");
    let control =
        |batch: &Batch| (batch.state, batch.pause.clone(), batch.end.clone(), batch.drain, batch.state_since);
    let moved = after.control_revision > before.control_revision;
    assert!(moved || control(before) == control(after), "a transition without a revision: {told}");
    assert!(after.active >= before.active && after.paused >= before.paused, "time was lost: {told}");
    assert!(after.counts.total >= before.counts.total && after.expanded >= before.expanded, "{told}");
    assert!(after.counts.requests >= before.counts.requests, "{told}");
}
