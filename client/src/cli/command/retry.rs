//! `haul retry`

use std::io::Write;

use clap::Args;
use haul_proto::v1::RetryFailedRequest;

use super::{Context, failure::Failure, plan, start};

/// Fetch again the items of a batch that did not succeed
///
/// Makes a new batch, with the spec and the date of one that has ended: the same requests for those of its items that
/// were canceled, or failed in a way that may pass. Prints the new batch's name.
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
    /// Say what it would do, and make nothing.
    #[arg(long, conflicts_with = "watch")]
    plan: bool,
    /// Id of the new batch: 4 to 63 of a-z, 0-9 and -. Default: made by the server.
    #[arg(long)]
    id: Option<String>,
    /// Follow it to its end, then print its report.
    #[arg(long)]
    watch: bool,
    /// Idempotency key: the same key makes the same batch but once. Default: a new one.
    #[arg(long, value_name = "UUID")]
    request_id: Option<String>,
}

impl Retry {
    pub(super) async fn run(self, context: &Context, out: &mut impl Write) -> Result<u8, Failure> {
        let client = context.connect().await?;
        let request = RetryFailedRequest {
            name: self.batch,
            filter: self.filter,
            batch_id: self.id.unwrap_or_default(),
            request_id: self.request_id.unwrap_or_default(),
            validate_only: false,
        };
        if self.plan {
            let planned = client.plan_retry(request).await?;
            return plan::said(&client, "RetryFailed", planned.batch, planned.plan, context, out);
        }
        let made = client.retry_failed(request).await?;
        let outcome = made.outcome();
        let batch = made.batch.ok_or_else(|| client.malformed("RetryFailed", "a batch"))?;
        start::said(&client, &batch, outcome, self.watch, context, out).await
    }
}
