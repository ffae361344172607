//! Calls: deadlines, repeats, paging, and what a refusal carries.

use std::time::{Duration, Instant};

use futures::{TryStreamExt, stream};
use haul_client::{Client, Error, UploadOptions, Violation};
use haul_proto::v1::{
    Batch, ClearMissingKeysRequest, DeleteBatchRequest, HoldGateRequest, Item, ItemSpec, MissingKey,
    RedecodeRequest, RetryFailedRequest, StartBatchRequest, UpdateUpstreamRequest, Upstream,
};
use prost::Message;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::scripted::Scripted;

fn unavailable() -> Status {
    Status::unavailable("the store is out of reach")
}

#[tokio::test]
async fn a_start_is_repeated_under_one_request_id() {
    let server = Scripted::start().await;
    server.batches([Err(unavailable()), Err(unavailable()), Ok(Batch::default())]);
    let client = server.client().await;
    client.start_batch(StartBatchRequest::default()).await.unwrap();
    let ids: Vec<String> = server.started().into_iter().map(|start| start.request_id).collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(ids[0].len(), 36, "{}", ids[0]);
    assert!(ids.iter().all(|id| *id == ids[0]));
}

#[tokio::test]
async fn a_request_id_of_the_callers_is_kept() {
    let server = Scripted::start().await;
    server.batches([Ok(Batch::default())]);
    let request = StartBatchRequest {
        request_id: "01890a5d-ac96-774b-bcce-b302099a8057".to_owned(),
        ..StartBatchRequest::default()
    };
    server.client().await.start_batch(request.clone()).await.unwrap();
    assert_eq!(server.started(), [request]);
}

#[tokio::test]
async fn four_attempts_and_no_more() {
    let server = Scripted::start().await;
    server.batches([Err(unavailable())]);
    let error = server.client().await.get_batch("nightly").await.unwrap_err();
    assert!(matches!(error, Error::Refused(refusal) if refusal.code == Code::Unavailable));
    assert_eq!(server.calls().len(), 4);
}

#[tokio::test]
async fn what_a_repeat_cannot_mend_is_not_repeated() {
    // RESOURCE_EXHAUSTED without a time to wait, and ABORTED always: the caller has to decide anew.
    for code in [
        Code::NotFound,
        Code::ResourceExhausted,
        Code::Aborted,
        Code::Internal,
        Code::Unknown,
        Code::DeadlineExceeded,
    ] {
        let server = Scripted::start().await;
        server.batches([Err(Status::new(code, "no"))]);
        server.client().await.pause("nightly", "").await.unwrap_err();
        assert_eq!(server.calls().len(), 1, "{code:?}");
    }
    let server = Scripted::start().await;
    server.batches([Err(retry_in(Code::Aborted, Duration::ZERO))]);
    server.client().await.pause("nightly", "").await.unwrap_err();
    assert_eq!(server.calls().len(), 1, "not even when it says when");
}

fn retry_in(code: Code, delay: Duration) -> Status {
    Status::with_error_details(code, "in a moment", ErrorDetails::with_retry_info(Some(delay)))
}

#[tokio::test]
async fn the_server_says_when_to_repeat() {
    let server = Scripted::start().await;
    let after = Duration::from_millis(200);
    server.refuse([
        retry_in(Code::Unavailable, after),
        retry_in(Code::ResourceExhausted, Duration::ZERO),
        retry_in(Code::Unavailable, Duration::from_mins(1)),
    ]);
    let began = Instant::now();
    // A minute is more than the call's deadline leaves: that repeat is not waited for.
    let error = server.client().await.get_batch("nightly").await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_mins(1)));
    assert_eq!(server.calls().len(), 3);
    assert!((after..after * 20).contains(&began.elapsed()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn nothing_is_repeated_while_most_calls_fail() {
    let server = Scripted::start().await;
    let client = server.client().await;
    server.refuse(vec![unavailable(); 4 + 1]);
    server.batches([Ok(Batch::default())]);
    client.get_batch("nightly").await.unwrap_err();
    assert_eq!(server.calls().len(), 4, "the first four of ten tokens are spent");
    client.get_batch("nightly").await.unwrap_err();
    assert_eq!(server.calls().len(), 5, "the fifth is the last that a failure may cost");
    // Each success gives back a tenth of a token: with eleven of them there is one to spend.
    for _ in 0..11 {
        client.get_batch("nightly").await.unwrap();
    }
    server.refuse([unavailable()]);
    client.get_batch("nightly").await.unwrap();
    assert_eq!(server.calls().len(), 5 + 11 + 2);
}

/// Calls of one answer: a name, the RPC, and the deadline that the contract gives it.
const CALLS: [(&str, &str, u64); 24] = [
    ("start", "StartBatch", 30),
    ("plan", "StartBatch", 180),
    ("redecode", "Redecode", 30),
    ("plan a redecode", "Redecode", 180),
    ("retry", "RetryFailed", 60),
    ("plan a retry", "RetryFailed", 60),
    ("delete", "DeleteBatch", 10),
    ("pause", "Pause", 10),
    ("resume", "Resume", 10),
    ("stop", "Stop", 10),
    ("get", "GetBatch", 10),
    ("list", "ListBatches", 10),
    ("items", "ListItems", 10),
    ("attempts", "ListAttempts", 10),
    ("upload status", "GetUploadStatus", 10),
    ("report", "GetReport", 60),
    ("handle", "GetBatch", 10),
    ("upstream", "GetUpstream", 10),
    ("upstreams", "ListUpstreams", 10),
    ("set", "UpdateUpstream", 10),
    ("hold", "HoldGate", 10),
    ("release", "ReleaseGate", 10),
    ("missing", "ListMissingKeys", 10),
    ("clear", "ClearMissingKeys", 10),
];

async fn call(client: &Client, name: &str) -> Result<(), Error> {
    match name {
        "start" => client.start_batch(StartBatchRequest::default()).await.map(drop),
        "plan" => client.plan_batch(StartBatchRequest::default()).await.map(drop),
        "redecode" => client.redecode(RedecodeRequest::default()).await.map(drop),
        "plan a redecode" => client.plan_redecode(RedecodeRequest::default()).await.map(drop),
        "retry" => client.retry_failed(RetryFailedRequest::default()).await.map(drop),
        "plan a retry" => client.plan_retry(RetryFailedRequest::default()).await.map(drop),
        "delete" => client.batch("nightly").delete().await,
        "pause" => client.pause("nightly", "").await.map(drop),
        "resume" => client.resume("nightly", "").await.map(drop),
        "stop" => client.stop("nightly", "").await.map(drop),
        "get" => client.get_batch("nightly").await.map(drop),
        "list" => client.list_batches(1).await.map(drop),
        "items" => client.items("nightly").try_collect::<Vec<_>>().await.map(drop),
        "attempts" => client.attempts("nightly", "").try_collect::<Vec<_>>().await.map(drop),
        "upload status" => match client.upload_status("nightly", "").await {
            Err(error) if error.reason() == Some("UPLOAD_NOT_FOUND") => Ok(()),
            answer => answer.map(drop),
        },
        "report" => client.get_report("nightly").await.map(drop),
        "handle" => client.batch("nightly").get().await.map(drop),
        "upstream" => client.get_upstream("api.example").await.map(drop),
        "upstreams" => client.list_upstreams("").try_collect::<Vec<_>>().await.map(drop),
        "set" => client.update_upstream(UpdateUpstreamRequest::default()).await.map(drop),
        "hold" => client.hold_gate(HoldGateRequest::default()).await.map(drop),
        "release" => client.release_gate("api.example", "").await.map(drop),
        "missing" => client.missing_keys("stock_prices").try_collect::<Vec<_>>().await.map(drop),
        "clear" => client.clear_missing_keys(ClearMissingKeysRequest::default()).await.map(drop),
        name => panic!("{name}"),
    }
}

#[tokio::test]
async fn each_rpc_has_its_deadline_and_is_repeated_while_the_server_is_unavailable() {
    for (name, rpc, deadline_s) in CALLS {
        let server = Scripted::start().await;
        server.batches([Ok(Batch::default())]);
        server.refuse([unavailable()]);
        call(&server.client().await, name).await.unwrap();
        let calls = server.calls();
        assert_eq!(calls.len(), 2, "{name}");
        for call in calls {
            assert_eq!(call.rpc, rpc, "{name}");
            // What is left of it as the call is sent.
            let deadline = Duration::from_secs(deadline_s);
            let left = call.deadline.unwrap_or_else(|| panic!("{name} has no deadline"));
            assert!(left <= deadline && left + Duration::from_secs(1) >= deadline, "{name}: {left:?}");
        }
    }
}

#[test]
fn no_rpc_of_the_contract_is_left_out_here() {
    let files = prost_types::FileDescriptorSet::decode(haul_proto::FILE_DESCRIPTOR_SET).unwrap();
    let services = files.file.iter().flat_map(|file| &file.service);
    let streams =
        |method: &prost_types::MethodDescriptorProto| method.server_streaming() || method.client_streaming();
    let single = services.flat_map(|service| &service.method).filter(|method| !streams(method));
    let left_out: Vec<&str> = single
        .map(prost_types::MethodDescriptorProto::name)
        .filter(|name| !CALLS.iter().any(|(_, rpc, _)| rpc == name))
        .collect();
    assert!(left_out.is_empty(), "{left_out:?}");
}

#[tokio::test]
async fn a_delete_is_not_repeated_where_a_repeat_could_find_nothing() {
    let server = Scripted::start().await;
    server.refuse([unavailable()]);
    let request = DeleteBatchRequest { name: "nightly".to_owned(), ..DeleteBatchRequest::default() };
    server.client().await.delete_batch(request).await.unwrap_err();
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn an_upload_that_breaks_off_goes_on_where_the_server_says() {
    let server = Scripted::start().await;
    server.upload_breaks_at(10_000);
    let items = (0..25_000).map(|n| Ok(ItemSpec { key: n.to_string(), columns: None }));
    let mut durable = Vec::new();
    let client = server.client().await;
    let observe = |items| durable.push(items);
    let options = UploadOptions::default();
    client.batch("nightly").upload(options, stream::iter(items), observe).await.unwrap();
    assert_eq!(server.chunks(), [(10_000, 10_000, false), (20_000, 5_000, false), (25_000, 0, true)]);
    assert_eq!(durable, [0, 25_000]);
    let calls = server.calls();
    let rpcs: Vec<&str> = calls.iter().map(|call| call.rpc.as_str()).collect();
    assert_eq!(rpcs, ["GetUploadStatus", "UploadItems", "GetUploadStatus", "UploadItems"]);
    let left = calls[3].deadline.unwrap();
    assert!(left > Duration::from_secs(119) && left <= Duration::from_mins(2), "{left:?}");
}

#[tokio::test]
async fn an_answer_above_4_mib_is_refused() {
    let server = Scripted::start().await;
    let of = |bytes| Batch { end_message: "x".repeat(bytes), ..Batch::default() };
    server.batches([Ok(of((4 << 20) - 100)), Ok(of(4 << 20))]);
    let client = server.client().await;
    client.get_batch("nightly").await.unwrap();
    let error = client.get_batch("nightly").await.unwrap_err();
    assert!(matches!(error.refusal(), Some(refusal) if refusal.code == Code::OutOfRange), "{error}");
}

#[tokio::test]
async fn refusals_are_decoded() {
    let server = Scripted::start().await;
    let mut details =
        ErrorDetails::with_error_info("INVALID_FIELD", "haul.v1", [("violations_total".into(), "1".into())]);
    details.add_bad_request_violation("spec.fetch.workers", "must be at least 1");
    server.batches([Err(Status::with_error_details(Code::InvalidArgument, "1 field is wrong", details))]);
    let error = server.client().await.get_batch("nightly").await.unwrap_err();
    assert_eq!(error.to_string(), "1 field is wrong\n  spec.fetch.workers: must be at least 1");
    assert_eq!(error.reason(), Some("INVALID_FIELD"));
    assert_eq!(error.metadata("violations_total"), Some("1"));
    let violation =
        Violation { field: "spec.fetch.workers".to_owned(), description: "must be at least 1".to_owned() };
    assert_eq!(error.violations(), [violation]);
    assert_eq!((error.retry_after(), error.metadata("name")), (None, None));
}

#[tokio::test]
async fn a_reason_of_another_domain_is_none_of_ours() {
    let server = Scripted::start().await;
    let details = ErrorDetails::with_error_info("BATCH_NOT_FOUND", "proxy.example", []);
    server.batches([Err(Status::with_error_details(Code::NotFound, "no such host", details))]);
    let error = server.client().await.get_batch("nightly").await.unwrap_err();
    assert_eq!((error.reason(), error.to_string().as_str()), (None, "no such host"));
}

#[tokio::test]
async fn items_come_page_after_page() {
    let server = Scripted::start().await;
    let item = |index| Item { index, ..Item::default() };
    // A page may be empty before the end.
    server.item_pages([vec![item(0), item(1)], vec![], vec![item(2)]]);
    let items: Vec<Item> = server.client().await.items("nightly").try_collect().await.unwrap();
    let indexes: Vec<i64> = items.into_iter().map(|item| item.index).collect();
    assert_eq!(indexes, [0, 1, 2]);
}

#[tokio::test]
async fn missing_keys_come_page_after_page() {
    let server = Scripted::start().await;
    let keyed = |key: &str| MissingKey { key: key.to_owned(), ..MissingKey::default() };
    server.missing_pages([vec![keyed("a"), keyed("b")], vec![], vec![keyed("c")]]);
    let client = server.client().await;
    let keys: Vec<MissingKey> = client.missing_keys("stock_prices").try_collect().await.unwrap();
    assert_eq!(keys, ["a", "b", "c"].map(keyed));
}

#[tokio::test]
async fn upstreams_come_page_after_page() {
    let server = Scripted::start().await;
    let named = |name: &str| Upstream { name: name.to_owned(), ..Upstream::default() };
    server.upstream_pages([vec![named("a"), named("b")], vec![], vec![named("c")]]);
    let client = server.client().await;
    let upstreams: Vec<Upstream> = client.list_upstreams("").try_collect().await.unwrap();
    assert_eq!(upstreams, ["a", "b", "c"].map(named));
}

#[tokio::test]
async fn lists_end_at_their_limit() {
    let server = Scripted::start().await;
    server.list_pages([vec![Batch::default(); 2], vec![Batch::default(); 2], vec![Batch::default()]]);
    let batches = server.client().await.list_batches(3).await.unwrap();
    assert_eq!(batches.len(), 3);
    assert_eq!(server.page_sizes(), [3, 1]);
}

#[tokio::test]
async fn nobody_at_home() {
    let address = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let error = Client::connect(&address).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot reach {address}"));
}

#[tokio::test]
async fn an_answer_without_its_batch() {
    let server = Scripted::start().await;
    let error = server.client().await.get_batch("nightly").await.unwrap_err();
    assert_eq!(error.to_string(), format!("{} answered GetBatch without a batch", server.url()));
}
