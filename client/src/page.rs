//! Paging: lists as callers want them, out of pages as the contract has them.

use std::collections::VecDeque;

use futures::{Stream, stream};
use haul_proto::v1;

use crate::{Client, Error};

/// What a server gives at most in one page of batches.
const BATCHES_MAX: usize = 1000;
/// A page of items is small enough to arrive well within a call's deadline.
const ITEMS_PER_PAGE: i32 = 1000;

pub(crate) async fn batches(client: &Client, limit: usize) -> Result<Vec<v1::Batch>, Error> {
    let mut batches = Vec::new();
    let mut page_token = String::new();
    while batches.len() < limit {
        let wanted = (limit - batches.len()).min(BATCHES_MAX);
        let page = client
            .list_page(v1::ListBatchesRequest {
                page_size: wanted as i32,
                page_token,
                view: v1::BatchView::Basic.into(),
                ..v1::ListBatchesRequest::default()
            })
            .await?;
        batches.extend(page.batches.into_iter().take(wanted));
        if page.next_page_token.is_empty() {
            break;
        }
        page_token = page.next_page_token;
    }
    Ok(batches)
}

/// What is at hand of a list of items, and where its next page begins; `None` past the last.
struct Items {
    client: Client,
    parent: String,
    page: VecDeque<v1::Item>,
    next: Option<String>,
}

pub(crate) fn items(
    client: Client,
    parent: String,
) -> impl Stream<Item = Result<v1::Item, Error>> + Send + Unpin {
    let items = Items { client, parent, page: VecDeque::new(), next: Some(String::new()) };
    Box::pin(stream::unfold(items, |mut items| async move {
        let item = items.next().await.transpose()?;
        Some((item, items))
    }))
}

impl Items {
    async fn next(&mut self) -> Result<Option<v1::Item>, Error> {
        loop {
            if let Some(item) = self.page.pop_front() {
                return Ok(Some(item));
            }
            // Taken, not looked at: after an error the list ends.
            let Some(page_token) = self.next.take() else {
                return Ok(None);
            };
            let page = self
                .client
                .item_page(v1::ListItemsRequest {
                    parent: self.parent.clone(),
                    page_size: ITEMS_PER_PAGE,
                    page_token,
                    ..v1::ListItemsRequest::default()
                })
                .await?;
            self.page = page.items.into();
            self.next = Some(page.next_page_token).filter(|token| !token.is_empty());
        }
    }
}
