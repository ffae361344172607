//! Tables without lines: columns two spaces apart, numbers to the right.

use std::io::{self, Write};

use comfy_table::{Cell, CellAlignment, ContentArrangement, presets};

/// Of the last column, where it is cut: at least, however narrow the terminal; at most, where there is none.
const LAST_MIN: u16 = 7;
const LAST_MAX: usize = 60;

/// Where a column's text stands.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows under a header, or without one.
pub(crate) struct Table {
    inner: comfy_table::Table,
    columns: Vec<Align>,
}

impl Table {
    pub(crate) fn new(columns: &[(&str, Align)]) -> Self {
        let mut table = Self::headless(&columns.iter().map(|(_, align)| *align).collect::<Vec<_>>());
        table.inner.set_header(columns.iter().map(|(name, _)| *name));
        table
    }

    pub(crate) fn headless(columns: &[Align]) -> Self {
        let mut inner = comfy_table::Table::new();
        inner.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        Self { inner, columns: columns.to_vec() }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.inner.add_row(cells);
    }

    /// Keeps each row to one line: the last column alone is shortened, to what fits `width` or the terminal.
    pub(crate) fn cut_last(&mut self, width: Option<u16>) {
        let last = self.columns.len() - 1;
        let others: u16 = self.inner.column_max_content_widths()[..last].iter().map(|width| width + 2).sum();
        let room = match width.or_else(|| self.inner.width()) {
            Some(width) => width.saturating_sub(others).max(LAST_MIN).into(),
            None => LAST_MAX,
        };
        for row in self.inner.row_iter_mut() {
            let mut cells: Vec<String> = row.cell_iter().map(Cell::content).collect();
            cells[last] = shortened(&cells[last], room);
            *row = cells.into();
        }
    }

    /// Writes it `indent` spaces from the left and at most `width` wide; by default as wide as the terminal.
    pub(crate) fn write(mut self, indent: usize, width: Option<u16>, out: &mut impl Write) -> io::Result<()> {
        if let Some(width) = width {
            self.inner.set_width(width.saturating_sub(indent as u16));
        }
        for (index, align) in self.columns.iter().enumerate() {
            if let Some(column) = self.inner.column_mut(index) {
                column.set_padding((0, if index + 1 == self.columns.len() { 0 } else { 2 }));
                column.set_cell_alignment(match align {
                    Align::Left => CellAlignment::Left,
                    Align::Right => CellAlignment::Right,
                });
            }
        }
        for line in self.inner.lines() {
            writeln!(out, "{}", format!("{:indent$}{line}", "").trim_end())?;
        }
        Ok(())
    }
}

/// One line of at most `max` characters.
fn shortened(text: &str, max: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= max {
        return line;
    }
    let kept: String = line.chars().take(max.saturating_sub(3)).collect();
    format!("{}...", kept.trim_end())
}
