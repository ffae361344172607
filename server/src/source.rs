//! Sources: where items come from, read in pages and resumed by position.
//!
//! A source never decides what becomes of a failure: what may pass is [`SourceError::Temporary`] and is read again
//! after a wait, what somebody has to repair is [`SourceError::Refused`] and pauses the batch, what will not work is
//! [`SourceError::Unreadable`] and ends it.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use chrono::NaiveDate;

use crate::{
    domain::{
        failure::{Failure, FailureClass},
        item::NewItem,
        listing::ListVersion,
        request::Response,
        spec::{AsOf, BatchSpec, Source as SourceSpec},
        text,
    },
    store::{Store, StoreError},
};

pub mod batch_items;
pub mod file;
pub mod jpx;

/// Items that a page has at most.
pub const PAGE_ITEMS: usize = 1_000;

/// Yields items.
#[async_trait]
pub trait Source: Send {
    /// The page that begins at `position`; without one, the first.
    async fn page(&mut self, position: Option<&str>) -> Result<Page, SourceError>;
}

/// A page of items.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// In the source's order, at most [`PAGE_ITEMS`].
    pub items: Vec<NewItem>,
    /// Where the next page begins; nothing at the end.
    pub next: Option<String>,
    /// The list that they are from.
    pub list: Option<ListVersion>,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// May work later.
    #[error("{}", .0.message)]
    Temporary(Failure),
    /// Will not work before credentials are put right. For people: what was refused.
    #[error("{0}")]
    Refused(String),
    /// Will not work. For people: what is wrong and where.
    #[error("{0}")]
    Unreadable(String),
    /// Will not work: there is no list for the date.
    #[error("no list of {date} or before is stored from {uri}{}", match earliest {
        Some(earliest) => format!(
            "; the earliest is of {earliest}: set allow_later_list to take that one, or load an older one with \
             `hauld list import` while no server runs"
        ),
        None => ", and as_of is not current, so none is fetched: load one with `hauld list import` while no server \
                 runs, or read a current one first and set allow_later_list".to_owned(),
    })]
    NoList {
        /// The list's address.
        uri: String,
        /// The date asked for.
        date: NaiveDate,
        /// Of the earliest list that there is.
        earliest: Option<NaiveDate>,
    },
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Fetches a whole reply under the upstream's limits. The engine fills it.
#[async_trait]
pub trait Download: Send + Sync {
    /// GETs `url`, or these bytes of what is there. Only a 2xx reply is one.
    async fn get(&self, url: &str, part: Option<Range<u64>>) -> Result<Response, Failure>;
}

/// What a download that failed is to a source. `name` is what messages call what was to be downloaded.
fn failed(name: &str, failure: Failure) -> SourceError {
    let hint = match failure.http_status {
        Some(300..=399) => ": redirects are not followed, give the address that it leads to",
        _ => "",
    };
    let message = format!("{name}: {}{hint}", failure.message);
    match failure.class {
        FailureClass::Temporary => {
            SourceError::Temporary(Failure { message: text::message(&message), ..failure })
        }
        FailureClass::Permanent => SourceError::Unreadable(message),
        FailureClass::System => SourceError::Refused(message),
    }
}

/// What sources work with.
#[derive(Clone)]
pub struct Tools {
    /// The store, for lists and for other batches.
    pub store: Arc<dyn Store>,
    /// Requests.
    pub download: Arc<dyn Download>,
    /// Folders that files may be read from.
    pub roots: Arc<file::Roots>,
    /// What becomes of a list that is fetched.
    pub fetched: Fetched,
}

/// What becomes of a list that is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// It is stored as a version.
    Kept,
    /// It is read and forgotten: for a plan, which writes nothing.
    Dropped,
}

/// The source of a spec. Nothing for inline and uploaded items, which are stored as they come.
pub fn open(spec: &BatchSpec, tools: Tools) -> Option<Box<dyn Source>> {
    let as_of: AsOf = spec.as_of;
    match &spec.source {
        SourceSpec::Inline { .. } | SourceSpec::Uploaded(_) => None,
        SourceSpec::JpxListing(listing) => Some(Box::new(jpx::Listing::new(listing.clone(), as_of, tools))),
        SourceSpec::BatchItems { batch, filter, again } => {
            Some(Box::new(batch_items::BatchItems::new(batch.clone(), filter.clone(), *again, tools.store)))
        }
        SourceSpec::File(file) if file.uri.starts_with("file:") => {
            Some(Box::new(file::KeyFile::new(file.clone(), tools.roots)))
        }
        SourceSpec::File(file) => Some(Box::new(file::remote::RemoteFile::new(file, tools.download))),
    }
}
