//! The user's own classification of replies: bounds of docs/contract.md.

use std::time::Duration;

use haul_proto::v1;

use super::Faults;
use crate::{
    domain::{
        failure::FailureClass,
        rule::{
            FailureRule, PATTERN_BYTES_MAX, REASON_BYTES_MAX, RULE_MATCHED, RULES_MAX, STATUSES_MAX, statuses,
        },
    },
    fetch::classify,
};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn parse(given: Vec<v1::FailureRule>, faults: &mut Faults) -> Vec<FailureRule> {
    if given.len() > RULES_MAX {
        faults.add("spec.fetch.rules", format!("has {} rules, more than {RULES_MAX}", given.len()));
        return Vec::new();
    }
    given.into_iter().enumerate().filter_map(|(place, rule)| one(place, rule, faults)).collect()
}

/// Nothing where its class is no class, which is a fault.
fn one(place: usize, given: v1::FailureRule, faults: &mut Faults) -> Option<FailureRule> {
    let class = class(given.failure_class());
    let field = |name: &str| format!("spec.fetch.rules[{place}].{name}");
    if given.statuses.is_empty() && given.body_regex.is_empty() {
        let problem = "would match every reply: set statuses or body_regex, such as statuses: [\"404\"]";
        faults.add(format!("spec.fetch.rules[{place}]"), problem);
    }
    if given.statuses.len() > STATUSES_MAX {
        let problem = format!("has {} entries, more than {STATUSES_MAX}", given.statuses.len());
        faults.add(field("statuses"), problem);
    }
    for (nth, text) in given.statuses.iter().take(STATUSES_MAX).enumerate() {
        if statuses(text).is_none() {
            let problem =
                format!("{text:?} is no status from 100 to 599, such as \"404\", \"4xx\" or \"500-599\"");
            faults.add(format!("{}[{nth}]", field("statuses")), problem);
        }
    }
    patterns(&given, &field, faults);
    if class.is_none() {
        let problem = format!(
            "{} is no class of failures: FAILURE_CLASS_TEMPORARY, FAILURE_CLASS_PERMANENT or FAILURE_CLASS_SYSTEM is required",
            given.failure_class
        );
        faults.add(field("failure_class"), problem);
    }
    let reason = if given.reason.is_empty() { RULE_MATCHED.to_owned() } else { given.reason };
    if !is_reason(&reason) {
        let problem = format!("{reason:?} is not [A-Z][A-Z0-9_]*, at most {REASON_BYTES_MAX} characters");
        faults.add(field("reason"), problem);
    }
    if given.holds_gate && class.is_some_and(|class| class != FailureClass::Temporary) {
        faults.add(
            field("holds_gate"),
            "needs failure_class FAILURE_CLASS_TEMPORARY: set that, or leave this out",
        );
    }
    let retry_after = given.retry_after.as_ref().and_then(|wait| {
        if !given.holds_gate {
            faults.add(field("retry_after"), "needs holds_gate: set that, or leave this out");
        }
        faults.span(&field("retry_after"), wait, SECOND..=DAY, "as for 429: 60s, doubling to 900s")
    });
    Some(FailureRule {
        statuses: given.statuses,
        body_regex: given.body_regex,
        json_pointer: given.json_pointer,
        class: class?,
        reason,
        holds_gate: given.holds_gate,
        retry_after,
    })
}

fn patterns(given: &v1::FailureRule, field: &dyn Fn(&str) -> String, faults: &mut Faults) {
    let too_long = |text: &str| format!("has {} bytes, more than {PATTERN_BYTES_MAX}", text.len());
    if given.body_regex.len() > PATTERN_BYTES_MAX {
        faults.add(field("body_regex"), too_long(&given.body_regex));
    } else if let Err(problem) = classify::pattern(&given.body_regex) {
        faults.add(field("body_regex"), format!("{:?} {problem}", given.body_regex));
    }
    if given.json_pointer.len() > PATTERN_BYTES_MAX {
        faults.add(field("json_pointer"), too_long(&given.json_pointer));
    } else if classify::pointer(&given.json_pointer).is_none() {
        let problem = format!("{:?} is no JSON pointer, such as \"/error/code\"", given.json_pointer);
        faults.add(field("json_pointer"), problem);
    } else if !given.json_pointer.is_empty() && given.body_regex.is_empty() {
        faults.add(field("json_pointer"), "needs body_regex: set that, or leave this out");
    }
}

fn class(given: v1::FailureClass) -> Option<FailureClass> {
    match given {
        v1::FailureClass::Unspecified => None,
        v1::FailureClass::Temporary => Some(FailureClass::Temporary),
        v1::FailureClass::Permanent => Some(FailureClass::Permanent),
        v1::FailureClass::System => Some(FailureClass::System),
    }
}

fn is_reason(text: &str) -> bool {
    text.len() <= REASON_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> v1::FailureRule {
        v1::FailureRule {
            statuses: vec!["4xx".to_owned()],
            failure_class: v1::FailureClass::Temporary.into(),
            ..v1::FailureRule::default()
        }
    }

    fn said(given: v1::FailureRule) -> Vec<String> {
        let mut faults = Faults::default();
        parse(vec![rule(), given], &mut faults);
        faults.0.into_iter().map(|violation| format!("{}: {}", violation.field, violation.problem)).collect()
    }

    #[test]
    fn a_rule_is_kept_as_it_was_written_and_its_reason_has_a_default() {
        let given = v1::FailureRule {
            statuses: vec!["404".to_owned(), "500-599".to_owned()],
            body_regex: "quota".to_owned(),
            json_pointer: "/error/code".to_owned(),
            holds_gate: true,
            retry_after: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
            ..rule()
        };
        let mut faults = Faults::default();
        let rules = parse(vec![given.clone(), rule()], &mut faults);
        assert!(faults.0.is_empty());
        assert_eq!((&rules[0].statuses, &rules[0].body_regex), (&given.statuses, &given.body_regex));
        assert_eq!((rules[0].retry_after, rules[0].reason.as_str()), (Some(5 * SECOND), RULE_MATCHED));
        assert_eq!((rules[1].holds_gate, rules[1].retry_after), (false, None));
    }

    #[test]
    fn what_is_wrong_is_named_with_field_value_and_way_out() {
        let wait = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        for (given, expected) in [
            (v1::FailureRule { statuses: Vec::new(), ..rule() }, "rules[1]: would match every reply"),
            (
                v1::FailureRule { statuses: vec!["404".to_owned(); 17], ..rule() },
                "statuses: has 17 entries, more than 16",
            ),
            (
                v1::FailureRule { statuses: vec!["404".to_owned(), "40x".to_owned()], ..rule() },
                "statuses[1]: \"40x\" is no status from 100 to 599, such as",
            ),
            (
                v1::FailureRule { body_regex: "(quota".to_owned(), ..rule() },
                "body_regex: \"(quota\" is no regular expression: unclosed group",
            ),
            (v1::FailureRule { body_regex: "(?=x)".to_owned(), ..rule() }, "look-around"),
            (
                v1::FailureRule { body_regex: r"\pL{1000}{100}".to_owned(), ..rule() },
                "bytes compiled: repeat less",
            ),
            (
                v1::FailureRule { body_regex: "x".repeat(1_025), ..rule() },
                "body_regex: has 1025 bytes, more than 1024",
            ),
            (
                v1::FailureRule { json_pointer: "/code".to_owned(), ..rule() },
                "json_pointer: needs body_regex",
            ),
            (
                v1::FailureRule { json_pointer: "code".to_owned(), body_regex: "x".to_owned(), ..rule() },
                "json_pointer: \"code\" is no JSON pointer, such as",
            ),
            (
                v1::FailureRule { json_pointer: "/a~2".to_owned(), body_regex: "x".to_owned(), ..rule() },
                "is no JSON pointer",
            ),
            (
                v1::FailureRule { failure_class: 0, ..rule() },
                "failure_class: 0 is no class of failures: FAILURE_CLASS_TEMPORARY,",
            ),
            (v1::FailureRule { failure_class: 9, ..rule() }, "failure_class: 9 is no class"),
            (v1::FailureRule { reason: "quota".to_owned(), ..rule() }, "reason: \"quota\" is not [A-Z]"),
            (v1::FailureRule { reason: "Q".repeat(65), ..rule() }, "at most 64 characters"),
            (
                v1::FailureRule {
                    holds_gate: true,
                    failure_class: v1::FailureClass::Permanent.into(),
                    ..rule()
                },
                "holds_gate: needs failure_class FAILURE_CLASS_TEMPORARY",
            ),
            (v1::FailureRule { retry_after: wait(5), ..rule() }, "retry_after: needs holds_gate"),
            (
                v1::FailureRule { retry_after: wait(0), holds_gate: true, ..rule() },
                "retry_after: 0s is not 1s to 86400s = 1 d (default as for 429",
            ),
        ] {
            let said = said(given);
            assert!(said.len() == 1 && said[0].contains(expected), "{expected}: {said:?}");
            assert!(said[0].starts_with("spec.fetch.rules[1]"), "{said:?}");
        }
        let mut faults = Faults::default();
        parse(vec![rule(); 33], &mut faults);
        assert_eq!(faults.0[0].problem, "has 33 rules, more than 32");
    }
}
