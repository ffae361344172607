//! `haul upload`

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use futures::stream;
use haul_proto::v1::{Batch, GetUploadStatusResponse, UploadItemsResponse, batch::State};
use indicatif::ProgressBar;

use super::{Context, failure::Failure};
use crate::{
    Client, Error, UploadOptions,
    cli::{
        exit,
        items::{self, ItemFormat, Items},
        label, number,
        output::Format,
    },
};

/// Send an open batch its items
///
/// A batch whose spec says uploadedItems takes items until it is sealed, and then runs. Connections that break are
/// mended; what the server has is not sent again. Keys are taken as they are written, blanks around them included.
///
/// A pipe ends the same way whether the program before it was done or died, so a list that it broke off would be sealed
/// as if it were whole: send it with --no-seal and seal behind `set -o pipefail` and `&&`, or write it to a file first.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  haul upload nightly keys.txt                         send all and let it run
  select-keys | haul upload nightly - --no-seal        send these; more will come
  haul upload nightly /dev/null --allow-empty          seal it: nothing more comes
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
    #[arg(long, value_name = "NAME", default_value = KEY_COLUMN)]
    key_column: String,
    /// Seal the batch though the file holds no item.
    #[arg(long)]
    allow_empty: bool,
}

const KEY_COLUMN: &str = "key";

impl Reading {
    /// Opens a file and reads its head, so that what is wrong with it is known before anything is made or sent for it.
    pub(super) fn open(&self, file: &Path, seal: bool) -> Result<Items, Failure> {
        let mut items = items::open(file, self.format, &self.key_column).map_err(Error::Items)?;
        if seal && !self.allow_empty && items.peek().is_none() {
            let origin = items::origin(file);
            return Err(Failure::Usage(format!(
                "{origin} holds no item: nothing was done. See to what writes it; --allow-empty is for a list that may be \
                 empty, and to seal a batch"
            )));
        }
        Ok(items)
    }

    /// Nothing of it was said.
    pub(super) fn is_default(&self) -> bool {
        self.format.is_none() && self.key_column == KEY_COLUMN && !self.allow_empty
    }
}

impl Upload {
    pub(super) async fn run(self, context: &Context, out: &mut impl Write) -> Result<u8, Failure> {
        let Self { batch, file, reading, no_seal, id } = self;
        let items = reading.open(&file, !no_seal)?;
        let client = context.connect().await?;
        let sending =
            Sending { client: &client, batch: &batch, file: &file, reading: &reading, seal: !no_seal, id };
        let sent = sending.send(items).await.map_err(Unsent::into_failure)?;
        if context.output.format() == Format::Table {
            let state = label::batch_state(sent.batch.state);
            writeln!(out, "{}  {state}; {}", sent.batch.name, sent.said())?;
        } else {
            context.output.batch(&sent.batch, out)?;
        }
        Ok(0)
    }
}

impl Sent {
    /// What it came to, in words.
    pub(super) fn said(&self) -> String {
        what_came_of(&self.batch, &self.before, &self.after)
    }
}

/// What the items of an upload came to: those of this run, then those that an earlier one had sent, then the batch's.
fn what_came_of(batch: &Batch, before: &GetUploadStatusResponse, after: &UploadItemsResponse) -> String {
    let repeats = after.duplicate_items - before.duplicate_items;
    let added = after.committed_items - before.committed_items - repeats;
    let mut parts = vec![format!("{} added", number::plural(added, "item", "items"))];
    if repeats > 0 {
        let keys = if repeats == 1 { "its key was" } else { "their keys were" };
        let repeats = number::plural(repeats, "repeat", "repeats");
        parts.push(format!("{repeats} left out as {keys} there"));
    }
    if before.committed_items > 0 {
        parts.push(format!("{} sent before", number::count(before.committed_items)));
    }
    let total = batch.progress.as_ref().map_or(0, |progress| progress.total_items);
    format!("{}; it has {}", parts.join(", "), number::count(total))
}

/// A file to be sent: where to, how it is read, under which name.
pub(super) struct Sending<'a> {
    pub(super) client: &'a Client,
    pub(super) batch: &'a str,
    pub(super) file: &'a Path,
    pub(super) reading: &'a Reading,
    pub(super) seal: bool,
    /// The caller's own name for the upload; else a new one.
    pub(super) id: Option<String>,
}

/// What was sent.
pub(super) struct Sent {
    pub(super) batch: Batch,
    /// How far an earlier run had come.
    before: GetUploadStatusResponse,
    after: UploadItemsResponse,
}

/// Why not all was sent, and what is there now.
pub(super) struct Unsent {
    error: Error,
    /// Of a batch that is still open: items of this file that it has.
    committed: Option<i64>,
    left: Option<String>,
}

impl Unsent {
    /// The file is at fault, and nothing of it has arrived.
    pub(super) fn is_bad_from_the_start(&self) -> bool {
        self.committed == Some(0) && exit::of_error(&self.error) == exit::USAGE
    }

    pub(super) fn into_failure(self) -> Failure {
        let left = self.left;
        Failure::Unsent { error: self.error, left }
    }

    /// The same, where something else is there.
    pub(super) fn leaving(self, left: String) -> Failure {
        Failure::Unsent { error: self.error, left: Some(left) }
    }
}

impl Sending<'_> {
    /// Sends the items, and shows on a terminal how it goes.
    pub(super) async fn send(&self, items: Items) -> Result<Sent, Unsent> {
        let mut options = UploadOptions { seal: self.seal, ..UploadOptions::default() };
        let mut before = GetUploadStatusResponse::default();
        if let Some(id) = &self.id {
            options.upload_id.clone_from(id);
            match self.client.upload_status(self.batch, id).await {
                Ok(status) => before = status,
                Err(error) if error.reason() == Some("UPLOAD_NOT_FOUND") => {}
                Err(error) => return Err(Unsent { error, committed: None, left: None }),
            }
        } else {
            // Lost with standard error; then a second run sends all again, and the batch leaves the repeats out.
            let _ = writeln!(
                io::stderr(),
                "haul: if it breaks off, go on with: {}",
                self.again(&options.upload_id)
            );
        }
        let id = options.upload_id.clone();
        let bar = ProgressBar::new_spinner();
        let observe = |durable| {
            bar.set_message(format!("{} uploaded", number::plural(durable, "item", "items")));
            bar.tick();
        };
        let uploaded = self.client.upload(self.batch, options, stream::iter(items), observe).await;
        bar.finish_and_clear();
        let sent = uploaded.and_then(|mut after| match after.batch.take() {
            Some(batch) => Ok(Sent { batch, before, after }),
            None => Err(self.client.malformed("UploadItems", "a batch")),
        });
        match sent {
            Ok(sent) => Ok(sent),
            Err(error) => Err(self.unsent(&id, error).await),
        }
    }

    async fn unsent(&self, id: &str, error: Error) -> Unsent {
        let again = self.again(id);
        let status = async {
            let batch = self.client.get_batch(self.batch).await?;
            match self.client.upload_status(self.batch, id).await {
                Err(error) if error.reason() == Some("UPLOAD_NOT_FOUND") => Ok((batch, 0)),
                status => status.map(|status| (batch, status.committed_items)),
            }
        };
        match status.await {
            Ok((batch, committed)) if batch.state() == State::Open => {
                let name = batch.name;
                let items = number::plural(committed, "item", "items");
                let way_on = match exit::of_error(&error) {
                    exit::USAGE if committed == 0 => "correct the file, then: ",
                    exit::USAGE => "leave these as they are, correct what follows, then: ",
                    _ => "go on with: ",
                };
                let left = format!(
                    "{name} is open and has {items} of this file; {way_on}{again}\n  or end it with: haul stop {name}"
                );
                Unsent { error, committed: Some(committed), left: Some(left) }
            }
            // It takes nothing more: the error says so.
            Ok(_) | Err(Error::Refused(_)) => Unsent { error, committed: None, left: None },
            Err(_) => {
                let left = format!("how much of the file has arrived is not known; go on with: {again}");
                Unsent { error, committed: None, left: Some(left) }
            }
        }
    }

    /// The command that goes on where an upload broke off.
    fn again(&self, id: &str) -> String {
        let file = quoted(&self.file.to_string_lossy());
        let mut words = vec![format!("haul upload {} {file}", self.batch)];
        if let Some(format) = self.reading.format.and_then(|format| format.to_possible_value()) {
            words.push(format!("--format {}", format.get_name()));
        }
        if self.reading.key_column != KEY_COLUMN {
            words.push(format!("--key-column {}", quoted(&self.reading.key_column)));
        }
        if !self.seal {
            words.push("--no-seal".to_owned());
        }
        words.push(format!("--upload-id {id}"));
        words.join(" ")
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./+,:@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use haul_proto::v1::Progress;

    use super::*;

    #[test]
    fn what_was_added_what_was_left_out_and_what_was_there_are_told_apart() {
        for ((committed, duplicates), (known, known_duplicates), total, expected) in [
            ((10, 0), (0, 0), 10, "10 items added; it has 10"),
            ((15, 5), (0, 0), 20, "10 items added, 5 repeats left out as their keys were there; it has 20"),
            ((10, 0), (10, 0), 10, "0 items added, 10 sent before; it has 10"),
            (
                (1_200, 3),
                (1_000, 2),
                1_197,
                "199 items added, 1 repeat left out as its key was there, 1,000 sent before; it has 1,197",
            ),
        ] {
            let progress = Some(Progress { total_items: total, ..Progress::default() });
            let batch = Batch { progress, ..Batch::default() };
            let before = GetUploadStatusResponse {
                committed_items: known,
                duplicate_items: known_duplicates,
                ..GetUploadStatusResponse::default()
            };
            let after = UploadItemsResponse {
                committed_items: committed,
                duplicate_items: duplicates,
                ..UploadItemsResponse::default()
            };
            assert_eq!(what_came_of(&batch, &before, &after), expected);
        }
    }

    #[test]
    fn a_word_is_quoted_where_a_shell_would_take_it_apart() {
        for (word, expected) in [
            ("keys.txt", "keys.txt"),
            ("-", "-"),
            ("my keys", "'my keys'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
