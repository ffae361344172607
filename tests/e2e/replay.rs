//! One request, one batch: request ids and chosen names.

use haul_proto::v1::{StartBatchRequest, start_batch_response::Outcome};
use tokio::task::JoinSet;
use tonic::Code;

use crate::world::{
    Server, Upstream,
    spec::{fast, paced, prices, starting},
    status::refused,
};

const REQUEST_ID: &str = "0190b6f0-7c1e-7d3a-9d2f-2f6f0b3c9a11";

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_is_answered_again_and_another_under_its_id_is_refused() {
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let request = StartBatchRequest {
        request_id: REQUEST_ID.to_owned(),
        ..starting(prices(30, &upstream, paced(10.0, 1)))
    };
    let first = server.stub().start_batch(request.clone()).await.unwrap().into_inner();
    assert_eq!(first.outcome(), Outcome::Started);
    let name = first.batch.unwrap().name;
    server.batch_processed(&name, 1).await;

    let again = server.stub().start_batch(request.clone()).await.unwrap().into_inner();
    assert_eq!(again.outcome(), Outcome::Replayed);
    let batch = again.batch.unwrap();
    assert_eq!(batch.name, name);
    assert!(batch.progress.unwrap().processed_items >= 1, "it is shown as it is now");

    let other = StartBatchRequest { batch_id: "another".to_owned(), ..request.clone() };
    refused(server.stub().start_batch(other).await, Code::AlreadyExists, "REQUEST_ID_REUSED");

    server.kill().await;
    server.start_again().await;
    let after = server.stub().start_batch(request).await.unwrap().into_inner();
    assert_eq!((after.outcome(), after.batch.unwrap().name), (Outcome::Replayed, name));
    assert_eq!(server.client().await.list_batches(10).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_leaves_its_id_free() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let mut request = starting(prices(1, &upstream, fast()));
    request.request_id = REQUEST_ID.to_owned();
    let mut wrong = request.clone();
    wrong.spec.as_mut().unwrap().fetch.as_mut().unwrap().workers = Some(0);
    refused(server.stub().start_batch(wrong).await, Code::InvalidArgument, "INVALID_FIELD");
    let answer = server.stub().start_batch(request).await.unwrap().into_inner();
    assert_eq!(answer.outcome(), Outcome::Started);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_of_the_same_request_at_once_make_one_batch() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let request = StartBatchRequest {
        request_id: REQUEST_ID.to_owned(),
        ..starting(prices(20, &upstream, paced(10.0, 1)))
    };
    let calls: JoinSet<_> = (0..20)
        .map(|_| {
            let (mut stub, request) = (server.stub(), request.clone());
            async move { stub.start_batch(request).await.unwrap().into_inner() }
        })
        .collect();
    let answers = calls.join_all().await;
    let started = answers.iter().filter(|answer| answer.outcome() == Outcome::Started).count();
    let replayed = answers.iter().filter(|answer| answer.outcome() == Outcome::Replayed).count();
    assert_eq!((started, replayed), (1, 19));
    let batches = server.client().await.list_batches(10).await.unwrap();
    assert_eq!(batches.len(), 1);
    assert!(answers.iter().all(|answer| answer.batch.as_ref().unwrap().name == batches[0].name));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_given_once() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let request =
        StartBatchRequest { batch_id: "nightly-1".to_owned(), ..starting(prices(1, &upstream, fast())) };
    let answer = server.stub().start_batch(request.clone()).await.unwrap().into_inner();
    assert_eq!(answer.batch.unwrap().name, "batches/nightly-1");
    let answer = server.stub().start_batch(request).await;
    let details = refused(answer, Code::AlreadyExists, "BATCH_EXISTS");
    assert_eq!(details.resource_info().unwrap().resource_name, "batches/nightly-1");
}
