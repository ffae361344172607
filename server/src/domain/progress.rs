//! Figures of a batch: committed counts, and what can be estimated from them.

use std::time::Duration;

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

/// What the time until the end is estimated from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EstimateInput {
    /// Items not yet final.
    pub open: i64,
    /// Items with an outcome.
    pub outcomes: i64,
    /// Items becoming final per second, lately.
    pub items_per_s: f64,
    /// Requests per item so far, at least 1.
    pub requests_per_item: f64,
    /// Requests permitted per second.
    pub permitted_per_s: f64,
    /// What remains of a held gate.
    pub gate_wait: Duration,
}

/// Outcomes before which nothing is estimated.
const OUTCOMES_MIN: i64 = 10;

/// Time until the last item is expected to be final: the larger of what recent throughput says and what the permitted
/// rate allows, plus what remains of a held gate. Nothing before ten outcomes.
pub fn estimate(input: &EstimateInput) -> Option<Duration> {
    if input.outcomes < OUTCOMES_MIN || input.open < 0 {
        return None;
    }
    let open = input.open as f64;
    let by_throughput = (input.items_per_s > 0.0).then(|| open / input.items_per_s);
    let by_rate = (input.permitted_per_s > 0.0)
        .then(|| open * input.requests_per_item.max(1.0) / input.permitted_per_s);
    let seconds = match (by_throughput, by_rate) {
        (Some(a), Some(b)) => a.max(b),
        (Some(a), None) | (None, Some(a)) => a,
        (None, None) => return None,
    };
    let wait = Duration::try_from_secs_f64(seconds).ok()?;
    // A time beyond a century is no estimate.
    (wait < Duration::from_secs(100 * 366 * 86_400)).then(|| wait + input.gate_wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn percentage_is_rounded_down_and_leaves_cancels_out() {
        let counts = |total, succeeded, canceled| Counts { total, succeeded, canceled, ..Counts::default() };
        assert!((percentage(&counts(3, 1, 0), false) - 33.33).abs() < 1e-9);
        assert!((percentage(&counts(10, 5, 5), false) - 50.0).abs() < 1e-9);
        assert!((percentage(&counts(10, 10, 0), false) - 99.99).abs() < 1e-9);
        assert!((percentage(&counts(0, 0, 0), true) - 100.0).abs() < 1e-9);
        assert!(percentage(&counts(0, 0, 0), false).abs() < 1e-9);
    }

    fn input() -> EstimateInput {
        EstimateInput {
            open: 100,
            outcomes: 50,
            items_per_s: 10.0,
            requests_per_item: 1.0,
            permitted_per_s: 5.0,
            gate_wait: Duration::from_secs(7),
        }
    }

    #[test]
    fn the_slower_of_throughput_and_rate_decides_and_the_gate_is_added() {
        assert_eq!(estimate(&input()), Some(Duration::from_secs(27)));
        assert_eq!(
            estimate(&EstimateInput { permitted_per_s: 100.0, ..input() }),
            Some(Duration::from_secs(17))
        );
        assert_eq!(estimate(&EstimateInput { outcomes: 9, ..input() }), None);
    }

    proptest! {
        #[test]
        fn an_estimate_never_promises_more_than_the_permitted_rate(
            open in 0i64..10_000_000, items_per_s in 0.0f64..1e6, permitted_per_s in 0.001f64..1e6,
        ) {
            let estimated = estimate(&EstimateInput { open, items_per_s, permitted_per_s, gate_wait: Duration::ZERO, ..input() });
            if let Some(wait) = estimated {
                prop_assert!(wait.as_secs_f64() + 1e-6 >= open as f64 / permitted_per_s);
            }
        }
    }
}
