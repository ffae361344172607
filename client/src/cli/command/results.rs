//! `haul results`

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::Args;
use futures::TryStreamExt;
use haul_proto::v1::StreamResultsResponse;

use super::{Context, cursor_file::CursorFile, failure::Failure};
use crate::{
    ResultsEvent, ResultsOptions,
    cli::{
        connection::Connection,
        output::{Format, Output},
    },
};

/// Print final items as they became final, a line of JSON each
///
/// Each line is an item. With -o json each line is a chunk: items, and the cursor behind them; with -o yaml it is a
/// document behind a line of ---. What was cut off goes on by itself behind the last line; a later run goes on with
/// --cursor or --cursor-file.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  haul results nightly | jq -r .spec.key                    what is final so far
  haul results nightly --follow --cursor-file nightly.at    each item once, over any number of runs
  haul results nightly --filter 'state = FAILED'            what failed, as it failed")]
pub(super) struct Results {
    /// Id of the batch, or batches/ID.
    batch: String,
    /// Go on until the batch has ended.
    #[arg(long)]
    follow: bool,
    /// Only these items, such as 'state = FAILED AND key > 7000'.
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    filter: String,
    /// Go on behind this cursor.
    #[arg(long, value_name = "CURSOR", default_value = "", hide_default_value = true)]
    cursor: String,
    /// Go on behind the cursor in this file, if there is one, and write the newest into it behind each chunk.
    #[arg(long, value_name = "FILE", conflicts_with = "cursor")]
    cursor_file: Option<PathBuf>,
    /// Put kept bodies of up to so many bytes into their items, as base64; at most 1048576. Default: none.
    #[arg(long, value_name = "BYTES", default_value_t, hide_default_value = true)]
    bodies: i64,
}

impl Results {
    pub(super) async fn run(self, context: &Context, out: &mut impl Write) -> Result<u8, Failure> {
        let (file, after_cursor) = match self.cursor_file {
            Some(path) => {
                let (file, cursor) = CursorFile::open(path)?;
                (Some(file), cursor)
            }
            None => (None, self.cursor),
        };
        let options = ResultsOptions {
            after_cursor,
            filter: self.filter,
            follow: self.follow,
            inline_body_limit_bytes: self.bodies,
        };
        let mut last = options.after_cursor.clone();
        let mut complete = false;
        let mut connection = Connection::default();
        let client = context.connect().await?;
        let mut events = client.results(&self.batch, options);
        let in_words = |error| match &file {
            Some(file) => file.in_its_words(error),
            None => Failure::from(error),
        };
        while let Some(event) = events.try_next().await.map_err(in_words)? {
            let chunk = match event {
                ResultsEvent::Chunk(chunk) => chunk,
                ResultsEvent::Reconnecting { attempt, error } => {
                    connection.tell_lost(attempt, &error);
                    continue;
                }
                ResultsEvent::Reconnected => {
                    connection.tell_back();
                    continue;
                }
            };
            print(&chunk, &context.output, out)?;
            out.flush()?;
            complete = chunk.complete;
            last = chunk.cursor;
            if let Some(file) = &file {
                file.write(&last)?;
            }
        }
        if !complete && file.is_none() && !last.is_empty() {
            let _ = writeln!(io::stderr(), "haul: more may follow; go on with --cursor {last}");
        }
        Ok(0)
    }
}

fn print(chunk: &StreamResultsResponse, output: &Output, out: &mut impl Write) -> io::Result<()> {
    if output.format() == Format::Table {
        // Lines of JSON are what people read too.
        return chunk.items.iter().try_for_each(|item| output.message("haul.v1.Item", item, out));
    }
    output.message("haul.v1.StreamResultsResponse", chunk, out)
}
