//! `HaulService`.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt};
use haul_proto::{
    WatchFrame,
    v1::{self, BatchView, haul_service_server::HaulService},
};
use prost::Message;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::{
    attempt,
    batch::batch,
    delete,
    page::Tokens,
    plan, read,
    report::report,
    results, retry,
    spec::{self, Defaults},
    status::{ApiError, Violation, both},
    transport::Lifetime,
    upload,
    watch::{self, Target},
};
use crate::{
    clock,
    control::{Control, Redecode, Start, Started, Wish},
    domain::{
        batch::{Command, DrainMode},
        etag,
        filter::ItemField,
        id::BatchId,
        text::MESSAGE_BYTES_MAX,
    },
    store::StartOutcome,
};

const WATCHERS_MAX: usize = 10_000;

/// The gRPC service over the use cases.
#[derive(Clone)]
pub struct Service {
    pub(super) control: Control,
    pub(super) tokens: Tokens,
    defaults: Defaults,
    draining: CancellationToken,
    watchers: Arc<Semaphore>,
}

impl Service {
    /// A service whose streams end when `draining` is canceled.
    pub fn new(control: Control, defaults: Defaults, draining: CancellationToken) -> Self {
        let tokens = Tokens::new(control.token_key());
        Self { control, tokens, defaults, draining, watchers: Arc::new(Semaphore::new(WATCHERS_MAX)) }
    }
}

pub(super) type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl HaulService for Service {
    async fn start_batch(&self, request: Request<v1::StartBatchRequest>) -> Answer<v1::StartBatchResponse> {
        self.stays()?;
        let mut request = request.into_inner();
        // A plan is held against the request that would follow it.
        let validate_only = std::mem::take(&mut request.validate_only);
        request.request_id = canonical(&request.request_id);
        let sha256 = hash(&request);
        let start = start(request, sha256, &self.defaults)?;
        if validate_only {
            let plan = self.control.plan(start).await.map_err(ApiError::from)?;
            return Ok(Response::new(plan::validated(plan)));
        }
        let started = self.control.start(start).await.map_err(ApiError::from)?;
        let (batch, outcome) = outcome(&started);
        Ok(Response::new(v1::StartBatchResponse { batch, outcome, plan: None }))
    }

    async fn retry_failed(
        &self,
        request: Request<v1::RetryFailedRequest>,
    ) -> Answer<v1::RetryFailedResponse> {
        self.stays()?;
        Ok(Response::new(retry::retry_failed(&self.control, request.into_inner()).await?))
    }

    async fn redecode(&self, request: Request<v1::RedecodeRequest>) -> Answer<v1::RedecodeResponse> {
        self.stays()?;
        let mut request = request.into_inner();
        let validate_only = std::mem::take(&mut request.validate_only);
        request.request_id = canonical(&request.request_id);
        // The word in front is no more needed, but in the hashes that stores have.
        let sha256 = Sha256::new_with_prefix(b"Redecode").chain_update(request.encode_to_vec()).finalize();
        let redecode = redecode(request, sha256.into())?;
        if validate_only {
            let plan = self.control.plan_redecode(redecode).await.map_err(ApiError::from)?;
            let v1::StartBatchResponse { batch, outcome, plan } = plan::validated(plan);
            return Ok(Response::new(v1::RedecodeResponse { batch, outcome, plan }));
        }
        let started = self.control.redecode(redecode).await.map_err(ApiError::from)?;
        let (batch, outcome) = outcome(&started);
        Ok(Response::new(v1::RedecodeResponse { batch, outcome, plan: None }))
    }

    async fn delete_batch(
        &self,
        request: Request<v1::DeleteBatchRequest>,
    ) -> Answer<v1::DeleteBatchResponse> {
        self.stays()?;
        Ok(Response::new(delete::delete_batch(&self.control, request.into_inner()).await?))
    }

    async fn pause(&self, request: Request<v1::PauseRequest>) -> Answer<v1::PauseResponse> {
        let mut request = request.into_inner();
        request.request_id = canonical(&request.request_id);
        let sha256 = hash(&request);
        let v1::PauseRequest { name, etag, request_id, reason, drain_mode } = request;
        let command = both(bounded(reason), drain(drain_mode));
        let command = command.map(|(reason, drain)| Command::Pause { reason, drain });
        let (batch, in_flight_items) = self.command(&name, command, etag, &request_id, sha256).await?;
        Ok(Response::new(v1::PauseResponse { batch: Some(batch), in_flight_items }))
    }

    async fn resume(&self, request: Request<v1::ResumeRequest>) -> Answer<v1::ResumeResponse> {
        let mut request = request.into_inner();
        request.request_id = canonical(&request.request_id);
        let sha256 = hash(&request);
        let v1::ResumeRequest { name, etag, request_id, reason } = request;
        let resume = bounded(reason.clone()).map(|_| Command::Resume);
        let (batch, _) = self.command(&name, resume, etag, &request_id, sha256).await?;
        tracing::info!(batch_id = batch.name.trim_start_matches("batches/"), action = "Resume", reason);
        Ok(Response::new(v1::ResumeResponse { batch: Some(batch) }))
    }

    async fn stop(&self, request: Request<v1::StopRequest>) -> Answer<v1::StopResponse> {
        let mut request = request.into_inner();
        request.request_id = canonical(&request.request_id);
        let sha256 = hash(&request);
        let v1::StopRequest { name, etag, request_id, reason, drain_mode } = request;
        let command = both(bounded(reason), drain(drain_mode));
        let command = command.map(|(reason, drain)| Command::Stop { reason, drain });
        let (batch, in_flight_items) = self.command(&name, command, etag, &request_id, sha256).await?;
        Ok(Response::new(v1::StopResponse { batch: Some(batch), in_flight_items }))
    }

    type WatchProgressStream = Pin<Box<dyn Stream<Item = Result<WatchFrame, Status>> + Send>>;

    async fn watch_progress(
        &self,
        request: Request<v1::WatchProgressRequest>,
    ) -> Answer<Self::WatchProgressStream> {
        let ends = self.ends(&request);
        let request = request.into_inner();
        let asked = both(watch::target(&request), view(request.view, BatchView::Basic));
        let ((target, view), options) = both(asked, watch::options(&request))?;
        let events: Pin<Box<dyn Stream<Item = watch::Event> + Send>> = match target {
            Target::One(id) => {
                Box::pin(self.control.watch(&id, options, ends).await.map_err(ApiError::from)?)
            }
            Target::Matching(matches) => {
                Box::pin(self.control.watch_matching(matches, options, ends).await.map_err(ApiError::from)?)
            }
        };
        let place = self.place()?;
        Ok(Response::new(Box::pin(held(watch::frames(events, view), place))))
    }

    async fn get_batch(&self, request: Request<v1::GetBatchRequest>) -> Answer<v1::GetBatchResponse> {
        let v1::GetBatchRequest { name, view: asked } = request.into_inner();
        let (id, view) = both(batch_id("name", &name), view(asked, BatchView::Full))?;
        let snapshot = self.control.batch(&id).await.map_err(ApiError::from)?;
        Ok(Response::new(v1::GetBatchResponse { batch: Some(batch(&snapshot, view)) }))
    }

    async fn list_batches(
        &self,
        request: Request<v1::ListBatchesRequest>,
    ) -> Answer<v1::ListBatchesResponse> {
        let response = read::list_batches(&self.control, &self.tokens, request.into_inner()).await?;
        Ok(Response::new(response))
    }

    async fn upload_items(
        &self,
        request: Request<Streaming<v1::UploadItemsRequest>>,
    ) -> Answer<v1::UploadItemsResponse> {
        self.stays()?;
        let end = upload::End { idle: upload::IDLE_MAX, draining: self.ends(&request) };
        Ok(Response::new(upload::receive(&self.control, request.into_inner(), end).await?))
    }

    async fn get_upload_status(
        &self,
        request: Request<v1::GetUploadStatusRequest>,
    ) -> Answer<v1::GetUploadStatusResponse> {
        let v1::GetUploadStatusRequest { name, upload_id } = request.into_inner();
        let (batch, upload) = upload::named("", &name, &upload_id)?;
        let progress = self.control.upload_status(&batch, &upload).await.map_err(ApiError::from)?;
        Ok(Response::new(v1::GetUploadStatusResponse {
            committed_items: progress.committed,
            duplicate_items: progress.duplicates,
            sealed: progress.sealed,
        }))
    }

    async fn list_items(&self, request: Request<v1::ListItemsRequest>) -> Answer<v1::ListItemsResponse> {
        let response = read::list_items(&self.control, &self.tokens, request.into_inner()).await?;
        Ok(Response::new(response))
    }

    async fn list_attempts(
        &self,
        request: Request<v1::ListAttemptsRequest>,
    ) -> Answer<v1::ListAttemptsResponse> {
        let response = attempt::list(&self.control, &self.tokens, request.into_inner()).await?;
        Ok(Response::new(response))
    }

    type StreamResultsStream = Pin<Box<dyn Stream<Item = Result<v1::StreamResultsResponse, Status>> + Send>>;

    async fn stream_results(
        &self,
        request: Request<v1::StreamResultsRequest>,
    ) -> Answer<Self::StreamResultsStream> {
        let place = self.place()?;
        let ends = self.ends(&request);
        let chunks = results::open(&self.control, &self.tokens, request.into_inner(), ends).await?;
        Ok(Response::new(Box::pin(held(chunks, place))))
    }

    async fn get_report(&self, request: Request<v1::GetReportRequest>) -> Answer<v1::GetReportResponse> {
        let id = batch_id("name", &request.into_inner().name)?;
        let found = self.control.report(&id).await.map_err(ApiError::from)?;
        Ok(Response::new(v1::GetReportResponse { report: Some(report(found)) }))
    }
}

impl Service {
    /// A node that is leaving changes nothing any more.
    pub(super) fn stays(&self) -> Result<(), ApiError> {
        if self.draining.is_cancelled() { Err(ApiError::Draining) } else { Ok(()) }
    }

    /// When a stream is to end that this request asks for.
    fn ends<T>(&self, request: &Request<T>) -> CancellationToken {
        request.extensions().get::<Lifetime>().map_or(&self.draining, |lifetime| &lifetime.0).clone()
    }

    /// A place among those who follow, for as long as it is held.
    fn place(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let place = Arc::clone(&self.watchers).try_acquire_owned();
        place.map_err(|_| ApiError::WatchLimit { limit: WATCHERS_MAX })
    }

    async fn command(
        &self,
        name: &str,
        command: Result<Command, ApiError>,
        etag: String,
        request_id: &str,
        sha256: [u8; 32],
    ) -> Result<(v1::Batch, i64), Status> {
        self.stays()?;
        let guards = both(checked_etag(etag), request_key(request_id, sha256));
        let ((id, command), (etag, request)) = both(both(batch_id("name", name), command), guards)?;
        let wish = Wish { id, command, etag, request };
        let snapshot = self.control.command(wish).await.map_err(ApiError::from)?.snapshot;
        Ok((batch(&snapshot, BatchView::Basic), snapshot.in_flight))
    }
}

/// The stream, which holds its place to its end.
fn held<S: Stream>(stream: S, place: OwnedSemaphorePermit) -> impl Stream<Item = S::Item> {
    stream.map(move |response| {
        let _held_as_long_as_the_stream = &place;
        response
    })
}

fn start(request: v1::StartBatchRequest, sha256: [u8; 32], defaults: &Defaults) -> Result<Start, ApiError> {
    let v1::StartBatchRequest { batch_id, spec, request_id, validate_only: _ } = request;
    let now = clock::now();
    let ids = both(chosen_id(&batch_id), request_key(&request_id, sha256));
    let ((id, request), (spec, items)) = both(ids, spec::parse(spec, defaults, now))?;
    Ok(Start { id, spec, items, request, now })
}

fn redecode(request: v1::RedecodeRequest, sha256: [u8; 32]) -> Result<Redecode, ApiError> {
    let v1::RedecodeRequest { name, filter, request_id, batch_id: child, validate_only: _ } = request;
    let ids = both(chosen_id(&child), request_key(&request_id, sha256));
    let taken = both(batch_id("name", &name), read::filter::<ItemField>(&filter));
    let ((parent, _), (id, request)) = both(taken, ids)?;
    Ok(Redecode { parent, id, filter, request })
}

pub(super) fn outcome(started: &Started) -> (Option<v1::Batch>, i32) {
    let outcome = match started.outcome {
        StartOutcome::Started => v1::start_batch_response::Outcome::Started,
        StartOutcome::Buffered => v1::start_batch_response::Outcome::Buffered,
        StartOutcome::Skipped => v1::start_batch_response::Outcome::Skipped,
        StartOutcome::Replayed => v1::start_batch_response::Outcome::Replayed,
    };
    (Some(batch(&started.snapshot, BatchView::Full)), outcome.into())
}

pub(super) fn chosen_id(text: &str) -> Result<Option<BatchId>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    let problem = || invalid("batch_id", format!("{text:?} is not {}", BatchId::PATTERN));
    BatchId::chosen(text).map(Some).ok_or_else(problem)
}

type RequestKey = (String, [u8; 32]);

pub(super) fn request_key(text: &str, sha256: [u8; 32]) -> Result<Option<RequestKey>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    match uuid::Uuid::try_parse(text) {
        Ok(_) => Ok(Some((text.to_owned(), sha256))),
        Err(_) => Err(invalid("request_id", format!("{text:?} is no UUID"))),
    }
}

/// Of the bytes as this server writes them: fields in order, maps by key.
fn hash(request: &impl Message) -> [u8; 32] {
    Sha256::digest(request.encode_to_vec()).into()
}

/// A UUID in its usual form, whichever it came in: the id of one request is one. What is none is left as it is.
pub(super) fn canonical(request_id: &str) -> String {
    uuid::Uuid::try_parse(request_id).map_or_else(|_| request_id.to_owned(), |uuid| uuid.to_string())
}

pub(super) fn checked_etag(etag: String) -> Result<Option<String>, ApiError> {
    if etag.len() > etag::BYTES_MAX {
        let problem = format!("has {} bytes, more than {}: give Batch.etag", etag.len(), etag::BYTES_MAX);
        return Err(invalid("etag", problem));
    }
    Ok(Some(etag).filter(|etag| !etag.is_empty()))
}

pub(super) fn invalid(field: &str, problem: impl Into<String>) -> ApiError {
    ApiError::Invalid(vec![Violation::new(field, problem)])
}

pub(super) fn batch_id(field: &str, name: &str) -> Result<BatchId, ApiError> {
    BatchId::from_name(name).ok_or_else(|| {
        invalid(field, format!("{name:?} is not batches/{{batch}}, {{batch}} being {}", BatchId::PATTERN))
    })
}

pub(super) fn view(asked: i32, default: BatchView) -> Result<BatchView, ApiError> {
    match BatchView::try_from(asked) {
        Ok(BatchView::Unspecified) => Ok(default),
        Ok(view) => Ok(view),
        Err(_) => Err(invalid("view", format!("{asked} is no view"))),
    }
}

fn drain(asked: i32) -> Result<DrainMode, ApiError> {
    match v1::DrainMode::try_from(asked) {
        Ok(v1::DrainMode::Unspecified | v1::DrainMode::Finish) => Ok(DrainMode::Finish),
        Ok(v1::DrainMode::Abort) => Ok(DrainMode::Abort),
        Err(_) => Err(invalid("drain_mode", format!("{asked} is no drain mode"))),
    }
}

pub(super) fn bounded(reason: String) -> Result<String, ApiError> {
    if reason.len() <= MESSAGE_BYTES_MAX {
        return Ok(reason);
    }
    Err(invalid("reason", format!("has {} bytes, more than {MESSAGE_BYTES_MAX}", reason.len())))
}
