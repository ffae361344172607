//! Values made up for cases, by noun.

pub(crate) mod batch;
pub(in crate::store) mod list;
pub(in crate::store) mod outcome;
pub(in crate::store) mod page;
pub(in crate::store) mod price;
pub(in crate::store) mod recording;
pub(in crate::store) mod response;
