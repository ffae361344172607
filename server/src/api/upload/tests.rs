//! Streams against the use cases over a store: what ends them, and what stays of them.

use std::{path::Path, sync::Arc};

use tokio::{sync::mpsc, task::JoinSet};
use tonic::Code;
use tonic_types::StatusExt;

use super::*;
use crate::{
    api::{Defaults, Service},
    engine::Engine,
    fetch::{Fetcher, Outbound},
    progress::Hub,
    source::file::Roots,
    store::{
        Store,
        sqlite::{Limits, SqliteStore},
    },
};
use haul_proto::v1::haul_service_server::HaulService as _;

const BATCH: &str = "batches/uploaded";
const UPLOAD: &str = "00000000-0000-0000-0000-000000000001";

fn outbound() -> Outbound {
    Outbound::new(&["127.0.0.1".to_owned()]).unwrap()
}

async fn control(folder: &Path) -> Control {
    let store: Arc<dyn Store> =
        Arc::new(SqliteStore::open(&folder.join("haul.db"), Limits::default()).await.unwrap());
    let (hub, roots) = (Arc::new(Hub::default()), Arc::new(Roots::new(&[]).unwrap()));
    let fetcher = Fetcher::new(outbound()).unwrap();
    let engine = Engine::new(
        Arc::clone(&store),
        Arc::clone(&hub),
        fetcher,
        Arc::clone(&roots),
        Duration::from_secs(60),
    )
    .await
    .unwrap();
    let control = Control::new(store, hub, engine);
    let defaults = Defaults {
        zone: chrono_tz::UTC,
        list_uri: String::new(),
        user_agent: "test".to_owned(),
        roots,
        outbound: outbound(),
    };
    let chart = v1::YahooChart {
        base_url: "http://127.0.0.1:1".to_owned(),
        window: Some(v1::yahoo_chart::Window::Range("1mo".to_owned())),
        ..v1::YahooChart::default()
    };
    let spec = v1::BatchSpec {
        source: Some(v1::batch_spec::Source::UploadedItems(v1::UploadedItems::default())),
        connector: Some(v1::batch_spec::Connector::YahooChart(chart)),
        ..v1::BatchSpec::default()
    };
    let batch_id = "uploaded".to_owned();
    let start = v1::StartBatchRequest { batch_id, spec: Some(spec), ..v1::StartBatchRequest::default() };
    let service = Service::new(control.clone(), defaults, CancellationToken::new());
    service.start_batch(tonic::Request::new(start)).await.unwrap();
    control
}

fn header(upload_id: &str) -> v1::UploadItemsRequest {
    let header = v1::UploadHeader { name: BATCH.to_owned(), upload_id: upload_id.to_owned() };
    v1::UploadItemsRequest { part: Some(Part::Header(header)) }
}

fn chunk(first_offset: i64, keys: &[&str]) -> v1::UploadItemsRequest {
    let items = keys.iter().map(|key| v1::ItemSpec { key: (*key).to_owned(), columns: None }).collect();
    v1::UploadItemsRequest { part: Some(Part::Chunk(v1::UploadChunk { first_offset, items, seal: false })) }
}

/// A caller's end of a stream, and what comes of it.
struct Caller {
    messages: mpsc::Sender<v1::UploadItemsRequest>,
    answer: JoinSet<Result<v1::UploadItemsResponse, Status>>,
}

impl Caller {
    fn begin(control: &Control, end: End) -> Self {
        let (messages, inbox) = mpsc::channel(1);
        let inbox = futures::stream::unfold(inbox, |mut inbox: mpsc::Receiver<_>| async move {
            inbox.recv().await.map(|message| (Ok(message), inbox))
        });
        let control = control.clone();
        let answer = JoinSet::from_iter([async move { receive(&control, Box::pin(inbox), end).await }]);
        Self { messages, answer }
    }

    async fn send(&self, message: v1::UploadItemsRequest) {
        self.messages.send(message).await.unwrap();
    }

    async fn answer(&mut self) -> Result<v1::UploadItemsResponse, Status> {
        self.answer.join_next().await.unwrap().unwrap()
    }

    /// What it is refused with, though it has said nothing of an end.
    async fn refused(mut self, code: Code, reason: &str) -> Status {
        let status = self.answer().await.unwrap_err();
        let info = status.get_error_details().error_info().unwrap().clone();
        assert_eq!((status.code(), info.reason.as_str()), (code, reason), "{status}");
        status
    }

    async fn accepted(mut self) -> (i64, i64) {
        self.messages = mpsc::channel(1).0;
        let response = self.answer().await.unwrap();
        (response.committed_items, response.batch.unwrap().progress.unwrap().total_items)
    }
}

fn patient() -> End {
    End { idle: IDLE_MAX, draining: CancellationToken::new() }
}

/// Waits until so many items of the upload are durable.
async fn committed(control: &Control, items: i64) {
    let (batch, upload) = named("", BATCH, UPLOAD).unwrap();
    let durable = async {
        while control.upload_status(&batch, &upload).await.map_or(-1, |progress| progress.committed) < items {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), durable).await.expect("they become durable");
}

#[tokio::test]
async fn silence_ends_a_stream_and_what_is_committed_stays() {
    let folder = tempfile::tempdir().unwrap();
    let control = control(folder.path()).await;
    let bound = Duration::from_millis(200);
    let caller = Caller::begin(&control, End { idle: bound, ..patient() });
    caller.send(header(UPLOAD)).await;
    caller.send(chunk(0, &["a", "b"])).await;
    let status = caller.refused(Code::DeadlineExceeded, "DEADLINE").await;
    assert!(status.message().contains("200 ms"), "{status}");
    committed(&control, 2).await;

    let mute = Caller::begin(&control, End { idle: bound, ..patient() });
    mute.refused(Code::DeadlineExceeded, "DEADLINE").await;
}

#[tokio::test]
async fn a_newer_stream_ends_an_older_one_that_waits_for_its_caller() {
    let folder = tempfile::tempdir().unwrap();
    let control = control(folder.path()).await;
    let older = Caller::begin(&control, patient());
    older.send(header(UPLOAD)).await;
    older.send(chunk(0, &["a"])).await;
    committed(&control, 1).await;
    // Another spelling of the same UUID.
    let newer = Caller::begin(&control, patient());
    newer.send(header(&UPLOAD.replace('-', ""))).await;
    let details = older.refused(Code::Aborted, "UPLOAD_SUPERSEDED").await.get_error_details();
    assert_eq!(details.resource_info().unwrap().resource_name, UPLOAD);
    newer.send(chunk(1, &["b"])).await;
    // Another upload disturbs neither.
    let beside = Caller::begin(&control, patient());
    beside.send(header("00000000-0000-0000-0000-000000000002")).await;
    beside.send(chunk(0, &["c"])).await;
    assert_eq!(beside.accepted().await.0, 1);
    assert_eq!(newer.accepted().await, (2, 3));
}

#[tokio::test]
async fn a_server_that_leaves_ends_its_streams_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let control = control(folder.path()).await;
    let end = patient();
    let draining = end.draining.clone();
    let caller = Caller::begin(&control, end);
    caller.send(header(UPLOAD)).await;
    caller.send(chunk(0, &["a"])).await;
    committed(&control, 1).await;
    draining.cancel();
    let status = caller.refused(Code::Unavailable, "SERVER_DRAINING").await;
    assert!(status.get_error_details().retry_info().is_some());
}

#[tokio::test]
async fn messages_out_of_order_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let control = control(folder.path()).await;
    let none = || v1::UploadItemsRequest { part: None };
    let misnamed = v1::UploadHeader { name: "uploaded".to_owned(), upload_id: "one".to_owned() };
    let misnamed = v1::UploadItemsRequest { part: Some(Part::Header(misnamed)) };
    for (messages, fields) in [
        (vec![chunk(0, &["a"])], &["header"][..]),
        (vec![header(UPLOAD), header(UPLOAD)], &["header"]),
        (vec![header(UPLOAD), none()], &["chunk"]),
        (vec![misnamed], &["header.name", "header.upload_id"]),
        (vec![header(UPLOAD), chunk(-1, &["a"])], &["chunk.first_offset"]),
        (vec![header(UPLOAD), chunk(0, &["a", ""])], &["chunk.items[1].key"]),
    ] {
        let caller = Caller::begin(&control, patient());
        for message in messages {
            caller.send(message).await;
        }
        let status = caller.refused(Code::InvalidArgument, "INVALID_FIELD").await;
        let details = status.get_error_details();
        let named: Vec<&str> = details
            .bad_request()
            .unwrap()
            .field_violations
            .iter()
            .map(|found| found.field.as_str())
            .collect();
        assert_eq!(named, fields);
    }
    let mut empty = Caller::begin(&control, patient());
    empty.messages = mpsc::channel(1).0;
    assert_eq!(empty.answer().await.unwrap_err().code(), Code::InvalidArgument);
    let alone = Caller::begin(&control, patient());
    alone.send(header(UPLOAD)).await;
    assert_eq!(alone.accepted().await, (0, 0), "nothing of what was refused has come in");
}
