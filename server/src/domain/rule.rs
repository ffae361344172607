//! A user's own word on replies: which ones mean a failure, and of what kind.

use std::{ops::RangeInclusive, time::Duration};

use serde::{Deserialize, Serialize};

use super::{failure::FailureClass, spec::optional_millis};

/// Most rules of a spec.
pub const RULES_MAX: usize = 32;
/// Most entries of a rule's `statuses`.
pub const STATUSES_MAX: usize = 16;
/// Longest pattern and longest pointer, in bytes.
pub const PATTERN_BYTES_MAX: usize = 1_024;
/// Longest reason.
pub const REASON_BYTES_MAX: usize = 64;
/// The reason of a rule that names none.
pub const RULE_MATCHED: &str = "RULE_MATCHED";

/// Replies that mean a failure of a certain class. Each condition that is set must hold; one is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureRule {
    /// As they were written, see [`statuses`]; empty means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<String>,
    /// Regular expression that is found in the body; empty means any body.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body_regex: String,
    /// JSON pointer to the value that it is looked for in; empty means the body.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub json_pointer: String,
    /// What it means.
    pub class: FailureClass,
    /// The failure's reason.
    pub reason: String,
    /// The upstream's gate is held, as after 429.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub holds_gate: bool,
    /// For how long, where the reply names no time.
    #[serde(
        default,
        rename = "retry_after_ms",
        with = "optional_millis",
        skip_serializing_if = "Option::is_none"
    )]
    pub retry_after: Option<Duration>,
}

/// The statuses that `404`, `4xx` or `500-599` means.
pub fn statuses(text: &str) -> Option<RangeInclusive<u16>> {
    let status = |text: &str| -> Option<u16> {
        let is_status = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|status| is_status && (100..=599).contains(status))
    };
    if let Some(hundred) = text.strip_suffix("xx") {
        let from = status(&format!("{hundred}00"))?;
        return Some(from..=from + 99);
    }
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let range = status(from)?..=status(to)?;
    (!range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_one_a_hundred_or_a_range() {
        for (text, range) in [
            ("404", Some(404..=404)),
            ("4xx", Some(400..=499)),
            ("500-599", Some(500..=599)),
            ("200-200", Some(200..=200)),
            ("599-500", None),
            ("099", None),
            ("600", None),
            ("6xx", None),
            ("0xx", None),
            ("4XX", None),
            ("40x", None),
            ("+40", None),
            ("4", None),
            ("4xx-5xx", None),
            ("400-", None),
            ("", None),
            (" 404", None),
        ] {
            assert_eq!(statuses(text), range, "{text:?}");
        }
    }
}
