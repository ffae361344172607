//! Uploads: over connections that break, beside others, into a server that dies; and what is refused.

use std::{collections::HashSet, time::Duration};

use haul_client::{Client, ClientOptions, UploadOptions};
use haul_proto::v1::{
    BatchSpec, FetchPolicy, GetUploadStatusRequest, ItemSpec, PauseRequest, ResumeRequest, StartBatchRequest,
    StopRequest, UploadChunk, UploadHeader, UploadItemsRequest, UploadItemsResponse, UploadedItems,
    batch::State, batch_spec::Source, haul_service_client::HaulServiceClient, upload_items_request::Part,
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::{iter, wrappers::ReceiverStream};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;

mod bound;
mod command;
mod web;

use crate::world::{
    Server, Upstream, Watching,
    database::Database,
    eventually,
    relay::Relay,
    spec::{batch, codes, fast, inline, paced, starting},
    status::{fields, refused},
    watching::{assert_adds_up, assert_rising, watch},
};

const ONE: &str = "00000000-0000-0000-0000-000000000001";
const TWO: &str = "00000000-0000-0000-0000-000000000002";

fn open(upstream: &str, fetch: FetchPolicy) -> BatchSpec {
    batch(Source::UploadedItems(UploadedItems::default()), upstream, fetch)
}

/// A batch that sends next to nothing once it runs.
async fn begin(server: &Server) -> String {
    server.start_batch(open("http://127.0.0.1:9", paced(0.5, 1))).await
}

/// So many bytes in each.
fn key(n: usize) -> String {
    format!("K{n:059}")
}

fn items(keys: impl IntoIterator<Item = String>) -> Vec<ItemSpec> {
    keys.into_iter().map(|key| ItemSpec { key, columns: None }).collect()
}

fn header(name: &str, upload_id: &str) -> UploadItemsRequest {
    let header = UploadHeader { name: name.to_owned(), upload_id: upload_id.to_owned() };
    UploadItemsRequest { part: Some(Part::Header(header)) }
}

fn chunk(first_offset: i64, keys: impl IntoIterator<Item = String>, seal: bool) -> UploadItemsRequest {
    let chunk = UploadChunk { first_offset, items: items(keys), seal };
    UploadItemsRequest { part: Some(Part::Chunk(chunk)) }
}

fn named(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

/// One whole stream.
async fn sent(
    server: &Server,
    messages: impl IntoIterator<Item = UploadItemsRequest>,
) -> Result<UploadItemsResponse, Status> {
    let messages: Vec<_> = messages.into_iter().collect();
    server.stub().upload_items(iter(messages)).await.map(tonic::Response::into_inner)
}

/// A stream that stays open.
struct Stream {
    messages: mpsc::Sender<UploadItemsRequest>,
    answer: JoinHandle<Result<UploadItemsResponse, Status>>,
}

impl Stream {
    fn begin(mut stub: HaulServiceClient<Channel>) -> Self {
        let (messages, inbox) = mpsc::channel(1);
        let call = async move { stub.upload_items(ReceiverStream::new(inbox)).await };
        Self { messages, answer: tokio::spawn(async { call.await.map(tonic::Response::into_inner) }) }
    }

    async fn send(&self, message: UploadItemsRequest) {
        self.messages.send(message).await.unwrap();
    }

    /// What it is refused with before it has come to its own end.
    async fn refused(self, code: Code, reason: &str) {
        refused(self.answer.await.unwrap(), code, reason);
    }
}

async fn committed(server: &Server, name: &str, upload_id: &str) -> i64 {
    let (name, upload_id) = (name.to_owned(), upload_id.to_owned());
    let status = server.stub().get_upload_status(GetUploadStatusRequest { name, upload_id }).await;
    status.map_or(0, |status| status.into_inner().committed_items)
}

/// Waits until so many items of an upload are durable.
async fn committed_at_least(server: &Server, name: &str, upload_id: &str, items: i64) {
    eventually(&format!("{items} items are durable"), || async {
        (committed(server, name, upload_id).await >= items).then_some(())
    })
    .await;
}

/// Every key is there once, in order.
async fn assert_whole(server: &Server, keys: usize) {
    let database = Database::of(server).await;
    let in_place =
        "SELECT count(*) FROM batch_execution_details WHERE item_key = printf('K%059d', item_index)";
    assert_eq!(database.number(in_place).await, keys as i64, "each key is there, at its place");
    assert_eq!(database.number("SELECT count(*) FROM batch_execution_details").await, keys as i64);
    database.assert_recount().await;
}

/// A client that waits as little as may be.
async fn eager(url: &str) -> Client {
    let options = ClientOptions {
        backoff_min: Duration::from_millis(5),
        backoff_max: Duration::from_millis(200),
        retry_attempts: 50,
        ..ClientOptions::default()
    };
    Client::connect_with(url, options).await.unwrap()
}

async fn upload_keys(client: &Client, name: &str, keys: usize) -> UploadItemsResponse {
    let options = UploadOptions { upload_id: ONE.to_owned(), seal: true };
    let items = iter((0..keys).map(|n| Ok(ItemSpec { key: key(n), columns: None })));
    client.upload(name, options, items, |_| ()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_thousand_keys_get_through_a_connection_that_is_cut_again_and_again() {
    const KEYS: usize = 200_000;
    const CUTS: u64 = 12;
    let server = Server::start([]).await;
    // A chunk has about 630,000 bytes: now one, now two of them get through.
    let relay = Relay::to(&server, (0..CUTS).map(|n| 700_000 + n * 90_000)).await;
    let name = begin(&server).await;
    let client = eager(&relay.url()).await;
    let uploaded = upload_keys(&client, &name, KEYS).await;
    assert_eq!((uploaded.committed_items, uploaded.duplicate_items), (KEYS as i64, 0));
    assert_eq!(relay.cuts(), CUTS as usize);
    let batch = uploaded.batch.unwrap();
    let progress = batch.progress.as_ref().unwrap();
    assert_eq!((batch.state(), progress.total_items), (State::Running, KEYS as i64));
    assert!(!progress.total_is_partial);
    assert_whole(&server, KEYS).await;
    let peak = server.peak_memory_kib();
    assert!(peak < 160 * 1_024, "the server had {peak} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_at_any_place_loses_the_chunk_on_the_way_and_nothing_else() {
    const CHUNK: usize = 1_000;
    const CHUNKS: usize = 6;
    let server = Server::start([]).await;
    let name = begin(&server).await;
    let part = |n: usize| chunk((n * CHUNK) as i64, (n * CHUNK..(n + 1) * CHUNK).map(key), n + 1 == CHUNKS);
    for n in 0..CHUNKS {
        let before = (n * CHUNK) as i64;
        // In the middle of the chunk: it has about 63,000 bytes.
        let relay = Relay::to(&server, [20_000 + n as u64 * 8_000]).await;
        let cut = relay.stub().upload_items(iter([header(&name, ONE), part(n)])).await;
        assert!(cut.unwrap_err().get_error_details().error_info().is_none(), "no server said so");
        assert_eq!(relay.cuts(), 1);
        assert_eq!(committed(&server, &name, ONE).await, before);
        // Behind it, before the caller has said that it is over.
        let relay = Relay::to(&server, []).await;
        let stream = Stream::begin(relay.stub());
        stream.send(header(&name, ONE)).await;
        stream.send(part(n)).await;
        committed_at_least(&server, &name, ONE, before + CHUNK as i64).await;
        relay.cut();
        stream.answer.await.unwrap().unwrap_err();
    }
    assert_whole(&server, CHUNKS * CHUNK).await;
    server.batch_in(&name, State::Running).await;
    let repeated = sent(&server, [header(&name, ONE), part(CHUNKS - 1)]).await.unwrap();
    assert_eq!(repeated.committed_items, (CHUNKS * CHUNK) as i64, "the repeat of the last one is OK");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_outlasts_the_servers_death() {
    const KEYS: usize = 200_000;
    let mut server = Server::start([]).await;
    let name = begin(&server).await;
    let url = format!("http://{}", server.address());
    let (client, batch) = (eager(&url).await, name.clone());
    let uploading = tokio::spawn(async move { upload_keys(&client, &batch, KEYS).await });
    for items in [20_000, 90_000] {
        committed_at_least(&server, &name, ONE, items).await;
        server.kill().await;
        server.start_again().await;
        let state = server.client().await.get_batch(&name).await.unwrap().state();
        assert_eq!(state, State::Open, "it is killed in the middle");
    }
    let uploaded = uploading.await.unwrap();
    assert_eq!((uploaded.committed_items, uploaded.duplicate_items), (KEYS as i64, 0));
    assert_whole(&server, KEYS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_stream_takes_over_and_two_uploads_feed_one_batch() {
    let server = Server::start([]).await;
    let name = begin(&server).await;
    let older = Stream::begin(server.stub());
    older.send(header(&name, ONE)).await;
    older.send(chunk(0, named(&["a", "b"]), false)).await;
    committed_at_least(&server, &name, ONE, 2).await;
    let beside = Stream::begin(server.stub());
    beside.send(header(&name, TWO)).await;
    beside.send(chunk(0, named(&["b", "c"]), false)).await;
    committed_at_least(&server, &name, TWO, 2).await;

    let newer = Stream::begin(server.stub());
    newer.send(header(&name, ONE)).await;
    older.refused(Code::Aborted, "UPLOAD_SUPERSEDED").await;
    newer.send(chunk(2, named(&["d"]), false)).await;
    committed_at_least(&server, &name, ONE, 3).await;
    beside.send(chunk(2, named(&["e", "a"]), true)).await;
    drop(beside.messages);
    let sealed = beside.answer.await.unwrap().unwrap();
    assert_eq!((sealed.committed_items, sealed.duplicate_items), (4, 2));
    newer.send(chunk(3, named(&["f"]), false)).await;
    newer.refused(Code::FailedPrecondition, "BATCH_SEALED").await;
    let keys: Vec<String> =
        server.items(&name).await.into_iter().map(|item| item.spec.unwrap().key).collect();
    assert_eq!(keys, ["a", "b", "c", "d", "e"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_sees_an_open_batch_grow_and_then_run() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(open(&upstream.url(), fast())).await;
    let mut watching = Watching::open(&server, watch(&name)).await.unwrap();
    let codes = codes(300);
    let stream = Stream::begin(server.stub());
    stream.send(header(&name, ONE)).await;
    for (n, codes) in codes.chunks(100).enumerate() {
        let total = (n as i64 + 1) * 100;
        stream.send(chunk(total - 100, codes.to_vec(), total == 300)).await;
        let seen = watching
            .state_when(|batch| {
                assert_adds_up(batch);
                batch.progress.as_ref().unwrap().total_items == total
            })
            .await;
        let progress = seen.progress.as_ref().unwrap();
        if total < 300 {
            assert_eq!((seen.state(), progress.total_is_partial), (State::Open, true));
            assert_eq!(upstream.charts().len(), 0, "nothing runs");
        }
    }
    drop(stream.messages);
    stream.answer.await.unwrap().unwrap();
    let states = watching.rest().await;
    assert_rising(&states);
    let ended = states.last().unwrap();
    assert_eq!((ended.state(), ended.progress.as_ref().unwrap().succeeded_items), (State::Completed, 300));
    let asked: HashSet<String> = upstream.charts().iter().map(|chart| chart.key().to_owned()).collect();
    assert_eq!(asked, HashSet::from_iter(codes));
    Database::of(&server).await.assert_exactly_once(300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_an_upload_is_said() {
    use Code::{FailedPrecondition, InvalidArgument, NotFound, OutOfRange};
    let server = Server::start([]).await;
    let (name, stopped) = (begin(&server).await, begin(&server).await);
    let stop = StopRequest { name: stopped.clone(), ..StopRequest::default() };
    server.stub().stop(stop).await.unwrap();
    let sealed = server.start_batch(batch(inline(named(&["x"])), "http://127.0.0.1:9", paced(0.5, 1))).await;
    server.batch_in(&sealed, State::Paused).await;
    sent(&server, [header(&name, ONE), chunk(0, named(&["a", "b"]), false)]).await.unwrap();
    let before = server.client().await.get_batch(&name).await.unwrap();

    let many = vec!["k".to_owned(); 10_001];
    let table = [
        (vec![header("batches/nowhere", ONE)], NotFound, "BATCH_NOT_FOUND"),
        (vec![header(&stopped, ONE)], FailedPrecondition, "BATCH_TERMINAL"),
        (vec![header(&sealed, ONE)], FailedPrecondition, "BATCH_SEALED"),
        (vec![header(&name, ONE), chunk(3, named(&["d"]), false)], OutOfRange, "UPLOAD_OFFSET_GAP"),
        (
            vec![header(&name, ONE), chunk(0, named(&["a", "x"]), false)],
            FailedPrecondition,
            "UPLOAD_CONTENT_MISMATCH",
        ),
        (vec![header(&name, ONE), chunk(2, many, false)], InvalidArgument, "INVALID_FIELD"),
    ];
    for (messages, code, reason) in table {
        let details = refused(sent(&server, messages).await, code, reason);
        let metadata = &details.error_info().unwrap().metadata;
        match reason {
            "UPLOAD_OFFSET_GAP" => assert_eq!(metadata["committed_items"], "2"),
            "UPLOAD_CONTENT_MISMATCH" => {
                let violation = &details.precondition_failure().unwrap().violations[0];
                assert_eq!((violation.r#type.as_str(), &violation.subject), ("CONTENT", &name));
                assert_eq!((metadata["upload_id"].as_str(), &metadata["name"]), (ONE, &name));
            }
            "INVALID_FIELD" => assert_eq!(fields(&details), ["chunk.items"]),
            "BATCH_SEALED" => assert_eq!(metadata["state"], "PAUSED", "nobody is at its upstream"),
            _ => {}
        }
    }
    let stub = || server.stub();
    let unknown = GetUploadStatusRequest { name: name.clone(), upload_id: TWO.to_owned() };
    let details = refused(stub().get_upload_status(unknown).await, NotFound, "UPLOAD_NOT_FOUND");
    assert_eq!(details.resource_info().unwrap().resource_name, TWO);
    let misnamed = GetUploadStatusRequest { name: "x".to_owned(), upload_id: "x".to_owned() };
    let details = refused(stub().get_upload_status(misnamed).await, InvalidArgument, "INVALID_FIELD");
    assert_eq!(fields(&details), ["name", "upload_id"]);
    let pause = PauseRequest { name: name.clone(), ..PauseRequest::default() };
    refused(stub().pause(pause).await, FailedPrecondition, "BATCH_OPEN");
    let resume = ResumeRequest { name: name.clone(), ..ResumeRequest::default() };
    refused(stub().resume(resume).await, FailedPrecondition, "BATCH_OPEN");
    assert_eq!(server.client().await.get_batch(&name).await.unwrap(), before, "nothing of it came in");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_leaves_tells_its_uploads_and_what_is_committed_stays() {
    let mut server = Server::start([]).await;
    let name = begin(&server).await;
    let stream = Stream::begin(server.stub());
    stream.send(header(&name, ONE)).await;
    stream.send(chunk(0, named(&["a", "b"]), false)).await;
    committed_at_least(&server, &name, ONE, 2).await;
    server.signal("TERM").await;
    stream.refused(Code::Unavailable, "SERVER_DRAINING").await;
    assert!(server.exit(Duration::from_secs(15)).await.success());
    server.start_again().await;
    let messages = [header(&name, ONE), chunk(2, named(&["c"]), true)];
    let uploaded = sent(&server, messages).await.unwrap();
    assert_eq!((uploaded.committed_items, uploaded.batch.unwrap().state()), (3, State::Running));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_of_items_to_be_uploaded_knows_none_and_says_so() {
    let server = Server::start([]).await;
    let request = starting(open("http://127.0.0.1:9", fast()));
    let request = StartBatchRequest { validate_only: true, ..request };
    let plan = server.stub().start_batch(request).await.unwrap().into_inner().plan.unwrap();
    assert_eq!((plan.total_items, plan.requests, plan.total_is_partial), (0, 0, true));
    let [warning] = &plan.warnings[..] else { panic!("{:?}", plan.warnings) };
    assert!(warning.contains("UploadItems"), "{warning}");
    assert_eq!(server.client().await.list_batches(1).await.unwrap(), []);
}
