//! Figures of a batch: committed counts, and what can be estimated from them.

/// Committed figures, exact at the batch's revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Items known so far, duplicates left out.
    pub total: i64,
    /// Items whose key came before, left out.
    pub duplicates: i64,
    /// Items that succeeded.
    pub succeeded: i64,
    /// Items that failed.
    pub failed: i64,
    /// Items left out by rule.
    pub skipped: i64,
    /// Items canceled.
    pub canceled: i64,
    /// Open items that came back from an attempt and may wait for their time.
    pub returned: i64,
    /// Records committed to datasets.
    pub records: i64,
    /// Of these, records that existed before with other values.
    pub records_changed: i64,
    /// Body bytes received.
    pub bytes_received: i64,
    /// Requests sent, the source's own included.
    pub requests: i64,
    /// Charged attempts beyond each item's first.
    pub retried_attempts: i64,
    /// Items that ended FAILED, by class, in the order of `FailureClass::ALL`.
    pub failed_items_by_class: [i64; 3],
    /// Attempts that failed, by class, in the same order.
    pub failed_attempts_by_class: [i64; 3],
}

impl Counts {
    /// Items in a final state.
    pub fn processed(&self) -> i64 {
        self.succeeded + self.failed + self.skipped + self.canceled
    }

    /// Items not yet final.
    pub fn open(&self) -> i64 {
        self.total - self.processed()
    }
}

/// Share of items that came to an outcome, 0 to 100, rounded down to 0.01. 100 only for a completed batch.
pub fn percentage(counts: &Counts, completed: bool) -> f64 {
    if completed {
        return 100.0;
    }
    let done = counts.processed() - counts.canceled;
    if counts.total <= 0 {
        return 0.0;
    }
    let hundredths = (i128::from(done) * 10_000 / i128::from(counts.total)).clamp(0, 9_999);
    hundredths as f64 / 100.0
}

/// How fast a batch goes, over about the last minute.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Throughput {
    /// Items becoming final per minute.
    pub items_per_min: f64,
    /// Records committed per minute.
    pub records_per_min: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentage_is_rounded_down_and_leaves_cancels_out() {
        let counts = |total, succeeded, canceled| Counts { total, succeeded, canceled, ..Counts::default() };
        assert!((percentage(&counts(3, 1, 0), false) - 33.33).abs() < 1e-9);
        assert!((percentage(&counts(10, 5, 5), false) - 50.0).abs() < 1e-9);
        assert!((percentage(&counts(10, 10, 0), false) - 99.99).abs() < 1e-9);
        assert!((percentage(&counts(0, 0, 0), true) - 100.0).abs() < 1e-9);
        assert!(percentage(&counts(0, 0, 0), false).abs() < 1e-9);
    }
}
