//! A server over a real socket that answers what a test wrote down, and notes what it was asked.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::{
    collections::VecDeque,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{Stream, StreamExt, stream};
use haul_client::{Client, ClientOptions};
use haul_proto::v1::{
    self,
    haul_service_server::{HaulService, HaulServiceServer},
    watch_progress_response::Event,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

/// What a watch stream does; past the last step it ends with OK.
#[allow(clippy::large_enum_variant, reason = "there are a handful")]
pub(crate) enum Step {
    Send(Event),
    Fail(Status),
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
    streams: VecDeque<Result<Vec<Step>, Status>>,
    started: Vec<v1::StartBatchRequest>,
    redecoded: Vec<v1::RedecodeRequest>,
    watched: Vec<v1::WatchProgressRequest>,
    deadlines: Vec<String>,
    page_sizes: Vec<i32>,
}

/// The server, until it is dropped. Cut connections go through a relay, so that they break as a network breaks them.
pub(crate) struct Scripted {
    script: Arc<Mutex<Script>>,
    pub(crate) address: SocketAddr,
    _server: JoinSet<()>,
    relay: Arc<Mutex<JoinSet<()>>>,
}

#[derive(Clone)]
struct Service(Arc<Mutex<Script>>);

impl Scripted {
    pub(crate) async fn start() -> Self {
        let script = Arc::new(Mutex::new(Script::default()));
        let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let inner_address = inner.local_addr().unwrap();
        let outer = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = outer.local_addr().unwrap();
        let service = HaulServiceServer::new(Service(script.clone()));
        let mut server = JoinSet::new();
        server.spawn(async move {
            let incoming = TcpListenerStream::new(inner);
            Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
        let relay = Arc::new(Mutex::new(JoinSet::new()));
        let connections = relay.clone();
        server.spawn(async move {
            while let Ok((mut client, _)) = outer.accept().await {
                connections.lock().unwrap().spawn(async move {
                    if let Ok(mut upstream) = TcpStream::connect(inner_address).await {
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
                    }
                });
            }
        });
        Self { script, address, _server: server, relay }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client with waits that a test does not notice.
    pub(crate) async fn client(&self) -> Client {
        let options = ClientOptions {
            backoff_min: Duration::from_millis(1),
            retry_backoff_max: Duration::from_millis(5),
            backoff_max: Duration::from_millis(5),
            ..ClientOptions::default()
        };
        Client::connect_with(&self.url(), options).await.unwrap()
    }

    /// Cuts every connection there is.
    pub(crate) fn cut(&self) {
        self.relay.lock().unwrap().abort_all();
    }

    pub(crate) fn batches(&self, answers: impl IntoIterator<Item = Result<v1::Batch, Status>>) {
        self.script.lock().unwrap().batches.extend(answers);
    }

    pub(crate) fn report(&self, report: v1::Report) {
        self.script.lock().unwrap().report = report;
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

    pub(crate) fn stream(&self, steps: impl IntoIterator<Item = Step>) {
        let steps = steps.into_iter().collect();
        self.script.lock().unwrap().streams.push_back(Ok(steps));
    }

    pub(crate) fn no_stream(&self, status: Status) {
        self.script.lock().unwrap().streams.push_back(Err(status));
    }

    pub(crate) fn started(&self) -> Vec<v1::StartBatchRequest> {
        self.script.lock().unwrap().started.clone()
    }

    pub(crate) fn redecoded(&self) -> Vec<v1::RedecodeRequest> {
        self.script.lock().unwrap().redecoded.clone()
    }

    /// The revisions that each watch said it knows.
    pub(crate) fn known_revisions(&self) -> Vec<Option<i64>> {
        let script = self.script.lock().unwrap();
        let known =
            |request: &v1::WatchProgressRequest| request.known_revisions.first().map(|known| known.revision);
        script.watched.iter().map(known).collect()
    }

    pub(crate) fn deadlines(&self) -> Vec<String> {
        self.script.lock().unwrap().deadlines.clone()
    }

    pub(crate) fn page_sizes(&self) -> Vec<i32> {
        self.script.lock().unwrap().page_sizes.clone()
    }
}

impl Service {
    #[allow(clippy::result_large_err, reason = "tonic's own error")]
    fn batch<T>(&self, request: &Request<T>) -> Result<Option<v1::Batch>, Status> {
        let mut script = self.0.lock().unwrap();
        let deadline = request.metadata().get("grpc-timeout");
        let deadline = deadline.map(|value| value.to_str().unwrap().to_owned());
        script.deadlines.push(deadline.unwrap_or_default());
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
        use v1::start_batch_response::Outcome;
        let plan = {
            let mut script = self.0.lock().unwrap();
            script.started.push(request.get_ref().clone());
            request.get_ref().validate_only.then(|| script.plan.clone())
        };
        let outcome = if plan.is_some() { Outcome::Validated } else { Outcome::Started };
        let batch = self.batch(&request)?;
        Ok(Response::new(v1::StartBatchResponse { batch, outcome: outcome.into(), plan }))
    }

    async fn redecode(
        &self,
        request: Request<v1::RedecodeRequest>,
    ) -> Result<Response<v1::RedecodeResponse>, Status> {
        self.0.lock().unwrap().redecoded.push(request.get_ref().clone());
        let batch = self.batch(&request)?;
        Ok(Response::new(v1::RedecodeResponse {
            batch,
            outcome: v1::start_batch_response::Outcome::Started.into(),
        }))
    }

    async fn retry_failed(
        &self,
        request: Request<v1::RetryFailedRequest>,
    ) -> Result<Response<v1::RetryFailedResponse>, Status> {
        let batch = self.batch(&request)?;
        let outcome = v1::start_batch_response::Outcome::Started.into();
        Ok(Response::new(v1::RetryFailedResponse { batch, outcome, plan: None }))
    }

    async fn delete_batch(
        &self,
        request: Request<v1::DeleteBatchRequest>,
    ) -> Result<Response<v1::DeleteBatchResponse>, Status> {
        self.batch(&request)?;
        Ok(Response::new(v1::DeleteBatchResponse {}))
    }

    async fn pause(&self, request: Request<v1::PauseRequest>) -> Result<Response<v1::PauseResponse>, Status> {
        let batch = self.batch(&request)?;
        Ok(Response::new(v1::PauseResponse { batch, in_flight_items: 3 }))
    }

    async fn resume(
        &self,
        request: Request<v1::ResumeRequest>,
    ) -> Result<Response<v1::ResumeResponse>, Status> {
        let batch = self.batch(&request)?;
        Ok(Response::new(v1::ResumeResponse { batch }))
    }

    async fn stop(&self, request: Request<v1::StopRequest>) -> Result<Response<v1::StopResponse>, Status> {
        let batch = self.batch(&request)?;
        Ok(Response::new(v1::StopResponse { batch, in_flight_items: 0 }))
    }

    type WatchProgressStream = Pin<Box<dyn Stream<Item = Result<v1::WatchProgressResponse, Status>> + Send>>;

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
                Step::Send(event) => Ok(v1::WatchProgressResponse {
                    event: Some(event),
                    ..v1::WatchProgressResponse::default()
                }),
                Step::Fail(status) => Err(status),
                Step::Hang => std::future::pending().await,
            }
        });
        Ok(Response::new(Box::pin(events)))
    }

    async fn get_batch(
        &self,
        request: Request<v1::GetBatchRequest>,
    ) -> Result<Response<v1::GetBatchResponse>, Status> {
        let batch = self.batch(&request)?;
        Ok(Response::new(v1::GetBatchResponse { batch }))
    }

    async fn list_batches(
        &self,
        request: Request<v1::ListBatchesRequest>,
    ) -> Result<Response<v1::ListBatchesResponse>, Status> {
        let mut script = self.0.lock().unwrap();
        script.page_sizes.push(request.get_ref().page_size);
        let (batches, next_page_token) = page(&mut script.list_pages);
        Ok(Response::new(v1::ListBatchesResponse { batches, next_page_token }))
    }

    async fn list_items(
        &self,
        _: Request<v1::ListItemsRequest>,
    ) -> Result<Response<v1::ListItemsResponse>, Status> {
        let (items, next_page_token) = page(&mut self.0.lock().unwrap().item_pages);
        Ok(Response::new(v1::ListItemsResponse { items, next_page_token }))
    }

    async fn get_report(
        &self,
        _: Request<v1::GetReportRequest>,
    ) -> Result<Response<v1::GetReportResponse>, Status> {
        let report = Some(self.0.lock().unwrap().report.clone());
        Ok(Response::new(v1::GetReportResponse { report }))
    }
}
