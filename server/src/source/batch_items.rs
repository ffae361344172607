//! Another batch's items, by index, for a batch that decodes its kept bodies anew: an item without one is left out.

use std::sync::Arc;

use async_trait::async_trait;

use super::{PAGE_ITEMS, Page, Source, SourceError};
use crate::{
    domain::{
        filter::Filter,
        id::BatchId,
        item::{NO_KEPT_BODY, NewItem},
    },
    store::{ItemQuery, KeptItem, Store},
};

/// The items of one batch. It has ended, so they do not change; positions are indexes.
pub struct BatchItems {
    batch: BatchId,
    filter: String,
    store: Arc<dyn Store>,
}

impl BatchItems {
    /// The items of this batch that a filter takes.
    pub fn new(batch: BatchId, filter: String, store: Arc<dyn Store>) -> Self {
        Self { batch, filter, store }
    }
}

#[async_trait]
impl Source for BatchItems {
    async fn page(&mut self, position: Option<&str>) -> Result<Page, SourceError> {
        let unreadable = |what: &str| SourceError::Unreadable(format!("{}: {what}", self.batch.name()));
        let from: i64 =
            position.unwrap_or("0").parse().map_err(|_| unreadable("the position is no index"))?;
        let batch =
            self.store.batch(&self.batch).await?.ok_or_else(|| unreadable("there is no such batch"))?;
        let filter = Filter::parse(&self.filter).map_err(|error| unreadable(&format!("filter: {error}")))?;
        let items = self.store.kept_items(batch.seq, &ItemQuery { filter, from, limit: PAGE_ITEMS }).await?;
        let last = items.last().filter(|_| items.len() == PAGE_ITEMS);
        let next = last.map(|last| (last.index + 1).to_string());
        Ok(Page { items: items.into_iter().map(item).collect(), next, list: None })
    }
}

fn item(kept: KeptItem) -> NewItem {
    let skip_reason = (!kept.has_body).then_some(NO_KEPT_BODY);
    NewItem { columns: kept.columns, skip_reason, ..NewItem::keyed(kept.key) }
}
