//! Lists: filters, orders, masks and pages.

use haul_proto::v1::{self, BatchView};

use super::{
    batch::batch,
    item::item,
    mask::Mask,
    page::{self, Call, Page, Tokens},
    service::{batch_id, view},
    status::ApiError,
};
use crate::{
    control::Control,
    domain::{
        filter::{Field, Filter, FilterError},
        id::BatchSeq,
        item::State,
    },
    store::{BatchOrder, BatchQuery, ItemQuery, Place},
};

const BATCHES_DEFAULT: usize = 50;
const BATCHES_MAX: usize = 1_000;
const ITEMS_DEFAULT: usize = 100;
const ITEMS_MAX: usize = 5_000;
/// Larger bodies are not shown.
pub(super) const INLINE_BODY_BYTES_MAX: usize = 1 << 20;
const INLINE_BODY: &str = "result.inline_body";

pub(super) async fn list_batches(
    control: &Control,
    tokens: &Tokens,
    mut request: v1::ListBatchesRequest,
) -> Result<v1::ListBatchesResponse, ApiError> {
    let limit = page::size(std::mem::take(&mut request.page_size), BATCHES_DEFAULT, BATCHES_MAX)?;
    let page_token = std::mem::take(&mut request.page_token);
    let view = view(request.view, BatchView::Basic)?;
    let filter = filter(&request.filter)?;
    let order = order(&request.order_by)?;
    let call = Call::new("ListBatches", &request);
    let after = tokens.page(&call, &page_token)?.map(|[key, seq]| Place { key, seq: BatchSeq(seq) });
    let listed = control.list(&BatchQuery { filter, order, after, limit }).await?;

    let mut is_last = listed.len() < limit;
    let (mut page, mut last) = (Page::new(), None);
    for (place, snapshot) in listed {
        if !page.take(batch(&snapshot, view)) {
            is_last = false;
            break;
        }
        last = Some(place);
    }
    let next = last.filter(|_| !is_last).map(|place| tokens.make(&call, [place.key, place.seq.0]));
    Ok(v1::ListBatchesResponse { batches: page.messages, next_page_token: next.unwrap_or_default() })
}

pub(super) async fn list_items(
    control: &Control,
    tokens: &Tokens,
    mut request: v1::ListItemsRequest,
) -> Result<v1::ListItemsResponse, ApiError> {
    let limit = page::size(std::mem::take(&mut request.page_size), ITEMS_DEFAULT, ITEMS_MAX)?;
    let page_token = std::mem::take(&mut request.page_token);
    let id = batch_id("parent", &request.parent)?;
    let filter = filter(&request.filter)?;
    let mask = Mask::parse(request.read_mask.clone(), "read_mask", "haul.v1.Item")?;
    let call = Call::new("ListItems", &request);
    let from = tokens.page(&call, &page_token)?.map_or(0, |[from]| from);
    let (seq, listed) = control.items(&id, &ItemQuery { filter, from, limit }).await?;

    let mut is_last = listed.len() < limit;
    let (mut page, mut next) = (Page::new(), from);
    for found in listed {
        let (index, has_body) = (found.index, found.state == State::Succeeded && mask.names(INLINE_BODY));
        let mut shown = item(found);
        if let Some(result) = shown.result.as_mut().filter(|_| has_body) {
            result.inline_body = control.body(seq, index, INLINE_BODY_BYTES_MAX).await?.unwrap_or_default();
        }
        if !page.take(mask.apply(shown)) {
            is_last = false;
            break;
        }
        next = index + 1;
    }
    let next_page_token = if is_last { String::new() } else { tokens.make(&call, [next]) };
    Ok(v1::ListItemsResponse { items: page.messages, next_page_token })
}

/// The filter of a request's field `filter`.
pub(super) fn filter<F: Field>(text: &str) -> Result<Filter<F>, ApiError> {
    Filter::parse(text).map_err(|fault| ApiError::InvalidFilter { field: "filter", fault })
}

fn order(text: &str) -> Result<BatchOrder, ApiError> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    match words.as_slice() {
        [] | ["create_time", "desc"] => Ok(BatchOrder::Newest),
        ["create_time"] => Ok(BatchOrder::Oldest),
        ["end_time", "desc"] => Ok(BatchOrder::EndTime),
        ["as_of", "desc"] => Ok(BatchOrder::AsOf),
        ["priority", "desc"] => Ok(BatchOrder::Priority),
        _ => {
            let problem = format!(
                "{text:?} is no order; there are \"create_time desc\", \"create_time\", \"end_time desc\", \
                 \"as_of desc\", \"priority desc\""
            );
            Err(ApiError::InvalidFilter { field: "order_by", fault: FilterError { column: 1, problem } })
        }
    }
}
