//! Paging: lists as callers want them, out of pages as the contract has them.

use std::future::Future;

use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use haul_proto::v1;

use crate::{Client, Error, client::UNARY_DEADLINE};

/// What a server gives at most in one page of batches.
const BATCHES_MAX: usize = 1000;
/// A page of items, attempts or upstreams is small enough to arrive well within a call's deadline.
pub(crate) const PER_PAGE: i32 = 1000;

/// At most `limit` of the batches that the request asks for.
pub(crate) async fn batches(
    client: &Client,
    mut request: v1::ListBatchesRequest,
    limit: usize,
) -> Result<Vec<v1::Batch>, Error> {
    let mut batches = Vec::new();
    while batches.len() < limit {
        let wanted = (limit - batches.len()).min(BATCHES_MAX);
        request.page_size = wanted as i32;
        let page = client
            .call(UNARY_DEADLINE, request.clone(), |mut stub, request| async move {
                stub.list_batches(request).await
            })
            .await?;
        batches.extend(page.batches.into_iter().take(wanted));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    Ok(batches)
}

pub(crate) fn items(
    client: Client,
    request: v1::ListItemsRequest,
) -> BoxStream<'static, Result<v1::Item, Error>> {
    pages(move |page_token| {
        let (client, request) = (client.clone(), request.clone());
        async move {
            let request = v1::ListItemsRequest { page_size: PER_PAGE, page_token, ..request };
            let page =
                client
                    .call(UNARY_DEADLINE, request, |mut stub, request| async move {
                        stub.list_items(request).await
                    })
                    .await?;
            Ok((page.items, page.next_page_token))
        }
    })
}

pub(crate) fn attempts(
    client: Client,
    request: v1::ListAttemptsRequest,
) -> BoxStream<'static, Result<v1::Attempt, Error>> {
    pages(move |page_token| {
        let (client, request) = (client.clone(), request.clone());
        async move {
            let request = v1::ListAttemptsRequest { page_size: PER_PAGE, page_token, ..request };
            let page = client
                .call(UNARY_DEADLINE, request, |mut stub, request| async move {
                    stub.list_attempts(request).await
                })
                .await?;
            Ok((page.attempts, page.next_page_token))
        }
    })
}

/// Page after page as they are asked for, up to the one without a next token. After an error the list ends.
pub(crate) fn pages<T, F, Fut>(page: F) -> BoxStream<'static, Result<T, Error>>
where
    T: Send + 'static,
    F: Fn(String) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(Vec<T>, String), Error>> + Send + 'static,
{
    let pages = stream::try_unfold(Some(String::new()), move |page_token| {
        let page = page_token.map(&page);
        async move {
            let Some(page) = page else { return Ok(None) };
            let (list, next) = page.await?;
            let next = Some(next).filter(|token| !token.is_empty());
            Ok(Some((stream::iter(list.into_iter().map(Ok)), next)))
        }
    });
    pages.try_flatten().boxed()
}
