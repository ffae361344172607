//! The first sheet of a spreadsheet, through calamine.
//!
//! calamine 0.38 trusts its input: on damaged .xls files it was seen to panic and to ask for 46 GB in one piece. So an
//! .xls is looked through before (`ole`, `biff`), an .xlsx is measured and then read cell by cell, and a panic is an error
//! here.

use std::{io::Cursor, panic};

use calamine::{Data, DataType, Reader, SheetType, Xls, Xlsx, open_workbook_from_rs};

use zip::ZipArchive;

use super::{Container, ParseError, UNPACKED_BYTES_MAX, biff, cell::Cell, ole, table::Table};
use crate::domain::text;

/// Columns that are looked at; the list has ten.
const COLUMNS_MAX: usize = 64;

/// The table of a workbook's first sheet.
pub(super) fn table(file: &[u8], container: Container) -> Result<Table, ParseError> {
    let read = || match container {
        Container::Ole => of_xls(file),
        Container::Zip => of_xlsx(file),
    };
    // Nothing outlives the panic but the borrowed bytes.
    panic::catch_unwind(panic::AssertUnwindSafe(read)).unwrap_or_else(|_| Err(unread("it is damaged")))
}

fn of_xls(file: &[u8]) -> Result<Table, ParseError> {
    let refused = |fault| unread(&format!("it {fault}"));
    biff::check(&ole::workbook(file).map_err(refused)?).map_err(refused)?;
    let mut workbook: Xls<_> =
        open_workbook_from_rs(Cursor::new(file)).map_err(failed::<calamine::XlsError>)?;
    let sheet =
        workbook.worksheet_range_at(0).ok_or(ParseError::Empty("it has no sheet"))?.map_err(failed)?;
    // The range begins at the first cell that holds something.
    let first_row = sheet.start().map_or(0, |(row, _)| row as usize);
    let mut table = Table::default();
    for (nth, cells) in sheet.rows().enumerate() {
        let row: Vec<Cell> = cells.iter().take(COLUMNS_MAX).map(cell).collect();
        push(&mut table, first_row + nth, row)?;
    }
    Ok(table)
}

/// calamine holds a workbook's texts in memory, however small they were packed. The archive's word on sizes is enough:
/// what grows beyond it is an error to the reader of archives that both have.
fn measure(file: &[u8]) -> Result<(), ParseError> {
    // What is wrong with an archive is for calamine to say.
    let Ok(mut archive) = ZipArchive::new(Cursor::new(file)) else { return Ok(()) };
    let sizes = (0..archive.len()).filter_map(|at| archive.by_index_raw(at).ok().map(|part| part.size()));
    let unpacked = sizes.fold(0, u64::saturating_add);
    if unpacked > UNPACKED_BYTES_MAX {
        let message = format!("it has {unpacked} bytes unpacked, more than {UNPACKED_BYTES_MAX}");
        return Err(ParseError::TooLarge(message));
    }
    Ok(())
}

fn of_xlsx(file: &[u8]) -> Result<Table, ParseError> {
    measure(file)?;
    let mut workbook: Xlsx<_> =
        open_workbook_from_rs(Cursor::new(file)).map_err(failed::<calamine::XlsxError>)?;
    let sheets = workbook.sheets_metadata();
    let name = sheets.iter().find(|sheet| sheet.typ == SheetType::WorkSheet).map(|sheet| sheet.name.clone());
    let name = name.ok_or(ParseError::Empty("it has no sheet"))?;
    let mut cells = workbook.worksheet_cells_reader(&name).map_err(failed)?;
    let mut table = Table::default();
    let mut row = Vec::new();
    let mut row_at: u32 = 0;
    while let Some(found) = cells.next_cell().map_err(failed)? {
        let (at, column) = found.get_position();
        if at != row_at {
            if at < row_at {
                return Err(unread("its rows are out of order"));
            }
            push(&mut table, row_at as usize, std::mem::take(&mut row))?;
            row_at = at;
        }
        let column = column as usize;
        if column < COLUMNS_MAX {
            row.resize(row.len().max(column + 1), Cell::default());
            row[column] = cell(&Data::from(found.get_value().clone()));
        }
    }
    push(&mut table, row_at as usize, row)?;
    Ok(table)
}

/// Rows with nothing in them do not count.
fn push(table: &mut Table, row_at: usize, row: Vec<Cell>) -> Result<(), ParseError> {
    if row.iter().all(Cell::is_empty) { Ok(()) } else { table.push(row_at + 1, row) }
}

fn cell(data: &Data) -> Cell {
    match data {
        Data::Empty => Cell::default(),
        Data::Int(number) => of_number(*number as f64),
        Data::Float(number) => of_number(*number),
        Data::String(text) | Data::DateTimeIso(text) => Cell::text(text),
        // A date that somebody's program took for one.
        Data::DateTime(_) => {
            data.as_date().map_or_else(|| odd("a time".to_owned()), |date| Cell::text(&date.to_string()))
        }
        Data::Bool(_) | Data::DurationIso(_) | Data::Error(_) => odd(data.to_string()),
    }
}

/// Sheets know no other numbers than floats; the list has whole ones alone.
fn of_number(number: f64) -> Cell {
    /// Wider than any code or date.
    const MAX: f64 = 1e12;
    let is_whole = number.fract() == 0.0 && number.abs() <= MAX;
    Cell { text: number.to_string(), fault: (!is_whole).then_some("is no whole number") }
}

fn odd(text: String) -> Cell {
    Cell { text, fault: Some("is neither text nor a number") }
}

fn failed<E: std::fmt::Display>(error: E) -> ParseError {
    unread(&error.to_string())
}

fn unread(why: &str) -> ParseError {
    ParseError::NotASpreadsheet(text::message(&format!(
        "begins like a spreadsheet, but cannot be read: {why}"
    )))
}

#[cfg(test)]
mod tests {
    use calamine::CellErrorType;

    use super::*;

    #[test]
    fn a_whole_number_is_its_digits_and_no_other_can_be_read() {
        for (number, code) in [(1301.0, "1301"), (25935.0, "25935")] {
            assert_eq!(cell(&Data::Float(number)).to_code().as_deref(), Ok(code));
        }
        assert_eq!(cell(&Data::Int(1301)).to_code().as_deref(), Ok("1301"));
        assert_eq!(cell(&Data::Float(50.0)).to_text().as_deref(), Ok("50"));
        for number in [1301.5, 0.5, f64::NAN, 1e300] {
            assert_eq!(cell(&Data::Float(number)).to_text(), Err("is no whole number"), "{number}");
        }
        for number in [-1301.0, 7.0] {
            assert!(cell(&Data::Float(number)).to_code().is_err(), "{number}");
        }
    }

    #[test]
    fn a_number_may_be_a_date() {
        let day = chrono::NaiveDate::from_ymd_opt(2026, 1, 31).unwrap();
        assert_eq!(cell(&Data::Float(20_260_131.0)).to_date(), Ok(day));
        for number in [20_260_132.0, 46_053.0] {
            assert!(cell(&Data::Float(number)).to_date().is_err(), "{number}");
        }
    }

    #[test]
    fn a_formulas_error_is_nothing_that_can_be_read() {
        let failed = cell(&Data::Error(CellErrorType::NA));
        assert_eq!(failed.to_text(), Err("is neither text nor a number"));
        assert_eq!(failed.shown(), "\"#N/A\"");
        assert!(!failed.is_empty());
    }
}
