//! Reads the exchange's list of listed issues, as a spreadsheet or as CSV in the same layout.
//!
//! Columns are found by their headings, Japanese or English, never by position. Codes are texts, whatever their cells are:
//! the exchange writes 1301 as a number and 130A as a text into one column. A row that cannot be read with certainty
//! spoils the file: a list with a hole would pass for a list of delistings.
//!
//! What is known of the layout comes from published copies of 2019 to 2026.

#[cfg(feature = "sheets")]
mod biff;
mod cell;
mod heading;
#[cfg(feature = "sheets")]
mod ole;
mod row;
mod segment;
#[cfg(feature = "sheets")]
mod sheet;
mod table;

use sha2::{Digest, Sha256};

use self::table::Table;
use crate::domain::{
    listing::{ListFile, ListVersion},
    text,
};

/// Largest file, in bytes.
pub const FILE_BYTES_MAX: usize = 64 << 20;
/// Most bytes that a spreadsheet has once it is unpacked.
pub const UNPACKED_BYTES_MAX: u64 = 128 << 20;
/// Most rows below the headings.
pub const ROWS_MAX: usize = 100_000;
/// Longest cell, in characters.
pub const CELL_CHARS_MAX: usize = 1_000;

/// Why a file is no list, in words that follow its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Neither a spreadsheet nor text, or text of something else.
    #[error("is no spreadsheet or CSV: it {0}")]
    NotASpreadsheet(String),
    /// A spreadsheet, but this server reads CSV alone.
    #[error("is a spreadsheet, and this server was built without the feature \"sheets\": give it as CSV")]
    SheetsOff,
    /// A heading is not there.
    #[error("has no column {column}; its headings are {found}")]
    MissingColumn {
        /// The heading, in both languages.
        column: String,
        /// Those that it has.
        found: String,
    },
    /// A cell cannot be what its column needs.
    #[error("has {value} in row {row}, column {column:?}: {fault}")]
    BadCell {
        /// Row, counted from 1 with the headings and blank rows.
        row: usize,
        /// The column's heading.
        column: String,
        /// What the cell holds.
        value: String,
        /// What is wrong with it.
        fault: String,
    },
    /// A row that does not fit the headings.
    #[error("has a broken row {row}: {fault}")]
    BadRow {
        /// Row, counted from 1 with the headings.
        row: usize,
        /// What is wrong with it.
        fault: String,
    },
    /// No row below the headings, or not even headings.
    #[error("is empty: {0}")]
    Empty(&'static str),
    /// Larger than any list could be.
    #[error("is too large: {0}")]
    TooLarge(String),
}

/// The list that a file holds, rows in its order; a row that is there twice counts once. Takes .xls, .xlsx (the first
/// sheet) and CSV (UTF-8, UTF-16 with a byte-order mark, or Shift\_JIS), told apart by their first bytes.
pub fn parse(file: &[u8]) -> Result<ListFile, ParseError> {
    if file.len() > FILE_BYTES_MAX {
        let message = format!("it has {} bytes, more than {FILE_BYTES_MAX}", file.len());
        return Err(ParseError::TooLarge(message));
    }
    let table = match Container::of(file) {
        Some(container) => read_sheet(file, container)?,
        None => Table::of_text(file)?,
    };
    let (list_date, issues) = row::issues(&table)?;
    Ok(ListFile { version: ListVersion { list_date, sha256: text::hex(&Sha256::digest(file)) }, issues })
}

/// What a spreadsheet is wrapped in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Container {
    /// An .xls.
    Ole,
    /// An .xlsx.
    Zip,
}

impl Container {
    fn of(file: &[u8]) -> Option<Self> {
        if file.starts_with(b"\xD0\xCF\x11\xE0") {
            Some(Self::Ole)
        } else if file.starts_with(b"PK\x03\x04") {
            Some(Self::Zip)
        } else {
            None
        }
    }
}

#[cfg(feature = "sheets")]
fn read_sheet(file: &[u8], container: Container) -> Result<Table, ParseError> {
    sheet::table(file, container)
}

#[cfg(not(feature = "sheets"))]
fn read_sheet(_: &[u8], _: Container) -> Result<Table, ParseError> {
    Err(ParseError::SheetsOff)
}

/// How a file that is no list begins, for a message.
fn beginning(text: &str) -> String {
    const SHOWN_CHARS: usize = 40;
    let start: String = text.trim_start().chars().take(SHOWN_CHARS).collect();
    format!("begins with {:?}", text::message(&start))
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod tests;
