//! `haul upload`

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use futures::stream;
use haul_proto::v1::UploadItemsResponse;
use indicatif::ProgressBar;

use super::{Context, failure::Failure};
use crate::{
    Client, Error, UploadOptions,
    cli::{
        items::{self, ItemFormat},
        label, number,
        output::Format,
    },
};

/// Send an open batch its items
///
/// A batch whose spec says uploadedItems takes items until it is sealed, and then runs. Connections that break are
/// mended; what the server has is not sent again.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  haul upload nightly keys.txt                         send all and let it run
  select-keys | haul upload nightly - --no-seal        send these; more will come
  haul upload nightly rows.csv --key-column code       every column goes along")]
pub(super) struct Upload {
    /// Id of the batch, or batches/ID.
    batch: String,
    /// File of items; - is standard input.
    file: PathBuf,
    #[command(flatten)]
    reading: Reading,
    /// Leave the batch open for further uploads.
    #[arg(long)]
    no_seal: bool,
    /// Name of the upload: a second run with the same name and file goes on where the first broke off. Default: a new
    /// one, told on standard error.
    #[arg(long = "upload-id", value_name = "UUID")]
    id: Option<String>,
}

/// How a file of items is read.
#[derive(Args, Debug)]
pub(super) struct Reading {
    /// How items are written. Default: by the file's name, lines where it does not tell.
    #[arg(long, value_enum)]
    format: Option<ItemFormat>,
    /// Column or member that holds the key, in csv and ndjson.
    #[arg(long, value_name = "NAME", default_value = "key")]
    key_column: String,
}

impl Upload {
    pub(super) async fn run(self, context: &Context, out: &mut impl Write) -> Result<u8, Failure> {
        let Self { batch, file, reading, no_seal, id } = self;
        let client = context.connect().await?;
        let uploaded = send(&client, &batch, &file, &reading, !no_seal, id).await?;
        let batch = uploaded.batch.ok_or_else(|| client.malformed("UploadItems", "a batch"))?;
        if context.output.format() == Format::Table {
            let (items, repeats) = (uploaded.committed_items, uploaded.duplicate_items);
            let left_out = match repeats {
                0 => String::new(),
                repeats => {
                    format!("; {} of a key left out", number::plural(repeats, "repeat", "repeats"))
                }
            };
            let items = number::plural(items, "item", "items");
            writeln!(out, "{}  {}; {items} uploaded{left_out}", batch.name, label::batch_state(batch.state))?;
        } else {
            context.output.batch(&batch, out)?;
        }
        Ok(0)
    }
}

/// Sends a file's items, and shows on a terminal how it goes.
pub(super) async fn send(
    client: &Client,
    batch: &str,
    file: &Path,
    reading: &Reading,
    seal: bool,
    upload_id: Option<String>,
) -> Result<UploadItemsResponse, Failure> {
    let items = items::open(file, reading.format, &reading.key_column).map_err(Error::Items)?;
    let mut options = UploadOptions { seal, ..UploadOptions::default() };
    if let Some(id) = upload_id {
        options.upload_id = id;
    } else {
        let id = &options.upload_id;
        // Lost with standard error; then a second run sends all again, and the batch leaves the repeats out.
        let _ = writeln!(io::stderr(), "haul: if it breaks off, go on with --upload-id {id}");
    }
    let bar = ProgressBar::new_spinner();
    let observe = |durable| {
        bar.set_message(format!("{} uploaded", number::plural(durable, "item", "items")));
        bar.tick();
    };
    let uploaded = client.upload(batch, options, stream::iter(items), observe).await;
    bar.finish_and_clear();
    Ok(uploaded?)
}
