//! `haul retry`

use std::io::{self, Write};

use clap::Args;
use haul_proto::v1::{FailureClass, Report, RetryFailedRequest};

use super::{Context, failure::Failure, plan, start, started::Started};
use crate::{
    Client, Error,
    cli::{label, number},
};

/// Reasons that are named, the most frequent first.
const REASONS_MAX: usize = 5;

/// Fetch again the items of a batch that did not succeed
///
/// Makes a new batch, with the spec and the date of one that has ended: the same requests for those of its items that
/// were canceled, or failed in a way that may pass. Prints the new batch's name; with -o json or yaml what `haul start`
/// prints.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  haul retry nightly --watch                              what was canceled or may work now
  haul retry nightly --plan                               how many that are
  haul retry nightly --filter 'state = FAILED'            what failed for good too
  haul retry nightly --filter 'error.reason = NOT_FOUND'  only this")]
pub(super) struct Retry {
    /// Id of the batch that has ended, or batches/ID.
    batch: String,
    /// Which items, such as 'error.reason = REFUSED'; those that succeeded are never taken. Default: what was
    /// canceled or may work now.
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    filter: String,
    #[command(flatten)]
    child: start::Child,
}

impl Retry {
    pub(super) async fn run(self, context: &Context, out: &mut impl Write) -> Result<u8, Failure> {
        let client = context.connect().await?;
        let Self { batch: parent, filter, child } = self;
        let request = RetryFailedRequest {
            name: parent.clone(),
            filter: filter.clone(),
            batch_id: child.id.unwrap_or_default(),
            request_id: child.request_id.unwrap_or_default(),
            validate_only: child.plan,
        };
        let answer =
            if child.plan { client.plan_retry(request).await } else { client.retry_failed(request).await };
        let made = match answer {
            Err(error) => return Err(with_what_is_left_out(&client, &parent, &filter, error).await.into()),
            Ok(made) => made,
        };
        if let Ok(parent) = client.get_batch(&parent).await
            && parent.progress.is_some_and(|progress| progress.total_is_partial)
        {
            // Lost with standard error.
            let _ = writeln!(
                io::stderr(),
                "haul: {} ended before its source was read to the end: what it never read is not retried; for that start \
                 its spec anew",
                parent.name
            );
        }
        if child.plan {
            return plan::said(&client, "RetryFailed", made.batch, made.plan, context, out);
        }
        let outcome = made.outcome();
        let batch = made.batch.ok_or_else(|| client.malformed("RetryFailed", "a batch"))?;
        Started { client: &client, batch: &batch, outcome, watched: child.watch, context }.said(out).await
    }
}

/// An error; of one that says that there is nothing to retry, what became of the items, and how to take them all the
/// same.
async fn with_what_is_left_out(client: &Client, parent: &str, filter: &str, mut error: Error) -> Error {
    if let Error::Refused(refusal) = &mut error
        && refusal.reason == "NO_FAILED_ITEMS"
        && let Ok(report) = client.get_report(parent).await
    {
        refusal.message = left_out(&report, filter);
    }
    error
}

/// Why there is nothing to retry, and the way out in a line below it, if there is one.
fn left_out(report: &Report, filter: &str) -> String {
    let progress = report.progress.clone().unwrap_or_default();
    let failed = |for_good: bool| {
        let groups = report.failures.iter();
        let groups = groups.filter(|group| (group.failure_class() == FailureClass::Permanent) == for_good);
        groups.cloned().collect::<Vec<_>>()
    };
    let mut parts = Vec::new();
    for (groups, how) in [(failed(true), "failed for good"), (failed(false), "failed in a way that may pass")]
    {
        let items = groups.iter().map(|group| group.items).sum();
        let more = if groups.len() > REASONS_MAX { ", ..." } else { "" };
        let reasons = label::failures(&groups[..groups.len().min(REASONS_MAX)]);
        if items > 0 {
            parts.push(format!("{} {how} ({reasons}{more})", number::count(items)));
        }
    }
    let rest = [
        (progress.canceled_items, "canceled"),
        (progress.skipped_items, "skipped"),
        (progress.succeeded_items, "succeeded"),
    ];
    parts.push(number::tally(&rest));
    parts.retain(|part| !part.is_empty());
    let way_out = if progress.failed_items + progress.canceled_items + progress.skipped_items == 0 {
        ""
    } else if !filter.is_empty() {
        "\n  none of these matches the filter; those that succeeded are never taken"
    } else if progress.failed_items > 0 {
        "\n  take what failed for good too with --filter 'state = FAILED'"
    } else {
        "\n  take what was skipped with --filter 'state = SKIPPED'"
    };
    if parts.is_empty() {
        return format!("{} has no items: start its spec anew", report.name);
    }
    format!("no item of {} is to be retried: {}{way_out}", report.name, parts.join(", "))
}

#[cfg(test)]
mod tests {
    use haul_proto::v1::{FailureGroup, Progress};

    use super::*;

    fn report(succeeded_items: i64, skipped_items: i64, failures: &[(FailureClass, &str, i64)]) -> Report {
        let group = |(class, reason, items): &(FailureClass, &str, i64)| FailureGroup {
            failure_class: (*class).into(),
            reason: (*reason).to_owned(),
            http_status: if *reason == "NOT_FOUND" { 404 } else { 0 },
            items: *items,
            ..FailureGroup::default()
        };
        let failures: Vec<_> = failures.iter().map(group).collect();
        let progress = Progress {
            succeeded_items,
            skipped_items,
            failed_items: failures.iter().map(|group| group.items).sum(),
            ..Progress::default()
        };
        Report { name: "batches/weekly".to_owned(), progress: Some(progress), failures, ..Report::default() }
    }

    #[test]
    fn what_is_left_out_is_counted_and_the_way_to_take_it_is_said() {
        use FailureClass::{Permanent, Temporary};
        let nothing = "no item of batches/weekly is to be retried: ";
        for (report, filter, said) in [
            (report(1_591, 0, &[]), "", "1,591 succeeded"),
            (
                report(1_591, 0, &[(Permanent, "NOT_FOUND", 6), (Permanent, "CODE_NOT_LISTED", 3)]),
                "",
                "9 failed for good (6 NOT_FOUND 404, 3 CODE_NOT_LISTED), 1,591 succeeded\n  \
                 take what failed for good too with --filter 'state = FAILED'",
            ),
            (
                report(1, 2, &[]),
                "",
                "2 skipped, 1 succeeded\n  take what was skipped with --filter 'state = SKIPPED'",
            ),
            (
                report(1, 0, &[(Temporary, "DEADLINE", 2)]),
                "state = CANCELED",
                "2 failed in a way that may pass (2 DEADLINE), 1 succeeded\n  \
                 none of these matches the filter; those that succeeded are never taken",
            ),
        ] {
            assert_eq!(left_out(&report, filter), format!("{nothing}{said}"));
        }
    }
}
