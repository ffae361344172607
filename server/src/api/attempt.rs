//! Attempts on the wire.

use haul_proto::v1;

use super::{
    item,
    page::{self, Call, Page, Tokens},
    service::batch_id,
    status::ApiError,
    time,
};
use crate::{
    control::Control,
    domain::{
        item::{AttemptOutcome, PastAttempt},
        text,
    },
};

const ATTEMPTS_DEFAULT: usize = 100;
const ATTEMPTS_MAX: usize = 5_000;
const URL_BYTES_MAX: usize = 2_048;

pub(super) async fn list(
    control: &Control,
    tokens: &Tokens,
    mut request: v1::ListAttemptsRequest,
) -> Result<v1::ListAttemptsResponse, ApiError> {
    let limit = page::size(std::mem::take(&mut request.page_size), ATTEMPTS_DEFAULT, ATTEMPTS_MAX)?;
    let page_token = std::mem::take(&mut request.page_token);
    let id = batch_id("parent", &request.parent)?;
    let call = Call::new("ListAttempts", &request);
    let after = tokens.page(&call, &page_token)?.map_or((0, 0), |[index, number]| (index, number));
    let key = Some(request.item_key.as_str()).filter(|key| !key.is_empty());
    let attempts = control.attempts(&id, key, after, limit).await?;

    let mut is_last = attempts.len() < limit;
    let (mut page, mut last) = (Page::new(), after);
    for (past, url) in attempts {
        let place = (past.index, past.number.into());
        if !page.take(attempt(past, url)) {
            is_last = false;
            break;
        }
        last = place;
    }
    let next_page_token = if is_last { String::new() } else { tokens.make(&call, [last.0, last.1]) };
    Ok(v1::ListAttemptsResponse { attempts: page.messages, next_page_token })
}

fn attempt(past: PastAttempt, url: Option<String>) -> v1::Attempt {
    let outcome = match past.outcome {
        AttemptOutcome::Running => v1::attempt::Outcome::Running,
        AttemptOutcome::Succeeded => v1::attempt::Outcome::Succeeded,
        AttemptOutcome::Failed => v1::attempt::Outcome::Failed,
        AttemptOutcome::Released => v1::attempt::Outcome::Released,
    };
    v1::Attempt {
        item_key: past.key,
        item_index: past.index,
        number: past.number as i32,
        outcome: outcome.into(),
        charged: past.is_charged,
        start_time: past.started_at.map(time::timestamp),
        end_time: past.ended_at.map(time::timestamp),
        node: format!("nodes/{}", past.node),
        request_count: past.requests as i32,
        url: url.map(|url| text::cut(&url, URL_BYTES_MAX)).unwrap_or_default(),
        http_status: past.http_status.unwrap_or(0).into(),
        bytes_received: past.bytes_received,
        error: past.failure.map(item::error),
    }
}
