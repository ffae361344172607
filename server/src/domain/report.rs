//! What a batch came to, for people who come afterwards.

use std::time::Duration;

use super::failure::FailureClass;

/// Failed items with one class, reason and status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureGroup {
    /// The class.
    pub class: FailureClass,
    /// The stable word.
    pub reason: String,
    /// HTTP status, where a reply came.
    pub http_status: Option<u16>,
    /// How many.
    pub items: i64,
    /// Some of their keys, at most [`SAMPLE_KEYS_MAX`], by index.
    pub sample_keys: Vec<String>,
}

/// Most keys of a group.
pub const SAMPLE_KEYS_MAX: usize = 5;
/// Most children that a report names.
pub const CHILDREN_MAX: usize = 1_000;
/// Most groups of a report.
pub const GROUPS_MAX: usize = 1_000;

/// Shortest time in which `requests` may be sent at a rate with a burst.
pub fn floor(requests: i64, rate_per_s: f64, burst: u32) -> Duration {
    let beyond_burst = (requests - i64::from(burst)).max(0) as f64;
    Duration::try_from_secs_f64(beyond_burst / rate_per_s).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::floor;
    use std::time::Duration;

    #[test]
    fn the_burst_is_free() {
        assert_eq!(floor(20, 5.0, 20), Duration::ZERO);
        assert_eq!(floor(150, 5.0, 20), Duration::from_secs(26));
    }
}
