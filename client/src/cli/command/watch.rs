//! `haul watch`

use std::io::Write;

use clap::Args;

use super::{Context, failure::Failure};
use crate::{
    Client,
    cli::{
        exit,
        progress::{ProgressMode, follow},
    },
};

/// Follow a batch to its end, then print its report
///
/// Progress goes to standard error: a bar on a terminal, lines elsewhere. It outlives restarts of the server. Ctrl-C ends
/// the watching, not the batch. With -o json or yaml the end is one document, `batch` and `report`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  haul watch nightly
  haul watch nightly -o json 2>/dev/null | jq .report.failures

Exit status: 0 all items succeeded or were skipped, 3 some failed, 4 the batch
failed or was stopped.")]
pub(super) struct Watch {
    /// Id of the batch, or batches/ID.
    batch: String,
}

impl Watch {
    pub(super) async fn run(self, context: &Context, out: &mut impl Write) -> Result<u8, Failure> {
        let client = context.connect().await?;
        to_the_end(&client, &self.batch, context, out).await
    }
}

/// Follows a batch, prints its report, and says by the exit status how it ended.
pub(super) async fn to_the_end(
    client: &Client,
    name: &str,
    context: &Context,
    out: &mut impl Write,
) -> Result<u8, Failure> {
    let batch = tokio::select! {
        batch = follow(client, name, ProgressMode::Auto) => batch?,
        // Where signals cannot be caught, Ctrl-C ends us all the same.
        Ok(()) = tokio::signal::ctrl_c() => {
            return Err(Failure::Interrupted { batch: name.to_owned() });
        }
    };
    let report = client.get_report(name).await?;
    context.output.end(&batch, &report, out)?;
    Ok(exit::code(&batch))
}
