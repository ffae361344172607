//! Retrying: a child that fetches items of a batch that did not succeed.

use chrono::{DateTime, Utc};

use super::{Control, Plan, PlanError, Started, key};
use crate::{
    clock,
    domain::{
        batch::Kind,
        id::BatchId,
        spec::{BatchSpec, Source},
    },
    store::{CreateError, NewBatch},
};

/// A batch of whose items some are to be fetched again.
#[derive(Debug)]
pub struct Retry {
    /// That batch.
    pub parent: BatchId,
    /// Which of its items: a filter that [`crate::domain::filter::Filter::retried`] takes.
    pub filter: String,
    /// Name of the new one, chosen by the caller; a new one otherwise.
    pub id: Option<BatchId>,
    /// Idempotency key: id and hash of the request.
    pub request: Option<(String, [u8; 32])>,
}

impl Control {
    /// Makes a child of a batch that fetches some of its items again. Durable before it answers.
    pub async fn retry(&self, retry: Retry) -> Result<Started, CreateError> {
        let now = clock::now();
        let new = self.retrying(retry, now).await?;
        self.create(new, now).await
    }

    /// What a retry would do.
    pub async fn plan_retry(&self, retry: Retry) -> Result<Plan, PlanError> {
        let now = clock::now();
        let new = self.retrying(retry, now).await?;
        self.plan_of(new, now).await
    }

    async fn retrying(&self, retry: Retry, now: DateTime<Utc>) -> Result<NewBatch, CreateError> {
        let Retry { parent, filter, id, request } = retry;
        let parent = self.stored(&parent).await?;
        let source = Source::BatchItems { batch: parent.id, filter, again: true };
        Ok(NewBatch {
            id: id.unwrap_or_else(BatchId::generate),
            kind: Kind::Retry { parent: parent.seq },
            spec: BatchSpec { source, ..BatchSpec::clone(&parent.spec) },
            items: None,
            request: request.map(|request| key("RetryFailed", request, now)),
        })
    }
}
