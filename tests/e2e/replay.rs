//! One request, one batch: request ids and chosen names.

use haul_proto::v1::{
    PauseRequest, ResumeRequest, StartBatchRequest, StopRequest, batch::State, start_batch_response::Outcome,
};
use tokio::task::JoinSet;
use tonic::Code;

use crate::world::{
    Server, Upstream,
    spec::{fast, paced, prices, starting},
    status::{fields, refused},
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
async fn a_hundred_of_the_same_request_at_once_make_one_batch() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let request = StartBatchRequest {
        request_id: REQUEST_ID.to_owned(),
        ..starting(prices(20, &upstream, paced(10.0, 1)))
    };
    let calls: JoinSet<_> = (0..100)
        .map(|n| {
            // A connection each, and each writes the same id in its own way.
            let (mut stub, mut request) = (server.stub(), request.clone());
            if n % 2 == 1 {
                request.request_id = request.request_id.to_uppercase();
            }
            async move { stub.start_batch(request).await.unwrap().into_inner() }
        })
        .collect();
    let answers = calls.join_all().await;
    let started = answers.iter().filter(|answer| answer.outcome() == Outcome::Started).count();
    let replayed = answers.iter().filter(|answer| answer.outcome() == Outcome::Replayed).count();
    assert_eq!((started, replayed), (1, 99));
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

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_comes_again_late_has_no_second_effect() {
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(30, &upstream, paced(2.0, 1))).await;
    let pause = PauseRequest {
        name: name.clone(),
        request_id: REQUEST_ID.to_owned(),
        reason: "lunch".to_owned(),
        ..PauseRequest::default()
    };
    server.stub().pause(pause.clone()).await.unwrap();
    server.batch_in(&name, State::Paused).await;
    server.client().await.resume(&name, "").await.unwrap();
    server.kill().await;
    server.start_again().await;
    let again = server.stub().pause(pause.clone()).await.unwrap().into_inner();
    assert_eq!(again.batch.unwrap().state(), State::Running);
    let other = PauseRequest { reason: "dinner".to_owned(), ..pause.clone() };
    let details = refused(server.stub().pause(other).await, Code::AlreadyExists, "REQUEST_ID_REUSED");
    assert_eq!(details.resource_info().unwrap().resource_name, REQUEST_ID);
    let odd = PauseRequest { request_id: "lunch".to_owned(), etag: "x".repeat(513), ..pause };
    let details = refused(server.stub().pause(odd).await, Code::InvalidArgument, "INVALID_FIELD");
    assert_eq!(fields(&details), ["etag", "request_id"]);
    // The same id is another one for another call.
    let stop = StopRequest { name, request_id: REQUEST_ID.to_owned(), ..StopRequest::default() };
    server.stub().stop(stop).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_for_a_state_that_is_no_more_is_refused_with_the_present_one() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(30, &upstream, paced(10.0, 1))).await;
    let etag = server.client().await.get_batch(&name).await.unwrap().etag;
    assert!(etag.starts_with('"') && etag.ends_with('"'), "{etag}");
    let progressed = server.batch_processed(&name, 3).await;
    assert_eq!(progressed.etag, etag, "progress does not move it");

    let pause = PauseRequest { name: name.clone(), etag: etag.clone(), ..PauseRequest::default() };
    server.stub().pause(pause.clone()).await.unwrap();
    let paused = server.batch_in(&name, State::Paused).await;
    let details = refused(server.stub().pause(pause).await, Code::Aborted, "ETAG_MISMATCH");
    let told = &details.error_info().unwrap().metadata;
    assert_eq!((&told["current_etag"], told["current_state"].as_str()), (&paused.etag, "PAUSED"));
    let resume = ResumeRequest { name: name.clone(), etag: etag.clone(), ..ResumeRequest::default() };
    refused(server.stub().resume(resume).await, Code::Aborted, "ETAG_MISMATCH");
    let resume = ResumeRequest { name: name.clone(), etag: paused.etag, ..ResumeRequest::default() };
    let running = server.stub().resume(resume).await.unwrap().into_inner().batch.unwrap();
    let stop =
        |etag: &str| StopRequest { name: name.clone(), etag: etag.to_owned(), ..StopRequest::default() };
    refused(server.stub().stop(stop(&etag)).await, Code::Aborted, "ETAG_MISMATCH");
    server.stub().stop(stop(&running.etag)).await.unwrap();
    assert_eq!(server.batch_ended(&name).await.state(), State::Stopped);
}
