//! Whose turn it is at a gate: start-time fair queueing (P. Goyal, H. M. Vin, H. Cheng: Start-time Fair Queuing, ACM
//! SIGCOMM 1996), with a permit as the packet.
//!
//! A lane whose requests wait has a start tag; the lowest is next, and the lane's next tag lies 1 / weight further on.
//! Virtual time is the tag that was served last. A lane that comes back starts there, so it has saved nothing up. While
//! two lanes wait, their permits divided by their weights never differ by more than one permit of each (theorem 1).

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use tokio::sync::Notify;

/// The lanes of a gate and who waits in each. Every step costs the logarithm of how many there are.
#[derive(Default)]
pub(super) struct Turns {
    queues: HashMap<usize, Queue>,
    /// Lanes that could take a permit, by start tag, then by arrival.
    order: BTreeSet<Place>,
    /// Virtual time.
    now: Tag,
    arrivals: u64,
    waiting: usize,
}

struct Queue {
    weight: f64,
    /// Where its next tag begins at the earliest.
    finish: Tag,
    place: Option<Place>,
    /// In order of arrival, each with what wakes it.
    waiters: BTreeMap<u64, Arc<Notify>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    start: Tag,
    arrival: u64,
    lane: usize,
}

/// Virtual time; never NaN.
#[derive(Debug, Clone, Copy, Default)]
struct Tag(f64);

impl Ord for Tag {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Tag {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Tag {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Tag {}

impl Turns {
    /// A lane of some weight, above zero.
    pub(super) fn open(&mut self, lane: usize, weight: f64) {
        let queue = Queue { weight, finish: Tag::default(), place: None, waiters: BTreeMap::new() };
        self.queues.insert(lane, queue);
    }

    /// The lane is gone, and with it whoever waited there.
    pub(super) fn close(&mut self, lane: usize) {
        self.step_back(lane);
        if let Some(queue) = self.queues.remove(&lane) {
            self.waiting -= queue.waiters.len();
        }
    }

    /// A request that waits, with its number and with what wakes it when it should look again.
    pub(super) fn join(&mut self, lane: usize) -> (u64, Arc<Notify>) {
        self.arrivals += 1;
        let woken = Arc::new(Notify::new());
        if let Some(queue) = self.queues.get_mut(&lane) {
            queue.waiters.insert(self.arrivals, Arc::clone(&woken));
            self.waiting += 1;
        }
        (self.arrivals, woken)
    }

    /// It waits no more; whoever is next looks.
    pub(super) fn leave(&mut self, lane: usize, waiter: u64) {
        let Some(queue) = self.queues.get_mut(&lane) else { return };
        if queue.waiters.remove(&waiter).is_none() {
            return;
        }
        self.waiting -= 1;
        if queue.waiters.is_empty() {
            self.step_back(lane);
        }
        self.wake_first(lane);
        self.wake_next();
    }

    /// Requests that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether it is the first of its lane.
    pub(super) fn is_first(&self, lane: usize, waiter: u64) -> bool {
        let first = self.queues.get(&lane).and_then(|queue| queue.waiters.first_key_value());
        first.is_some_and(|(first, _)| *first == waiter)
    }

    /// The lane could take a permit: it stands in the order from now on. Answers whether its turn is now.
    pub(super) fn step_in(&mut self, lane: usize) -> bool {
        if let Some(queue) = self.queues.get_mut(&lane)
            && queue.place.is_none()
        {
            self.arrivals += 1;
            let place = Place { start: self.now.max(queue.finish), arrival: self.arrivals, lane };
            queue.place = Some(place);
            self.order.insert(place);
        }
        self.order.first().is_some_and(|place| place.lane == lane)
    }

    /// The lane could take none if it were its turn: nobody waits for it.
    pub(super) fn step_back(&mut self, lane: usize) {
        if let Some(place) = self.queues.get_mut(&lane).and_then(|queue| queue.place.take()) {
            self.order.remove(&place);
        }
    }

    /// The first of the lane, whose turn it is, has a permit.
    pub(super) fn serve(&mut self, lane: usize, waiter: u64) {
        let Some(queue) = self.queues.get_mut(&lane) else { return };
        if let Some(place) = queue.place.take() {
            self.order.remove(&place);
            self.now = self.now.max(place.start);
            queue.finish = Tag(place.start.0 + 1.0 / queue.weight);
        }
        if queue.waiters.remove(&waiter).is_some() {
            self.waiting -= 1;
        }
    }

    /// Whether somebody waits in the lane.
    pub(super) fn has_waiters(&self, lane: usize) -> bool {
        self.queues.get(&lane).is_some_and(|queue| !queue.waiters.is_empty())
    }

    /// Has the first of a lane look.
    pub(super) fn wake_first(&self, lane: usize) {
        if let Some((_, woken)) = self.queues.get(&lane).and_then(|queue| queue.waiters.first_key_value()) {
            woken.notify_one();
        }
    }

    /// Has whoever's turn it is look.
    pub(super) fn wake_next(&self) {
        if let Some(place) = self.order.first() {
            self.wake_first(place.lane);
        }
    }

    /// Has everybody look.
    pub(super) fn wake_all(&self) {
        self.queues.values().flat_map(|queue| queue.waiters.values()).for_each(|woken| woken.notify_one());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Serves whoever is next; answers with the lane.
    fn next(turns: &mut Turns) -> Option<usize> {
        let lane = turns.order.first()?.lane;
        let waiter = *turns.queues[&lane].waiters.first_key_value()?.0;
        turns.serve(lane, waiter);
        if turns.has_waiters(lane) {
            turns.step_in(lane);
        }
        Some(lane)
    }

    fn wait(turns: &mut Turns, lane: usize, requests: usize) {
        for _ in 0..requests {
            turns.join(lane);
            turns.step_in(lane);
        }
    }

    #[test]
    fn twenty_of_priority_are_two_for_one() {
        let mut turns = Turns::default();
        turns.open(0, 1.0);
        turns.open(1, 2.0);
        wait(&mut turns, 0, 100);
        wait(&mut turns, 1, 100);
        let served: Vec<usize> = (0..60).map(|_| next(&mut turns).unwrap()).collect();
        assert_eq!(served.iter().filter(|lane| **lane == 1).count(), 40, "{served:?}");
    }

    #[test]
    fn a_lane_that_comes_back_has_saved_nothing_up() {
        let mut turns = Turns::default();
        turns.open(0, 1.0);
        turns.open(1, 1.0);
        wait(&mut turns, 0, 100);
        for _ in 0..50 {
            assert_eq!(next(&mut turns), Some(0));
        }
        wait(&mut turns, 1, 100);
        let served: Vec<usize> = (0..20).map(|_| next(&mut turns).unwrap()).collect();
        assert_eq!(served.iter().filter(|lane| **lane == 1).count(), 10, "{served:?}");
    }

    #[test]
    fn whoever_leaves_is_missed_by_nobody() {
        let mut turns = Turns::default();
        turns.open(0, 1.0);
        turns.open(1, 1.0);
        let (first, _) = turns.join(0);
        turns.step_in(0);
        let (second, _) = turns.join(0);
        wait(&mut turns, 1, 1);
        turns.leave(0, first);
        turns.leave(0, first);
        assert!(turns.is_first(0, second) && !turns.is_first(0, first));
        assert_eq!((turns.waiting(), next(&mut turns), next(&mut turns)), (2, Some(0), Some(1)));
        wait(&mut turns, 0, 3);
        turns.close(0);
        assert_eq!((turns.waiting(), next(&mut turns)), (0, None));
    }

    proptest! {
        /// Whoever waits over any window of services has had its share of it, to one permit of each. Lanes stand aside
        /// now and again, as one does whose own bucket is empty.
        #[test]
        fn over_any_window_in_which_two_wait_their_shares_are_those_of_their_weights(
            priorities in prop::collection::vec(-100i32..=100, 2..6),
            aside in prop::collection::vec((0usize..6, 1usize..30), 0..20),
        ) {
            let weights: Vec<f64> = priorities.iter().map(|priority| (f64::from(*priority) / 20.0).exp2()).collect();
            let mut turns = Turns::default();
            for (lane, weight) in weights.iter().enumerate() {
                turns.open(lane, *weight);
                wait(&mut turns, lane, 400);
            }
            let mut served = Vec::new();
            // Since when each has waited without standing aside.
            let mut since = vec![0; weights.len()];
            let mut aside = aside.into_iter();
            while served.len() < 300 {
                if served.len() % 25 == 24
                    && let Some((lane, services)) = aside.next()
                    && lane < weights.len()
                {
                    turns.step_back(lane);
                    for _ in 0..services {
                        served.extend(next(&mut turns));
                    }
                    turns.step_in(lane);
                    since[lane] = served.len();
                }
                served.extend(next(&mut turns));
            }
            for a in 0..weights.len() {
                for b in 0..a {
                    let bound = 1.0 / weights[a] + 1.0 / weights[b] + 1e-9;
                    let tail = &served[since[a].max(since[b])..];
                    // The difference over any window is that of two prefixes.
                    let (mut owed, mut least, mut most) = (0.0f64, 0.0f64, 0.0f64);
                    for lane in tail {
                        owed += if *lane == a { 1.0 / weights[a] } else { 0.0 };
                        owed -= if *lane == b { 1.0 / weights[b] } else { 0.0 };
                        (least, most) = (least.min(owed), most.max(owed));
                    }
                    prop_assert!(most - least <= bound, "{} > {bound}: {served:?}", most - least);
                }
            }
        }
    }
}
