//! Cells in rows, out of a CSV text or a sheet.

use encoding_rs::{Encoding, SHIFT_JIS, UTF_8};

use super::{ParseError, ROWS_MAX, beginning, cell::Cell};
use crate::domain::text;

/// Texts of all cells, in bytes: a sheet may point to one long text from each of its cells.
const TEXT_BYTES_MAX: usize = 256 << 20;

/// Rows with their numbers.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<(usize, Vec<Cell>)>,
    text_bytes: usize,
}

impl Table {
    /// Adds a row by its number, counted from 1.
    pub(super) fn push(&mut self, number: usize, cells: Vec<Cell>) -> Result<(), ParseError> {
        // One for the headings; one more, so that the reader of the rows finds that there are too many.
        if self.rows.len() > ROWS_MAX + 1 {
            return Err(ParseError::TooLarge(format!("it has more than {ROWS_MAX} rows")));
        }
        self.text_bytes += cells.iter().map(|cell| cell.text.len()).sum::<usize>();
        if self.text_bytes > TEXT_BYTES_MAX {
            return Err(ParseError::TooLarge(format!("its texts have more than {TEXT_BYTES_MAX} bytes")));
        }
        self.rows.push((number, cells));
        Ok(())
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = (usize, &[Cell])> {
        self.rows.iter().map(|(number, cells)| (*number, cells.as_slice()))
    }

    /// The table of a CSV text, every row as long as its headings: a shorter one is a sign of a file that was cut.
    pub(super) fn of_text(file: &[u8]) -> Result<Self, ParseError> {
        let text = decoded(file)?;
        if text.trim_start().starts_with(['<', '{', '[', '%']) || text.contains('\0') {
            return Err(ParseError::NotASpreadsheet(beginning(&text)));
        }
        let mut table = Self::default();
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
        for record in reader.records() {
            let record = record.map_err(|error| broken(&error))?;
            let line = record.position().map_or(0, csv::Position::line) as usize;
            table.push(line, record.iter().map(Cell::text).collect())?;
        }
        Ok(table)
    }
}

fn broken(error: &csv::Error) -> ParseError {
    let row = error.position().map_or(0, csv::Position::line) as usize;
    let fault = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("it has {len} cells where the headings are {expected_len}; the file may have been cut")
        }
        _ => text::message(&error.to_string()),
    };
    ParseError::BadRow { row, fault }
}

/// A byte-order mark is obeyed; without one the text is UTF-8 if it can be, else Shift\_JIS.
fn decoded(file: &[u8]) -> Result<String, ParseError> {
    let candidates = match Encoding::for_bom(file) {
        Some((encoding, mark_length)) => vec![(encoding, &file[mark_length..])],
        None => vec![(UTF_8, file), (SHIFT_JIS, file)],
    };
    for (encoding, bytes) in candidates {
        if let Some(text) = encoding.decode_without_bom_handling_and_without_replacement(bytes) {
            return Ok(text.into_owned());
        }
    }
    let start = String::from_utf8_lossy(&file[..file.len().min(64)]);
    Err(ParseError::NotASpreadsheet(beginning(&start)))
}
