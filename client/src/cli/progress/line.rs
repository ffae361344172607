//! What progress says, one line at a time. Nothing here draws.

use chrono::{DateTime, FixedOffset};
use haul_proto::v1::{Batch, FailureGroup, Progress, batch::State, host_pressure::Cause};

use crate::cli::{label, number, time};

/// A batch in one line: `12:03:04 RUNNING 1,234/4,430 27.85% 12,000 items/min, 3 failed, ETA 12:05:10`.
pub(super) fn plain(batch: &Batch, now: DateTime<FixedOffset>) -> String {
    format!("{} {}", now.format("%H:%M:%S"), standing(batch, now))
}

/// The same without the time of day.
pub(crate) fn standing(batch: &Batch, now: DateTime<FixedOffset>) -> String {
    let progress = progress(batch);
    let mut parts = vec![format!(
        "{} {} {}",
        label::batch_state_with_cause(batch),
        counts(&progress),
        number::percentage(progress.percentage)
    )];
    if batch.state() == State::Running {
        parts[0].push(' ');
        parts[0].push_str(&items_per_minute(&progress));
    }
    let without_success = number::tally(&[
        (progress.failed_items, "failed"),
        (progress.skipped_items, "skipped"),
        (progress.canceled_items, "canceled"),
    ]);
    parts.extend(Some(without_success).filter(|counts| !counts.is_empty()));
    parts.extend(eta(&progress, now));
    parts.join(", ")
}

/// Items that came to an outcome, as the percentage counts them: what was canceled is final and did not.
pub(crate) fn done(progress: &Progress) -> i64 {
    progress.processed_items - progress.canceled_items
}

/// `1,234/4,430`, with a `+` while the total may still grow.
pub(super) fn counts(progress: &Progress) -> String {
    format!(
        "{}/{}{}",
        number::count(done(progress)),
        number::count(progress.total_items),
        if progress.total_is_partial { "+" } else { "" }
    )
}

/// Elapsed time, rates, estimated end; of a batch that does not run, its state and why.
pub(super) fn pace(batch: &Batch, now: DateTime<FixedOffset>) -> String {
    let progress = progress(batch);
    let mut parts = Vec::new();
    if batch.state() != State::Running {
        parts.push(label::batch_state_with_cause(batch));
    }
    if let Some(elapsed) = batch
        .start_time
        .as_ref()
        .and_then(time::instant)
        .and_then(|start| (now.to_utc() - start).to_std().ok())
    {
        // Whole seconds: the tenths would only flicker.
        let elapsed = std::time::Duration::from_secs(elapsed.as_secs());
        parts.push(format!("{} elapsed", time::duration(elapsed).replace(".0s", "s")));
    }
    if batch.state() == State::Running {
        parts.push(items_per_minute(&progress));
        parts.push(format!("{} records/min", number::rate(progress.records_per_minute)));
    }
    parts.extend(eta(&progress, now));
    parts.join(", ")
}

/// The keys being worked on.
pub(super) fn current(batch: &Batch) -> Option<String> {
    let keys = progress(batch).current_item_keys;
    (!keys.is_empty()).then(|| format!("now: {}", keys.join(" ")))
}

/// The upstream that asked for less, is held or is down, if one is: `waiting: example.com held until 12:03:30 (429)`. Of a batch
/// that is QUEUED what it `waits_for`, as far as that is known.
pub(super) fn waiting(batch: &Batch, waits_for: Option<&str>, now: DateTime<FixedOffset>) -> Option<String> {
    let queued = waits_for.filter(|_| batch.state() == State::Queued);
    let held = queued.map(str::to_owned).or_else(|| held_back(batch, now));
    held.map(|held| format!("waiting: {held}"))
}

/// The same without the word; nothing of a batch that does not run.
pub(crate) fn held_back(batch: &Batch, now: DateTime<FixedOffset>) -> Option<String> {
    if batch.state() != State::Running {
        return None;
    }
    let progress = progress(batch);
    if let Some(since) = time::clock_time(progress.stall_time.as_ref(), now) {
        return Some(format!(
            "nothing moves since {since} though nothing is in the way; the server's log says more"
        ));
    }
    let is_held = |cause| matches!(cause, Cause::PushedBack | Cause::Outage | Cause::Operator);
    let pressure = progress.host_pressure.iter().find(|pressure| is_held(pressure.cause()))?;
    if pressure.cause() == Cause::Outage {
        let next =
            time::clock_time(pressure.next_probe_time.as_ref(), now).unwrap_or_else(|| "soon".to_owned());
        return Some(format!("{} does not answer, asked again at {next}", pressure.host));
    }
    let until = time::clock_time(pressure.held_until.as_ref(), now);
    if pressure.cause() == Cause::Operator {
        let until =
            until.map_or_else(|| "it is released".to_owned(), |until| format!("{until}, or its release"));
        return Some(format!("{} is held by an operator until {until}", pressure.host));
    }
    let held = match until {
        Some(until) => format!("held until {until}"),
        None => format!("slowed down to {} requests/s", number::rate(pressure.permitted_requests_per_second)),
    };
    Some(format!("{} {held} (429)", pressure.host))
}

/// Failures by reason, the most frequent first: `failed: 9 NOT_FOUND 404, 1 CODE_NOT_LISTED`.
pub(super) fn failed(groups: &[FailureGroup]) -> Option<String> {
    (!groups.is_empty()).then(|| format!("failed: {}", label::failures(groups)))
}

fn items_per_minute(progress: &Progress) -> String {
    format!("{} items/min", number::rate(progress.items_per_minute))
}

fn eta(progress: &Progress, now: DateTime<FixedOffset>) -> Option<String> {
    let end = progress.estimated_completion_time.as_ref();
    // What was estimated and has gone by says nothing.
    end.and_then(time::instant).filter(|end| *end > now)?;
    Some(format!("ETA {}", time::clock_time(end, now)?))
}

fn progress(batch: &Batch) -> Progress {
    batch.progress.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use haul_proto::v1::{HostPressure, batch::PauseCause};
    use prost_types::Timestamp;

    use super::*;

    fn now() -> DateTime<FixedOffset> {
        DateTime::parse_from_rfc3339("2026-02-28T12:03:04+09:00").unwrap()
    }

    fn in_seconds(seconds: i64) -> Timestamp {
        Timestamp { seconds: now().timestamp() + seconds, nanos: 0 }
    }

    fn running() -> Batch {
        Batch {
            state: State::Running.into(),
            start_time: Some(in_seconds(-83)),
            progress: Some(Progress {
                total_items: 4430,
                processed_items: 1234,
                failed_items: 3,
                skipped_items: 200,
                percentage: 27.85,
                items_per_minute: 12_000.0,
                records_per_minute: 24_000.0,
                estimated_completion_time: Some(in_seconds(126)),
                current_item_keys: vec!["1301".to_owned(), "1332".to_owned()],
                host_pressure: vec![HostPressure {
                    host: "example.com".to_owned(),
                    cause: Cause::PushedBack.into(),
                    held_until: Some(in_seconds(26)),
                    ..HostPressure::default()
                }],
                ..Progress::default()
            }),
            ..Batch::default()
        }
    }

    #[test]
    fn a_running_batch() {
        let batch = running();
        assert_eq!(
            plain(&batch, now()),
            "12:03:04 RUNNING 1,234/4,430 27.85% 12,000 items/min, 3 failed, 200 skipped, ETA 12:05:10"
        );
        assert_eq!(pace(&batch, now()), "1m 23s elapsed, 12,000 items/min, 24,000 records/min, ETA 12:05:10");
        assert_eq!(current(&batch).unwrap(), "now: 1301 1332");
        assert_eq!(waiting(&batch, None, now()).unwrap(), "waiting: example.com held until 12:03:30 (429)");
    }

    #[test]
    fn an_end_that_has_gone_by_is_not_estimated() {
        let mut batch = running();
        batch.progress.as_mut().unwrap().estimated_completion_time = Some(in_seconds(-1));
        assert!(!plain(&batch, now()).contains("ETA") && !pace(&batch, now()).contains("ETA"));
    }

    #[test]
    fn an_upstream_that_is_down_is_named() {
        let mut batch = running();
        let pressure = HostPressure {
            host: "example.com".to_owned(),
            cause: Cause::Outage.into(),
            next_probe_time: Some(in_seconds(5)),
            ..HostPressure::default()
        };
        batch.progress.as_mut().unwrap().host_pressure = vec![pressure];
        let said = waiting(&batch, None, now()).unwrap();
        assert_eq!(said, "waiting: example.com does not answer, asked again at 12:03:09");
    }

    #[test]
    fn an_upstream_that_somebody_holds_or_that_is_asked_for_less_is_named() {
        let said = |cause: Cause, held_until, permitted_requests_per_second| {
            let mut batch = running();
            batch.progress.as_mut().unwrap().host_pressure = vec![HostPressure {
                host: "example.com".to_owned(),
                cause: cause.into(),
                held_until,
                permitted_requests_per_second,
                ..HostPressure::default()
            }];
            waiting(&batch, None, now())
        };
        for (cause, held_until, permitted, expected) in [
            (Cause::Operator, None, 0.0, "example.com is held by an operator until it is released"),
            (
                Cause::Operator,
                Some(in_seconds(60)),
                0.0,
                "example.com is held by an operator until 12:04:04, or its release",
            ),
            (Cause::PushedBack, None, 2.5, "example.com slowed down to 2.5 requests/s (429)"),
        ] {
            assert_eq!(said(cause, held_until, permitted).unwrap(), format!("waiting: {expected}"));
        }
        assert_eq!(said(Cause::RateLimited, None, 5.0), None, "normal in a well-set batch");
    }

    #[test]
    fn a_batch_that_stands_still_says_so() {
        let mut batch = running();
        batch.progress.as_mut().unwrap().stall_time = Some(in_seconds(-60));
        let said = waiting(&batch, None, now()).unwrap();
        assert!(said.starts_with("waiting: nothing moves since 12:02:04"), "{said}");
    }

    #[test]
    fn a_paused_batch_says_why() {
        let mut batch = running();
        batch.state = State::Paused.into();
        batch.pause_cause = PauseCause::User.into();
        batch.pause_reason = "USER_PAUSE".to_owned();
        batch.pause_message = "lunch".to_owned();
        batch.progress = None;
        assert_eq!(plain(&batch, now()), "12:03:04 PAUSED, USER_PAUSE (lunch) 0/0 0.00%");
        assert_eq!(pace(&batch, now()), "PAUSED, USER_PAUSE (lunch), 1m 23s elapsed");
        assert_eq!(current(&batch), None);
        assert_eq!(waiting(&batch, None, now()), None);
    }

    #[test]
    fn a_queued_batch_says_what_it_waits_for_and_no_other_does() {
        let mut batch = running();
        batch.progress = None;
        assert_eq!(waiting(&batch, Some("behind nightly-1"), now()), None);
        batch.state = State::Queued.into();
        assert_eq!(waiting(&batch, Some("behind nightly-1"), now()).unwrap(), "waiting: behind nightly-1");
        assert_eq!(waiting(&batch, None, now()), None);
    }

    #[test]
    fn what_was_canceled_is_no_progress() {
        let mut batch = running();
        batch.state = State::Stopped.into();
        batch.end_reason = "USER_STOP".to_owned();
        batch.progress = Some(Progress {
            total_items: 300,
            processed_items: 300,
            succeeded_items: 29,
            failed_items: 1,
            canceled_items: 270,
            percentage: 10.0,
            ..Progress::default()
        });
        assert_eq!(plain(&batch, now()), "12:03:04 STOPPED, USER_STOP 30/300 10.00%, 1 failed, 270 canceled");
    }

    #[test]
    fn failures_by_reason() {
        let group = |reason: &str, http_status, items| FailureGroup {
            reason: reason.to_owned(),
            http_status,
            items,
            ..FailureGroup::default()
        };
        assert_eq!(
            failed(&[group("NOT_FOUND", 404, 1009), group("CODE_NOT_LISTED", 0, 1)]).unwrap(),
            "failed: 1,009 NOT_FOUND 404, 1 CODE_NOT_LISTED"
        );
        assert_eq!(failed(&[]), None);
    }
}
