//! The list as the exchange's sheet: ten columns, numbers as numbers, everything else as text.

use std::io;

use super::{ListDate, Row};
use crate::xls::{Cell, Sheet};

const HEADER: [&str; 10] = [
    "日付",
    "コード",
    "銘柄名",
    "市場・商品区分",
    "33業種コード",
    "33業種区分",
    "17業種コード",
    "17業種区分",
    "規模コード",
    "規模区分",
];

/// The file of these rows.
pub(crate) fn to_xls(date: ListDate, rows: &[Row]) -> io::Result<Vec<u8>> {
    let header = HEADER.map(Cell::Text);
    let cells = std::iter::once(header).chain(rows.iter().map(|row| cells(date, row))).collect();
    Sheet { name: "Sheet1", rows: cells }.to_xls()
}

fn cells(date: ListDate, row: &Row) -> [Cell<'_>; 10] {
    let [code_33, name_33] = class(row.industry.map(super::Industry::of_33));
    let [code_17, name_17] = class(row.industry.map(super::Industry::of_17));
    let [scale_code, scale_name] = class(row.scale.map(super::Scale::code_and_name));
    // A lettered code is text, any other a number.
    let code =
        row.code.parse::<u32>().map_or(Cell::Text(&row.code), |number| Cell::Number(f64::from(number)));
    let date = Cell::Number(f64::from(date.0));
    let (name, segment) = (Cell::Text(&row.name), Cell::Text(row.segment.name()));
    [date, code, name, segment, code_33, name_33, code_17, name_17, scale_code, scale_name]
}

/// A missing class is a hyphen in both columns.
fn class(class: Option<(u32, &str)>) -> [Cell<'_>; 2] {
    class.map_or([Cell::Text("-"); 2], |(code, name)| [Cell::Number(f64::from(code)), Cell::Text(name)])
}
