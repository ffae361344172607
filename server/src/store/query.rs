//! What readers ask for.

use crate::domain::{
    filter::{BatchField, Filter, ItemField},
    id::BatchSeq,
};

/// Batches to be listed.
#[derive(Debug, Clone)]
pub struct BatchQuery {
    /// Only these.
    pub filter: Filter<BatchField>,
    /// In this order.
    pub order: BatchOrder,
    /// Only those behind this place of that order.
    pub after: Option<Place>,
    /// At most so many.
    pub limit: usize,
}

/// An order of batches. Of equal ones the one made later stands first, but where the oldest stand first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BatchOrder {
    /// The one made last first.
    #[default]
    Newest,
    /// The one made first first.
    Oldest,
    /// The one that ended last first, those that have not ended last. One that ends between two pages may be on neither.
    EndTime,
    /// The latest logical date first.
    AsOf,
    /// The highest priority first.
    Priority,
}

/// Where a batch stands in an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// What is ordered by.
    pub key: i64,
    /// Which one among equals.
    pub seq: BatchSeq,
}

/// Items to be listed, by index.
#[derive(Debug, Clone)]
pub struct ItemQuery {
    /// Only these.
    pub filter: Filter<ItemField>,
    /// Only from this index on.
    pub from: i64,
    /// At most so many.
    pub limit: usize,
}

/// Attempts to be listed, by index of their item, then number.
#[derive(Debug, Clone)]
pub struct AttemptQuery {
    /// Only those behind this index and number.
    pub after: (i64, i64),
    /// Only of items up to this index.
    pub last_index: Option<i64>,
    /// At most so many.
    pub limit: usize,
    /// Indexes of items that are being worked on.
    pub running: Vec<i64>,
}

impl BatchQuery {
    /// The newest batches.
    pub fn newest(limit: usize) -> Self {
        Self { filter: Filter::ALL, order: BatchOrder::Newest, after: None, limit }
    }
}

impl ItemQuery {
    /// All items from an index on.
    pub fn all(from: i64, limit: usize) -> Self {
        Self { filter: Filter::ALL, from, limit }
    }
}
