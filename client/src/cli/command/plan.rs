//! `haul plan`

use std::io::Write;

use clap::Args;
use haul_proto::v1;

use super::{Context, failure::Failure, start::What};
use crate::Client;

/// Show what a batch would do, without starting it
///
/// The server makes the same checks as for a start, reads the source and counts; no item is asked for, and nothing is
/// stored. Refused where the start would be refused. Read the warnings: they don't change the exit status.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  haul plan -f examples/tokyo.yaml
  haul plan -f nightly.yaml -o json | jq .plan.requests")]
pub(super) struct Plan {
    #[command(flatten)]
    what: What,
}

impl Plan {
    pub(super) async fn run(self, context: &Context, out: &mut impl Write) -> Result<u8, Failure> {
        let (request, file) = self.what.request()?;
        let client = context.connect().await?;
        let answer = client.plan_batch(request).await.map_err(|error| file.in_its_words(error))?;
        said(&client, "StartBatch", answer.batch, answer.plan, context, out)
    }
}

/// Prints what the server planned.
pub(super) fn said(
    client: &Client,
    rpc: &'static str,
    batch: Option<v1::Batch>,
    plan: Option<v1::Plan>,
    context: &Context,
    out: &mut impl Write,
) -> Result<u8, Failure> {
    let batch = batch.ok_or_else(|| client.malformed(rpc, "a batch"))?;
    let plan = plan.ok_or_else(|| client.malformed(rpc, "a plan"))?;
    context.output.plan(&batch, &plan, out)?;
    Ok(0)
}
