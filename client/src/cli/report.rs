//! The report for people: what a batch came to, how fast, and what failed.

use std::{
    io::{self, Write},
    time::Duration,
};

use chrono::{DateTime, FixedOffset};
use haul_proto::v1::{Batch, FailureGroup, Progress, Report, batch::PauseCause};

use crate::cli::{
    label, number,
    output::{Align, Table},
    progress, time,
};

/// Writes the report of `batch`. Of a live batch the figures are as they stand, and it says so.
pub fn render(
    batch: &Batch,
    report: &Report,
    now: DateTime<FixedOffset>,
    out: &mut impl Write,
) -> io::Result<()> {
    let progress = report.progress.clone().unwrap_or_default();
    writeln!(out, "{}  {}", batch.name, label::batch_state_with_cause(batch))?;
    if !report.r#final {
        writeln!(out, "Not over yet: the figures are as they stand.")?;
    }
    writeln!(out)?;
    let mut table = Table::headless(&[Align::Left, Align::Left]);
    for (name, value) in [
        ("Items", items(&progress)),
        ("Records", records(&progress, report)),
        ("Time", times(report)),
        ("Speed", speed(&progress, report)),
        ("Requests", requests(&progress, report)),
    ] {
        table.row([name.to_owned(), value]);
    }
    if let Some(waiting) = progress::held_back(batch, now) {
        table.row(["Waiting".to_owned(), waiting]);
    }
    table.write(0, None, out)?;
    if !report.failures.is_empty() {
        writeln!(out, "\nFailed items")?;
        failures(&report.failures, out)?;
    }
    if !report.child_batches.is_empty() {
        writeln!(out, "\nMade from it")?;
        for child in &report.child_batches {
            writeln!(out, "  {child}")?;
        }
    }
    if let Some(advice) = advice(batch) {
        writeln!(out, "\n{advice}")?;
    }
    Ok(())
}

/// What somebody may do about a batch that does not go on.
fn advice(batch: &Batch) -> Option<String> {
    let id = label::batch_id(&batch.name);
    let resume = format!("haul resume {id}");
    let auto_resume = batch.spec.as_ref().and_then(|spec| spec.outage).and_then(|outage| outage.auto_resume);
    let goes_on = if auto_resume == Some(false) {
        "It does not go on by itself."
    } else {
        "haul asks again now and then, and goes on by itself once it is answered."
    };
    let outage = format!(
        "nothing is charged while this lasts.\n{goes_on}\n{resume} goes on as soon as the upstream's hold is over."
    );
    match batch.pause_cause() {
        PauseCause::Unspecified => None,
        PauseCause::UpstreamOutage if batch.pause_reason == "RATE_LIMITED" => Some(format!(
            "The upstream refuses requests from here; {outage}\n\
             If that comes back: lower fetch.requestsPerSecond and fetch.burst, name yourself in fetch.userAgent\n\
             (examples/tokyo-real.yaml has settings that last), and see what hauld doctor meets."
        )),
        PauseCause::UpstreamOutage => Some(format!(
            "The upstream does not answer; {outage}\n\
             hauld doctor says whether it can be reached from here."
        )),
        PauseCause::SystemFailure if batch.pause_reason == "CREDENTIALS_REFUSED" => Some(format!(
            "The upstream turns requests from here away (401, 403); nobody was charged, and nothing more is sent.\n\
             Put the credential right, or see what keeps this caller out: its address, fetch.userAgent, the terms\n\
             (hauld doctor asks once). Then: {resume}\n\
             If these items alone are refused: a new batch, with fetch.rules that say PERMANENT for the status."
        )),
        PauseCause::User => Some(format!("To go on: {resume}")),
        PauseCause::SystemFailure => Some(format!(
            "Nothing is lost. Put right what the reason names, see that hauld doctor agrees, then:\n{resume}"
        )),
    }
}

fn items(progress: &Progress) -> String {
    // What was canceled is final and has no outcome.
    let of_what = if progress.canceled_items == 0 { "" } else { " with an outcome" };
    let done = format!(
        "{} of {}{} final ({}{of_what})",
        number::count(progress.processed_items),
        number::count(progress.total_items),
        if progress.total_is_partial { "+" } else { "" },
        number::percentage(progress.percentage)
    );
    let outcomes = number::tally(&[
        (progress.succeeded_items, "succeeded"),
        (progress.failed_items, "failed"),
        (progress.skipped_items, "skipped"),
        (progress.canceled_items, "canceled"),
    ]);
    if outcomes.is_empty() { done } else { format!("{done}: {outcomes}") }
}

fn records(progress: &Progress, report: &Report) -> String {
    format!(
        "{} written, {} of them changed; {} received",
        number::count(progress.records_written),
        number::count(report.records_changed),
        number::bytes(progress.bytes_received)
    )
}

fn times(report: &Report) -> String {
    let floor = match report.requests_sent {
        0 => String::new(),
        _ => format!(
            "; the requests sent take {} at the permitted rate",
            time::wire_duration(report.floor_duration)
        ),
    };
    format!(
        "{} active, {} paused{floor}",
        time::wire_duration(report.active_duration),
        time::wire_duration(report.paused_duration)
    )
}

fn speed(progress: &Progress, report: &Report) -> String {
    let minutes = report
        .active_duration
        .and_then(|active| Duration::try_from(active).ok())
        .map_or(0.0, |active| active.as_secs_f64() / 60.0);
    let per_minute = |count: i64| {
        if minutes > 0.0 { number::rate(count as f64 / minutes) } else { "-".to_owned() }
    };
    format!(
        "{} items/min, {} records/min",
        per_minute(progress.processed_items - progress.canceled_items),
        per_minute(progress.records_written)
    )
}

fn requests(progress: &Progress, report: &Report) -> String {
    let taken_over = match report.lost_leases {
        0 => String::new(),
        lost => format!(", {} taken over", number::plural(lost, "lease", "leases")),
    };
    format!(
        "{} sent, {} repeated{taken_over}",
        number::count(report.requests_sent),
        number::plural(progress.retried_attempts, "attempt", "attempts")
    )
}

fn failures(groups: &[FailureGroup], out: &mut impl Write) -> io::Result<()> {
    let mut table = Table::new(&[
        ("ITEMS", Align::Right),
        ("CLASS", Align::Left),
        ("REASON", Align::Left),
        ("STATUS", Align::Right),
        ("KEYS", Align::Left),
    ]);
    for group in groups {
        let more = if group.items > group.sample_keys.len() as i64 { " ..." } else { "" };
        table.row([
            number::count(group.items),
            label::failure_class(group.failure_class),
            group.reason.clone(),
            match group.http_status {
                0 => "-".to_owned(),
                status => status.to_string(),
            },
            group.sample_keys.join(" ") + more,
        ]);
    }
    table.write(2, None, out)
}

#[cfg(test)]
mod tests {
    use haul_proto::v1::{
        BatchSpec, FailureClass, HostPressure, OutagePolicy, batch::State, host_pressure::Cause,
    };

    use super::*;

    fn seconds(seconds: i64) -> prost_types::Duration {
        prost_types::Duration { seconds, nanos: 0 }
    }

    fn text(batch: &Batch, report: &Report) -> String {
        let now = DateTime::parse_from_rfc3339("2026-02-28T12:03:04+09:00").unwrap();
        let mut out = Vec::new();
        render(batch, report, now, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_batch_with_failures() {
        let batch = Batch {
            name: "batches/nightly".to_owned(),
            state: State::Completed.into(),
            end_reason: "ALL_ITEMS_FINAL".to_owned(),
            ..Batch::default()
        };
        let group = |reason: &str, status, items, keys: &[&str]| FailureGroup {
            failure_class: FailureClass::Permanent.into(),
            reason: reason.to_owned(),
            http_status: status,
            items,
            sample_keys: keys.iter().map(|&key| key.to_owned()).collect(),
        };
        let report = Report {
            r#final: true,
            progress: Some(Progress {
                total_items: 4430,
                processed_items: 4430,
                succeeded_items: 4420,
                failed_items: 10,
                percentage: 100.0,
                records_written: 1_085_000,
                retried_attempts: 61,
                bytes_received: 5 << 20,
                ..Progress::default()
            }),
            failures: vec![
                group("NOT_FOUND", 404, 9, &["1301", "1332"]),
                group("CODE_NOT_LISTED", 0, 1, &["9999"]),
            ],
            active_duration: Some(seconds(1330)),
            paused_duration: Some(seconds(0)),
            floor_duration: Some(seconds(886)),
            requests_sent: 4491,
            records_changed: 12,
            child_batches: vec!["batches/mended".to_owned()],
            ..Report::default()
        };
        assert_eq!(
            text(&batch, &report),
            "\
batches/nightly  COMPLETED, ALL_ITEMS_FINAL

Items     4,430 of 4,430 final (100.00%): 4,420 succeeded, 10 failed
Records   1,085,000 written, 12 of them changed; 5.0 MiB received
Time      22m 10s active, 0s paused; the requests sent take 14m 46s at the permitted rate
Speed     200 items/min, 48,947 records/min
Requests  4,491 sent, 61 attempts repeated

Failed items
  ITEMS  CLASS      REASON           STATUS  KEYS
      9  PERMANENT  NOT_FOUND           404  1301 1332 ...
      1  PERMANENT  CODE_NOT_LISTED       -  9999

Made from it
  batches/mended
"
        );
    }

    #[test]
    fn a_batch_that_does_not_go_on_says_what_to_do() {
        let paused = |cause: PauseCause, reason: &str, auto_resume| {
            let outage = OutagePolicy { auto_resume, ..OutagePolicy::default() };
            advice(&Batch {
                name: "batches/01a2002e-a50e-77e4-9b6d-f7d463925370".to_owned(),
                pause_cause: cause.into(),
                pause_reason: reason.to_owned(),
                spec: Some(BatchSpec { outage: Some(outage), ..BatchSpec::default() }),
                ..Batch::default()
            })
        };
        let refused = paused(PauseCause::UpstreamOutage, "RATE_LIMITED", Some(true)).unwrap();
        for word in
            ["refuses", "goes on by itself", "nothing is charged while", "requestsPerSecond", "hauld doctor"]
        {
            assert!(refused.contains(word), "{word}: {refused}");
        }
        let down = paused(PauseCause::UpstreamOutage, "UPSTREAM_UNREACHABLE", Some(false)).unwrap();
        assert!(down.contains("does not answer") && down.contains("does not go on by itself"), "{down}");
        let denied = paused(PauseCause::SystemFailure, "CREDENTIALS_REFUSED", None).unwrap();
        for word in ["away", "credential", "fetch.rules", "nobody was charged"] {
            assert!(denied.contains(word), "{word}: {denied}");
        }
        let full = paused(PauseCause::SystemFailure, "DISK_FULL", None).unwrap();
        assert!(full.contains("Put right"), "{full}");
        let user = paused(PauseCause::User, "USER_PAUSE", None).unwrap();
        for said in [refused, down, denied, full, user] {
            assert!(said.contains("haul resume 01a2002e-a50e-77e4-9b6d-f7d463925370"), "{said}");
            assert!(said.lines().all(|line| line.len() <= 100), "{said}");
        }
        assert_eq!(paused(PauseCause::Unspecified, "", None), None);
    }

    #[test]
    fn a_canceled_item_is_final_and_has_no_outcome() {
        let progress = Progress {
            total_items: 1_600,
            processed_items: 1_600,
            succeeded_items: 3,
            canceled_items: 1_597,
            percentage: 0.1875,
            ..Progress::default()
        };
        assert_eq!(
            items(&progress),
            "1,600 of 1,600 final (0.18% with an outcome): 3 succeeded, 1,597 canceled"
        );
    }

    #[test]
    fn a_live_batch_is_said_to_be_one_and_to_wait() {
        let pressure = HostPressure {
            host: "example.com".to_owned(),
            cause: Cause::PushedBack.into(),
            held_until: Some(prost_types::Timestamp { seconds: 1_772_247_810, nanos: 0 }),
            ..HostPressure::default()
        };
        let progress =
            Progress { total_is_partial: true, host_pressure: vec![pressure], ..Progress::default() };
        let batch = Batch {
            name: "batches/nightly".to_owned(),
            state: State::Running.into(),
            progress: Some(progress.clone()),
            ..Batch::default()
        };
        assert_eq!(
            text(&batch, &Report { progress: Some(progress), ..Report::default() }),
            "\
batches/nightly  RUNNING
Not over yet: the figures are as they stand.

Items     0 of 0+ final (0.00%)
Records   0 written, 0 of them changed; 0 B received
Time      - active, - paused
Speed     - items/min, - records/min
Requests  0 sent, 0 attempts repeated
Waiting   example.com held until 12:03:30 (429)
"
        );
    }
}
