//! The fetch policy: defaults and bounds of docs/contract.md.

use std::time::Duration;

use haul_proto::v1;

use super::{Faults, FetchPolicy, OutagePolicy};

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3_600);
const TEN_YEARS: Duration = Duration::from_secs(3_652 * 86_400);
const USER_AGENT_BYTES_MAX: usize = 256;

pub(super) fn parse(
    given: v1::FetchPolicy,
    default_user_agent: &str,
    default_keep_bodies: Duration,
    faults: &mut Faults,
) -> FetchPolicy {
    let seconds = Duration::from_secs;
    let millis = Duration::from_millis;
    let initial_backoff = faults.duration(
        "spec.fetch.initial_backoff",
        given.initial_backoff.as_ref(),
        seconds(2),
        Duration::ZERO..=HOUR,
    );
    let max_backoff = faults.duration(
        "spec.fetch.max_backoff",
        given.max_backoff.as_ref(),
        seconds(300).max(initial_backoff),
        initial_backoff..=DAY,
    );
    let user_agent =
        if given.user_agent.is_empty() { default_user_agent.to_owned() } else { given.user_agent };
    if user_agent.len() > USER_AGENT_BYTES_MAX
        || !user_agent.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
    {
        let problem =
            format!("{user_agent:?} is not at most {USER_AGENT_BYTES_MAX} visible ASCII characters");
        faults.add("spec.fetch.user_agent", problem);
    }
    FetchPolicy {
        workers: faults.number("spec.fetch.workers", given.workers, 10, 1..=10_000) as u32,
        attempt_timeout: faults.duration(
            "spec.fetch.attempt_timeout",
            given.attempt_timeout.as_ref(),
            seconds(30),
            millis(100)..=HOUR,
        ),
        attempts_max: faults.number("spec.fetch.max_attempts", given.max_attempts, 4, 1..=20) as u32,
        initial_backoff,
        backoff_multiplier: faults.number(
            "spec.fetch.backoff_multiplier",
            given.backoff_multiplier,
            2.0,
            1.0..=10.0,
        ),
        max_backoff,
        rate_per_s: faults.number(
            "spec.fetch.requests_per_second",
            given.requests_per_second,
            5.0,
            0.001..=1_000_000.0,
        ),
        burst: faults.number("spec.fetch.burst", given.burst, 20, 1..=100_000) as u32,
        body_bytes_max: faults.number(
            "spec.fetch.max_body_bytes",
            given.max_body_bytes,
            16 << 20,
            1 << 10..=1 << 30,
        ) as u64,
        commit_group_size: faults.number(
            "spec.fetch.commit_group_size",
            given.commit_group_size,
            10,
            1..=1_000,
        ) as u32,
        commit_group_interval: faults.duration(
            "spec.fetch.commit_group_interval",
            given.commit_group_interval.as_ref(),
            millis(250),
            Duration::ZERO..=seconds(10),
        ),
        user_agent,
        item_deadline: faults.duration(
            "spec.fetch.item_deadline",
            given.item_deadline.as_ref(),
            FetchPolicy::ITEM_DEADLINE,
            seconds(60)..=30 * DAY,
        ),
        keep_bodies: faults.duration(
            "spec.fetch.keep_bodies",
            given.keep_bodies.as_ref(),
            default_keep_bodies,
            Duration::ZERO..=TEN_YEARS,
        ),
        probe_items: faults.number(
            "spec.fetch.probe_items",
            given.probe_items,
            FetchPolicy::PROBE_ITEMS as i32,
            1..=10_000,
        ) as u32,
    }
}

pub(super) fn outage(given: v1::OutagePolicy, faults: &mut Faults) -> OutagePolicy {
    let default = OutagePolicy::default();
    OutagePolicy {
        hold: faults.duration("spec.outage.hold", given.hold.as_ref(), default.hold, Duration::ZERO..=DAY),
        auto_resume: given.auto_resume.unwrap_or(default.auto_resume),
        probe_interval: faults.duration(
            "spec.outage.probe_interval",
            given.probe_interval.as_ref(),
            default.probe_interval,
            Duration::from_secs(1)..=HOUR,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(given: v1::FetchPolicy) -> (FetchPolicy, Vec<String>) {
        let mut faults = Faults::default();
        let policy = parse(given, "haul/test", FetchPolicy::KEEP_BODIES, &mut faults);
        (policy, faults.0.into_iter().map(|violation| violation.field).collect())
    }

    #[test]
    fn an_empty_policy_is_the_tokyo_jobs() {
        let (policy, faults) = parsed(v1::FetchPolicy::default());
        assert!(faults.is_empty());
        assert_eq!(
            (policy.workers, policy.attempts_max, policy.burst, policy.commit_group_size),
            (10, 4, 20, 10)
        );
        assert_eq!(policy.attempt_timeout, Duration::from_secs(30));
        assert!((policy.rate_per_s - 5.0).abs() < f64::EPSILON);
        assert_eq!(policy.keep_bodies, 7 * DAY);
        assert_eq!(policy.user_agent, "haul/test");
    }

    #[test]
    fn every_number_out_of_bounds_is_named_zero_and_nan_included() {
        let negative = Some(prost_types::Duration { seconds: -1, nanos: 0 });
        let (_, faults) = parsed(v1::FetchPolicy {
            workers: Some(0),
            max_attempts: Some(21),
            backoff_multiplier: Some(f64::NAN),
            requests_per_second: Some(0.0),
            burst: Some(-1),
            max_body_bytes: Some(1),
            commit_group_size: Some(1_001),
            attempt_timeout: negative,
            initial_backoff: negative,
            max_backoff: negative,
            commit_group_interval: negative,
            keep_bodies: negative,
            user_agent: "a\nb".into(),
            probe_items: Some(0),
            item_deadline: negative,
        });
        assert_eq!(faults.len(), 15, "{faults:?}");
    }

    #[test]
    fn an_empty_outage_policy_is_the_contracts_and_its_bounds_are_named() {
        let mut faults = Faults::default();
        assert_eq!(outage(v1::OutagePolicy::default(), &mut faults), OutagePolicy::default());
        assert!(faults.0.is_empty());
        let negative = Some(prost_types::Duration { seconds: -1, nanos: 0 });
        let given = v1::OutagePolicy { hold: negative, probe_interval: negative, auto_resume: Some(false) };
        assert!(!outage(given, &mut faults).auto_resume);
        let fields: Vec<_> = faults.0.into_iter().map(|violation| violation.field).collect();
        assert_eq!(fields, ["spec.outage.hold", "spec.outage.probe_interval"]);
    }

    #[test]
    fn the_ceiling_is_not_below_the_first_wait() {
        let hour = Some(prost_types::Duration { seconds: 3_600, nanos: 0 });
        let (policy, faults) =
            parsed(v1::FetchPolicy { initial_backoff: hour, ..v1::FetchPolicy::default() });
        assert!(faults.is_empty());
        assert_eq!(policy.max_backoff, HOUR);
        let second = Some(prost_types::Duration { seconds: 1, nanos: 0 });
        let (_, faults) = parsed(v1::FetchPolicy { max_backoff: second, ..v1::FetchPolicy::default() });
        assert_eq!(faults, ["spec.fetch.max_backoff"]);
    }
}
