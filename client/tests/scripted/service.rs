//! The service: each RPC takes its answer from the script, and notes what it was asked.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
};

use futures::{Stream, StreamExt, stream};
use haul_proto::{
    WatchFrame,
    v1::{self, haul_service_server::HaulService, start_batch_response::Outcome},
};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::StatusExt;

use super::{Script, Step};

#[derive(Clone)]
pub(super) struct Service(Arc<Mutex<Script>>);

#[allow(clippy::result_large_err, reason = "tonic's own error")]
impl Service {
    pub(super) fn new(script: Arc<Mutex<Script>>) -> Self {
        Self(script)
    }

    /// What every call begins with.
    pub(super) fn script(&self) -> Result<MutexGuard<'_, Script>, Status> {
        let mut script = self.0.lock().unwrap();
        script.refusals.pop_front().map_or(Ok(script), Err)
    }

    /// The plan, if one was asked for, and the outcome of a call that makes a batch.
    fn come_to(&self, validate_only: bool) -> (Option<v1::Plan>, i32) {
        let script = self.0.lock().unwrap();
        let plan = validate_only.then(|| script.plan.clone());
        let made = script.outcome.unwrap_or(Outcome::Started);
        let outcome = if plan.is_some() { Outcome::Validated } else { made };
        (plan, outcome.into())
    }

    fn batch(&self) -> Result<Option<v1::Batch>, Status> {
        let mut script = self.script()?;
        match script.batches.pop_front() {
            Some(answer) => {
                if script.batches.is_empty() {
                    script.batches.push_back(answer.clone());
                }
                answer.map(Some)
            }
            None => Ok(None),
        }
    }
}

/// One page of what is left, and whether another follows.
pub(super) fn page<T>(pages: &mut VecDeque<Vec<T>>) -> (Vec<T>, String) {
    let page = pages.pop_front().unwrap_or_default();
    let more = if pages.is_empty() { "" } else { "more" };
    (page, more.to_owned())
}

#[tonic::async_trait]
impl HaulService for Service {
    async fn start_batch(
        &self,
        request: Request<v1::StartBatchRequest>,
    ) -> Result<Response<v1::StartBatchResponse>, Status> {
        let request = request.into_inner();
        let (plan, outcome) = self.come_to(request.validate_only);
        self.0.lock().unwrap().started.push(request);
        let batch = self.batch()?;
        Ok(Response::new(v1::StartBatchResponse { batch, outcome, plan }))
    }

    async fn redecode(
        &self,
        request: Request<v1::RedecodeRequest>,
    ) -> Result<Response<v1::RedecodeResponse>, Status> {
        let request = request.into_inner();
        let (plan, outcome) = self.come_to(request.validate_only);
        self.0.lock().unwrap().redecoded.push(request);
        let batch = self.batch()?;
        Ok(Response::new(v1::RedecodeResponse { batch, outcome, plan }))
    }

    async fn retry_failed(
        &self,
        request: Request<v1::RetryFailedRequest>,
    ) -> Result<Response<v1::RetryFailedResponse>, Status> {
        let request = request.into_inner();
        let (plan, outcome) = self.come_to(request.validate_only);
        self.0.lock().unwrap().retried.push(request);
        let batch = self.batch()?;
        Ok(Response::new(v1::RetryFailedResponse { batch, outcome, plan }))
    }

    async fn delete_batch(
        &self,
        _: Request<v1::DeleteBatchRequest>,
    ) -> Result<Response<v1::DeleteBatchResponse>, Status> {
        self.batch()?;
        Ok(Response::new(v1::DeleteBatchResponse {}))
    }

    async fn pause(&self, _: Request<v1::PauseRequest>) -> Result<Response<v1::PauseResponse>, Status> {
        let batch = self.batch()?;
        Ok(Response::new(v1::PauseResponse { batch, in_flight_items: 3 }))
    }

    async fn resume(&self, _: Request<v1::ResumeRequest>) -> Result<Response<v1::ResumeResponse>, Status> {
        let batch = self.batch()?;
        Ok(Response::new(v1::ResumeResponse { batch }))
    }

    async fn stop(&self, _: Request<v1::StopRequest>) -> Result<Response<v1::StopResponse>, Status> {
        let batch = self.batch()?;
        Ok(Response::new(v1::StopResponse { batch, in_flight_items: 0 }))
    }

    type WatchProgressStream = Pin<Box<dyn Stream<Item = Result<WatchFrame, Status>> + Send>>;

    async fn watch_progress(
        &self,
        request: Request<v1::WatchProgressRequest>,
    ) -> Result<Response<Self::WatchProgressStream>, Status> {
        let mut script = self.0.lock().unwrap();
        script.watched.push(request.into_inner());
        let steps = script
            .streams
            .pop_front()
            .unwrap_or_else(|| Err(Status::failed_precondition("no further stream was scripted")))?;
        let events = stream::iter(steps).then(|step| async move {
            match step {
                Step::Send(event) => {
                    let event = Some(event);
                    Ok(v1::WatchProgressResponse { event, ..v1::WatchProgressResponse::default() }.into())
                }
                Step::Fail(status) => Err(status),
                Step::Unknown => Ok(v1::WatchProgressResponse::default().into()),
                #[cfg(feature = "cli")]
                Step::Until(said) => {
                    said.await.unwrap();
                    Ok(v1::WatchProgressResponse::default().into())
                }
                Step::Hang => std::future::pending().await,
            }
        });
        Ok(Response::new(Box::pin(events)))
    }

    async fn get_batch(
        &self,
        _: Request<v1::GetBatchRequest>,
    ) -> Result<Response<v1::GetBatchResponse>, Status> {
        let batch = self.batch()?;
        Ok(Response::new(v1::GetBatchResponse { batch }))
    }

    async fn list_batches(
        &self,
        request: Request<v1::ListBatchesRequest>,
    ) -> Result<Response<v1::ListBatchesResponse>, Status> {
        let mut script = self.script()?;
        script.page_sizes.push(request.get_ref().page_size);
        let (batches, next_page_token) = page(&mut script.list_pages);
        Ok(Response::new(v1::ListBatchesResponse { batches, next_page_token }))
    }

    async fn upload_items(
        &self,
        request: Request<Streaming<v1::UploadItemsRequest>>,
    ) -> Result<Response<v1::UploadItemsResponse>, Status> {
        {
            let mut script = self.0.lock().unwrap();
            if let Some(durable) = script.upload_breaks_at.take() {
                script.durable = Some(durable);
                return Err(Status::unavailable("the connection broke"));
            }
        }
        let mut messages = request.into_inner();
        while let Some(message) = messages.message().await? {
            if let Some(v1::upload_items_request::Part::Chunk(chunk)) = message.part {
                let mut script = self.0.lock().unwrap();
                script.durable = Some(chunk.first_offset + chunk.items.len() as i64);
                script.chunks.push(chunk);
            }
        }
        let batch = self.batch()?;
        let committed_items = self.0.lock().unwrap().durable.unwrap_or_default();
        Ok(Response::new(v1::UploadItemsResponse { batch, committed_items, ..Default::default() }))
    }

    async fn get_upload_status(
        &self,
        _: Request<v1::GetUploadStatusRequest>,
    ) -> Result<Response<v1::GetUploadStatusResponse>, Status> {
        let Some(committed_items) = self.script()?.durable else {
            let details = tonic_types::ErrorDetails::with_error_info("UPLOAD_NOT_FOUND", "haul.v1", []);
            return Err(Status::with_error_details(Code::NotFound, "there was no upload", details));
        };
        Ok(Response::new(v1::GetUploadStatusResponse { committed_items, ..Default::default() }))
    }

    async fn list_items(
        &self,
        _: Request<v1::ListItemsRequest>,
    ) -> Result<Response<v1::ListItemsResponse>, Status> {
        let (items, next_page_token) = page(&mut self.script()?.item_pages);
        Ok(Response::new(v1::ListItemsResponse { items, next_page_token }))
    }

    async fn list_attempts(
        &self,
        _: Request<v1::ListAttemptsRequest>,
    ) -> Result<Response<v1::ListAttemptsResponse>, Status> {
        let attempts = self.script()?.attempts.clone();
        Ok(Response::new(v1::ListAttemptsResponse { attempts, ..Default::default() }))
    }

    type StreamResultsStream = Pin<Box<dyn Stream<Item = Result<v1::StreamResultsResponse, Status>> + Send>>;

    async fn stream_results(
        &self,
        request: Request<v1::StreamResultsRequest>,
    ) -> Result<Response<Self::StreamResultsStream>, Status> {
        let mut script = self.0.lock().unwrap();
        script.results_asked.push(request.into_inner());
        let chunks = script
            .result_streams
            .pop_front()
            .unwrap_or_else(|| Err(Status::failed_precondition("no further stream was scripted")))?;
        Ok(Response::new(Box::pin(stream::iter(chunks))))
    }

    async fn get_report(
        &self,
        _: Request<v1::GetReportRequest>,
    ) -> Result<Response<v1::GetReportResponse>, Status> {
        let report = Some(self.script()?.report.clone());
        Ok(Response::new(v1::GetReportResponse { report }))
    }
}
