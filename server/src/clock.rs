//! The one place that reads the wall clock. Code that decides what is fetched gets the time as a parameter; this is
//! for stamps, leases and pacing.

use chrono::{DateTime, Utc};

/// The time, to the millisecond that stores hold.
#[allow(clippy::disallowed_methods)]
pub fn now() -> DateTime<Utc> {
    let now = Utc::now();
    DateTime::from_timestamp_millis(now.timestamp_millis()).unwrap_or(now)
}
