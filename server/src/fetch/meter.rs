//! What one attempt cost.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicI64, AtomicU32, Ordering},
};

use chrono::{DateTime, Utc};

use crate::clock;

/// Counts requests sent and bytes received, quick tries included.
#[derive(Debug, Default)]
pub struct Meter {
    began: Arc<OnceLock<DateTime<Utc>>>,
    requests: AtomicU32,
    bytes_received: AtomicI64,
}

impl Meter {
    /// When the first request was sent, for whoever looks on; not set before.
    pub fn began(&self) -> &Arc<OnceLock<DateTime<Utc>>> {
        &self.began
    }

    /// Requests sent.
    pub fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Body bytes received.
    pub fn bytes_received(&self) -> i64 {
        self.bytes_received.load(Ordering::Relaxed)
    }

    /// Both figures so far; it counts from zero again.
    pub fn take(&self) -> (u32, i64) {
        (self.requests.swap(0, Ordering::Relaxed), self.bytes_received.swap(0, Ordering::Relaxed))
    }

    pub(super) fn sent(&self) {
        self.began.get_or_init(clock::now);
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted did not get as far as the upstream.
    pub(super) fn unsent(&self) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn received(&self, bytes: i64) {
        self.bytes_received.fetch_add(bytes, Ordering::Relaxed);
    }
}
