//! `haul attempts`

use std::io::Write;

use clap::Args;
use futures::{StreamExt, TryStreamExt};

use super::{Context, failure::Failure, read::cut};

/// List the attempts at the items of a batch, by item
///
/// With -o json or yaml it is one document, `attempts`, with the URL of each attempt's last request.
#[derive(Args, Debug)]
pub(super) struct Attempts {
    /// Id of the batch, or batches/ID.
    batch: String,
    /// Only those at the item with this key.
    #[arg(long, default_value_t, value_name = "KEY")]
    item: String,
    /// Most attempts to list.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

impl Attempts {
    pub(super) async fn run(self, context: &Context, out: &mut impl Write) -> Result<u8, Failure> {
        let client = context.connect().await?;
        let attempts = client.attempts(&self.batch, &self.item).take(self.limit.saturating_add(1));
        let mut attempts: Vec<_> = attempts.try_collect().await?;
        cut(&mut attempts, self.limit);
        context.output.attempts(&attempts, out)?;
        Ok(0)
    }
}
