//! Reads a file of keys in pages, from the position where the last page ended.
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
    io::{self, BufRead, BufReader, Seek, SeekFrom},
    path::Path,
};

use haul_client::cli::items::csv::Header;

pub(super) use self::position::{Fingerprint, Position};
use self::{
    encoding::Charset,
    line::{LineReader, Unit},
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

/// The bytes of a file. Where they are not at hand, it answers [`io::ErrorKind::WouldBlock`].
pub(super) trait Content: BufRead + Seek {
    /// The state of the file that they are of.
    fn fingerprint(&self) -> io::Result<Fingerprint>;
}

impl Content for BufReader<File> {
    fn fingerprint(&self) -> io::Result<Fingerprint> {
        Ok(Fingerprint::of(&self.get_ref().metadata()?))
    }
}

/// A file of keys, open at a position.
#[derive(Debug)]
pub struct FileReader<C = BufReader<File>> {
    /// What messages call the file.
    name: String,
    layout: Layout,
    lines: LineReader<C>,
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
    /// It ends where the bytes at hand do: there is no next page without more of them.
    pub is_cut: bool,
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
        let file = open_regular(path, &spec.uri)?;
        Self::over(BufReader::new(file), spec, position)
    }
}

// Only the reader of local files is public; what else it reads from is this source's own matter.
#[allow(private_bounds)]
impl<C: Content> FileReader<C> {
    /// Reads these bytes, which must hold the file's start, from their start or from such a position.
    pub(super) fn over(mut file: C, spec: &FileSource, position: Option<&str>) -> Result<Self, ReadError> {
        let name = spec.uri.clone();
        let fingerprint = file.fingerprint()?;
        let at = match position {
            Some(text) => {
                let position = Position::parse(text).ok_or_else(|| {
                    unreadable(&name, None, "the position in it cannot be read: start a new batch")
                })?;
                if let Some(what) = position.fingerprint.change(&fingerprint) {
                    return Err(changed(&name, &what));
                }
                Some(position)
            }
            None => None,
        };
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
        let (mut at_end, mut is_cut) = (false, false);
        while items.len() < items_max.max(1) && size_bytes < PAGE_BYTES_MAX {
            // A file that somebody writes into may show anything: then the change is what is wrong with it.
            let item = match self.item() {
                Ok(Some(item)) => item,
                Ok(None) => {
                    at_end = true;
                    break;
                }
                Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    is_cut = true;
                    break;
                }
                Err(fault) => return Err(self.check_unchanged().err().unwrap_or(fault)),
            };
            size_bytes += item.key.len() + item.columns.as_ref().map_or(0, String::len);
            items.push(item);
        }
        let at_end = at_end || self.lines.is_at_end()?;
        self.check_unchanged()?;
        let next = (!at_end).then(|| {
            let fingerprint = self.fingerprint.clone();
            Position { byte: self.lines.byte(), line: self.lines.line(), fingerprint }.to_text()
        });
        Ok(FilePage { items, next, is_cut })
    }

    /// Bytes before the next line, and the file that they are of.
    pub(super) fn place(&self) -> (u64, &Fingerprint) {
        (self.lines.byte(), &self.fingerprint)
    }

    /// Reads on in these bytes of the same file.
    pub(super) fn go_on_in(&mut self, content: C) -> Result<(), ReadError> {
        Ok(self.lines.go_on_in(content)?)
    }

    fn check_unchanged(&self) -> Result<(), ReadError> {
        let now = self.lines.get_ref().fingerprint()?;
        self.fingerprint.change(&now).map_or(Ok(()), |what| Err(changed(&self.name, &what)))
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
    lines: &mut LineReader<impl Content>,
    charset: Charset,
    spec: &FileSource,
) -> Result<Header, ReadError> {
    let endless = |fault| match fault {
        ReadError::Io(error) if error.kind() == io::ErrorKind::WouldBlock => {
            unreadable(&spec.uri, None, "it begins with nothing but blank lines: put its header row first")
        }
        fault => fault,
    };
    while let Some((line, record)) =
        next_record(lines, Unit::CsvRecord, charset, &spec.uri).map_err(endless)?
    {
        if !record.is_empty() {
            let header = Header::read(&record, &spec.key_column);
            return header.map_err(|what| unreadable(&spec.uri, Some(line), &what));
        }
    }
    Err(unreadable(&spec.uri, None, "it is empty: a header row must name its columns"))
}

/// The next line or record as text without its line end, and the line that it begins in, counted from 1.
fn next_record(
    lines: &mut LineReader<impl Content>,
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

/// The file is not as it was, in `what`.
pub(super) fn changed(name: &str, what: &str) -> ReadError {
    let what = format!(
        "the file changed while it was read, {what}: start a new batch, and leave the file alone until it is read"
    );
    unreadable(name, None, &what)
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
