//! A worker's one attempt at one item: request, fetch, decode.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::held::Lease;
use crate::{
    clock,
    connector::Connector,
    domain::{
        failure::{Failure, FailureClass},
        item::{Attempt, KEPT_BODY_BYTES_MAX, KeptBody, OpenItem, Outcome, Reply},
        request::Response,
        spec::BatchSpec,
    },
    fetch::{Call, FetchError, Fetcher, Meter, Permits, classify},
};

/// Larger bodies are decoded beside the runtime's threads, which have pauses and leases to see to.
const INLINE_BYTES_MAX: usize = 256 * 1024;

/// What all attempts of a batch share.
pub(super) struct Workshop {
    pub(super) spec: Arc<BatchSpec>,
    pub(super) connector: Arc<dyn Connector>,
    pub(super) fetcher: Fetcher,
    pub(super) permits: Arc<dyn Permits>,
    pub(super) user_agent: Arc<str>,
}

/// One attempt to be made.
pub(super) struct Job {
    /// The lease that its item is done under.
    pub(super) lease: Lease,
    /// The item.
    pub(super) item: OpenItem,
    /// Which worker of the batch, from 1.
    pub(super) worker: u32,
    /// Withdraws it as long as nothing was sent.
    pub(super) withdrawn: CancellationToken,
    /// Cuts it off.
    pub(super) abort: CancellationToken,
}

/// One attempt that was made.
pub(super) struct Finished {
    pub(super) lease: Lease,
    pub(super) item: OpenItem,
    pub(super) worker: u32,
    pub(super) attempt: Attempt,
}

impl Workshop {
    /// Makes one attempt. Whatever happens in it, it ends with an outcome.
    pub(super) async fn attempt(self: Arc<Self>, job: Job) -> Finished {
        let Job { lease, item, worker, withdrawn, abort } = job;
        let started_at = clock::now();
        let meter = Arc::new(Meter::default());
        let work = AssertUnwindSafe(self.outcome(&item, &meter, withdrawn)).catch_unwind();
        let (outcome, body) = tokio::select! {
            done = work => done.unwrap_or_else(|_| {
                let message = "the connector panicked; see the server's log";
                (Outcome::Failed(Failure::new(FailureClass::System, "BUG", message)), None)
            }),
            () = abort.cancelled() => (Outcome::Released { not_before: None }, None),
        };
        let attempt = Attempt {
            index: item.index,
            key: item.key.clone(),
            started_at,
            ended_at: clock::now(),
            requests: meter.requests(),
            bytes_received: meter.bytes_received(),
            outcome,
            body,
        };
        Finished { lease, item, worker, attempt }
    }

    async fn outcome(
        self: &Arc<Self>,
        item: &OpenItem,
        meter: &Arc<Meter>,
        withdrawn: CancellationToken,
    ) -> (Outcome, Option<KeptBody>) {
        let request = match self.connector.request(&item.key) {
            Ok(request) => request,
            Err(failure) => return (Outcome::Failed(failure), None),
        };
        let fetch = &self.spec.fetch;
        let call = Call {
            request,
            user_agent: Arc::clone(&self.user_agent),
            timeout: fetch.attempt_timeout,
            body_bytes_max: fetch.body_bytes_max,
            permits: Arc::clone(&self.permits),
            withdrawn,
            meter: Arc::clone(meter),
        };
        let response = match self.fetcher.fetch(call).await {
            Ok(response) => response,
            // A quick try that met the gate has sent its first request all the same.
            Err(FetchError::Held { until }) => return (Outcome::Released { not_before: Some(until) }, None),
            Err(error) => {
                let outcome = classify::transport(&error)
                    .map_or(Outcome::Released { not_before: None }, Outcome::Failed);
                return (outcome, None);
            }
        };
        let decoded = if response.body.len() <= INLINE_BYTES_MAX {
            self.outcome_of(&item.key, &response)
        } else {
            let (workshop, key) = (Arc::clone(self), item.key.clone());
            match tokio::task::spawn_blocking(move || workshop.outcome_of(&key, &response)).await {
                Ok(decoded) => decoded,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        };
        let failure = match &decoded.0 {
            Outcome::Failed(failure) => Some(failure),
            Outcome::Succeeded { .. } | Outcome::Released { .. } => None,
        };
        if let Some(verdict) = classify::content(failure) {
            self.permits.observe(verdict).await;
        }
        decoded
    }

    fn outcome_of(&self, key: &str, response: &Response) -> (Outcome, Option<KeptBody>) {
        let outcome = match self.connector.decode(key, response) {
            Ok(records) => Outcome::Succeeded { reply: reply(response), records },
            Err(fault) => Outcome::Failed(classify::reply(&fault, response, clock::now())),
        };
        let body = if self.keeps(&outcome, response) { kept(response) } else { None };
        (outcome, body)
    }

    /// Whether a mended decoder may want to see the reply again: it was a success by its status, whatever this decoder
    /// made of it, and is not asked for again.
    fn keeps(&self, outcome: &Outcome, response: &Response) -> bool {
        let is_last = match outcome {
            Outcome::Succeeded { .. } => true,
            Outcome::Failed(failure) => failure.class == FailureClass::Permanent,
            Outcome::Released { .. } => false,
        };
        is_last && (200..300).contains(&response.status) && !self.spec.fetch.keep_bodies.is_zero()
    }
}

fn reply(response: &Response) -> Reply {
    Reply {
        http_status: response.status,
        size_bytes: response.body.len() as i64,
        sha256: Sha256::digest(&response.body).into(),
        content_type: response.content_type.clone(),
        latency: response.latency,
    }
}

fn kept(response: &Response) -> Option<KeptBody> {
    let zstd = zstd::bulk::compress(&response.body, zstd::DEFAULT_COMPRESSION_LEVEL).ok()?;
    (zstd.len() <= KEPT_BODY_BYTES_MAX).then(|| KeptBody {
        zstd,
        http_status: response.status,
        content_type: response.content_type.clone(),
    })
}
