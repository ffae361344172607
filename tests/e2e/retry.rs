//! Fetching again what did not succeed.

use std::collections::HashSet;

use haul_proto::v1::{
    BatchItems, RetryFailedRequest, StopRequest,
    batch::{Kind, State},
    batch_spec::Source,
    start_batch_response::Outcome,
};
use haul_sim::SimConfig;
use tonic::Code;

use crate::world::{
    Server, Upstream,
    database::Database,
    spec::{fast, paced, prices},
    status::{fields, refused},
    upstream::Arrival,
};

const ITEMS: usize = 60;

fn retry(name: &str) -> RetryFailedRequest {
    RetryFailedRequest { name: name.to_owned(), ..RetryFailedRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_retries_fetches_everything_once_by_the_same_requests() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::slow(30));
    let parent = server.start_batch(prices(ITEMS, &upstream, paced(30.0, 5))).await;
    let mut stub = server.stub();
    let early =
        refused(stub.retry_failed(retry(&parent)).await, Code::FailedPrecondition, "BATCH_NOT_TERMINAL");
    assert_eq!(early.error_info().unwrap().metadata["name"], parent);

    // Each is stopped on its way, and the next one takes up what it left.
    let mut name = parent.clone();
    let mut done = 0;
    for _ in 0..2 {
        server.batch_processed(&name, 10).await;
        stub.stop(StopRequest { name: name.clone(), ..StopRequest::default() }).await.unwrap();
        let stopped = server.batch_in(&name, State::Stopped).await.progress.unwrap();
        assert!(stopped.canceled_items > 0);
        done += stopped.succeeded_items;

        let planned = RetryFailedRequest { validate_only: true, ..retry(&name) };
        let planned = stub.retry_failed(planned).await.unwrap().into_inner();
        assert_eq!(planned.outcome(), Outcome::Validated);
        assert_eq!(planned.plan.unwrap().total_items, stopped.canceled_items);

        let made = stub.retry_failed(retry(&name)).await.unwrap().into_inner();
        let child = made.batch.unwrap();
        assert_eq!((child.kind(), child.parent_batch.as_str()), (Kind::Retry, name.as_str()));
        let report = server.client().await.get_report(&name).await.unwrap();
        assert_eq!(report.child_batches, std::slice::from_ref(&child.name));
        let (of_parent, of_child) =
            (server.batch_in(&name, State::Stopped).await.spec.unwrap(), child.spec.unwrap());
        assert_eq!((of_child.as_of, of_child.connector), (of_parent.as_of, of_parent.connector));
        let filter = "state = CANCELED OR (state = FAILED AND error.failure_class != PERMANENT)".to_owned();
        assert_eq!(of_child.source, Some(Source::BatchItems(BatchItems { name, filter })));
        name = child.name;
    }
    let ended = server.batch_ended(&name).await;
    let progress = ended.progress.unwrap();
    assert_eq!((ended.state, progress.succeeded_items + done), (State::Completed.into(), ITEMS as i64));

    let charts = upstream.charts();
    let keys: HashSet<&str> = charts.iter().map(Arrival::key).collect();
    let queries: HashSet<&str> = charts.iter().map(|chart| chart.query.as_str()).collect();
    assert_eq!((keys.len(), charts.len()), (ITEMS, ITEMS), "nothing is fetched twice");
    assert_eq!(queries.len(), 1, "the same requests: {queries:?}");
    refused(stub.retry_failed(retry(&name)).await, Code::FailedPrecondition, "NO_FAILED_ITEMS");
    Database::of(&server).await.assert_recount().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_for_good_is_retried_if_it_is_asked_for() {
    let config = SimConfig { permanent: 1.0, ..SimConfig::default() };
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::start(config));
    let parent = server.start_batch(prices(5, &upstream, fast())).await;
    server.batch_ended(&parent).await;
    let said = server.haul(&["retry", &parent]).await;
    assert_eq!(said.status, 1, "{}", said.out);
    let why = ["5 failed for good (", "NOT_FOUND 404", "--filter 'state = FAILED'"];
    assert!(why.iter().all(|why| said.err.contains(why)), "{}", said.err);
    let said =
        server.haul(&["retry", &parent, "--filter", "state = FAILED", "--id", "second", "--watch"]).await;
    assert_eq!(said.status, 3, "they fail again: {}{}", said.out, said.err);
    let child = server.batch_in("batches/second", State::Completed).await;
    assert_eq!(child.progress.unwrap().failed_items, 5);

    let mut stub = server.stub();
    let wrong = RetryFailedRequest { filter: "state = ASLEEP".to_owned(), ..retry(&parent) };
    let details = refused(stub.retry_failed(wrong).await, Code::InvalidArgument, "INVALID_FILTER");
    assert_eq!(details.error_info().unwrap().metadata["column"], "9");
    let wrong =
        RetryFailedRequest { request_id: "x".to_owned(), batch_id: "!".to_owned(), ..retry("nobody") };
    let details = refused(stub.retry_failed(wrong).await, Code::InvalidArgument, "INVALID_FIELD");
    assert_eq!(fields(&details), ["name", "batch_id", "request_id"]);
    refused(stub.retry_failed(retry("batches/nobody")).await, Code::NotFound, "BATCH_NOT_FOUND");

    let request_id = "0d4c3a52-9b1a-4c59-8f0e-1b9b62f6c001".to_owned();
    let again = RetryFailedRequest { filter: "key != x".to_owned(), request_id, ..retry(&parent) };
    let first = stub.retry_failed(again.clone()).await.unwrap().into_inner();
    let second = stub.retry_failed(again.clone()).await.unwrap().into_inner();
    assert_eq!((first.outcome(), second.outcome()), (Outcome::Started, Outcome::Replayed));
    assert_eq!(first.batch.unwrap().name, second.batch.unwrap().name);
    let other = RetryFailedRequest { filter: "key != y".to_owned(), ..again };
    refused(stub.retry_failed(other).await, Code::AlreadyExists, "REQUEST_ID_REUSED");
}
