//! Another batch's items, by index: those that a filter takes, for a batch that fetches them again; or all of them, for one
//! that decodes its kept bodies anew, an item without one being left out.

use std::sync::Arc;

use async_trait::async_trait;

use super::{PAGE_ITEMS, Page, Source, SourceError};
use crate::{
    clock,
    domain::{
        filter::Filter,
        id::{BatchId, BatchSeq},
        item::{Item, NO_KEPT_BODY, NewItem},
    },
    store::{ItemQuery, KeptItem, Store},
};

/// Items of one batch. It has ended, so they do not change; positions are indexes.
pub struct BatchItems {
    batch: BatchId,
    filter: String,
    again: bool,
    store: Arc<dyn Store>,
}

impl BatchItems {
    /// The items of this batch that a filter takes: to be fetched again, or each with its kept body.
    pub fn new(batch: BatchId, filter: String, again: bool, store: Arc<dyn Store>) -> Self {
        Self { batch, filter, again, store }
    }

    fn unreadable(&self, what: &str) -> SourceError {
        SourceError::Unreadable(format!("{}: {what}", self.batch.name()))
    }

    async fn retried(&self, batch: BatchSeq, from: i64) -> Result<Page, SourceError> {
        let filter =
            Filter::retried(&self.filter).map_err(|error| self.unreadable(&format!("filter: {error}")))?;
        let query = ItemQuery { filter, from, limit: PAGE_ITEMS };
        let items = self.store.list_items(batch, &query, clock::now()).await?;
        let last = items.last().filter(|_| items.len() == PAGE_ITEMS);
        let next = last.map(|item| (item.index + 1).to_string());
        let again = |item: Item| NewItem { columns: item.columns, ..NewItem::keyed(item.key) };
        Ok(Page { items: items.into_iter().map(again).collect(), next, list: None })
    }

    async fn kept(&self, batch: BatchSeq, from: i64) -> Result<Page, SourceError> {
        let filter =
            Filter::parse(&self.filter).map_err(|error| self.unreadable(&format!("filter: {error}")))?;
        let items = self.store.kept_items(batch, &ItemQuery { filter, from, limit: PAGE_ITEMS }).await?;
        let last = items.last().filter(|_| items.len() == PAGE_ITEMS);
        let next = last.map(|last| (last.index + 1).to_string());
        Ok(Page { items: items.into_iter().map(kept).collect(), next, list: None })
    }
}

#[async_trait]
impl Source for BatchItems {
    async fn page(&mut self, position: Option<&str>) -> Result<Page, SourceError> {
        let from: i64 =
            position.unwrap_or("0").parse().map_err(|_| self.unreadable("the position is no index"))?;
        let batch =
            self.store.batch(&self.batch).await?.ok_or_else(|| self.unreadable("there is no such batch"))?;
        if self.again { self.retried(batch.seq, from).await } else { self.kept(batch.seq, from).await }
    }
}

fn kept(kept: KeptItem) -> NewItem {
    let skip_reason = (!kept.has_body).then_some(NO_KEPT_BODY);
    NewItem { columns: kept.columns, skip_reason, ..NewItem::keyed(kept.key) }
}
