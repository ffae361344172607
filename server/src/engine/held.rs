//! The slices that a node holds under lease, and what of them is ready, waits, is held back or is under way.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::{
    clock::SetBack,
    domain::{
        id::{Epoch, SliceNo},
        item::OpenItem,
    },
    store::{Hold, LeaseWrite, LeasedSlice},
};

/// A lease: the slice and the number that it is held under. A slice that was lost and claimed anew is another lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lease {
    pub(super) slice: SliceNo,
    pub(super) epoch: Epoch,
}

/// Slices of one batch, by number.
#[derive(Debug, Default)]
pub(super) struct Held(BTreeMap<SliceNo, Slice>);

#[derive(Debug)]
struct Slice {
    epoch: Epoch,
    ready: VecDeque<OpenItem>,
    waiting: BTreeMap<(DateTime<Utc>, i64), OpenItem>,
    /// Those that were refused, by index, each with the time when that request was sent: not ready until it is known
    /// whose fault that is.
    refused: BTreeMap<i64, DateTime<Utc>>,
    under_way: usize,
    renewed: Instant,
    until: DateTime<Utc>,
}

impl Slice {
    /// Nothing is left to do in it but to wait.
    fn is_idle(&self) -> bool {
        self.ready.is_empty() && self.under_way == 0
    }

    /// When its first waiting item is due, if all that is left waits.
    fn ready_at(&self) -> Option<DateTime<Utc>> {
        let first = self.waiting.keys().next().map(|(at, _)| *at);
        first.filter(|_| self.ready.is_empty() && self.refused.is_empty())
    }
}

impl Held {
    /// Takes a slice in.
    pub(super) fn insert(&mut self, leased: LeasedSlice, until: DateTime<Utc>) {
        let mut slice = Slice {
            epoch: leased.epoch,
            ready: VecDeque::new(),
            waiting: BTreeMap::new(),
            refused: BTreeMap::new(),
            under_way: 0,
            renewed: Instant::now(),
            until,
        };
        for item in leased.items {
            slice.wait(item);
        }
        self.0.insert(leased.no, slice);
    }

    /// The next item that may be started, from the lowest slice on.
    pub(super) fn start_next(&mut self, now: DateTime<Utc>) -> Option<(Lease, OpenItem)> {
        self.0.iter_mut().find_map(|(no, slice)| {
            slice.wake(now);
            let item = slice.ready.pop_front()?;
            slice.under_way += 1;
            Some((Lease { slice: *no, epoch: slice.epoch }, item))
        })
    }

    /// How many may be started at once.
    pub(super) fn ready(&self) -> usize {
        self.0.values().map(|slice| slice.ready.len()).sum()
    }

    /// An item under way is final.
    pub(super) fn finish(&mut self, lease: Lease) {
        if let Some(slice) = self.slice(lease) {
            slice.under_way -= 1;
        }
    }

    /// An item under way comes back and waits for its time.
    pub(super) fn put_back(&mut self, lease: Lease, item: OpenItem) {
        if let Some(slice) = self.slice(lease) {
            slice.under_way -= 1;
            slice.wait(item);
        }
    }

    /// An item under way comes back as it was, and is not started again before a time that is no matter of its own.
    pub(super) fn put_off(&mut self, lease: Lease, item: OpenItem, until: DateTime<Utc>) {
        if let Some(slice) = self.slice(lease) {
            slice.under_way -= 1;
            slice.waiting.insert((until, item.index), item);
        }
    }

    /// An item under way comes back as if it had never been started.
    pub(super) fn put_first(&mut self, lease: Lease, item: OpenItem) {
        if let Some(slice) = self.slice(lease) {
            slice.under_way -= 1;
            slice.ready.push_front(item);
        }
    }

    /// How many are held back.
    pub(super) fn refused(&self) -> usize {
        self.0.values().map(|slice| slice.refused.len()).sum()
    }

    /// Those of them whose request was not sent after this time.
    pub(super) fn refused_until(&self, latest: DateTime<Utc>) -> Vec<(Lease, i64)> {
        let of_slice = |(no, slice): (&SliceNo, &Slice)| {
            let lease = Lease { slice: *no, epoch: slice.epoch };
            let refused = slice.refused.iter().filter(|(_, at)| **at <= latest);
            refused.map(|(index, _)| (lease, *index)).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of_slice).collect()
    }

    /// One that was held back is final.
    pub(super) fn finish_refused(&mut self, lease: Lease, index: i64) {
        if let Some(slice) = self.slice(lease) {
            slice.refused.remove(&index);
        }
    }

    /// The lease is somebody else's.
    pub(super) fn lose(&mut self, lease: Lease) {
        if self.holds(lease) {
            self.0.remove(&lease.slice);
        }
    }

    /// The lease is still held.
    pub(super) fn holds(&self, lease: Lease) -> bool {
        self.0.get(&lease.slice).is_some_and(|slice| slice.epoch == lease.epoch)
    }

    fn slice(&mut self, lease: Lease) -> Option<&mut Slice> {
        self.0.get_mut(&lease.slice).filter(|slice| slice.epoch == lease.epoch)
    }

    /// A commit renewed these.
    pub(super) fn renewed(&mut self, leases: impl IntoIterator<Item = Lease>, until: DateTime<Utc>) {
        for lease in leases {
            if let Some(slice) = self.slice(lease) {
                slice.renewed = Instant::now();
                slice.until = until;
            }
        }
    }

    /// Takes out the slices in which nothing is open; the store knows that they are done.
    pub(super) fn drop_done(&mut self) {
        self.0.retain(|_, slice| !slice.is_idle() || !slice.waiting.is_empty() || !slice.refused.is_empty());
    }

    /// Takes out the slices in which all that is left waits longer than `patience`, to be parked. What is held back has no
    /// time to wait for: its slice stays.
    pub(super) fn park(&mut self, now: DateTime<Utc>, patience: Duration) -> Vec<LeaseWrite> {
        let due = now + patience;
        self.take(|slice| {
            slice.is_idle() && slice.refused.is_empty() && slice.ready_at().is_none_or(|at| at > due)
        })
    }

    /// Takes out every slice in which nothing is under way, to be given back.
    pub(super) fn give_back(&mut self) -> Vec<LeaseWrite> {
        self.take(|slice| slice.under_way == 0)
    }

    fn take(&mut self, which: impl Fn(&Slice) -> bool) -> Vec<LeaseWrite> {
        let mut writes = Vec::new();
        self.0.retain(|no, slice| {
            let taken = which(slice);
            if taken {
                let ready_at = slice.ready_at();
                writes.push(LeaseWrite { slice: *no, epoch: slice.epoch, hold: Hold::Release { ready_at } });
            }
            !taken
        });
        writes
    }

    /// The leases that were not renewed for so long, or that by the wall clock, which may jump, end before `due`.
    pub(super) fn to_renew(&self, age: Duration, due: DateTime<Utc>) -> Vec<Lease> {
        let old = |slice: &&Slice| slice.renewed.elapsed() >= age || slice.until <= due;
        let lease = |(no, slice): (&SliceNo, &Slice)| Lease { slice: *no, epoch: slice.epoch };
        self.0.iter().filter(|(_, slice)| old(slice)).map(lease).collect()
    }

    /// The clock was set back.
    pub(super) fn set_back(&mut self, step: SetBack) {
        for slice in self.0.values_mut() {
            let waiting = std::mem::take(&mut slice.waiting);
            slice.waiting = waiting.into_iter().map(|((at, n), item)| ((step.moved(at), n), item)).collect();
        }
    }

    /// When the next waiting item is due.
    pub(super) fn next_due(&self) -> Option<DateTime<Utc>> {
        self.0.values().filter_map(|slice| slice.waiting.keys().next().map(|(at, _)| *at)).min()
    }

    /// No lease is held.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Slice {
    fn wait(&mut self, item: OpenItem) {
        match (item.refused_at, item.not_before) {
            (Some(at), _) => {
                self.refused.insert(item.index, at);
            }
            (None, Some(at)) => {
                self.waiting.insert((at, item.index), item);
            }
            (None, None) => self.ready.push_back(item),
        }
    }

    fn wake(&mut self, now: DateTime<Utc>) {
        while let Some(first) = self.waiting.first_entry()
            && first.key().0 <= now
        {
            // What waited goes before what is fresh.
            self.ready.push_front(first.remove());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn item(index: i64, not_before: Option<i64>) -> OpenItem {
        let (key, not_before) = (index.to_string(), not_before.map(at));
        OpenItem { index, key, columns: None, attempts: 0, recorded: 0, not_before, refused_at: None }
    }

    fn held(items: Vec<OpenItem>) -> Held {
        let mut held = Held::default();
        held.insert(LeasedSlice { no: SliceNo(7), epoch: Epoch(3), items }, at(10));
        held
    }

    fn indexes(held: &mut Held, now: i64) -> Vec<i64> {
        std::iter::from_fn(|| held.start_next(at(now)).map(|(_, item)| item.index)).collect()
    }

    #[test]
    fn what_waited_and_is_due_goes_first() {
        let mut held = held(vec![item(0, None), item(1, Some(5)), item(2, Some(9))]);
        assert_eq!(indexes(&mut held, 5), [1, 0]);
        assert_eq!(held.next_due(), Some(at(9)));
    }

    #[test]
    fn a_slice_is_parked_only_when_all_that_is_left_waits() {
        let mut held = held(vec![item(0, None)]);
        assert_eq!(held.park(at(0), Duration::ZERO), []);
        let (no, first) = held.start_next(at(0)).unwrap();
        assert_eq!(held.park(at(0), Duration::ZERO), []);
        held.put_back(no, OpenItem { not_before: Some(at(60)), ..first });
        assert_eq!(held.park(at(0), Duration::from_secs(90)), []);
        let parked = held.park(at(0), Duration::from_secs(1));
        assert_eq!(
            parked,
            [LeaseWrite {
                slice: SliceNo(7),
                epoch: Epoch(3),
                hold: Hold::Release { ready_at: Some(at(60)) }
            }]
        );
        assert!(held.is_empty());
    }

    #[test]
    fn what_was_refused_is_neither_started_nor_parked_before_it_is_final() {
        let mut held = held(vec![item(0, None), item(1, None), item(2, Some(60))]);
        for refused_at in [5, 7] {
            let (lease, item) = held.start_next(at(0)).unwrap();
            held.put_back(lease, OpenItem { refused_at: Some(at(refused_at)), ..item });
        }
        assert!(indexes(&mut held, 0).is_empty());
        assert_eq!((held.refused(), held.next_due()), (2, Some(at(60))));
        assert_eq!(held.park(at(0), Duration::ZERO), []);
        let until = |held: &Held, seconds| held.refused_until(at(seconds)).len();
        assert_eq!([4, 5, 6, 7].map(|seconds| until(&held, seconds)), [0, 1, 1, 2]);
        for (lease, index) in held.refused_until(at(7)) {
            held.drop_done();
            held.finish_refused(lease, index);
        }
        assert_eq!((held.refused(), held.park(at(0), Duration::ZERO).len()), (0, 1));
    }

    #[test]
    fn a_slice_of_refused_items_alone_stays_until_it_is_given_back_and_is_then_ready_at_once() {
        let refused = OpenItem { refused_at: Some(at(5)), ..item(0, None) };
        let mut held = held(vec![refused, item(1, Some(60))]);
        held.drop_done();
        assert_eq!(held.give_back()[0].hold, Hold::Release { ready_at: None });
    }

    #[test]
    fn what_is_given_back_while_items_are_ready_is_ready_at_once() {
        let mut held = held(vec![item(0, None), item(1, Some(5))]);
        assert_eq!(held.give_back()[0].hold, Hold::Release { ready_at: None });
    }

    #[test]
    fn a_slice_under_way_is_not_given_back() {
        let mut held = held(vec![item(0, None)]);
        let (no, item) = held.start_next(at(0)).unwrap();
        assert_eq!(held.give_back(), []);
        held.put_first(no, item);
        assert_eq!(held.give_back().len(), 1);
    }

    #[test]
    fn a_done_slice_is_dropped_and_a_lost_one_forgotten() {
        let mut held = held(vec![item(0, None)]);
        let (no, _) = held.start_next(at(0)).unwrap();
        held.drop_done();
        assert!(held.holds(no));
        held.finish(no);
        held.drop_done();
        assert!(!held.holds(no));
        held.put_back(no, item(0, None));
        assert!(held.is_empty());
    }

    #[test]
    fn what_ends_under_an_old_lease_does_not_touch_the_new_one() {
        let mut held = held(vec![item(0, None)]);
        let (old, first) = held.start_next(at(0)).unwrap();
        held.insert(LeasedSlice { no: old.slice, epoch: Epoch(4), items: vec![item(0, None)] }, at(10));
        held.finish(old);
        held.put_first(old, first);
        held.lose(old);
        assert_eq!(indexes(&mut held, 0), [0], "the new lease has its item once");
    }

    #[test]
    fn who_waits_does_not_wait_for_a_clock_that_was_set_back() {
        let mut held = held(vec![item(0, Some(3_605)), item(1, Some(8))]);
        held.set_back(SetBack { by: TimeDelta::hours(1), from: at(3_600) });
        assert_eq!(held.next_due(), Some(at(5)));
        assert_eq!(indexes(&mut held, 5), [0]);
        assert_eq!(held.next_due(), Some(at(8)));
    }

    #[test]
    fn leases_are_renewed_by_age_and_by_the_wall_clock() {
        let held = held(vec![item(0, None)]);
        let minute = Duration::from_secs(60);
        assert_eq!(held.to_renew(minute, at(9)), []);
        assert_eq!(held.to_renew(minute, at(10)).len(), 1);
        assert_eq!(held.to_renew(Duration::ZERO, at(0)).len(), 1);
    }
}
