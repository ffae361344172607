//! `haul start`

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::Args;
use haul_proto::v1::{
    Batch, DeleteBatchRequest, StartBatchRequest, UploadedItems, batch::State, batch_spec::Source,
    start_batch_response::Outcome,
};

use super::{Context, failure::Failure, started::Started, upload};
use crate::{
    Client,
    cli::{items, spec::SpecFile},
};

/// How a batch is made from another one.
#[derive(Args, Debug)]
pub(super) struct Child {
    /// Say what it would do, and make nothing.
    #[arg(long, conflicts_with = "watch")]
    pub(super) plan: bool,
    /// Id of the new batch: 4 to 63 of a-z, 0-9 and -. Default: made by the server.
    #[arg(long)]
    pub(super) id: Option<String>,
    /// Follow it to its end, then print its report.
    #[arg(long)]
    pub(super) watch: bool,
    /// Idempotency key: the same key makes the same batch but once. Default: a new one.
    #[arg(long, value_name = "UUID")]
    pub(super) request_id: Option<String>,
}

/// Start a batch from a spec file
///
/// The file is YAML or JSON: a batch's spec in canonical protobuf JSON, as the contract has it. What it leaves out
/// takes the server's defaults. Prints the batch's name; with -o json or yaml `batch` and `outcome`, and with --watch
/// the `report` at its end. Where another batch of its overlap key is live and nothing is made, it prints that one,
/// says so (`OUTCOME_SKIPPED`), follows nothing, and exits with 0.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  haul start -f nightly.yaml --id nightly-2026-02-28 --watch
  generate-spec | haul start -f -
  haul start -f nightly.yaml --upload keys.txt --watch

A spec:
  jpxListing: {segments: [PRIME]}
  yahooChart: {range: 1y}
  fetch: {workers: 10, requestsPerSecond: 5}")]
pub(super) struct Start {
    #[command(flatten)]
    what: What,
    /// Send it the items of this file, as `haul upload` does; - is standard input. With --request-id a second run goes
    /// on where the first broke off. Where the file is wrong and nothing of it was sent, no batch is left behind.
    #[arg(long, value_name = "FILE")]
    upload: Option<PathBuf>,
    #[command(flatten)]
    reading: upload::Reading,
    /// Follow it to its end, then print its report.
    #[arg(long)]
    watch: bool,
}

/// What is to be started, or planned.
#[derive(Args, Debug)]
pub(super) struct What {
    /// Spec file; - is standard input.
    #[arg(short = 'f', long = "file", value_name = "SPEC")]
    file: PathBuf,
    /// Id of the batch: 4 to 63 of a-z, 0-9 and -. Default: made by the server.
    #[arg(long)]
    id: Option<String>,
    /// Idempotency key: the same key starts the same batch but once. Default: a new one.
    #[arg(long, value_name = "UUID")]
    request_id: Option<String>,
}

impl What {
    /// The request for it, and the file, in whose words the server's complaints are said.
    pub(super) fn request(self) -> Result<(StartBatchRequest, SpecFile), Failure> {
        let file = SpecFile::read(&self.file)?;
        let request = StartBatchRequest {
            batch_id: self.id.unwrap_or_default(),
            spec: Some(file.spec.clone()),
            request_id: self.request_id.unwrap_or_default(),
            ..StartBatchRequest::default()
        };
        Ok((request, file))
    }
}

impl Start {
    pub(super) async fn run(self, context: &Context, out: &mut impl Write) -> Result<u8, Failure> {
        let upload_id = self.what.request_id.clone();
        if self.what.file.as_os_str() == "-"
            && self.upload.as_ref().is_some_and(|file| file.as_os_str() == "-")
        {
            return Err(Failure::Usage("one of -f and --upload may be standard input, not both".to_owned()));
        }
        if self.upload.is_none() && !self.reading.is_default() {
            let what =
                "--format, --key-column and --allow-empty say how the file of --upload is read: name one";
            return Err(Failure::Usage(what.to_owned()));
        }
        let (mut request, spec_file) = self.what.request()?;
        let spec = request.spec.get_or_insert_default();
        if self.upload.is_some() && !matches!(spec.source, None | Some(Source::UploadedItems(_))) {
            return Err(Failure::Usage("--upload is for a spec whose source is uploadedItems".to_owned()));
        } else if self.upload.is_some() && spec.source.is_none() {
            spec.source = Some(Source::UploadedItems(UploadedItems::default()));
        }
        let opened = match &self.upload {
            Some(file) => Some((file, self.reading.open(file, true)?)),
            None => None,
        };
        let client = context.connect().await?;
        let started = client.start_batch(request).await.map_err(|error| spec_file.in_its_words(error))?;
        let outcome = started.outcome();
        let mut batch = started.batch.ok_or_else(|| client.malformed("StartBatch", "a batch"))?;
        let started = Started { client: &client, batch: &batch, outcome, watched: self.watch, context };
        started.announce(out).await?;
        match opened {
            // The batch that is in the way of this one has items of its own.
            Some((file, _)) if outcome == Outcome::Skipped => {
                let _ = writeln!(io::stderr(), "haul: {} was not sent", items::origin(file));
            }
            Some((file, items)) => {
                let sending = upload::Sending {
                    client: &client,
                    batch: &batch.name,
                    file,
                    reading: &self.reading,
                    seal: true,
                    id: upload_id,
                };
                match sending.send(items).await {
                    Ok(sent) => {
                        let _ = writeln!(io::stderr(), "haul: {}", sent.said());
                        batch = sent.batch;
                    }
                    // Another start's batch, if it was answered with one, is not for this one to end.
                    Err(unsent)
                        if outcome != Outcome::Replayed
                            && unsent.is_bad_from_the_start()
                            && taken_back(&client, &batch.name).await =>
                    {
                        let left = format!(
                            "nothing of it was sent, and {} is deleted again: correct the file and start anew",
                            batch.name
                        );
                        return Err(unsent.leaving(left));
                    }
                    Err(unsent) => return Err(unsent.into_failure()),
                }
            }
            None => {}
        }
        Started { client: &client, batch: &batch, outcome, watched: self.watch, context }.followed(out).await
    }
}

/// Ends and deletes a batch that was made for a file which cannot be sent, so that it holds neither its name nor its
/// overlap key. One that others have sent items to stays.
async fn taken_back(client: &Client, name: &str) -> bool {
    let is_empty = |batch: &Batch| batch.progress.as_ref().is_none_or(|progress| progress.total_items == 0);
    let work = async {
        let batch = client.get_batch(name).await?;
        if batch.state() != State::Open || !is_empty(&batch) {
            return Ok(false);
        }
        client.stop(name, "its items could not be sent").await?;
        let delete = DeleteBatchRequest {
            name: name.to_owned(),
            allow_missing: true,
            ..DeleteBatchRequest::default()
        };
        client.delete_batch(delete).await.map(|()| true)
    };
    work.await.unwrap_or(false)
}
