//! Lines, and records of several lines, out of a stream of bytes.

use std::io::{self, BufRead, Seek, SeekFrom};

use super::{LINE_BYTES_MAX, ReadError};

/// What is read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Up to the next line end.
    Line,
    /// Up to the next line end outside quotes.
    CsvRecord,
}

/// Why bytes cannot be had.
#[derive(Debug)]
pub(super) enum Fault {
    Io(io::Error),
    Unreadable(String),
}

impl Fault {
    pub(super) fn or_unreadable(self, unreadable: impl FnOnce(&str) -> ReadError) -> ReadError {
        match self {
            Self::Io(error) => ReadError::Io(error),
            Self::Unreadable(what) => unreadable(&what),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A stream that knows where it is.
#[derive(Debug)]
pub(super) struct LineReader<R> {
    reader: R,
    byte: u64,
    line: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead + Seek> LineReader<R> {
    /// A stream that stands at `byte`, in its first line.
    pub(super) fn new(reader: R, byte: u64) -> Self {
        Self { reader, byte, line: 0, buffer: Vec::new() }
    }

    pub(super) fn get_ref(&self) -> &R {
        &self.reader
    }

    /// Reads on from another stream of the same bytes.
    pub(super) fn go_on_in(&mut self, reader: R) -> io::Result<()> {
        self.reader = reader;
        self.seek(self.byte, self.line)
    }

    /// Bytes before the next line.
    pub(super) fn byte(&self) -> u64 {
        self.byte
    }

    /// Lines before the next one.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    pub(super) fn seek(&mut self, byte: u64, line: u64) -> io::Result<()> {
        self.reader.seek(SeekFrom::Start(byte))?;
        (self.byte, self.line) = (byte, line);
        Ok(())
    }

    pub(super) fn is_at_end(&mut self) -> io::Result<bool> {
        match self.reader.fill_buf() {
            Ok(rest) => Ok(rest.is_empty()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The next line or record without its line end, or nothing at the end. One that the stream does not give whole is
    /// not begun. The encodings that are taken have no quote and no line feed inside a character, so that bytes can be
    /// looked at.
    pub(super) fn next(&mut self, unit: Unit) -> Result<Option<&[u8]>, Fault> {
        let (byte, line) = (self.byte, self.line);
        match self.fill(unit) {
            Ok(false) => return Ok(None),
            Ok(true) => {}
            Err(fault) => {
                if matches!(fault, Fault::Io(_)) {
                    self.seek(byte, line)?;
                }
                return Err(fault);
            }
        }
        let line = self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer);
        Ok(Some(line.strip_suffix(b"\r").unwrap_or(line)))
    }

    /// Reads a line or record with its line end; false at the end.
    fn fill(&mut self, unit: Unit) -> Result<bool, Fault> {
        self.buffer.clear();
        let mut in_quotes = false;
        loop {
            let before = self.buffer.len();
            if !self.append_line()? {
                if in_quotes {
                    let what =
                        "a quote is opened here and never closed: close it, or double it where it is text";
                    return Err(Fault::Unreadable(what.to_owned()));
                }
                return Ok(!self.buffer.is_empty());
            }
            // A quote inside quotes is doubled: it closes them and opens them again.
            in_quotes = self.buffer[before..].iter().fold(in_quotes, |open, byte| open ^ (*byte == b'"'));
            if unit == Unit::Line || !in_quotes {
                return Ok(true);
            }
        }
    }

    /// Appends a line with its end; false if there is none.
    fn append_line(&mut self) -> Result<bool, Fault> {
        let before = self.buffer.len();
        loop {
            let available = self.reader.fill_buf()?;
            let end = available.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let taken = end.unwrap_or(available.len());
            if self.buffer.len() + taken > LINE_BYTES_MAX {
                let what = format!(
                    "it goes on for more than {LINE_BYTES_MAX} bytes: break it up, or look for a quote that is not closed"
                );
                return Err(Fault::Unreadable(what));
            }
            self.buffer.extend_from_slice(&available[..taken]);
            self.reader.consume(taken);
            self.byte += taken as u64;
            if end.is_some() || taken == 0 {
                break;
            }
        }
        let is_line = self.buffer.len() > before;
        self.line += u64::from(is_line);
        Ok(is_line)
    }
}
