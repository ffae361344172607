//! Writes a sheet as an `.xls` file: BIFF8 records ([MS-XLS]) in an OLE2 container ([MS-CFB]).
//!
//! Only what a list needs: one sheet, numbers and texts. The same sheet gives the same bytes: no times, no names.

mod globals;
mod record;
mod strings;
mod worksheet;

use std::io::{self, Cursor, Write};
use std::time::UNIX_EPOCH;

use strings::SharedStrings;

/// A sheet of ten columns, first row first.
#[derive(Debug)]
pub(crate) struct Sheet<'a> {
    pub(crate) name: &'a str,
    pub(crate) rows: Vec<[Cell<'a>; COLUMNS]>,
}

/// One cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cell<'a> {
    Number(f64),
    Text(&'a str),
}

/// Columns of every sheet.
pub(crate) const COLUMNS: usize = 10;
/// Rows that BIFF8 can number.
const ROWS_MAX: usize = 65_536;

impl Sheet<'_> {
    /// The file.
    pub(crate) fn to_xls(&self) -> io::Result<Vec<u8>> {
        if self.rows.len() > ROWS_MAX {
            return Err(io::Error::other(format!(
                "{} rows are more than the {ROWS_MAX} of an .xls",
                self.rows.len()
            )));
        }
        let mut strings = SharedStrings::default();
        let sheet = worksheet::stream(self, &mut strings);
        let mut workbook = globals::stream(self.name, &strings);
        workbook.extend_from_slice(&sheet);

        let mut file = cfb::CompoundFile::create_with_version(cfb::Version::V3, Cursor::new(Vec::new()))?;
        file.create_stream("/Workbook")?.write_all(&workbook)?;
        // The container stamps its root with the time of writing.
        file.set_created_time("/", UNIX_EPOCH)?;
        file.set_modified_time("/", UNIX_EPOCH)?;
        file.flush()?;
        Ok(file.into_inner().into_inner())
    }
}

#[cfg(test)]
mod tests;
