//! Rows below the headings to issues.

use std::collections::{HashMap, hash_map::Entry};

use chrono::NaiveDate;

use super::{
    CELL_CHARS_MAX, ParseError, ROWS_MAX,
    cell::Cell,
    heading::{Column, Headings},
    segment,
    table::Table,
};
use crate::domain::listing::ListedIssue;

/// The list's date, which all rows must agree on, and its issues, each code once.
pub(super) fn issues(table: &Table) -> Result<(NaiveDate, Vec<ListedIssue>), ParseError> {
    let mut rows = table.rows().filter(|(_, cells)| !cells.iter().all(Cell::is_empty));
    let (_, headings) = rows.next().ok_or(ParseError::Empty("it has no headings"))?;
    let headings = Headings::find(headings)?;
    let mut list_date = None;
    // Where each code stands first.
    let mut places: HashMap<String, (usize, usize)> = HashMap::new();
    let mut issues: Vec<ListedIssue> = Vec::new();
    for (nth, (number, cells)) in rows.enumerate() {
        if nth >= ROWS_MAX {
            return Err(ParseError::TooLarge(format!("it has more than {ROWS_MAX} rows")));
        }
        let row = Row { number, cells, headings: &headings };
        let date = row.read(Column::Date, Cell::to_date)?;
        if let Some(first) = list_date.filter(|first| *first != date) {
            return Err(row.fault(Column::Date, &format!("the rows above are of {first}")));
        }
        list_date = Some(date);
        let issue = row.issue()?;
        match places.entry(issue.code.clone()) {
            Entry::Vacant(place) => {
                place.insert((issues.len(), number));
                issues.push(issue);
            }
            // The same row again is no second issue; which of two different ones is right, nobody knows.
            Entry::Occupied(place) => {
                let (at, first) = *place.get();
                if issues[at] != issue {
                    return Err(
                        row.fault(Column::Code, &format!("row {first} has something else of this code"))
                    );
                }
            }
        }
    }
    let list_date = list_date.ok_or(ParseError::Empty("it has headings but no rows"))?;
    Ok((list_date, issues))
}

struct Row<'a> {
    /// Counted from 1.
    number: usize,
    cells: &'a [Cell],
    headings: &'a Headings,
}

impl Row<'_> {
    fn issue(&self) -> Result<ListedIssue, ParseError> {
        let text = |column| self.read(column, Cell::to_text);
        let number = |column| self.read(column, Cell::to_number);
        let market = text(Column::Market)?;
        Ok(ListedIssue {
            code: self.read(Column::Code, Cell::to_code)?,
            name: text(Column::Name)?,
            segment: segment::of_market(&market),
            market,
            industry33_code: number(Column::Industry33Code)?,
            industry33: text(Column::Industry33)?,
            industry17_code: number(Column::Industry17Code)?,
            industry17: text(Column::Industry17)?,
            scale_code: number(Column::ScaleCode)?,
            scale: text(Column::Scale)?,
        })
    }

    fn read<T>(
        &self,
        column: Column,
        read: impl Fn(&Cell) -> Result<T, &'static str>,
    ) -> Result<T, ParseError> {
        let cell = self.headings.cell(self.cells, column);
        if cell.text.len() > CELL_CHARS_MAX && cell.text.chars().count() > CELL_CHARS_MAX {
            return Err(self.fault(column, &format!("it has more than {CELL_CHARS_MAX} characters")));
        }
        read(cell).map_err(|fault| self.fault(column, &format!("it {fault}")))
    }

    fn fault(&self, column: Column, fault: &str) -> ParseError {
        ParseError::BadCell {
            row: self.number,
            column: column.name().to_owned(),
            value: self.headings.cell(self.cells, column).shown(),
            fault: fault.to_owned(),
        }
    }
}
