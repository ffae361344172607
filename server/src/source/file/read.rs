//! Reads a local file of keys in pages, from the position where the last page ended.
//!
//! Promised: the pages of a file hold the same items as one reading of the whole, whatever their sizes and however often
//! the reader was opened anew; a file that changes in between is an error, never a mixture. Memory does not grow with the
//! file: a line and a page have bounds. Everything here blocks.

mod csv;
mod encoding;
mod line;
mod ndjson;
mod position;

use std::{
    fs::{self, File},
    io::{self, BufReader, Seek, SeekFrom},
    path::Path,
};

use haul_client::cli::items::csv::Header;

use self::{
    encoding::Charset,
    line::{LineReader, Unit},
    position::{Fingerprint, Position},
};
use crate::domain::{
    item::{COLUMNS_BYTES_MAX, COLUMNS_MAX, NewItem, key_fault},
    spec::{FileFormat, FileSource},
    text,
};

/// Longest line or CSV record, in bytes.
pub const LINE_BYTES_MAX: usize = 1 << 20;
/// Keys and columns after which a page ends early, in bytes.
const PAGE_BYTES_MAX: usize = 8 << 20;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// For good. Says which file, which line, what is wrong and what to do.
    #[error("{0}")]
    Unreadable(String),
    /// May pass.
    #[error("the file cannot be read")]
    Io(#[from] io::Error),
}

/// A file of keys, open at a position.
#[derive(Debug)]
pub struct FileReader {
    /// What messages call the file.
    name: String,
    layout: Layout,
    lines: LineReader<BufReader<File>>,
    charset: Charset,
    fingerprint: Fingerprint,
}

/// A page of items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePage {
    /// Items in the file's order.
    pub items: Vec<NewItem>,
    /// Where the next page begins, an opaque text for [`FileReader::open`]; nothing at the file's end.
    pub next: Option<String>,
}

#[derive(Debug)]
enum Layout {
    Lines,
    Csv(Header),
    Ndjson { key_column: String },
}

impl FileReader {
    /// Opens a file at its start or at a position that a page of the same file gave.
    pub fn open(path: &Path, spec: &FileSource, position: Option<&str>) -> Result<Self, ReadError> {
        let name = spec.uri.clone();
        let file = open_regular(path, &name)?;
        let fingerprint = Fingerprint::of(&file.metadata()?);
        let at = match position {
            Some(text) => {
                let position = Position::parse(text).ok_or_else(|| {
                    unreadable(&name, None, "the position in it cannot be read: start a new batch")
                })?;
                if position.fingerprint != fingerprint {
                    return Err(changed(&name));
                }
                Some(position)
            }
            None => None,
        };
        let mut file = BufReader::new(file);
        let (charset, mark_bytes) = Charset::detect(&mut file, &spec.encoding)
            .map_err(|fault| fault.or_unreadable(|what| unreadable(&name, None, what)))?;
        file.seek(SeekFrom::Start(mark_bytes))?;
        let mut lines = LineReader::new(file, mark_bytes);
        let layout = match spec.format {
            FileFormat::Lines => Layout::Lines,
            FileFormat::Ndjson => Layout::Ndjson { key_column: spec.key_column.clone() },
            FileFormat::Csv => Layout::Csv(read_header(&mut lines, charset, spec)?),
        };
        if let Some(position) = at {
            lines.seek(position.byte, position.line)?;
        }
        Ok(Self { name, layout, lines, charset, fingerprint })
    }

    /// The next items, at most `items_max` of them and at least one unless the file ends. Ends early when the items grow
    /// large.
    pub fn page(&mut self, items_max: usize) -> Result<FilePage, ReadError> {
        let mut items = Vec::new();
        let mut size_bytes = 0;
        let mut at_end = false;
        while items.len() < items_max.max(1) && size_bytes < PAGE_BYTES_MAX {
            // A file that somebody writes into may show anything: then the change is what is wrong with it.
            let item = self.item().map_err(|fault| self.check_unchanged().err().unwrap_or(fault))?;
            let Some(item) = item else {
                at_end = true;
                break;
            };
            size_bytes += item.key.len() + item.columns.as_ref().map_or(0, String::len);
            items.push(item);
        }
        let at_end = at_end || self.lines.is_at_end()?;
        self.check_unchanged()?;
        let position =
            Position { byte: self.lines.byte(), line: self.lines.line(), fingerprint: self.fingerprint };
        Ok(FilePage { items, next: (!at_end).then(|| position.to_text()) })
    }

    fn check_unchanged(&self) -> Result<(), ReadError> {
        let now = Fingerprint::of(&self.lines.get_ref().get_ref().metadata()?);
        if now == self.fingerprint { Ok(()) } else { Err(changed(&self.name)) }
    }

    /// The next item, past whatever holds none.
    fn item(&mut self) -> Result<Option<NewItem>, ReadError> {
        let unit = if matches!(self.layout, Layout::Csv(_)) { Unit::CsvRecord } else { Unit::Line };
        loop {
            let Some((line, record)) = next_record(&mut self.lines, unit, self.charset, &self.name)? else {
                return Ok(None);
            };
            let read = match &self.layout {
                Layout::Lines if record.trim().is_empty() || record.starts_with('#') => continue,
                Layout::Lines => Ok(NewItem::keyed(record)),
                Layout::Csv(_) if record.is_empty() => continue,
                Layout::Csv(header) => csv::item(header, &record),
                Layout::Ndjson { .. } if record.trim().is_empty() => continue,
                Layout::Ndjson { key_column } => ndjson::item(&record, key_column),
            };
            return read
                .and_then(checked)
                .map(Some)
                .map_err(|what| unreadable(&self.name, Some(line), &what));
        }
    }
}

fn read_header(
    lines: &mut LineReader<BufReader<File>>,
    charset: Charset,
    spec: &FileSource,
) -> Result<Header, ReadError> {
    while let Some((line, record)) = next_record(lines, Unit::CsvRecord, charset, &spec.uri)? {
        if !record.is_empty() {
            let header = Header::read(&record, &spec.key_column);
            return header.map_err(|what| unreadable(&spec.uri, Some(line), &what));
        }
    }
    Err(unreadable(&spec.uri, None, "it is empty: a header row must name its columns"))
}

/// The next line or record as text without its line end, and the line that it begins in, counted from 1.
fn next_record(
    lines: &mut LineReader<BufReader<File>>,
    unit: Unit,
    charset: Charset,
    name: &str,
) -> Result<Option<(u64, String)>, ReadError> {
    let line = lines.line() + 1;
    let bytes = lines.next(unit);
    let bytes = bytes.map_err(|fault| fault.or_unreadable(|what| unreadable(name, Some(line), what)))?;
    let Some(bytes) = bytes else { return Ok(None) };
    let text = charset.decode(bytes).map_err(|what| unreadable(name, Some(line), &what))?;
    Ok(Some((line, text)))
}

/// The item, if it is within the bounds of items.
fn checked(item: NewItem) -> Result<NewItem, String> {
    if let Some(fault) = key_fault(&item.key) {
        return Err(format!("the key {fault}: correct or delete it"));
    }
    match &item.columns {
        Some(columns) if columns.len() > COLUMNS_BYTES_MAX => Err(format!(
            "the columns have {} bytes as JSON, more than {COLUMNS_BYTES_MAX}: leave some out",
            columns.len()
        )),
        _ => Ok(item),
    }
}

/// Why there are too many columns, if there are.
fn count_fault(columns: usize) -> Option<String> {
    (columns > COLUMNS_MAX)
        .then(|| format!("it has {columns} columns, more than {COLUMNS_MAX}: leave some out"))
}

/// Opens a file that is one: a pipe would block here, a folder fail later.
fn open_regular(path: &Path, name: &str) -> Result<File, ReadError> {
    let refused = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            unreadable(name, None, "there is no such file: correct the address, or put the file there")
        }
        io::ErrorKind::PermissionDenied => {
            unreadable(name, None, "the server may not read it: give its user the right to")
        }
        _ => ReadError::Io(error),
    };
    if !fs::metadata(path).map_err(refused)?.is_file() {
        return Err(unreadable(name, None, "it is no file: name one"));
    }
    File::open(path).map_err(refused)
}

fn unreadable(name: &str, line: Option<u64>, what: &str) -> ReadError {
    let place = line.map(|line| format!(", line {line}")).unwrap_or_default();
    ReadError::Unreadable(text::message(&format!("{}{place}: {what}", text::cut(name, 400))))
}

fn changed(name: &str) -> ReadError {
    unreadable(
        name,
        None,
        "the file changed while it was read: start a new batch, and leave the file alone until it is read",
    )
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
