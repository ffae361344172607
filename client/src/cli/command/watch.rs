//! `haul watch`

use std::{
    io::{self, Write},
    time::Duration,
};

use clap::Args;
use futures::TryStreamExt;
use haul_proto::v1::{Batch, Report, WatchProgressResponse, watch_progress_response::Event};

use super::{Context, failure::Failure};
use crate::{
    Client, MatchEvent, WatchOptions,
    cli::{
        clock,
        connection::Connection,
        exit, label,
        output::{Format, Output},
        progress::{ProgressMode, follow, standing},
    },
};

/// Follow a batch to its end, then print its report
///
/// Progress goes to standard error: a bar on a terminal, lines elsewhere. It outlives restarts of the server. Ctrl-C ends
/// the watching, not the batch. With -o json or yaml the end is one document, `batch` and `report`.
///
/// With --filter: all live batches that match, a line on standard output for each change, until Ctrl-C; with -o json
/// each line is an event, with -o yaml it is a document behind a line of ---.
#[derive(Args, Debug)]
#[command(
    override_usage = "haul watch [OPTIONS] <BATCH>\n       haul watch [OPTIONS] --filter <FILTER>",
    after_long_help = "\
Examples:
  haul watch nightly
  haul watch nightly -o json 2>/dev/null | jq .report.failures
  haul watch --filter 'state = RUNNING'

Exit status: 0 all items succeeded or were skipped, 3 some failed, 4 the batch
failed or was stopped."
)]
pub(super) struct Watch {
    /// Id of the batch, or batches/ID.
    #[arg(required_unless_present = "filter")]
    batch: Option<String>,
    /// Follow all batches that match, such as 'labels.team:research'; at most 1,000 at a time.
    #[arg(long, value_name = "FILTER", conflicts_with = "batch")]
    filter: Option<String>,
}

/// A line for each batch every so often is what one can read. Changes of state don't wait.
const LINES_INTERVAL: Duration = Duration::from_secs(5);

impl Watch {
    pub(super) async fn run(self, context: &Context, out: &mut impl Write) -> Result<u8, Failure> {
        let client = context.connect().await?;
        match self.batch {
            Some(batch) => to_the_end(&client, &batch, context, out).await,
            None => matching(&client, &self.filter.unwrap_or_default(), context, out).await,
        }
    }
}

/// Follows all that match, until it is ended from outside or what it printed is read no more.
async fn matching(
    client: &Client,
    filter: &str,
    context: &Context,
    out: &mut impl Write,
) -> Result<u8, Failure> {
    let options = WatchOptions { min_interval: LINES_INTERVAL, ..WatchOptions::default() };
    let mut connection = Connection::default();
    let mut events = client.watch_matching(filter, options);
    while let Some(event) = events.try_next().await? {
        let event = match event {
            MatchEvent::Snapshot(batch) => Event::Snapshot(batch),
            MatchEvent::Update(batch) => Event::Update(batch),
            MatchEvent::Terminal(batch) => Event::Terminal(batch),
            MatchEvent::Removed(name) => Event::Removed(name),
            MatchEvent::Reconnecting { attempt, error } => {
                connection.tell_lost(attempt, &error);
                continue;
            }
            MatchEvent::Reconnected => {
                connection.tell_back();
                continue;
            }
        };
        print(event, &context.output, out)?;
        out.flush()?;
    }
    Ok(0)
}

fn print(event: Event, output: &Output, out: &mut impl Write) -> io::Result<()> {
    if output.format() != Format::Table {
        let event = WatchProgressResponse { event: Some(event), ..WatchProgressResponse::default() };
        return output.message("haul.v1.WatchProgressResponse", &event, out);
    }
    let now = clock::now();
    let (name, said) = match &event {
        Event::Snapshot(batch) | Event::Update(batch) | Event::Terminal(batch) => {
            (batch.name.as_str(), standing(batch, now))
        }
        Event::Removed(name) => (name.as_str(), "matches no more".to_owned()),
        Event::InitialSyncDone(_) | Event::Heartbeat(_) | Event::Draining(_) => return Ok(()),
    };
    writeln!(out, "{} {} {said}", now.format("%H:%M:%S"), label::batch_id(name))
}

/// Follows a batch, prints its report, and says by the exit status how it ended.
async fn to_the_end(
    client: &Client,
    name: &str,
    context: &Context,
    out: &mut impl Write,
) -> Result<u8, Failure> {
    let (batch, report) = ended(client, name).await?;
    context.output.end(&batch, &report, out)?;
    Ok(exit::code(&batch))
}

/// Follows a batch to its end.
pub(super) async fn ended(client: &Client, name: &str) -> Result<(Batch, Report), Failure> {
    let mut batch = tokio::select! {
        batch = follow(client, name, ProgressMode::Auto) => batch?,
        // Where signals cannot be caught, Ctrl-C ends us all the same.
        Ok(()) = tokio::signal::ctrl_c() => {
            return Err(Failure::Interrupted { batch: name.to_owned() });
        }
    };
    let report = client.get_report(name).await?;
    // A watch leaves out what of the spec may be long; a batch that was deleted meanwhile has no more of it to tell.
    match client.get_batch(name).await {
        Ok(whole) if whole.create_time == batch.create_time => batch.spec = whole.spec,
        Ok(_) | Err(_) => {}
    }
    Ok((batch, report))
}
