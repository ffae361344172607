//! `haul redecode`

use std::io::Write;

use clap::Args;
use haul_proto::v1::RedecodeRequest;

use super::{Context, failure::Failure, plan, start, started::Started};

/// Decode the kept bodies of a batch anew, without a request
///
/// Makes a new batch that rebuilds the records of one that has ended, with the server's present decoder: what that
/// batch wrote is replaced, what was fetched later stays. An item whose body was not kept is skipped. Prints the new
/// batch's name; with -o json or yaml what `haul start` prints.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  haul redecode nightly-2026-02-28 --watch    after the decoder was mended
  haul report nightly-2026-02-28              names the batches made from it")]
pub(super) struct Redecode {
    /// Id of the batch that was fetched, or batches/ID.
    batch: String,
    /// Only these of its items, such as 'error.reason = UNDECODABLE'. Default: all.
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    filter: String,
    #[command(flatten)]
    child: start::Child,
}

impl Redecode {
    pub(super) async fn run(self, context: &Context, out: &mut impl Write) -> Result<u8, Failure> {
        let client = context.connect().await?;
        let request = RedecodeRequest {
            name: self.batch,
            filter: self.filter,
            batch_id: self.child.id.unwrap_or_default(),
            request_id: self.child.request_id.unwrap_or_default(),
            validate_only: false,
        };
        if self.child.plan {
            let planned = client.plan_redecode(request).await?;
            return plan::said(&client, "Redecode", planned.batch, planned.plan, context, out);
        }
        let made = client.redecode(request).await?;
        let outcome = made.outcome();
        let batch = made.batch.ok_or_else(|| client.malformed("Redecode", "a batch"))?;
        let watched = self.child.watch;
        Started { client: &client, batch: &batch, outcome, watched, context }.said(out).await
    }
}
