//! Damaged filters: whatever comes, the parser answers, within its bounds.

use super::*;
use crate::damage;

const FILTERS: [&str; 7] = [
    "state = RUNNING AND (labels.team:infra OR labels.\"a b\" = 'x \\' y') AND NOT kind = REDECODE",
    "create_time >= 2026-02-28T15:00:00Z AND -end_time < \"2026-03-01T00:00:00.5+09:00\"",
    "((((((((display_name != \"日本\"))))))))",
    "labels:team AND labels.app.example.org/name:* OR name = batches/nightly",
    "error.failure_class = TEMPORARY OR error.http_status >= 500 AND attempt_count > -3",
    "key >= '1301' AND key < \"14\" AND update_time > 2026-02-28T15:00:00Z AND skip_reason = NO_KEPT_BODY",
    "origin = \"https://api.example\" AND breaker.state != CLOSED OR hold_cause = OPERATOR AND live_batches > 0",
];

fn depth<F>(condition: &Condition<F>) -> usize {
    let deepest = |all: &[Condition<F>]| all.iter().map(depth).max().unwrap_or(0);
    match condition {
        Condition::All(all) | Condition::Any(all) => deepest(all) + 1,
        Condition::Not(inner) => depth(inner) + 1,
        Condition::Compare { .. } | Condition::Label { .. } => 1,
    }
}

fn check<F: Field>(text: &str) {
    match Filter::<F>::parse(text) {
        Ok(filter) => {
            assert!(text.len() <= FILTER_BYTES_MAX, "{} bytes", text.len());
            // Each level of parentheses may hold an AND, an OR and a NOT.
            assert!(filter.condition().map_or(0, depth) <= 4 * (FILTER_DEPTH_MAX + 1), "{text}");
        }
        Err(error) => {
            assert!((1..=text.chars().count() + 1).contains(&error.column), "{text}: {error}");
            assert!(!error.problem.is_empty());
        }
    }
}

#[test]
fn a_damaged_filter_is_read_or_refused_within_bounds() {
    damage::run("filter", 5_000, |damage| {
        let mut bytes = damage.one(&FILTERS).as_bytes().to_vec();
        for _ in 0..damage.below(4) {
            let other = damage.one(&[" AND ", " OR ", "(", ")", "NOT ", "-", "\"", "\\", ":", "state = "]);
            let at = damage.below(bytes.len() + 1);
            bytes.splice(at..at, other.bytes());
        }
        let bytes = if damage.chance(70) { damage.bytes(&bytes) } else { bytes };
        let text = String::from_utf8_lossy(&bytes);
        check::<BatchField>(&text);
        check::<ItemField>(&text);
        check::<UpstreamField>(&text);
    });
}

#[test]
fn a_filter_cut_anywhere_is_answered() {
    for text in FILTERS {
        for (at, _) in text.char_indices() {
            check::<BatchField>(&text[..at]);
            check::<ItemField>(&text[at..]);
        }
    }
}

#[test]
fn floods_are_refused_or_read_without_depth() {
    for flood in
        ["(", ")", "NOT ", "-", "\"", "\\", ".", "labels.", "state = PAUSED AND ", "a=", " ", "\u{0}"]
    {
        for bytes in [100, FILTER_BYTES_MAX, 100_000] {
            check::<BatchField>(&flood.repeat(bytes / flood.len()));
        }
    }
}
