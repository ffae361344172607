//! `haul delete`

use std::io::{self, IsTerminal, Write};

use clap::Args;
use haul_proto::v1::DeleteBatchRequest;

use super::{Context, failure::Failure};
use crate::{Error, name::batch_name};

/// Delete a batch that has ended, with its items and kept bodies
///
/// Records in datasets stay. What is not deleted goes by itself once its retention ends.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  haul delete nightly
  haul delete nightly --yes --allow-missing     for scripts")]
pub(super) struct Delete {
    /// Id of the batch, or batches/ID.
    batch: String,
    /// Do not ask first. Nothing is asked where there is no terminal.
    #[arg(short, long)]
    yes: bool,
    /// It is no error if there is no such batch.
    #[arg(long)]
    allow_missing: bool,
}

impl Delete {
    pub(super) async fn run(self, context: &Context, out: &mut impl Write) -> Result<u8, Failure> {
        let name = batch_name(&self.batch);
        let client = context.connect().await?;
        let batch = match client.get_batch(&name).await {
            Err(error) if self.allow_missing && is_missing(&error) => {
                context.output.not_deleted(&name, error.metadata("purge_time"), out)?;
                return Ok(0);
            }
            batch => batch?,
        };
        // Of one that goes on the server says that it cannot be deleted; what is asked about is what is deleted.
        let has_ended = batch.end_time.is_some();
        if has_ended && !self.yes && io::stdin().is_terminal() && !agreed(&name)? {
            return Err(Failure::Declined { batch: name });
        }
        let (allow_missing, etag) = (self.allow_missing, batch.etag);
        client.delete_batch(DeleteBatchRequest { name: name.clone(), etag, allow_missing }).await?;
        context.output.deleted(&name, out)?;
        Ok(0)
    }
}

fn is_missing(error: &Error) -> bool {
    matches!(error.reason(), Some("BATCH_NOT_FOUND" | "BATCH_PURGED"))
}

fn agreed(name: &str) -> io::Result<bool> {
    let mut stderr = io::stderr().lock();
    write!(stderr, "Delete {name} with its items and kept bodies? [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
