//! Attempts: what the store has recorded, and what this node is at.

use std::collections::HashMap;

use super::{Control, ReadError};
use crate::{
    connector,
    domain::{
        id::BatchId,
        item::{AttemptOutcome, PastAttempt},
    },
    store::AttemptQuery,
};

impl Control {
    /// Attempts behind an index and a number, by index of their item, then number; of one item if `key` names one. Each
    /// with the URL of its last request, if it sent one: what a connector asks for depends on item and spec alone.
    pub async fn attempts(
        &self,
        id: &BatchId,
        key: Option<&str>,
        after: (i64, i64),
        limit: usize,
    ) -> Result<Vec<(PastAttempt, Option<String>)>, ReadError> {
        let batch = self.stored(id).await?;
        let mut query = AttemptQuery { after, last_index: None, limit, running: Vec::new() };
        if let Some(key) = key {
            let index = self.store.item_index(batch.seq, key).await?;
            let no_item = || ReadError::NoItem { batch: id.clone(), key: key.to_owned() };
            let index = index.ok_or_else(no_item)?;
            query.after = after.max((index, 0));
            query.last_index = Some(index);
        }
        let in_flight = self.hub.live(batch.seq).map(|entry| entry.in_flight()).unwrap_or_default();
        let began: HashMap<i64, _> = in_flight.into_iter().collect();
        query.running = began.keys().copied().collect();
        let connector = connector::build(&batch.spec);
        let attempts = self.store.attempts(batch.seq, &query).await?.into_iter().map(|mut attempt| {
            if attempt.outcome == AttemptOutcome::Running {
                attempt.started_at = began.get(&attempt.index).copied().flatten();
            }
            let request = (attempt.requests > 0).then(|| connector.request(attempt.subject()));
            let url = request.and_then(Result::ok).map(|request| request.url);
            (attempt, url)
        });
        Ok(attempts.collect())
    }
}
