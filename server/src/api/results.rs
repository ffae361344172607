//! Final items as a stream of chunks, each with the cursor behind it.

use std::collections::VecDeque;

use futures::{Stream, stream};
use haul_proto::v1;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    item::item,
    page::{Call, Page, Tokens},
    read::{INLINE_BODY_BYTES_MAX, filter},
    service::{batch_id, invalid},
    status::{ApiError, Violation},
};
use crate::{
    control::{
        Control,
        results::{Next, Options, Results},
    },
    domain::item::{Item, State},
};
const CHUNK_ITEMS_MAX: usize = 1_000;

/// Opens the stream; refuses before its first message what is wrong.
pub(super) async fn open(
    control: &Control,
    tokens: &Tokens,
    request: v1::StreamResultsRequest,
    draining: CancellationToken,
) -> Result<impl Stream<Item = Result<v1::StreamResultsResponse, Status>> + Send + use<>, ApiError> {
    let v1::StreamResultsRequest { name, after_cursor, filter: text, follow, inline_body_limit_bytes } =
        request;
    let id = batch_id("name", &name)?;
    let body_bytes_max = body_limit(inline_body_limit_bytes)?;
    let options = Options { filter: filter(&text)?, follow };
    let mut results = control.results(&id, options, draining).await?;
    // A cursor is the same whatever is asked for beside it.
    let call =
        Call::new("StreamResults", &v1::StreamResultsRequest { name, ..v1::StreamResultsRequest::default() });
    if !after_cursor.is_empty() {
        let position = tokens.read(&call, &after_cursor);
        let is_ours = position.is_some_and(|[batch, no]| batch == results.batch().0 && results.skip_to(no));
        if !is_ours {
            return Err(ApiError::Invalid(vec![Violation::cursor(&id)]));
        }
    }
    let chunks = Chunks {
        control: control.clone(),
        tokens: tokens.clone(),
        call,
        results,
        body_bytes_max,
        waiting: VecDeque::new(),
        is_over: false,
    };
    Ok(stream::unfold(chunks, |mut chunks| async move {
        let chunk = chunks.next().await.map_err(Status::from).transpose()?;
        chunks.is_over |= chunk.is_err();
        Some((chunk, chunks))
    }))
}

fn body_limit(asked: i64) -> Result<usize, ApiError> {
    let limit = usize::try_from(asked).ok().filter(|limit| *limit <= INLINE_BODY_BYTES_MAX);
    limit.ok_or_else(|| {
        let problem = format!("{asked} is not 0 to {INLINE_BODY_BYTES_MAX}");
        invalid("inline_body_limit_bytes", problem)
    })
}

struct Chunks {
    control: Control,
    tokens: Tokens,
    call: Call,
    results: Results,
    body_bytes_max: usize,
    /// Read and not sent yet, with their numbers.
    waiting: VecDeque<(i64, Item)>,
    is_over: bool,
}

impl Chunks {
    async fn next(&mut self) -> Result<Option<v1::StreamResultsResponse>, ApiError> {
        if self.is_over {
            return Ok(None);
        }
        while self.waiting.is_empty() {
            match self.results.next().await? {
                Next::Items(items) => self.waiting = items.into(),
                Next::Complete => {
                    self.is_over = true;
                    let cursor = self.cursor(self.results.position());
                    return Ok(Some(v1::StreamResultsResponse { items: Vec::new(), cursor, complete: true }));
                }
                Next::SoFar => {
                    self.is_over = true;
                    return Ok(None);
                }
                Next::Draining => return Err(ApiError::Draining),
            }
        }
        let mut page = Page::new();
        while page.messages.len() < CHUNK_ITEMS_MAX {
            let Some((_, found)) = self.waiting.front() else { break };
            if !page.take(self.shown(found).await?) {
                break;
            }
            self.waiting.pop_front();
        }
        // Behind what was sent, and behind what the filter left out up to the next item.
        let position = self.waiting.front().map_or(self.results.position(), |(next, _)| next - 1);
        self.is_over = self.waiting.is_empty() && self.results.is_complete();
        let cursor = self.cursor(position);
        Ok(Some(v1::StreamResultsResponse { items: page.messages, cursor, complete: self.is_over }))
    }

    async fn shown(&self, found: &Item) -> Result<v1::Item, ApiError> {
        let has_body = found.state == State::Succeeded && self.body_bytes_max > 0;
        let mut shown = item(found.clone());
        if let Some(result) = shown.result.as_mut().filter(|_| has_body) {
            let body = self.control.body(self.results.batch(), &found.key, self.body_bytes_max).await?;
            result.inline_body = body.unwrap_or_default();
        }
        Ok(shown)
    }

    fn cursor(&self, position: i64) -> String {
        self.tokens.make(&self.call, [self.results.batch().0, position])
    }
}
