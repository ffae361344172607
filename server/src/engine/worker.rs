//! A worker's one attempt at one item: request, fetch, decode; or, where bodies are decoded anew, the kept body in place
//! of request and fetch.

use std::{io::Read, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use super::{gate::Lane, held::Lease, lanes::Lanes};
use crate::{
    clock,
    connector::{Connector, Origin},
    domain::{
        failure::{Failure, FailureClass},
        id::BatchSeq,
        item::{Attempt, KEPT_BODY_BYTES_MAX, KeptBody, OpenItem, Outcome, Reply},
        request::{FileHead, Request, Response},
        spec::BatchSpec,
    },
    fetch::{Call, FetchError, Fetcher, Meter, Permits, classify},
    store::{FetchedBody, Store, StoreError},
};

/// Larger bodies are decoded beside the runtime's threads, which have pauses and leases to see to.
const INLINE_BYTES_MAX: usize = 256 * 1024;

/// Wait before the store is asked again that was out of reach.
const STORE_RETRY: Duration = Duration::from_millis(500);
/// Given back, with nothing to wait for.
const RELEASED: Outcome = Outcome::Released { not_before: None };

/// What all attempts of a batch share.
pub(super) struct Workshop {
    pub(super) spec: Arc<BatchSpec>,
    pub(super) connector: Arc<dyn Connector>,
    pub(super) replies: Replies,
}

/// Where replies come from.
pub(super) enum Replies {
    /// The upstream.
    Upstream { fetcher: Fetcher, lanes: Arc<Lanes>, user_agent: Arc<str> },
    /// What another batch has kept of its own. Nothing is sent.
    Kept { store: Arc<dyn Store>, parent: BatchSeq },
}

impl Replies {
    /// The lanes that requests wait in; nothing where none is sent.
    pub(super) fn lanes(&self) -> Option<&Arc<Lanes>> {
        match self {
            Self::Upstream { lanes, .. } => Some(lanes),
            Self::Kept { .. } => None,
        }
    }
}

/// What came of an attempt.
struct Made {
    outcome: Outcome,
    body: Option<KeptBody>,
    redecoded: Option<DateTime<Utc>>,
    lane: Option<Arc<Lane>>,
}

impl From<Outcome> for Made {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, body: None, redecoded: None, lane: None }
    }
}

impl From<Failure> for Made {
    fn from(failure: Failure) -> Self {
        Outcome::Failed(failure).into()
    }
}

/// One attempt to be made.
pub(super) struct Job {
    /// The lease that its item is done under.
    pub(super) lease: Lease,
    /// The item.
    pub(super) item: OpenItem,
    /// Which worker of the batch, from 1.
    pub(super) worker: u32,
    /// Counts what it costs.
    pub(super) meter: Arc<Meter>,
    /// Withdraws it as long as nothing was sent.
    pub(super) withdrawn: CancellationToken,
    /// Cuts it off, for its batch wishes it.
    pub(super) cut_off: CancellationToken,
    /// Cuts it off, for the process ends.
    pub(super) abort: CancellationToken,
}

/// One attempt that was made.
pub(super) struct Finished {
    pub(super) lease: Lease,
    pub(super) item: OpenItem,
    pub(super) worker: u32,
    pub(super) attempt: Attempt,
    /// Where its request waited, if it had one.
    pub(super) lane: Option<Arc<Lane>>,
}

impl Workshop {
    /// Makes one attempt. Whatever happens in it, it ends with an outcome.
    pub(super) async fn attempt(self: Arc<Self>, job: Job) -> Finished {
        let Job { lease, item, worker, meter, withdrawn, cut_off, abort } = job;
        let taken_at = clock::now();
        let work = async {
            match &self.replies {
                Replies::Upstream { fetcher, lanes, user_agent } => {
                    self.fetched(fetcher, lanes, user_agent, &item, &meter, withdrawn).await
                }
                Replies::Kept { store, parent } => {
                    meter.began().get_or_init(|| taken_at);
                    self.kept(store, *parent, &item, withdrawn).await
                }
            }
        };
        let Made { outcome, body, redecoded, lane } = tokio::select! {
            done = AssertUnwindSafe(work).catch_unwind() => done.unwrap_or_else(|_| {
                let message = "the connector panicked; see the server's log";
                Failure::new(FailureClass::System, "BUG", message).into()
            }),
            () = cut_off.cancelled() => RELEASED.into(),
            () = abort.cancelled() => RELEASED.into(),
        };
        let attempt = Attempt {
            index: item.index,
            key: item.key.clone(),
            // Waiting for a permit is no part of it.
            started_at: meter.began().get().copied().unwrap_or(taken_at),
            ended_at: clock::now(),
            requests: meter.requests(),
            bytes_received: meter.bytes_received(),
            outcome,
            body,
            redecoded,
        };
        Finished { lease, item, worker, attempt, lane }
    }

    async fn fetched(
        self: &Arc<Self>,
        fetcher: &Fetcher,
        lanes: &Lanes,
        user_agent: &Arc<str>,
        item: &OpenItem,
        meter: &Arc<Meter>,
        withdrawn: CancellationToken,
    ) -> Made {
        let request = match self.connector.request(item.subject()) {
            Ok(request) => request,
            Err(failure) => return failure.into(),
        };
        let lane = match lane_of(lanes, &request, &withdrawn).await {
            Ok(lane) => lane,
            Err(outcome) => return outcome.into(),
        };
        let fetch = &self.spec.fetch;
        let call = Call {
            request: request.clone(),
            user_agent: Arc::clone(user_agent),
            timeout: fetch.attempt_timeout,
            body_bytes_max: fetch.body_bytes_max,
            permits: Arc::clone(&lane) as _,
            withdrawn,
            meter: Arc::clone(meter),
        };
        let response = match fetcher.fetch(call).await {
            Ok(response) => response,
            // A quick try that met the gate has sent its first request all the same.
            Err(FetchError::Held { until }) => return Outcome::Released { not_before: Some(until) }.into(),
            Err(error) => {
                let outcome = classify::transport(&error).map_or(RELEASED, Outcome::Failed);
                return Made { lane: Some(lane), ..outcome.into() };
            }
        };
        let (workshop, item) = (Arc::clone(self), item.clone());
        let size = response.body.len();
        let mut made = beside_if(size > INLINE_BYTES_MAX, move || {
            let (outcome, response) = workshop.decoded(&item, &request, response);
            let attempts = item.attempts;
            let body = if workshop.keeps(&outcome, response.status, attempts) {
                compressed(&response)
            } else {
                None
            };
            Made { body, ..outcome.into() }
        })
        .await;
        let failure = match &made.outcome {
            Outcome::Failed(failure) => Some(failure),
            Outcome::Succeeded { .. } | Outcome::Released { .. } => None,
        };
        if let Some(verdict) = classify::content(failure) {
            lane.observe(verdict).await;
        }
        made.lane = Some(lane);
        made
    }

    /// The same with a kept body. No later attempt can come to anything else.
    async fn kept(
        self: &Arc<Self>,
        store: &Arc<dyn Store>,
        parent: BatchSeq,
        item: &OpenItem,
        withdrawn: CancellationToken,
    ) -> Made {
        let kept = match from_store(&withdrawn, || store.kept_body(parent, &item.key)).await {
            Ok(kept) => kept,
            Err(outcome) => return outcome.into(),
        };
        let Some(FetchedBody { body, fetched_at }) = kept else {
            let message = "the kept body was there when the batch was made, and is gone";
            return Failure::new(FailureClass::Permanent, "KEPT_BODY_MISSING", message).into();
        };
        // What its reply came to is asked of the request that it answers.
        let request = match self.connector.request(item.subject()) {
            Ok(request) => request,
            Err(failure) => return failure.into(),
        };
        let (workshop, item) = (Arc::clone(self), item.clone());
        beside_if(body.zstd.len() > INLINE_BYTES_MAX / 8, move || {
            match decompressed(&body, workshop.spec.fetch.body_bytes_max) {
                Ok(response) => {
                    let (outcome, _) = workshop.decoded(&item, &request, response);
                    Made { redecoded: Some(fetched_at), ..outcome.into() }
                }
                Err(failure) => failure.into(),
            }
        })
        .await
    }

    /// What a reply came to. It comes back with what was found out about it.
    fn decoded(&self, item: &OpenItem, request: &Request, mut response: Response) -> (Outcome, Response) {
        response.digest = Some(response.digest());
        let outcome = match self.connector.decode(item.subject(), request, &response) {
            Ok(records) => Outcome::Succeeded { reply: reply(&response), records },
            Err(fault) => Outcome::Failed(classify::reply(&fault, &response, clock::now())),
        };
        (outcome, response)
    }

    fn keeps(&self, outcome: &Outcome, status: u16, attempts: u32) -> bool {
        let fetch = &self.spec.fetch;
        !fetch.keep_bodies.is_zero() && is_worth_keeping(outcome, status, attempts, fetch.attempts_max)
    }
}

/// Whether a mended decoder may want to see the reply again. The item has it for its last one, after so many attempts
/// that were charged before; and it is a success, by what it held or by its status.
fn is_worth_keeping(outcome: &Outcome, status: u16, attempts: u32, attempts_max: u32) -> bool {
    let is_last = |failure: &Failure| match failure.class {
        FailureClass::Permanent => true,
        FailureClass::Temporary => !failure.push_back && attempts + 1 >= attempts_max,
        FailureClass::System => false,
    };
    match outcome {
        Outcome::Succeeded { .. } => true,
        Outcome::Failed(failure) => (200..300).contains(&status) && is_last(failure),
        Outcome::Released { .. } => false,
    }
}

/// The lane that a request waits in.
async fn lane_of(
    lanes: &Lanes,
    request: &Request,
    withdrawn: &CancellationToken,
) -> Result<Arc<Lane>, Outcome> {
    if let Some(only) = lanes.only() {
        return Ok(Arc::clone(only));
    }
    let Some(origin) = Origin::of_url(&request.url) else {
        let message = format!("{:?} is no http(s) URL", request.url);
        return Err(Outcome::Failed(Failure::new(FailureClass::Permanent, "UNSENDABLE", &message)));
    };
    from_store(withdrawn, || lanes.to(&origin)).await
}

/// Asks the store, again and again while it is out of reach. Answers else with what becomes of the attempt.
async fn from_store<T, F: Future<Output = Result<T, StoreError>>>(
    withdrawn: &CancellationToken,
    ask: impl Fn() -> F,
) -> Result<T, Outcome> {
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) if error.is_transient() => tokio::select! {
                () = tokio::time::sleep(STORE_RETRY) => {}
                () = withdrawn.cancelled() => return Err(RELEASED),
            },
            Err(error) => {
                let failure = Failure::new(FailureClass::System, error.pause_reason(), &error.to_string());
                return Err(Outcome::Failed(failure));
            }
        }
    }
}

fn reply(response: &Response) -> Reply {
    let digest = response.digest();
    Reply {
        http_status: response.status,
        size_bytes: digest.bytes as i64,
        sha256: digest.sha256,
        content_type: response.content_type.clone(),
        latency: response.latency,
    }
}

/// Does some work here, or beside the runtime's threads.
async fn beside_if<T: Send + 'static>(beside: bool, work: impl FnOnce() -> T + Send + 'static) -> T {
    if !beside {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// The reply that a kept body was, as far as it is known.
fn decompressed(kept: &KeptBody, body_bytes_max: u64) -> Result<Response, Failure> {
    let damaged = |error: std::io::Error| {
        let message = format!("the kept body cannot be decompressed: {error}");
        Failure::new(FailureClass::Permanent, "KEPT_BODY_DAMAGED", &message)
    };
    let mut body = Vec::new();
    let decoder = zstd::Decoder::new(kept.zstd.as_slice()).map_err(damaged)?;
    decoder.take(body_bytes_max + 1).read_to_end(&mut body).map_err(damaged)?;
    if body.len() as u64 > body_bytes_max {
        let error = FetchError::BodyTooLarge(body_bytes_max);
        return Err(Failure::new(FailureClass::Permanent, "BODY_TOO_LARGE", &error.to_string()));
    }
    Ok(Response {
        date: None,
        status: kept.http_status,
        content_type: kept.content_type.clone(),
        retry_after: None,
        body: body.into(),
        digest: None,
        bytes_received: 0,
        latency: Duration::ZERO,
        file: FileHead::default(),
    })
}

fn compressed(response: &Response) -> Option<KeptBody> {
    let zstd = zstd::bulk::compress(&response.body, zstd::DEFAULT_COMPRESSION_LEVEL).ok()?;
    (zstd.len() <= KEPT_BODY_BYTES_MAX).then(|| KeptBody {
        zstd,
        http_status: response.status,
        content_type: response.content_type.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::datum::{PriceHistory, Records};

    fn kept(body: &[u8]) -> KeptBody {
        let zstd = zstd::bulk::compress(body, zstd::DEFAULT_COMPRESSION_LEVEL).unwrap();
        KeptBody { zstd, http_status: 203, content_type: "text/plain".to_owned() }
    }

    #[test]
    fn the_last_reply_of_an_item_is_kept_if_it_was_a_success_by_status_or_content() {
        use FailureClass::{Permanent, System, Temporary};
        let failed = |class| Outcome::Failed(Failure::new(class, "X", "x"));
        let push_back = Failure { push_back: true, ..Failure::new(Temporary, "RATE_LIMITED", "x") };
        let reply = Reply {
            http_status: 0,
            size_bytes: 0,
            sha256: [0; 32],
            content_type: String::new(),
            latency: Duration::ZERO,
        };
        let records = Records::PriceHistory(PriceHistory::default());
        let succeeded = Outcome::Succeeded { reply, records };
        for (case, outcome, status, attempts, kept) in [
            ("a success", &succeeded, 200, 0, true),
            ("no data in the window", &succeeded, 400, 0, true),
            ("undecodable", &failed(Permanent), 200, 0, true),
            ("refused", &failed(Permanent), 422, 0, false),
            ("garbage, to be asked for again", &failed(Temporary), 200, 2, false),
            ("garbage to the last", &failed(Temporary), 200, 3, true),
            ("in trouble to the last", &failed(Temporary), 503, 3, false),
            ("pushed back", &Outcome::Failed(push_back), 200, 3, false),
            ("a bug", &failed(System), 200, 3, false),
            ("given back", &RELEASED, 200, 3, false),
        ] {
            assert_eq!(is_worth_keeping(outcome, status, attempts, 4), kept, "{case}");
        }
    }

    #[test]
    fn a_kept_body_becomes_the_reply_that_it_was() {
        let reply = decompressed(&kept(&[7; 1_000]), 1_000).unwrap();
        assert_eq!((reply.status, reply.content_type.as_str()), (203, "text/plain"));
        assert_eq!((&reply.body[..], reply.bytes_received), (&[7; 1_000][..], 0));
        assert!(decompressed(&kept(b""), 1).unwrap().body.is_empty());
    }

    #[test]
    fn a_kept_body_is_bounded_and_may_be_damaged() {
        let reason = |body: &KeptBody| decompressed(body, 999).unwrap_err().reason;
        assert_eq!(reason(&kept(&[7; 1_000])), "BODY_TOO_LARGE");
        // Much of nothing compresses to little, and is not unpacked to its end.
        assert_eq!(reason(&kept(&vec![0; 64 << 20])), "BODY_TOO_LARGE");
        let mut cut = kept(&[7; 500]);
        cut.zstd.truncate(10);
        assert_eq!(reason(&cut), "KEPT_BODY_DAMAGED");
        let damaged = KeptBody { zstd: vec![1, 2, 3], ..cut };
        assert_eq!(reason(&damaged), "KEPT_BODY_DAMAGED");
    }
}
