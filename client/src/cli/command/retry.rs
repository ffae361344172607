//! `haul retry`

use std::io::Write;

use clap::Args;
use haul_proto::v1::RetryFailedRequest;

use super::{Context, failure::Failure, plan, start, started};

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
        let request = RetryFailedRequest {
            name: self.batch,
            filter: self.filter,
            batch_id: self.child.id.unwrap_or_default(),
            request_id: self.child.request_id.unwrap_or_default(),
            validate_only: false,
        };
        if self.child.plan {
            let planned = client.plan_retry(request).await?;
            return plan::said(&client, "RetryFailed", planned.batch, planned.plan, context, out);
        }
        let made = client.retry_failed(request).await?;
        let outcome = made.outcome();
        let batch = made.batch.ok_or_else(|| client.malformed("RetryFailed", "a batch"))?;
        started::said(&client, &batch, outcome, self.child.watch, context, out).await
    }
}
