//! An invented market: prices, dividends and splits of every issue of the list.
//!
//! Everything is a pure function of the seed, the code and the session. A bar costs the same wherever it lies, so a
//! window costs what its rows cost. History is rewritten as the provider rewrites it: once a split or a dividend is past, all
//! earlier bars are served adjusted for it.

mod bar;
mod event;
mod issue;
mod path;
mod view;

pub(crate) use bar::{Bar, Granularity, Quote};
pub(crate) use event::{Event, EventKind};
pub(crate) use issue::{Instrument, Issue};
pub(crate) use view::View;

use std::collections::HashMap;
use std::sync::Arc;

use crate::calendar::Calendar;
use crate::hash::Hash;
use crate::list::Row;

/// The market of one seed.
#[derive(Debug)]
pub(crate) struct Market {
    pub(crate) calendar: Calendar,
    issues: HashMap<String, Arc<Issue>>,
}

impl Market {
    pub(crate) fn new(seed: u64, rows: &[Row]) -> Self {
        let calendar = Calendar::new();
        let hash = Hash::new(seed).with_text("market");
        let issues =
            rows.iter().map(|row| (row.code.clone(), Arc::new(Issue::new(hash, row, &calendar)))).collect();
        Self { calendar, issues }
    }

    pub(crate) fn issue(&self, code: &str) -> Option<&Arc<Issue>> {
        self.issues.get(code)
    }
}

#[cfg(test)]
mod tests;
