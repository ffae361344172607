//! One batch held on to: started with a builder, steered, waited for, read.

use futures::TryStreamExt;
use haul_client::{Error, ResultsEvent, ResultsOptions, StartBatch, YahooChart};
use haul_proto::v1::{
    Attempt, Batch, Item, Report, StartBatchRequest, StreamResultsResponse, batch::State,
    start_batch_response::Outcome, watch_progress_response::Event,
};
use tonic::Status;

use crate::scripted::{Scripted, Step};

fn batch(revision: i64, state: State) -> Batch {
    Batch { name: "batches/nightly".to_owned(), revision, state: state.into(), ..Batch::default() }
}

#[tokio::test]
async fn a_batch_is_started_and_waited_for_through_a_broken_stream() {
    let server = Scripted::start().await;
    server.batches([Ok(batch(1, State::Running))]);
    server.stream([
        Step::Send(Event::Snapshot(batch(1, State::Running))),
        Step::Fail(Status::unavailable("restarted")),
    ]);
    server.stream([Step::Send(Event::Terminal(batch(2, State::Completed)))]);
    let start = StartBatch::yahoo_chart(YahooChart::range("1mo")).items(["7203"]).id("nightly");
    let client = server.client().await;
    let held = client.start(start.clone()).await.unwrap();
    assert_eq!((held.name(), held.id()), ("batches/nightly", "nightly"));
    let mut sent = server.started().remove(0);
    assert!(!std::mem::take(&mut sent.request_id).is_empty(), "so that the call may be repeated");
    assert_eq!(sent, StartBatchRequest::from(start));
    assert_eq!(held.wait().await.unwrap(), batch(2, State::Completed));
}

#[tokio::test]
async fn what_was_skipped_for_its_overlap_key_is_no_batch_of_the_callers() {
    let server = Scripted::start().await;
    server.outcome(Outcome::Skipped);
    server.batches([Ok(batch(7, State::Running))]);
    let client = server.client().await;
    let parent = client.batch("weekly");
    for made in [
        client.start(StartBatch::default().items(["7203"])).await,
        parent.retry("").await,
        parent.redecode("").await,
    ] {
        match made.unwrap_err() {
            Error::Skipped { live } => assert_eq!(*live, batch(7, State::Running)),
            other => panic!("{other:?}"),
        }
    }
    // Whatever else a start comes to, the batch is its own.
    for outcome in [Outcome::Started, Outcome::Buffered, Outcome::Replayed] {
        server.outcome(outcome);
        assert_eq!(client.start(StartBatch::default()).await.unwrap().id(), "nightly", "{outcome:?}");
    }
}

#[tokio::test]
async fn a_wait_for_something_else_ends_with_the_batch_as_well() {
    let server = Scripted::start().await;
    let held = server.client().await.batch("batches/nightly");
    let paused = |batch: &Batch| batch.state() == State::Paused;
    server.stream([
        Step::Send(Event::Snapshot(batch(1, State::Pausing))),
        Step::Send(Event::Update(batch(2, State::Paused))),
        Step::Hang,
    ]);
    assert_eq!(held.wait_for(paused).await.unwrap(), batch(2, State::Paused));
    server.stream([
        Step::Send(Event::Snapshot(batch(1, State::Pausing))),
        Step::Send(Event::Terminal(batch(2, State::Completed))),
    ]);
    assert_eq!(held.wait_for(paused).await.unwrap(), batch(2, State::Completed));
}

#[tokio::test]
async fn what_is_asked_of_a_batch_goes_to_its_rpc() {
    let server = Scripted::start().await;
    server.batches([Ok(batch(1, State::Paused))]);
    server.item_pages([vec![Item { index: 7, ..Item::default() }]]);
    server.report(Report { requests_sent: 60, ..Report::default() });
    let held = server.client().await.batch("nightly");
    assert_eq!(held.pause("lunch").await.unwrap().in_flight_items, 3);
    assert_eq!(held.resume("").await.unwrap().batch, Some(batch(1, State::Paused)));
    assert_eq!(held.stop("").await.unwrap().batch, Some(batch(1, State::Paused)));
    assert_eq!(held.get().await.unwrap(), batch(1, State::Paused));
    let items: Vec<Item> = held.items().try_collect().await.unwrap();
    assert_eq!(items[0].index, 7);
    assert_eq!(held.report().await.unwrap().requests_sent, 60);
    server.attempts(vec![Attempt { number: 1, ..Attempt::default() }]);
    assert_eq!(held.attempts("7203").try_next().await.unwrap().unwrap().number, 1);
    server.results([Ok(StreamResultsResponse { cursor: "far".to_owned(), ..Default::default() })]);
    let chunk = held.results(ResultsOptions::default()).try_next().await.unwrap();
    assert!(matches!(chunk, Some(ResultsEvent::Chunk(chunk)) if chunk.cursor == "far"));
    assert_eq!(held.retry("state = FAILED").await.unwrap().id(), "nightly");
    assert_eq!(held.redecode("").await.unwrap().id(), "nightly");
    held.delete().await.unwrap();
    let (retried, redecoded) = (server.retried().remove(0), server.redecoded().remove(0));
    assert_eq!((retried.name.as_str(), retried.filter.as_str()), ("batches/nightly", "state = FAILED"));
    assert!(
        !retried.request_id.is_empty() && !redecoded.request_id.is_empty(),
        "so that they may be repeated"
    );
    let rpcs: Vec<String> = server.calls().into_iter().map(|call| call.rpc).collect();
    assert_eq!(
        rpcs,
        [
            "Pause",
            "Resume",
            "Stop",
            "GetBatch",
            "ListItems",
            "GetReport",
            "ListAttempts",
            "StreamResults",
            "RetryFailed",
            "Redecode",
            "DeleteBatch",
        ]
    );
}

#[tokio::test]
async fn a_plan_starts_nothing() {
    let server = Scripted::start().await;
    server.batches([Ok(Batch::default())]);
    let plan = server.client().await.plan(StartBatch::default().items(["7203"])).await.unwrap();
    assert_eq!(plan, haul_proto::v1::Plan::default());
    assert!(server.started()[0].validate_only);
}
