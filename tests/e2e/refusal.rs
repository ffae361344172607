//! Every error that a caller can bring about: code, reason and details as docs/errors shows them, and which one is
//! answered where several would be true.
//!
//! A new reason is one more row of [`rows`], or a test of its own where it takes a server of its own, and a page.

use std::time::{Duration, Instant};

use haul_proto::v1::{
    AsOf, BatchSpec, GetBatchRequest, GetUploadStatusRequest, GetUpstreamRequest, ItemSpec, JpxListing,
    ListAttemptsRequest, ListBatchesRequest, ListItemsRequest, ListMissingKeysRequest, PauseRequest,
    RedecodeRequest, RetryFailedRequest, StartBatchRequest, StopRequest, StreamResultsRequest, UploadChunk,
    UploadHeader, UploadItemsRequest, UploadedItems, WatchProgressRequest,
    as_of::Moment,
    batch::State,
    batch_spec::{Connector, Source},
    dataset_service_client::DatasetServiceClient,
    haul_service_client::HaulServiceClient,
    upload_items_request::Part,
    upstream_service_client::UpstreamServiceClient,
    watch_progress_request::Target,
};
use tonic::{Code, Status, transport::Channel};

use crate::world::{
    Server, bare,
    canned::Canned,
    disk::Disk,
    example::documented_status,
    intruder::Intruder,
    program,
    spec::{at_once, batch, fast, inline, starting},
    status::{fields, refused},
};

const REQUEST_ID: &str = "0190b6f0-7c1e-7d3a-9d2f-2f6f0b3c9a11";
const LIVE: &str = "batches/nightly";
const OVER: &str = "batches/finished";
const OPEN: &str = "batches/arriving";
const UPLOAD_ID: &str = "0190b6f0-7c1e-7d3a-9d2f-2f6f0b3c9a12";

/// A server with one batch that has ended, one that waits for its upstream and one that is open, which is as many as it
/// takes.
struct World {
    server: Server,
    /// Answers 404.
    lost: Canned,
    _silent: Canned,
}

impl World {
    async fn new() -> Self {
        let server = configured("live_batches = 2\n").await;
        let lost = Canned::saying("404 Not Found").await;
        let silent = Canned::silent().await;
        let nightly = StartBatchRequest {
            batch_id: "nightly".to_owned(),
            request_id: REQUEST_ID.to_owned(),
            ..starting(batch(inline(["1301".to_owned()]), &silent.url(), at_once()))
        };
        let world = Self { server, lost, _silent: silent };
        let mut open = world.one("arriving");
        open.spec.as_mut().unwrap().source = Some(Source::UploadedItems(UploadedItems::default()));
        world.stub().start_batch(world.one("finished")).await.unwrap();
        world.server.batch_ended(OVER).await;
        world.stub().start_batch(nightly).await.unwrap();
        world.stub().start_batch(open).await.unwrap();
        world.upload(OPEN, [(0, "1301")]).await.unwrap();
        let in_flight = |batch: &haul_proto::v1::Batch| batch.progress.as_ref().unwrap().in_flight_items == 1;
        world.server.batch_when(LIVE, "has its item in flight", in_flight).await;
        world
    }

    fn stub(&self) -> HaulServiceClient<Channel> {
        self.server.stub()
    }

    /// A start that would be taken if there were room.
    fn one(&self, id: &str) -> StartBatchRequest {
        let spec = batch(inline(["1301".to_owned()]), &self.lost.url(), fast());
        StartBatchRequest { batch_id: id.to_owned(), ..starting(spec) }
    }

    fn with(&self, change: impl FnOnce(&mut BatchSpec)) -> StartBatchRequest {
        let mut request = self.one("tonight");
        change(request.spec.as_mut().unwrap());
        request
    }

    /// Uploads chunks of one item each: where it begins, and its key.
    async fn upload(
        &self,
        name: &str,
        chunks: impl IntoIterator<Item = (i64, &'static str)>,
    ) -> Result<(), Status> {
        let header = UploadHeader { name: name.to_owned(), upload_id: UPLOAD_ID.to_owned() };
        let mut parts = vec![Part::Header(header)];
        parts.extend(chunks.into_iter().map(|(first_offset, key)| {
            let items = vec![ItemSpec { key: key.to_owned(), columns: None }];
            Part::Chunk(UploadChunk { first_offset, items, seal: false })
        }));
        let messages = parts.into_iter().map(|part| UploadItemsRequest { part: Some(part) });
        let messages: Vec<_> = messages.collect();
        self.stub().upload_items(tokio_stream::iter(messages)).await.map(drop)
    }

    /// A plan over a list that there is not.
    fn listless(&self) -> StartBatchRequest {
        let mut request = self.with(|spec| {
            spec.source = Some(Source::JpxListing(JpxListing::default()));
            let date = Some(Moment::Date("2020-06-01".to_owned()));
            spec.as_of = Some(AsOf { moment: date, ..AsOf::default() });
        });
        request.validate_only = true;
        request
    }
}

async fn configured(settings: &str) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("haul.toml");
    std::fs::write(&path, settings).unwrap();
    let path = path.to_str().unwrap().to_owned();
    Server::start_in(folder, ["--config", &path]).await
}

fn at(spec: &mut BatchSpec, base_url: &str) {
    let Some(Connector::YahooChart(chart)) = &mut spec.connector else { panic!("it is a chart") };
    base_url.clone_into(&mut chart.base_url);
}

fn pause(name: &str) -> PauseRequest {
    PauseRequest { name: name.to_owned(), ..PauseRequest::default() }
}

fn redecode(name: &str) -> RedecodeRequest {
    RedecodeRequest { name: name.to_owned(), ..RedecodeRequest::default() }
}

/// Reason, and the answer that must carry it.
async fn rows(world: &World) -> Vec<(&'static str, Result<(), Status>)> {
    let mut stub = world.stub();
    let no_workers = world.with(|spec| spec.fetch.as_mut().unwrap().workers = Some(0));
    let many = world.with(|spec| spec.source = Some(inline((0..10_001).map(|n| format!("k{n}")))));
    let inward = world.with(|spec| at(spec, "http://169.254.169.254"));
    let token = ListBatchesRequest { page_token: "x".to_owned(), ..ListBatchesRequest::default() };
    let tonight = GetBatchRequest { name: "batches/tonight".to_owned(), ..GetBatchRequest::default() };
    let reused = StartBatchRequest { request_id: REQUEST_ID.to_owned(), ..world.one("tonight") };
    let filtered = ListBatchesRequest { filter: "state = ".to_owned(), ..ListBatchesRequest::default() };
    let results = StreamResultsRequest {
        name: OVER.to_owned(),
        after_cursor: "x".to_owned(),
        ..StreamResultsRequest::default()
    };
    let attempts = ListAttemptsRequest {
        parent: OVER.to_owned(),
        item_key: "1302".to_owned(),
        ..ListAttemptsRequest::default()
    };
    let strange = GetUploadStatusRequest { name: OPEN.to_owned(), upload_id: REQUEST_ID.to_owned() };
    let stale = PauseRequest { etag: "\"1-0\"".to_owned(), ..pause(LIVE) };
    let retry = RetryFailedRequest { name: OVER.to_owned(), ..RetryFailedRequest::default() };
    let stop = StopRequest { name: LIVE.to_owned(), ..StopRequest::default() };
    let mut upstreams = UpstreamServiceClient::new(world.server.channel());
    let mut datasets = DatasetServiceClient::new(world.server.channel());
    let weather =
        ListMissingKeysRequest { parent: "datasets/weather".to_owned(), ..ListMissingKeysRequest::default() };
    let nobody = GetUpstreamRequest { name: "upstreams/nobody.example".to_owned() };
    vec![
        ("INVALID_FIELD", stub.start_batch(no_workers).await.map(drop)),
        ("TOO_MANY_INLINE_ITEMS", stub.start_batch(many).await.map(drop)),
        ("TARGET_FORBIDDEN", stub.start_batch(inward).await.map(drop)),
        ("INVALID_PAGE_TOKEN", stub.list_batches(token).await.map(drop)),
        ("INVALID_FILTER", stub.list_batches(filtered).await.map(drop)),
        ("INVALID_CURSOR", stub.stream_results(results).await.map(drop)),
        ("BATCH_NOT_FOUND", stub.get_batch(tonight).await.map(drop)),
        ("ITEM_NOT_FOUND", stub.list_attempts(attempts).await.map(drop)),
        ("UPLOAD_NOT_FOUND", stub.get_upload_status(strange).await.map(drop)),
        ("UPSTREAM_NOT_FOUND", upstreams.get_upstream(nobody).await.map(drop)),
        ("DATASET_NOT_FOUND", datasets.list_missing_keys(weather).await.map(drop)),
        ("BATCH_EXISTS", stub.start_batch(world.one("nightly")).await.map(drop)),
        ("REQUEST_ID_REUSED", stub.start_batch(reused).await.map(drop)),
        ("ETAG_MISMATCH", stub.pause(stale).await.map(drop)),
        ("BATCH_OPEN", stub.pause(pause(OPEN)).await.map(drop)),
        ("BATCH_SEALED", world.upload(LIVE, [(0, "1302")]).await),
        ("UPLOAD_CONTENT_MISMATCH", world.upload(OPEN, [(0, "1302")]).await),
        ("UPLOAD_OFFSET_GAP", world.upload(OPEN, [(7, "1302")]).await),
        ("BATCH_TERMINAL", stub.pause(pause(OVER)).await.map(drop)),
        ("BATCH_NOT_TERMINAL", stub.redecode(redecode(LIVE)).await.map(drop)),
        ("NO_FAILED_ITEMS", stub.retry_failed(retry).await.map(drop)),
        ("NO_KEPT_BODIES", stub.redecode(redecode(OVER)).await.map(drop)),
        ("SOURCE_UNREADABLE", stub.start_batch(world.listless()).await.map(drop)),
        ("BATCH_QUOTA", stub.start_batch(world.one("tonight")).await.map(drop)),
        // The last one: its answer takes until the silence is given up.
        (
            "BATCH_STOPPING",
            match stub.stop(stop).await {
                Ok(_) => stub.pause(pause(LIVE)).await.map(drop),
                Err(status) => Err(status),
            },
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_as_its_page_shows_it() {
    let world = World::new().await;
    for (reason, answer) in rows(&world).await {
        documented_status(reason, &answer.expect_err(reason));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_that_are_true_the_first_by_rank_is_answered() {
    let world = World::new().await;
    let mut stub = world.stub();
    let long = PauseRequest { reason: "x".repeat(1_025), ..pause("batches/nobody") };
    refused(stub.pause(long).await, Code::InvalidArgument, "INVALID_FIELD");
    let used = RedecodeRequest { request_id: REQUEST_ID.to_owned(), ..redecode("batches/nobody") };
    refused(stub.redecode(used).await, Code::NotFound, "BATCH_NOT_FOUND");
    let used = StartBatchRequest { request_id: REQUEST_ID.to_owned(), ..world.one("finished") };
    refused(stub.start_batch(used).await, Code::AlreadyExists, "REQUEST_ID_REUSED");
    let taken = RedecodeRequest { batch_id: "finished".to_owned(), ..redecode(LIVE) };
    refused(stub.redecode(taken).await, Code::AlreadyExists, "BATCH_EXISTS");
    refused(stub.redecode(redecode(LIVE)).await, Code::FailedPrecondition, "BATCH_NOT_TERMINAL");
    refused(stub.redecode(redecode(OVER)).await, Code::FailedPrecondition, "NO_KEPT_BODIES");
    refused(stub.start_batch(world.listless()).await, Code::FailedPrecondition, "SOURCE_UNREADABLE");
    let planned = StartBatchRequest { validate_only: true, ..world.one("tonight") };
    refused(stub.start_batch(planned).await, Code::ResourceExhausted, "BATCH_QUOTA");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_wrong_with_a_request_is_said_at_once_whichever_it_is() {
    let server = Server::start([]).await;
    let mut stub = server.stub();
    let known = vec![haul_proto::v1::KnownRevision::default(); 1_001];
    let watch = WatchProgressRequest {
        target: Some(Target::Name("x".to_owned())),
        known_revisions: known,
        view: 9,
        ..WatchProgressRequest::default()
    };
    let get = GetBatchRequest { name: "x".to_owned(), view: 9 };
    let list = ListBatchesRequest {
        page_size: -1,
        page_token: "x".to_owned(),
        filter: "state = ".to_owned(),
        view: 9,
        ..ListBatchesRequest::default()
    };
    let items = ListItemsRequest {
        parent: "x".to_owned(),
        page_size: -1,
        page_token: "x".to_owned(),
        ..ListItemsRequest::default()
    };
    let pause = PauseRequest { name: "x".to_owned(), reason: "x".repeat(1_025), ..PauseRequest::default() };
    let mut spec = batch(inline((0..10_001).map(|n| format!("k{n}"))), "http://10.0.0.1", fast());
    spec.fetch.as_mut().unwrap().workers = Some(0);
    let start = StartBatchRequest { batch_id: "x".to_owned(), ..starting(spec) };
    for (answer, expected) in [
        (stub.watch_progress(watch).await.map(drop), &["name", "view", "known_revisions"][..]),
        (stub.get_batch(get).await.map(drop), &["name", "view"]),
        (stub.list_batches(list).await.map(drop), &["view", "filter", "page_size", "page_token"]),
        (stub.list_items(items).await.map(drop), &["parent", "page_size", "page_token"]),
        (stub.pause(pause).await.map(drop), &["name", "reason"]),
        (
            stub.start_batch(start).await.map(drop),
            &["batch_id", "spec.inline_items", "spec.yahoo_chart.base_url", "spec.fetch.workers"],
        ),
    ] {
        let details = refused(answer, Code::InvalidArgument, "INVALID_FIELD");
        assert_eq!(fields(&details), expected);
        assert_eq!(details.error_info().unwrap().metadata["violations_total"], expected.len().to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_grpc_itself_refuses_has_no_details() {
    let server = Server::start([]).await;
    let unknown = bare::call(&server, "NoSuchMethod", "5S", &pause(LIVE)).await.unwrap();
    assert_eq!((unknown.code(), unknown.details().len()), (Code::Unimplemented, 0));
    let huge = PauseRequest { reason: "x".repeat(5 << 20), ..pause(LIVE) };
    let status = server.stub().pause(huge).await.unwrap_err();
    assert_eq!((status.code(), status.details().len()), (Code::OutOfRange, 0), "{status}");
}

/// The store's lock is somebody else's: the call's time passes, or the store's wait does, and what was asked for is done
/// once it can be.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_answer_ends_calls_in_time_and_nothing_is_left_half_done() {
    let world = World::new().await;
    let mut intruder = Intruder::at(&world.server).await;
    intruder.lock().await;
    let asked = Instant::now();
    let late = bare::call(&world.server, "Pause", "500m", &pause(LIVE)).await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    documented_status("DEADLINE", &late);
    assert_eq!(late.code(), Code::DeadlineExceeded);
    let away = world.stub().pause(pause(LIVE)).await.unwrap_err();
    documented_status("STORE_UNAVAILABLE", &away);
    assert_eq!(away.code(), Code::Unavailable);
    intruder.unlock().await;
    let paused = world.stub().pause(pause(LIVE)).await.unwrap().into_inner().batch.unwrap();
    assert!(matches!(paused.state(), State::Pausing | State::Paused), "{paused:?}");

    intruder.lock().await;
    let stop = StopRequest { name: LIVE.to_owned(), reason: "late".to_owned(), ..StopRequest::default() };
    let late = bare::call(&world.server, "Stop", "300m", &stop).await.unwrap();
    assert_eq!(late.code(), Code::DeadlineExceeded);
    intruder.unlock().await;
    let stopped = world
        .server
        .batch_when(LIVE, "is stopped", |batch| matches!(batch.state(), State::Stopping | State::Stopped))
        .await;
    assert_eq!(stopped.end_message, "late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_room_refuses_what_writes_and_is_read_as_before() {
    let Some(disk) = Disk::mount(16) else {
        #[allow(clippy::print_stderr, reason = "a test that did not happen must not look like one that did")]
        {
            eprintln!("SKIPPED: no disk can be mounted here; run it as root");
        }
        return;
    };
    let server = Server::start_in(disk.folder(), []).await;
    disk.fill();
    let many = inline((0..5_000).map(|n| format!("k{n}")));
    let start = || starting(batch(many.clone(), "http://127.0.0.1:9", fast()));
    let status = server.stub().start_batch(start()).await.unwrap_err();
    documented_status("STORE_FULL", &status);
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(server.client().await.list_batches(10).await.unwrap().is_empty());
    disk.make_room();
    server.stub().start_batch(start()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_above_the_configured_rate_waits_and_the_client_does_so_by_itself() {
    let server = configured("api_rate = 2\n").await;
    let mut stub = server.stub();
    let list = ListBatchesRequest::default;
    for _ in 0..2 {
        stub.list_batches(list()).await.unwrap();
    }
    // Bad input is not even looked at.
    let bad = ListBatchesRequest { page_size: -1, ..list() };
    let status = stub.list_batches(bad).await.unwrap_err();
    assert!(status.metadata().contains_key("grpc-retry-pushback-ms"), "{status:?}");
    let details = refused::<()>(Err(status), Code::ResourceExhausted, "API_RATE_LIMIT");
    assert!(details.retry_info().unwrap().retry_delay.unwrap() <= Duration::from_millis(500));
    server.client().await.list_batches(10).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reason_is_explained_on_the_command_line() {
    let listed = program::run("haul", ["explain"]).await;
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors");
    let files =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut pages: Vec<String> =
        files.filter_map(|name| Some(name.strip_suffix(".md")?.to_owned())).collect();
    pages.retain(|page| page != "README");
    pages.sort();
    assert_eq!(
        (listed.status, listed.out.lines().collect::<Vec<_>>()),
        (0, pages.iter().map(String::as_str).collect())
    );
    let said = program::run("haul", ["explain", "batch_terminal"]).await;
    assert!(said.status == 0 && said.out.starts_with("# BATCH_TERMINAL\n"), "{}", said.out);
    let unknown = program::run("haul", ["explain", "NO_SUCH"]).await;
    assert!(unknown.status == 2 && unknown.err.contains("NO_SUCH"), "{}", unknown.err);
}
