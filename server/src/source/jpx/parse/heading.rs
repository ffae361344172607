//! Headings: which column is where.

use super::{
    ParseError,
    cell::{Cell, EMPTY},
    segment::folded,
};

/// The columns of a list, in the exchange's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Date,
    Code,
    Name,
    Market,
    Industry33Code,
    Industry33,
    Industry17Code,
    Industry17,
    ScaleCode,
    Scale,
}

impl Column {
    pub(super) const ALL: [Self; 10] = [
        Self::Date,
        Self::Code,
        Self::Name,
        Self::Market,
        Self::Industry33Code,
        Self::Industry33,
        Self::Industry17Code,
        Self::Industry17,
        Self::ScaleCode,
        Self::Scale,
    ];

    /// Headings of `data_j` and `data_e`, as they stood from 2019 to 2026.
    fn headings(self) -> [&'static str; 2] {
        match self {
            Self::Date => ["日付", "Effective Date"],
            Self::Code => ["コード", "Local Code"],
            Self::Name => ["銘柄名", "Name (English)"],
            Self::Market => ["市場・商品区分", "Section/Products"],
            Self::Industry33Code => ["33業種コード", "33 Sector(Code)"],
            Self::Industry33 => ["33業種区分", "33 Sector(name)"],
            Self::Industry17Code => ["17業種コード", "17 Sector(Code)"],
            Self::Industry17 => ["17業種区分", "17 Sector(name)"],
            Self::ScaleCode => ["規模コード", "Size Code (New Index Series)"],
            Self::Scale => ["規模区分", "Size (New Index Series)"],
        }
    }

    /// The column for a message.
    pub(super) fn name(self) -> &'static str {
        self.headings()[0]
    }
}

/// Where each column stands, by [`Column::ALL`]'s order.
#[derive(Debug)]
pub(super) struct Headings([usize; Column::ALL.len()]);

impl Headings {
    /// Finds all columns. Widths, blanks and case of the headings do not matter, further columns neither.
    pub(super) fn find(cells: &[Cell]) -> Result<Self, ParseError> {
        let found: Vec<String> = cells.iter().map(|cell| folded(&cell.text)).collect();
        let place = |column: Column| {
            let headings = column.headings().map(folded);
            found.iter().position(|heading| headings.contains(heading))
        };
        if Column::ALL.iter().all(|column| place(*column).is_none()) {
            let message = format!("has no heading of the exchange's list; its first row is {}", shown(cells));
            return Err(ParseError::NotASpreadsheet(message));
        }
        let mut places = [0; Column::ALL.len()];
        for (slot, column) in places.iter_mut().zip(Column::ALL) {
            *slot = place(column).ok_or_else(|| ParseError::MissingColumn {
                column: column.headings().join(" / "),
                found: shown(cells),
            })?;
        }
        Ok(Self(places))
    }

    /// The column's cell in a row; rows of spreadsheets may end early.
    pub(super) fn cell<'a>(&self, row: &'a [Cell], column: Column) -> &'a Cell {
        row.get(self.0[column as usize]).unwrap_or(&EMPTY)
    }
}

fn shown(cells: &[Cell]) -> String {
    const SHOWN: usize = 16;
    let cells: Vec<String> = cells.iter().take(SHOWN).map(Cell::shown).collect();
    cells.join(", ")
}
