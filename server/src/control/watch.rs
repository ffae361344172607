//! `WatchProgress`: snapshot first, conflated updates, heartbeat, terminal.
//!
//! A watch of one batch holds one receiver of the hub and what it sent last, a watch of many the same for each of them:
//! memory does not grow with the reader's slowness.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

use crate::{
    domain::{
        batch::{Batch, State},
        id::BatchId,
    },
    progress::{Entry, Shared},
    store::StoreError,
};

mod many;
mod one;

pub use many::{WATCHED_MAX, WatchError};

/// How a watch behaves. Intervals out of bounds are moved to the nearest bound.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Newest revisions that the client has.
    pub known_revisions: HashMap<BatchId, i64>,
    /// Least time between two updates of a batch; a change of state does not wait.
    pub min_interval: Option<Duration>,
    /// Silence after which a heartbeat is sent.
    pub heartbeat_interval: Option<Duration>,
}

const MIN_INTERVAL: (Duration, Duration, Duration) =
    (Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(60));
const HEARTBEAT_INTERVAL: (Duration, Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(15), Duration::from_secs(60));
/// Clients come back spread over so long.
const RECONNECT_MAX: Duration = Duration::from_secs(5);
/// A watch that begins is told estimates no older than this.
const FRESH: Duration = Duration::from_secs(1);
/// How long a client that knows more than this node is let wait for the node to catch up.
const BEHIND_MAX: Duration = Duration::from_secs(2);

/// What a watcher is told.
#[derive(Debug)]
pub enum Event {
    /// Full state, first of all.
    Snapshot(Arc<Shared>),
    /// Full state after a change, and how many changes it stands for beside its own.
    Update(Arc<Shared>, i64),
    /// Full state at the end. Nothing follows for this batch.
    Terminal(Arc<Shared>, i64),
    /// The first states were sent, or were known.
    InitialSyncDone,
    /// Nothing new.
    Heartbeat {
        /// Everything up to it has been told.
        revision: i64,
    },
    /// It matches no more, or is gone.
    Removed(BatchId),
    /// More match than one watch may have. Nothing follows.
    TooMany,
    /// The store did not answer. Nothing follows.
    Failed(StoreError),
    /// The node is leaving, or the connection is old: come back after that time. Nothing follows.
    Draining {
        /// Already spread over clients.
        reconnect_after: Duration,
    },
}

impl Event {
    fn draining() -> Self {
        Self::Draining { reconnect_after: RECONNECT_MAX.mul_f64(rand::random()) }
    }
}

fn bounded(asked: Option<Duration>, (min, default, max): (Duration, Duration, Duration)) -> Duration {
    asked.unwrap_or(default).clamp(min, max)
}

/// A batch that is followed.
struct Live {
    entry: Arc<Entry>,
    updates: watch::Receiver<Arc<Batch>>,
}

impl Live {
    fn new(entry: Arc<Entry>) -> Self {
        Self { updates: entry.subscribe(), entry }
    }
}

/// What the client has of a batch.
#[derive(Debug, Clone, Copy)]
struct Sent {
    revision: i64,
    state: State,
    /// When a state was sent last.
    at: Instant,
}

impl Sent {
    /// Changes passed over on the way to a revision.
    fn conflated(&self, revision: i64) -> i64 {
        (revision - self.revision - 1).max(0)
    }

    /// When a newer state may be told: a change of state at once.
    fn due(&self, state: State, min_interval: Duration) -> Instant {
        if state == self.state { self.at + min_interval } else { self.at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_out_of_bounds_is_moved_to_the_nearest() {
        let bounds = [
            (MIN_INTERVAL, [(None, 500), (Some(0), 100), (Some(250), 250), (Some(100_000), 60_000)]),
            (
                HEARTBEAT_INTERVAL,
                [(None, 15_000), (Some(0), 1_000), (Some(2_000), 2_000), (Some(90_000), 60_000)],
            ),
        ];
        for (bounds, cases) in bounds {
            for (asked, expected) in cases {
                let interval = bounded(asked.map(Duration::from_millis), bounds);
                assert_eq!(interval, Duration::from_millis(expected), "{asked:?}");
            }
        }
    }
}
