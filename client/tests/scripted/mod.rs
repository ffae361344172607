//! A server over a real socket that answers what a test wrote down, and notes what it was asked.

mod datasets;
mod relay;
mod service;
mod upstreams;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use haul_client::{Client, ClientOptions};
use haul_proto::v1::{
    self, dataset_service_server::DatasetServiceServer, haul_service_server::HaulServiceServer,
    upstream_service_server::UpstreamServiceServer, watch_progress_response::Event,
};
#[cfg(feature = "cli")]
use tokio::sync::oneshot;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Status, body::Body, transport::Server};
use tower::util::MapRequestLayer;

use self::{relay::Relay, service::Service};

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
    /// Waits until the test says so.
    #[cfg(feature = "cli")]
    Until(oneshot::Receiver<()>),
    /// Says nothing any more.
    Hang,
}

type ResultChunks = Vec<Result<v1::StreamResultsResponse, Status>>;

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
    result_streams: VecDeque<Result<ResultChunks, Status>>,
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
    /// Answer of every RPC that answers with an upstream.
    upstream: v1::Upstream,
    upstream_pages: VecDeque<Vec<v1::Upstream>>,
    updated: Vec<v1::UpdateUpstreamRequest>,
    held: Vec<v1::HoldGateRequest>,
    missing_pages: VecDeque<Vec<v1::MissingKey>>,
    cleared: Vec<v1::ClearMissingKeysRequest>,
}

/// The server, until it is dropped. Cut connections go through a relay, so that they break as a network breaks them.
pub(crate) struct Scripted {
    script: Arc<Mutex<Script>>,
    pub(crate) address: SocketAddr,
    _server: JoinSet<()>,
    relay: Relay,
}

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
        let service = HaulServiceServer::new(Service::new(script.clone()));
        let upstreams = UpstreamServiceServer::new(Service::new(script.clone()));
        let datasets = DatasetServiceServer::new(Service::new(script.clone()));
        let mut server = JoinSet::new();
        server.spawn(async move {
            let incoming = TcpListenerStream::new(inner);
            let server = Server::builder().layer(noted).add_service(service).add_service(upstreams);
            let server = server.add_service(datasets);
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

    /// Waits until clients have sent so many bytes more.
    pub(crate) async fn receives(&self, more: u64) {
        self.relay.receives(more).await;
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

    #[cfg(feature = "cli")]
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

    #[cfg(feature = "cli")]
    pub(crate) fn upstream(&self, upstream: v1::Upstream) {
        let mut script = self.script.lock().unwrap();
        script.upstream_pages.push_back(vec![upstream.clone(), v1::Upstream::default()]);
        script.upstream = upstream;
    }

    pub(crate) fn upstream_pages(&self, pages: impl IntoIterator<Item = Vec<v1::Upstream>>) {
        self.script.lock().unwrap().upstream_pages.extend(pages);
    }

    /// The limits that were set.
    #[cfg(feature = "cli")]
    pub(crate) fn updated(&self) -> Vec<v1::UpdateUpstreamRequest> {
        self.script.lock().unwrap().updated.clone()
    }

    /// The holds that were asked for.
    #[cfg(feature = "cli")]
    pub(crate) fn held(&self) -> Vec<v1::HoldGateRequest> {
        self.script.lock().unwrap().held.clone()
    }

    pub(crate) fn missing_pages(&self, pages: impl IntoIterator<Item = Vec<v1::MissingKey>>) {
        self.script.lock().unwrap().missing_pages.extend(pages);
    }

    /// What was to be forgotten.
    #[cfg(feature = "cli")]
    pub(crate) fn cleared(&self) -> Vec<v1::ClearMissingKeysRequest> {
        self.script.lock().unwrap().cleared.clone()
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
        self.script.lock().unwrap().result_streams.push_back(Ok(chunks.into_iter().collect()));
    }

    #[cfg(feature = "cli")]
    pub(crate) fn no_results(&self, status: Status) {
        self.script.lock().unwrap().result_streams.push_back(Err(status));
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
