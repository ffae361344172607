//! `haul attempts`

use std::io::Write;

use clap::Args;
use futures::{StreamExt, TryStreamExt};

use super::{
    Context,
    failure::Failure,
    read::{cut, limit},
};

/// List the attempts at the items of a batch
///
/// In the order of the items. With -o json or yaml it is one document, `attempts`, with the URL of each attempt's last
/// request.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  haul attempts nightly --item 7203
  haul attempts nightly -o json | jq '.attempts[] | select(.error)'")]
pub(super) struct Attempts {
    /// Id of the batch, or batches/ID.
    batch: String,
    /// Only those at the item of this key.
    #[arg(long, value_name = "KEY", default_value = "", hide_default_value = true)]
    item: String,
    /// Most attempts to list.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = limit)]
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
