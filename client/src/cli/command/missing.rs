//! `haul missing`

use std::io::Write;

use clap::{Args, Subcommand};
use futures::{StreamExt, TryStreamExt};
use haul_proto::v1::ClearMissingKeysRequest;

use super::{
    Context,
    failure::Failure,
    read::{cut, limit},
};

/// Show the keys that are known not to exist, and forget them
///
/// A batch whose spec has skip.negativeCacheTtl remembers for that long which keys the upstream said do not exist, and
/// skips those that are remembered of its dataset.
#[derive(Args, Debug)]
#[command(
    disable_help_subcommand = true,
    after_long_help = "\
Examples:
  haul missing list stock_prices
  haul missing clear stock_prices 1301 130A
  haul missing clear responses --all"
)]
pub(super) struct Missing {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    List(List),
    Clear(Clear),
}

/// List the keys of a dataset that are known not to exist
///
/// With -o json or yaml it is one document, `missingKeys`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  haul missing list stock_prices
  haul missing list responses -o json | jq -r '.missingKeys[].key'")]
struct List {
    /// Dataset, or datasets/DATASET.
    dataset: String,
    /// Most keys to list.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = limit)]
    limit: usize,
}

/// Forget keys that are known not to exist
///
/// Later batches ask for them again. One that is not known is no error.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  haul missing clear stock_prices 1301 130A
  haul missing clear responses --all")]
struct Clear {
    /// Dataset, or datasets/DATASET.
    dataset: String,
    /// Keys to forget.
    #[arg(value_name = "KEY", required_unless_present = "all")]
    keys: Vec<String>,
    /// All keys of the dataset.
    #[arg(long, conflicts_with = "keys")]
    all: bool,
}

impl Missing {
    pub(super) async fn run(self, context: &Context, out: &mut impl Write) -> Result<u8, Failure> {
        let client = context.connect().await?;
        match self.what {
            What::List(List { dataset, limit }) => {
                let keys = client.missing_keys(&dataset).take(limit.saturating_add(1));
                let mut keys: Vec<_> = keys.try_collect().await?;
                cut(&mut keys, limit);
                context.output.missing_keys(&keys, out)?;
            }
            What::Clear(Clear { dataset: parent, keys, all }) => {
                let cleared =
                    client.clear_missing_keys(ClearMissingKeysRequest { parent, keys, all }).await?;
                context.output.cleared(cleared, out)?;
            }
        }
        Ok(0)
    }
}
