//! The sheet's own part: rows in blocks of 32, each block's rows before its cells.

use super::record::{BOF, CELL_XF, DIMENSIONS, EOF, LABELSST, NUMBER, ROW, WINDOW2, put, put_words};
use super::strings::SharedStrings;
use super::{COLUMNS, Cell, Sheet};

const BLOCK_ROWS: usize = 32;
/// 13.5 points, in twentieths; the flag says that it is the default.
const ROW_HEIGHT: u16 = 0x010e | 0x8000;

/// The whole part; texts go into `strings`.
pub(super) fn stream(sheet: &Sheet<'_>, strings: &mut SharedStrings) -> Vec<u8> {
    let mut out = Vec::new();
    put_words(&mut out, BOF, &[0x0600, 0x0010, 0x18af, 0x07cd, 0x00c1, 0, 0x0006, 0]);
    let rows = sheet.rows.len();
    put_words(&mut out, DIMENSIONS, &[0, 0, rows as u16, (rows >> 16) as u16, 0, COLUMNS as u16, 0]);
    for (block, rows) in sheet.rows.chunks(BLOCK_ROWS).enumerate() {
        let first = block * BLOCK_ROWS;
        for row in first..first + rows.len() {
            put_words(&mut out, ROW, &[row as u16, 0, COLUMNS as u16, ROW_HEIGHT, 0, 0, 0x0100, CELL_XF]);
        }
        for (i, cells) in rows.iter().enumerate() {
            for (column, cell) in cells.iter().enumerate() {
                put_cell(&mut out, (first + i) as u16, column as u16, *cell, strings);
            }
        }
    }
    put_words(&mut out, WINDOW2, &[0x06b6, 0, 0, 0x0040, 0, 0, 0, 0, 0]);
    put(&mut out, EOF, &[]);
    out
}

fn put_cell(out: &mut Vec<u8>, row: u16, column: u16, cell: Cell<'_>, strings: &mut SharedStrings) {
    let mut body: Vec<u8> = [row, column, CELL_XF].iter().flat_map(|word| word.to_le_bytes()).collect();
    match cell {
        Cell::Number(number) => {
            body.extend_from_slice(&number.to_le_bytes());
            put(out, NUMBER, &body);
        }
        Cell::Text(text) => {
            body.extend_from_slice(&strings.number(text).to_le_bytes());
            put(out, LABELSST, &body);
        }
    }
}
