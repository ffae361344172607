//! The records of an .xls workbook, as far as it takes to bound what calamine makes of them: calamine 0.38 lays a sheet
//! out as a full rectangle from its first to its last cell, so two cells far apart, or one damaged byte, ask for more
//! memory than there is, and the process ends.

use super::{
    ROWS_MAX,
    ole::{Fault, u16_at, u32_at},
};

/// Largest rectangle that a sheet may span, in cells.
const CELLS_MAX: usize = (ROWS_MAX + 1) * 64;
/// Most sheets that a workbook may have.
const SHEETS_MAX: usize = 32;
/// Rows and columns that the format has.
const SHEET_ROWS_MAX: u32 = 65_536;
const SHEET_COLUMNS_MAX: u16 = 256;

const EOF: u16 = 0x000A;
const BOUND_SHEET: u16 = 0x0085;
const DIMENSIONS: u16 = 0x0200;
const MUL_RK: u16 = 0x00BD;
/// Formula, label, number, error, RK, label by number, rich text: records that begin with a row and a column.
const CELLS: [u16; 7] = [0x0006, 0x0204, 0x0203, 0x0205, 0x027E, 0x00FD, 0x00D6];

/// Why a workbook stream is refused, if it is.
pub(super) fn check(stream: &[u8]) -> Result<(), Fault> {
    let globals = records(stream).take_while(|(kind, _)| *kind != EOF);
    let sheets: Vec<u32> =
        globals.filter(|(kind, _)| *kind == BOUND_SHEET).filter_map(|(_, data)| u32_at(data, 0)).collect();
    if sheets.len() > SHEETS_MAX {
        return Err("has too many sheets");
    }
    for start in sheets {
        check_sheet(stream.get(start as usize..).ok_or("has a sheet beyond its end")?)?;
    }
    Ok(())
}

fn check_sheet(stream: &[u8]) -> Result<(), Fault> {
    let [mut rows, mut columns, mut cells] = [0_usize; 3];
    let mut depth = 0_u32;
    for (kind, data) in records(stream) {
        match kind {
            // Charts inside a sheet begin and end as it does.
            0x0809 => depth += 1,
            EOF if depth <= 1 => break,
            EOF => depth -= 1,
            DIMENSIONS => check_dimensions(data)?,
            MUL_RK => {
                let last = data.len().checked_sub(2).and_then(|at| u16_at(data, at)).unwrap_or_default();
                rows = rows.max(usize::from(u16_at(data, 0).unwrap_or_default()) + 1);
                columns = columns.max(usize::from(last) + 1);
                cells += data.len() / 6;
            }
            _ if CELLS.contains(&kind) => {
                rows = rows.max(usize::from(u16_at(data, 0).unwrap_or_default()) + 1);
                columns = columns.max(usize::from(u16_at(data, 2).unwrap_or_default()) + 1);
                cells += 1;
            }
            _ => {}
        }
        if columns > usize::from(SHEET_COLUMNS_MAX) || rows * columns > CELLS_MAX || cells > CELLS_MAX {
            return Err("has a sheet that is larger than any list");
        }
    }
    Ok(())
}

/// The size that a sheet claims, for which room is made at once.
fn check_dimensions(data: &[u8]) -> Result<(), Fault> {
    let wide = |at| u16_at(data, at).map(u32::from);
    let bounds = match data.len() {
        10 => [wide(0), wide(2), wide(4), wide(6)],
        _ => [u32_at(data, 0), u32_at(data, 4), wide(8), wide(10)],
    };
    let [Some(row), Some(row_end), Some(column), Some(column_end)] = bounds else {
        return Err("has a sheet without a size");
    };
    let is_empty = row_end == 0 || column_end == 0;
    let is_sane = row_end <= SHEET_ROWS_MAX && column_end <= u32::from(SHEET_COLUMNS_MAX);
    if is_sane && (is_empty || (row < row_end && column < column_end)) {
        Ok(())
    } else {
        Err("has a sheet of an impossible size")
    }
}

/// Kind and data of each record, up to one that is cut.
fn records(stream: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = stream;
    std::iter::from_fn(move || {
        let [kind, length] = [u16_at(rest, 0)?, u16_at(rest, 2)?];
        let end = 4 + usize::from(length);
        let data = rest.get(4..end)?;
        rest = &rest[end..];
        Some((kind, data))
    })
}
