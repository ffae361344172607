//! A server over a real socket that answers what a test wrote down, and notes what it was asked.
#![allow(dead_code, reason = "each test binary uses its own part")]

mod relay;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{Stream, StreamExt, stream};
use haul_client::{Client, ClientOptions};
use haul_proto::{
    WatchFrame,
    v1::{
        self,
        haul_service_server::{HaulService, HaulServiceServer},
        watch_progress_response::Event,
    },
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status, Streaming, body::Body, transport::Server};
use tonic_types::StatusExt;
use tower::util::MapRequestLayer;

use self::relay::Relay;

/// A call as it came over the wire.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) rpc: String,
    /// What its grpc-timeout says.
    pub(crate) deadline: Option<Duration>,
}

/// What a watch stream does; past the last step it ends with OK.
#[allow(clippy::large_enum_variant, reason = "there are a handful")]
pub(crate) enum Step {
    Send(Event),
    Fail(Status),
    /// A message of a later release: nothing in it that this client knows.
    Unknown,
    /// Lets some time pass.
    Wait(Duration),
    /// Says nothing any more.
    Hang,
}

#[derive(Default)]
struct Script {
    /// Answers of every RPC that answers with a batch; the last one stays.
    batches: VecDeque<Result<v1::Batch, Status>>,
    report: v1::Report,
    plan: v1::Plan,
    item_pages: VecDeque<Vec<v1::Item>>,
    list_pages: VecDeque<Vec<v1::Batch>>,
    attempts: Vec<v1::Attempt>,
    streams: VecDeque<Result<Vec<Step>, Status>>,
    started: Vec<v1::StartBatchRequest>,
    redecoded: Vec<v1::RedecodeRequest>,
    watched: Vec<v1::WatchProgressRequest>,
    result_streams: VecDeque<Vec<Result<v1::StreamResultsResponse, Status>>>,
    results_asked: Vec<v1::StreamResultsRequest>,
    /// Answers of the next calls, whatever they are; streams excepted.
    refusals: VecDeque<Status>,
    calls: Vec<Call>,
    page_sizes: Vec<i32>,
    /// What a call that makes a batch comes to, unless it only plans. Default: it is started.
    outcome: Option<v1::start_batch_response::Outcome>,
    retried: Vec<v1::RetryFailedRequest>,
    /// The next upload breaks off with so many items durable.
    upload_breaks_at: Option<i64>,
    /// What uploads have brought; none: there was no upload.
    durable: Option<i64>,
    chunks: Vec<v1::UploadChunk>,
}

/// The server, until it is dropped. Cut connections go through a relay, so that they break as a network breaks them.
pub(crate) struct Scripted {
    script: Arc<Mutex<Script>>,
    pub(crate) address: SocketAddr,
    _server: JoinSet<()>,
    relay: Relay,
}

#[derive(Clone)]
struct Service(Arc<Mutex<Script>>);

impl Scripted {
    pub(crate) async fn start() -> Self {
        let script = Arc::new(Mutex::new(Script::default()));
        let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let inner_address = inner.local_addr().unwrap();
        let relay = Relay::start(inner_address).await;
        let log = script.clone();
        let noted = MapRequestLayer::new(move |request: http::Request<Body>| {
            log.lock().unwrap().calls.push(call(&request));
            request
        });
        let service = HaulServiceServer::new(Service(script.clone()));
        let mut server = JoinSet::new();
        server.spawn(async move {
            let incoming = TcpListenerStream::new(inner);
            let server = Server::builder().layer(noted).add_service(service);
            server.serve_with_incoming(incoming).await.unwrap();
        });
        Self { script, address: relay.address, _server: server, relay }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client with waits that a test does not notice.
    pub(crate) async fn client(&self) -> Client {
        self.client_with(impatient()).await
    }

    pub(crate) async fn client_with(&self, options: ClientOptions) -> Client {
        Client::connect_with(&self.url(), options).await.unwrap()
    }

    /// Cuts every connection there is.
    pub(crate) fn cut(&self) {
        self.relay.cut();
    }

    /// From now on nothing comes through, and nobody is told.
    pub(crate) fn freeze(&self) {
        self.relay.freeze();
    }

    /// Bytes that clients have sent.
    pub(crate) fn bytes_received(&self) -> u64 {
        self.relay.bytes_received()
    }

    pub(crate) fn refuse(&self, answers: impl IntoIterator<Item = Status>) {
        self.script.lock().unwrap().refusals.extend(answers);
    }

    pub(crate) fn batches(&self, answers: impl IntoIterator<Item = Result<v1::Batch, Status>>) {
        self.script.lock().unwrap().batches.extend(answers);
    }

    pub(crate) fn report(&self, report: v1::Report) {
        self.script.lock().unwrap().report = report;
    }

    /// Drops all that was written down and not used.
    pub(crate) fn forget(&self) {
        *self.script.lock().unwrap() = Script::default();
    }

    pub(crate) fn plan(&self, plan: v1::Plan) {
        self.script.lock().unwrap().plan = plan;
    }

    pub(crate) fn item_pages(&self, pages: impl IntoIterator<Item = Vec<v1::Item>>) {
        self.script.lock().unwrap().item_pages.extend(pages);
    }

    pub(crate) fn list_pages(&self, pages: impl IntoIterator<Item = Vec<v1::Batch>>) {
        self.script.lock().unwrap().list_pages.extend(pages);
    }

    pub(crate) fn attempts(&self, attempts: Vec<v1::Attempt>) {
        self.script.lock().unwrap().attempts = attempts;
    }

    pub(crate) fn stream(&self, steps: impl IntoIterator<Item = Step>) {
        let steps = steps.into_iter().collect();
        self.script.lock().unwrap().streams.push_back(Ok(steps));
    }

    pub(crate) fn no_stream(&self, status: Status) {
        self.script.lock().unwrap().streams.push_back(Err(status));
    }

    /// One stream of results; it ends with OK.
    pub(crate) fn results(
        &self,
        chunks: impl IntoIterator<Item = Result<v1::StreamResultsResponse, Status>>,
    ) {
        self.script.lock().unwrap().result_streams.push_back(chunks.into_iter().collect());
    }

    /// The cursors that results were asked for behind.
    pub(crate) fn cursors(&self) -> Vec<String> {
        let script = self.script.lock().unwrap();
        script.results_asked.iter().map(|request| request.after_cursor.clone()).collect()
    }

    pub(crate) fn started(&self) -> Vec<v1::StartBatchRequest> {
        self.script.lock().unwrap().started.clone()
    }

    pub(crate) fn outcome(&self, outcome: v1::start_batch_response::Outcome) {
        self.script.lock().unwrap().outcome = Some(outcome);
    }

    pub(crate) fn upload_breaks_at(&self, durable: i64) {
        self.script.lock().unwrap().upload_breaks_at = Some(durable);
    }

    /// Where each chunk began that was taken, how many items it had, and whether it sealed the batch.
    pub(crate) fn chunks(&self) -> Vec<(i64, usize, bool)> {
        let script = self.script.lock().unwrap();
        script.chunks.iter().map(|chunk| (chunk.first_offset, chunk.items.len(), chunk.seal)).collect()
    }

    pub(crate) fn retried(&self) -> Vec<v1::RetryFailedRequest> {
        self.script.lock().unwrap().retried.clone()
    }

    pub(crate) fn redecoded(&self) -> Vec<v1::RedecodeRequest> {
        self.script.lock().unwrap().redecoded.clone()
    }

    /// What each watch was asked for.
    pub(crate) fn watched(&self) -> Vec<v1::WatchProgressRequest> {
        self.script.lock().unwrap().watched.clone()
    }

    /// The revisions that each watch of one batch said it knows.
    pub(crate) fn known_revisions(&self) -> Vec<Option<i64>> {
        let known =
            |request: v1::WatchProgressRequest| request.known_revisions.first().map(|known| known.revision);
        self.watched().into_iter().map(known).collect()
    }

    /// Every call that came, repeats included.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.script.lock().unwrap().calls.clone()
    }

    pub(crate) fn page_sizes(&self) -> Vec<i32> {
        self.script.lock().unwrap().page_sizes.clone()
    }
}

/// Options with waits that a test does not notice.
pub(crate) fn impatient() -> ClientOptions {
    ClientOptions {
        backoff_min: Duration::from_millis(1),
        retry_backoff_max: Duration::from_millis(5),
        backoff_max: Duration::from_millis(5),
        ..ClientOptions::default()
    }
}

fn call(request: &http::Request<Body>) -> Call {
    let rpc = request.uri().path().rsplit('/').next().unwrap().to_owned();
    let deadline = request.headers().get("grpc-timeout").map(|value| {
        let (value, unit) = value.to_str().unwrap().split_at(value.len() - 1);
        let value: u64 = value.parse().unwrap();
        match unit {
            "S" => Duration::from_secs(value),
            "m" => Duration::from_millis(value),
            "u" => Duration::from_micros(value),
            "n" => Duration::from_nanos(value),
            unit => panic!("{unit}"),
        }
    });
    Call { rpc, deadline }
}

#[allow(clippy::result_large_err, reason = "tonic's own error")]
impl Service {
    /// What every call begins with.
    fn script(&self) -> Result<std::sync::MutexGuard<'_, Script>, Status> {
        let mut script = self.0.lock().unwrap();
        script.refusals.pop_front().map_or(Ok(script), Err)
    }

    /// The plan, if one was asked for, and the outcome of a call that makes a batch.
    fn come_to(&self, validate_only: bool) -> (Option<v1::Plan>, i32) {
        use v1::start_batch_response::Outcome;
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
fn page<T>(pages: &mut VecDeque<Vec<T>>) -> (Vec<T>, String) {
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
                Step::Wait(time) => {
                    tokio::time::sleep(time).await;
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
            .ok_or_else(|| Status::failed_precondition("no further stream was scripted"))?;
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
