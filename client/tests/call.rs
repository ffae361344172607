//! Calls: deadlines, repeats, paging, and what a refusal carries.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod scripted;

use std::time::Duration;

use futures::TryStreamExt;
use haul_client::{Client, Error};
use haul_proto::v1::{Batch, Item, StartBatchRequest};
use scripted::Scripted;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

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
    assert_eq!(server.deadlines().len(), 4);
}

#[tokio::test]
async fn what_a_repeat_cannot_mend_is_not_repeated() {
    for code in [Code::NotFound, Code::ResourceExhausted, Code::Aborted, Code::Internal] {
        let server = Scripted::start().await;
        server.batches([Err(Status::new(code, "no"))]);
        server.client().await.pause("nightly", "").await.unwrap_err();
        assert_eq!(server.deadlines().len(), 1, "{code:?}");
    }
}

#[tokio::test]
async fn the_server_says_when_to_repeat() {
    let server = Scripted::start().await;
    let retry_in = |delay| {
        let details = ErrorDetails::with_retry_info(Some(delay));
        Status::with_error_details(Code::Unavailable, "in a moment", details)
    };
    server.batches([Err(retry_in(Duration::from_millis(1))), Err(retry_in(Duration::from_mins(1)))]);
    // A minute is more than the call's deadline leaves: that repeat is not waited for.
    let error = server.client().await.get_batch("nightly").await.unwrap_err();
    assert!(matches!(error, Error::Refused(refusal) if refusal.retry_after == Some(Duration::from_mins(1))));
    assert_eq!(server.deadlines().len(), 2);
}

#[tokio::test]
async fn each_rpc_has_its_deadline() {
    let server = Scripted::start().await;
    server.batches([Ok(Batch::default())]);
    let client = server.client().await;
    client.start_batch(StartBatchRequest::default()).await.unwrap();
    client.pause("nightly", "").await.unwrap();
    client.resume("nightly", "").await.unwrap();
    client.stop("nightly", "").await.unwrap();
    client.get_batch("nightly").await.unwrap();
    let ms: Vec<u64> = server.deadlines().iter().map(|deadline| milliseconds(deadline)).collect();
    for (ms, expected_s) in ms.iter().zip([30, 10, 10, 10, 10]) {
        // What is left of it as the call is sent.
        assert!((expected_s * 1000 - 1000..=expected_s * 1000).contains(ms), "{ms} ms of {expected_s} s");
    }
    assert_eq!(ms.len(), 5);
}

/// A grpc-timeout in milliseconds, rounded up.
fn milliseconds(timeout: &str) -> u64 {
    let (value, unit) = timeout.split_at(timeout.len() - 1);
    let value: u64 = value.parse().unwrap();
    match unit {
        "S" => value * 1000,
        "m" => value,
        "u" => value.div_ceil(1000),
        "n" => value.div_ceil(1_000_000),
        unit => panic!("{unit}"),
    }
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
    match error {
        Error::Refused(refusal) => {
            assert_eq!(refusal.code, Code::InvalidArgument);
            assert_eq!(refusal.metadata["violations_total"], "1");
        }
        other => panic!("{other:?}"),
    }
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
