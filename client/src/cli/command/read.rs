//! `haul get`, `haul list`, `haul items`, `haul report`

use std::io::{self, Write};

use clap::Args;
use futures::{StreamExt, TryStreamExt};
use haul_proto::v1::{BatchView, ListBatchesRequest, ListItemsRequest};

use super::{Context, failure::Failure};
use crate::cli::{clock, output::Format, queue};

/// Show one batch
///
/// With -o json or yaml, its whole spec too, with the defaults that the server filled in.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  haul get nightly
  haul get nightly -o json | jq .progress.percentage")]
pub(super) struct Get {
    /// Id of the batch, or batches/ID.
    batch: String,
}

/// List batches, newest first
///
/// With -o json or yaml it is one document, `batches`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  haul list --limit 5
  haul list --filter 'state = RUNNING'
  haul list -o json | jq -r '.batches[].name'")]
pub(super) struct List {
    /// Only these, such as 'state = RUNNING AND labels.team:research'.
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    filter: String,
    #[arg(
        long,
        value_name = "ORDER",
        default_value = "",
        hide_default_value = true,
        help = "Another order: create_time, 'end_time desc', 'as_of desc' or 'priority desc'"
    )]
    order_by: String,
    /// Most batches to list.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = limit)]
    limit: usize,
}

/// List the items of a batch, and what became of each
///
/// With -o json or yaml it is one document, `items`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  haul items nightly --filter 'state = FAILED'
  haul items nightly --limit 100000 -o json | jq -r '.items[].spec.key'")]
pub(super) struct Items {
    /// Id of the batch, or batches/ID.
    batch: String,
    /// Only these, such as 'state = FAILED AND key > 7000'.
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    filter: String,
    /// Most items to list.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = limit)]
    limit: usize,
}

/// Sum a batch up: counts, speed, failures by reason
///
/// Of a batch that still runs, the figures are as they stand.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  haul report nightly
  haul report nightly -o json | jq .failures")]
pub(super) struct Report {
    /// Id of the batch, or batches/ID.
    batch: String,
}

impl Get {
    pub(super) async fn run(self, context: &Context, out: &mut impl Write) -> Result<u8, Failure> {
        let client = context.connect().await?;
        let batch = client.get_batch(&self.batch).await?;
        let waits_for = match context.output.format() {
            // The batch is what was asked for: what cannot be asked about others is left out.
            Format::Table => queue::waits_for(&client, &batch, clock::now()).await.unwrap_or_default(),
            Format::Json | Format::Yaml => None,
        };
        context.output.batch_that_waits(&batch, waits_for, out)?;
        Ok(0)
    }
}

impl List {
    pub(super) async fn run(self, context: &Context, out: &mut impl Write) -> Result<u8, Failure> {
        let client = context.connect().await?;
        let request = ListBatchesRequest {
            filter: self.filter,
            order_by: self.order_by,
            view: BatchView::Basic.into(),
            ..ListBatchesRequest::default()
        };
        let mut batches = client.query_batches(request, self.limit.saturating_add(1)).await?;
        cut(&mut batches, self.limit);
        context.output.batches(&batches, out)?;
        Ok(0)
    }
}

impl Items {
    pub(super) async fn run(self, context: &Context, out: &mut impl Write) -> Result<u8, Failure> {
        let client = context.connect().await?;
        let request =
            ListItemsRequest { parent: self.batch, filter: self.filter, ..ListItemsRequest::default() };
        let items = client.query_items(request).take(self.limit.saturating_add(1));
        let mut items: Vec<_> = items.try_collect().await?;
        cut(&mut items, self.limit);
        context.output.items(&items, out)?;
        Ok(0)
    }
}

impl Report {
    pub(super) async fn run(self, context: &Context, out: &mut impl Write) -> Result<u8, Failure> {
        let client = context.connect().await?;
        let batch = client.get_batch(&self.batch).await?;
        let report = client.get_report(&self.batch).await?;
        context.output.report(&batch, &report, out)?;
        Ok(0)
    }
}

/// A list of nothing would only say that there are more.
pub(super) fn limit(given: &str) -> Result<usize, String> {
    match given.parse() {
        Ok(0) => Err("it must be at least 1".to_owned()),
        Ok(limit) => Ok(limit),
        Err(_) => Err("it must be a whole number, at least 1".to_owned()),
    }
}

/// Cuts a list to its limit, and says so: one that merely looks whole misleads.
pub(super) fn cut<T>(list: &mut Vec<T>, limit: usize) {
    if list.len() > limit {
        list.truncate(limit);
        // Lost with standard error; the list is what was asked for.
        let _ = writeln!(io::stderr(), "haul: there are more; see --limit");
    }
}
