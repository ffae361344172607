//! When a batch runs, beside which others, and when it is given up: defaults and bounds of docs/contract.md.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use haul_proto::v1;

use super::{Faults, time};
use crate::domain::spec::{BatchSpec, FailurePolicy, Overlap, OverlapPolicy, UploadedItems};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const TEN_YEARS: Duration = Duration::from_secs(3_652 * 86_400);
const OVERLAP_KEY_BYTES_MAX: usize = 256;
/// What a bound is by default that a batch need not have.
const NONE: &str = "none";
const LABELS_MAX: usize = 64;
const LABEL_VALUE_BYTES_MAX: usize = 256;

/// A lower-case word such as `all_stocks`.
pub(super) fn is_word(text: &str) -> bool {
    text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

pub(super) fn labels(labels: &BTreeMap<String, String>, faults: &mut Faults) {
    if labels.len() > LABELS_MAX {
        faults.add("spec.labels", format!("has {} entries, more than {LABELS_MAX}", labels.len()));
    }
    for (key, value) in labels {
        let well_formed = (1..=63).contains(&key.len())
            && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_./-".contains(&b));
        if !well_formed {
            faults.add("spec.labels", format!("key {key:?} is not [a-z0-9_./-]{{1,63}}"));
        }
        if value.len() > LABEL_VALUE_BYTES_MAX {
            let problem = format!("value has {} bytes, more than {LABEL_VALUE_BYTES_MAX}", value.len());
            faults.add(format!("spec.labels[{key}]"), problem);
        }
    }
}

pub(super) fn overlap(key: &str, policy: i32, faults: &mut Faults) -> Option<Overlap> {
    use v1::OverlapPolicy as Given;
    if key.len() > OVERLAP_KEY_BYTES_MAX {
        faults.add("spec.overlap_key", format!("has {} bytes, more than {OVERLAP_KEY_BYTES_MAX}", key.len()));
    }
    let policy = match Given::try_from(policy) {
        Ok(Given::Unspecified | Given::Skip) => OverlapPolicy::Skip,
        Ok(Given::BufferOne) => OverlapPolicy::BufferOne,
        Ok(Given::BufferAll) => OverlapPolicy::BufferAll,
        Ok(Given::CancelOther) => OverlapPolicy::CancelOther,
        Ok(Given::AllowAll) => OverlapPolicy::AllowAll,
        Err(_) => {
            faults.add("spec.overlap_policy", format!("{policy} is no overlap policy"));
            return None;
        }
    };
    if key.is_empty() {
        if policy != OverlapPolicy::Skip {
            faults.add("spec.overlap_policy", "needs spec.overlap_key: set the key, or leave the policy out");
        }
        return None;
    }
    Some(Overlap { key: key.to_owned(), policy })
}

pub(super) fn failure(given: &v1::FailurePolicy, faults: &mut Faults) -> FailurePolicy {
    let default = FailurePolicy::default();
    if let Some(items) = given.max_failed_items {
        faults.bounded("spec.failure.max_failed_items", items, &(0..=i64::MAX), NONE);
    }
    if let Some(ratio) = given.max_failed_ratio {
        faults.bounded("spec.failure.max_failed_ratio", ratio, &(0.0..=1.0), NONE);
    }
    FailurePolicy {
        failed_items_max: given.max_failed_items,
        failed_ratio_max: given.max_failed_ratio,
        processed_items_min: faults.number(
            "spec.failure.min_processed_items",
            given.min_processed_items,
            default.processed_items_min,
            1..=i64::MAX,
        ),
    }
}

pub(super) fn priority(given: i32, faults: &mut Faults) -> i32 {
    faults.number("spec.priority", Some(given), 0, -100..=100)
}

pub(super) fn not_before(
    given: Option<&prost_types::Timestamp>,
    faults: &mut Faults,
) -> Option<DateTime<Utc>> {
    let instant = time::instant(given?).filter(super::in_range);
    if instant.is_none() {
        faults.add("spec.not_before", "is not an instant from 1900 to 9999");
    }
    instant
}

pub(super) fn max_duration(given: Option<&prost_types::Duration>, faults: &mut Faults) -> Option<Duration> {
    faults.span("spec.max_duration", given?, Duration::from_secs(1)..=TEN_YEARS, NONE)
}

pub(super) fn retention(given: Option<&prost_types::Duration>, faults: &mut Faults) -> Duration {
    faults.duration("spec.retention", given, BatchSpec::RETENTION, HOUR..=TEN_YEARS)
}

pub(super) fn uploaded(given: &v1::UploadedItems, faults: &mut Faults) -> UploadedItems {
    let expected = "spec.uploaded_items.expected_items";
    UploadedItems {
        expected_items: faults.number(expected, Some(given.expected_items), 0, 0..=1_000_000_000),
        open_ttl: faults.duration(
            "spec.uploaded_items.open_ttl",
            given.open_ttl.as_ref(),
            DAY,
            MINUTE..=7 * DAY,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_out_of_bounds_is_named() {
        let mut faults = Faults::default();
        overlap(&"k".repeat(257), 0, &mut faults);
        overlap("k", 6, &mut faults);
        overlap("", v1::OverlapPolicy::AllowAll.into(), &mut faults);
        let given = v1::FailurePolicy {
            max_failed_items: Some(-1),
            max_failed_ratio: Some(f64::NAN),
            min_processed_items: Some(0),
        };
        failure(&given, &mut faults);
        priority(101, &mut faults);
        not_before(Some(&prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }), &mut faults);
        let negative = prost_types::Duration { seconds: -1, nanos: 0 };
        max_duration(Some(&negative), &mut faults);
        retention(Some(&negative), &mut faults);
        uploaded(&v1::UploadedItems { expected_items: -1, open_ttl: Some(negative) }, &mut faults);
        let fields: Vec<_> = faults.0.into_iter().map(|violation| violation.field).collect();
        assert_eq!(
            fields,
            [
                "spec.overlap_key",
                "spec.overlap_policy",
                "spec.overlap_policy",
                "spec.failure.max_failed_items",
                "spec.failure.max_failed_ratio",
                "spec.failure.min_processed_items",
                "spec.priority",
                "spec.not_before",
                "spec.max_duration",
                "spec.retention",
                "spec.uploaded_items.expected_items",
                "spec.uploaded_items.open_ttl",
            ]
        );
    }

    #[test]
    fn what_is_out_of_bounds_is_said_with_the_bounds_and_the_default() {
        let mut faults = Faults::default();
        let given = v1::FailurePolicy { max_failed_items: Some(-1), ..v1::FailurePolicy::default() };
        failure(&given, &mut faults);
        let none = prost_types::Duration::default();
        max_duration(Some(&none), &mut faults);
        retention(Some(&none), &mut faults);
        let problems: Vec<_> = faults.0.into_iter().map(|violation| violation.problem).collect();
        assert_eq!(
            problems,
            [
                "-1 is not 0 to 9223372036854775807 (default none)",
                "0s is not 1s to 315532800s = 3652 d (default none)",
                "0s is not 3600s to 315532800s = 3652 d (default 2592000s = 30 d)",
            ]
        );
    }

    #[test]
    fn absent_policies_never_end_a_batch() {
        let mut faults = Faults::default();
        assert_eq!(failure(&v1::FailurePolicy::default(), &mut faults), FailurePolicy::default());
        assert_eq!(overlap("", 0, &mut faults), None);
        assert_eq!(overlap("k", 0, &mut faults).unwrap().policy, OverlapPolicy::Skip);
        assert_eq!(max_duration(None, &mut faults), None);
        assert_eq!(retention(None, &mut faults), BatchSpec::RETENTION);
        assert!(faults.0.is_empty());
    }
}
