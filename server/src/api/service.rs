//! `HaulService`.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt};
use haul_proto::v1::{self, BatchView, haul_service_server::HaulService};
use prost::Message;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{
    batch::batch,
    delete,
    page::Tokens,
    plan, read,
    report::report,
    retry,
    spec::{self, Defaults},
    status::{ApiError, Violation},
    watch,
};
use crate::{
    clock,
    control::{Control, Redecode, Start, Started},
    domain::{
        batch::{Command, DrainMode},
        id::BatchId,
        text::MESSAGE_BYTES_MAX,
    },
};

const WATCHERS_MAX: usize = 10_000;

/// The gRPC service over the use cases.
#[derive(Clone)]
pub struct Service {
    control: Control,
    tokens: Tokens,
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

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl HaulService for Service {
    async fn start_batch(&self, request: Request<v1::StartBatchRequest>) -> Answer<v1::StartBatchResponse> {
        self.stays()?;
        let mut request = request.into_inner();
        // A plan is held against the request that would follow it.
        let validate_only = std::mem::take(&mut request.validate_only);
        let sha256 = Sha256::digest(request.encode_to_vec()).into();
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
        let request = request.into_inner();
        // No StartBatch has the same hash: one request id makes one batch.
        let sha256 = Sha256::new_with_prefix(b"Redecode").chain_update(request.encode_to_vec()).finalize();
        let redecode = redecode(request, sha256.into())?;
        let started = self.control.redecode(redecode).await.map_err(ApiError::from)?;
        let (batch, outcome) = outcome(&started);
        Ok(Response::new(v1::RedecodeResponse { batch, outcome }))
    }

    async fn delete_batch(
        &self,
        request: Request<v1::DeleteBatchRequest>,
    ) -> Answer<v1::DeleteBatchResponse> {
        self.stays()?;
        Ok(Response::new(delete::delete_batch(&self.control, request.into_inner()).await?))
    }

    async fn pause(&self, request: Request<v1::PauseRequest>) -> Answer<v1::PauseResponse> {
        let v1::PauseRequest { name, reason, drain_mode } = request.into_inner();
        let command = Command::Pause { reason: bounded(reason)?, drain: drain(drain_mode)? };
        let (batch, in_flight_items) = self.command(&name, command).await?;
        Ok(Response::new(v1::PauseResponse { batch: Some(batch), in_flight_items }))
    }

    async fn resume(&self, request: Request<v1::ResumeRequest>) -> Answer<v1::ResumeResponse> {
        let v1::ResumeRequest { name, reason } = request.into_inner();
        let reason = bounded(reason)?;
        let (batch, _) = self.command(&name, Command::Resume).await?;
        tracing::info!(batch_id = batch.name.trim_start_matches("batches/"), action = "Resume", reason);
        Ok(Response::new(v1::ResumeResponse { batch: Some(batch) }))
    }

    async fn stop(&self, request: Request<v1::StopRequest>) -> Answer<v1::StopResponse> {
        let v1::StopRequest { name, reason, drain_mode } = request.into_inner();
        let command = Command::Stop { reason: bounded(reason)?, drain: drain(drain_mode)? };
        let (batch, in_flight_items) = self.command(&name, command).await?;
        Ok(Response::new(v1::StopResponse { batch: Some(batch), in_flight_items }))
    }

    type WatchProgressStream = Pin<Box<dyn Stream<Item = Result<v1::WatchProgressResponse, Status>> + Send>>;

    async fn watch_progress(
        &self,
        request: Request<v1::WatchProgressRequest>,
    ) -> Answer<Self::WatchProgressStream> {
        let request = request.into_inner();
        let Some(v1::watch_progress_request::Target::Name(name)) = &request.target else {
            return Err(invalid("name", "is required").into());
        };
        let id = batch_id("name", name)?;
        let options = watch::options(&request, &id)?;
        let view = view(request.view, BatchView::Basic)?;
        let events = self.control.watch(&id, options, self.draining.clone()).await.map_err(ApiError::from)?;
        let place = Arc::clone(&self.watchers)
            .try_acquire_owned()
            .map_err(|_| ApiError::WatchLimit { limit: WATCHERS_MAX })?;
        let responses = watch::responses(events, view).map(move |response| {
            let _held_as_long_as_the_stream = &place;
            response
        });
        Ok(Response::new(Box::pin(responses)))
    }

    async fn get_batch(&self, request: Request<v1::GetBatchRequest>) -> Answer<v1::GetBatchResponse> {
        let v1::GetBatchRequest { name, view: asked } = request.into_inner();
        let (id, view) = (batch_id("name", &name)?, view(asked, BatchView::Full)?);
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

    async fn list_items(&self, request: Request<v1::ListItemsRequest>) -> Answer<v1::ListItemsResponse> {
        let response = read::list_items(&self.control, &self.tokens, request.into_inner()).await?;
        Ok(Response::new(response))
    }

    async fn get_report(&self, request: Request<v1::GetReportRequest>) -> Answer<v1::GetReportResponse> {
        let id = batch_id("name", &request.into_inner().name)?;
        let found = self.control.report(&id).await.map_err(ApiError::from)?;
        Ok(Response::new(v1::GetReportResponse { report: Some(report(found)) }))
    }
}

impl Service {
    /// A node that is leaving changes nothing any more.
    fn stays(&self) -> Result<(), ApiError> {
        if self.draining.is_cancelled() { Err(ApiError::Draining) } else { Ok(()) }
    }

    async fn command(&self, name: &str, command: Command) -> Result<(v1::Batch, i64), Status> {
        self.stays()?;
        let id = batch_id("name", name)?;
        let commanded = self.control.command(&id, &command).await.map_err(ApiError::from)?;
        let snapshot = commanded.snapshot;
        Ok((batch(&snapshot, BatchView::Basic), snapshot.in_flight))
    }
}

fn start(request: v1::StartBatchRequest, sha256: [u8; 32], defaults: &Defaults) -> Result<Start, ApiError> {
    let v1::StartBatchRequest { batch_id, spec, request_id, validate_only: _ } = request;
    let mut faults = Vec::new();
    let id = chosen_id(&batch_id, &mut faults);
    let request = request_key(&request_id, sha256, &mut faults);
    let now = clock::now();
    match spec::parse(spec, defaults, now) {
        Ok((spec, items)) if faults.is_empty() => Ok(Start { id, spec, items, request, now }),
        Ok(_) => Err(ApiError::Invalid(faults)),
        Err(ApiError::Invalid(more)) => {
            faults.extend(more);
            Err(ApiError::Invalid(faults))
        }
        Err(other) => Err(other),
    }
}

fn redecode(request: v1::RedecodeRequest, sha256: [u8; 32]) -> Result<Redecode, ApiError> {
    let v1::RedecodeRequest { name, request_id, batch_id: child } = request;
    let mut faults = Vec::new();
    let id = chosen_id(&child, &mut faults);
    let request = request_key(&request_id, sha256, &mut faults);
    match batch_id("name", &name) {
        Ok(parent) if faults.is_empty() => Ok(Redecode { parent, id, request }),
        Ok(_) => Err(ApiError::Invalid(faults)),
        Err(ApiError::Invalid(mut more)) => {
            more.extend(faults);
            Err(ApiError::Invalid(more))
        }
        Err(other) => Err(other),
    }
}

pub(super) fn outcome(started: &Started) -> (Option<v1::Batch>, i32) {
    let outcome = if started.replayed {
        v1::start_batch_response::Outcome::Replayed
    } else {
        v1::start_batch_response::Outcome::Started
    };
    (Some(batch(&started.snapshot, BatchView::Full)), outcome.into())
}

pub(super) fn chosen_id(text: &str, faults: &mut Vec<Violation>) -> Option<BatchId> {
    if text.is_empty() {
        return None;
    }
    let id = BatchId::chosen(text);
    if id.is_none() {
        faults.push(Violation::new("batch_id", format!("{text:?} is not {}", BatchId::PATTERN)));
    }
    id
}

pub(super) fn request_key(
    text: &str,
    sha256: [u8; 32],
    faults: &mut Vec<Violation>,
) -> Option<(String, [u8; 32])> {
    if text.is_empty() {
        return None;
    }
    if uuid::Uuid::try_parse(text).is_err() {
        faults.push(Violation::new("request_id", format!("{text:?} is no UUID")));
        return None;
    }
    Some((text.to_ascii_lowercase(), sha256))
}

fn invalid(field: &str, problem: impl Into<String>) -> ApiError {
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

fn bounded(reason: String) -> Result<String, ApiError> {
    if reason.len() <= MESSAGE_BYTES_MAX {
        return Ok(reason);
    }
    Err(invalid("reason", format!("has {} bytes, more than {MESSAGE_BYTES_MAX}", reason.len())))
}
