//! The list of issues: the exchange's file in its own layout, with invented companies.
//!
//! Layout, segment names, industry and size classes are the exchange's ("東証上場銘柄一覧"); counts by segment are near those of early
//! 2026. Which codes exist, their names and their classes come from a seed and mean nothing.

mod class;
mod code;
mod generate;
mod name;
mod sheet;

pub(crate) use class::{Industry, Scale, Segment};
pub(crate) use generate::generate;
pub(crate) use sheet::to_xls;

use std::io;

use chrono::{Datelike, NaiveDate};

/// One issue of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) code: String,
    pub(crate) name: String,
    pub(crate) segment: Segment,
    /// Companies have one, funds have none.
    pub(crate) industry: Option<Industry>,
    /// Size class of the index it is in, if any.
    pub(crate) scale: Option<Scale>,
}

/// The day a list is of, as the file writes it: the number 20261031.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListDate(u32);

impl From<NaiveDate> for ListDate {
    fn from(date: NaiveDate) -> Self {
        Self(date.year().unsigned_abs() * 10_000 + date.month() * 100 + date.day())
    }
}

/// Issues of a whole list.
pub(crate) const ISSUES: usize = 4_433;
/// Seed of the list that is served.
pub const SERVED_SEED: u64 = 1;
/// The day that it is of, unless [`SimConfig::list_date`](crate::SimConfig::list_date) says another.
pub const SERVED_DATE: ListDate = ListDate(20_261_031);

/// Makes a list file: the same bytes for the same arguments. `issues` other than `None` scales every segment.
pub fn list_xls(seed: u64, date: ListDate, issues: Option<usize>) -> io::Result<Vec<u8>> {
    to_xls(date, &generate(seed, issues.unwrap_or(ISSUES)))
}

#[cfg(test)]
mod tests;
