//! One snapshot for many watchers, encoded once.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{Snapshot, locked};

/// A snapshot, with what the doors made of it: a view is encoded by the first watcher that is to be told, and the bytes
/// are the others' too.
#[derive(Debug)]
pub struct Shared {
    snapshot: Snapshot,
    made_at: Instant,
    encoded: Mutex<Vec<(i32, Bytes)>>,
    encodings: Arc<AtomicU64>,
}

impl Shared {
    pub(super) fn new(snapshot: Snapshot, encodings: Arc<AtomicU64>) -> Self {
        Self { snapshot, made_at: Instant::now(), encoded: Mutex::default(), encodings }
    }

    /// One that is told to a single watcher.
    pub fn alone(snapshot: Snapshot) -> Self {
        Self::new(snapshot, Arc::default())
    }

    /// The snapshot.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Its bytes in a view, made by `encode` if nobody asked for them before.
    pub fn encoded(&self, view: i32, encode: impl FnOnce(&Snapshot) -> Bytes) -> Bytes {
        let mut encoded = locked(&self.encoded);
        if let Some((_, bytes)) = encoded.iter().find(|(known, _)| *known == view) {
            return bytes.clone();
        }
        let bytes = encode(&self.snapshot);
        self.encodings.fetch_add(1, Ordering::Relaxed);
        encoded.push((view, bytes.clone()));
        bytes
    }

    pub(super) fn serves(&self, revision: i64, age_max: Duration) -> bool {
        self.snapshot.batch.revision >= revision && self.made_at.elapsed() <= age_max
    }
}
