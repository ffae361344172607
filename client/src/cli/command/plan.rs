//! `haul plan`

use std::io::Write;

use clap::Args;

use super::{Context, failure::Failure, start::What};

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
        let batch = answer.batch.ok_or_else(|| client.malformed("StartBatch", "a batch"))?;
        let plan = answer.plan.ok_or_else(|| client.malformed("StartBatch", "a plan"))?;
        context.output.plan(&batch, &plan, out)?;
        Ok(0)
    }
}
