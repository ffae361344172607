//! The only reader of the wall clock here. What is rendered takes the time as a parameter.

use chrono::{DateTime, FixedOffset, Local};

/// Now, in the zone of the person who looks.
pub fn now() -> DateTime<FixedOffset> {
    Local::now().fixed_offset()
}
