//! Tables without lines: columns two spaces apart, numbers to the right.

use std::io::{self, Write};

use comfy_table::{CellAlignment, ContentArrangement, presets};

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
