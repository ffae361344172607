//! Drain modes: what becomes of requests in flight, by the upstream's clock and the caller's.

use std::time::{Duration, Instant};

use haul_proto::v1::{
    Batch, DrainMode, FetchPolicy, PauseRequest, ResumeRequest, StopRequest, batch::State, item,
};

use crate::world::{
    Server, Upstream,
    database::Database,
    now_us,
    spec::{at_once, millis, prices},
};

const ITEMS: usize = 30;
/// Far longer than a cut may take.
const LATENCY_MS: u64 = 6_000;
const ABORTED_WITHIN: Duration = Duration::from_secs(2);

fn pause(name: &str, mode: DrainMode) -> PauseRequest {
    PauseRequest { name: name.to_owned(), drain_mode: mode.into(), ..PauseRequest::default() }
}

fn in_flight(batch: &Batch) -> i64 {
    batch.progress.as_ref().unwrap().in_flight_items
}

/// A batch with ten requests in flight that get their answers in a good while.
async fn under_way() -> (Server, Upstream, String) {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::slow(LATENCY_MS));
    let name = server.start_batch(prices(ITEMS, &upstream, at_once())).await;
    server.batch_when(&name, "has items in flight", |batch| in_flight(batch) == 10).await;
    (server, upstream, name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_aborts_is_done_in_two_seconds_and_charges_nobody() {
    let (server, upstream, name) = under_way().await;
    let answer = server.stub().pause(pause(&name, DrainMode::Abort)).await.unwrap().into_inner();
    let (answered, answered_us) = (Instant::now(), now_us());
    assert_eq!(answer.batch.unwrap().state(), State::Pausing);
    let paused = server.batch_in(&name, State::Paused).await;
    assert!(answered.elapsed() < ABORTED_WITHIN, "{:?}", answered.elapsed());
    let progress = paused.progress.unwrap();
    assert_eq!((progress.in_flight_items, progress.processed_items, progress.pending_items), (0, 0, 30));
    assert!(server.items(&name).await.iter().all(|item| item.attempt_count == 0));

    let resumed_us = now_us();
    let resume = ResumeRequest { name: name.clone(), ..ResumeRequest::default() };
    server.stub().resume(resume).await.unwrap();
    server.batch_processed(&name, 1).await;
    let late = |at_us: &u64| (answered_us + 1_000_000..resumed_us).contains(at_us);
    let charts: Vec<u64> = upstream.charts().iter().map(|chart| chart.at_us).collect();
    assert_eq!(charts.iter().filter(|at_us| late(at_us)).count(), 0, "requests later than a second");
    assert!(charts.iter().filter(|at_us| **at_us >= resumed_us).count() >= 10, "they are sent anew");
    Database::of(&server).await.assert_recount().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_finishes_loses_nothing_and_keeps_its_time() {
    let timeout = Duration::from_secs(3);
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::slow(1_500));
    let fetch = FetchPolicy { attempt_timeout: Some(millis(3_000)), ..at_once() };
    let name = server.start_batch(prices(ITEMS, &upstream, fetch)).await;
    server.batch_when(&name, "has items in flight", |batch| in_flight(batch) == 10).await;
    let answer = server.stub().pause(pause(&name, DrainMode::Finish)).await.unwrap().into_inner();
    let answered = Instant::now();
    assert_eq!(answer.in_flight_items, 10);
    let paused = server.batch_in(&name, State::Paused).await;
    assert!(answered.elapsed() <= timeout + Duration::from_secs(1), "{:?}", answered.elapsed());
    assert_eq!(paused.progress.unwrap().succeeded_items, 10, "what was in flight has ended");
    assert_eq!(upstream.charts().len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_on_its_way_can_be_hurried_and_not_slowed_down() {
    let (server, upstream, name) = under_way().await;
    let mut stub = server.stub();
    let finishing = stub.pause(pause(&name, DrainMode::Finish)).await.unwrap().into_inner().batch.unwrap();
    let aborting = stub.pause(pause(&name, DrainMode::Abort)).await.unwrap().into_inner().batch.unwrap();
    let answered = Instant::now();
    assert!(aborting.revision > finishing.revision);
    stub.pause(pause(&name, DrainMode::Finish)).await.unwrap();
    let paused = server.batch_in(&name, State::Paused).await;
    assert!(answered.elapsed() < ABORTED_WITHIN, "{:?}", answered.elapsed());
    assert_eq!(paused.progress.unwrap().processed_items, 0);
    assert_eq!(upstream.charts().len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_aborts_cancels_what_is_in_flight() {
    let (server, upstream, name) = under_way().await;
    let started = Instant::now();
    let said = server.haul(&["stop", &name, "--abort", "--wait"]).await;
    assert!(started.elapsed() < ABORTED_WITHIN + Duration::from_secs(1), "{:?}", started.elapsed());
    assert!(said.out.contains("STOPPED"), "{}{}", said.out, said.err);
    let stopped = server.batch_in(&name, State::Stopped).await;
    assert_eq!(stopped.progress.unwrap().canceled_items, ITEMS as i64);
    assert!(server.items(&name).await.iter().all(|item| item.state() == item::State::Canceled));
    assert_eq!(upstream.charts().len(), 10);
    let again = StopRequest { name, drain_mode: 9, ..StopRequest::default() };
    let refused = server.stub().stop(again).await.unwrap_err();
    assert!(refused.message().contains("drain_mode: 9 is no drain mode"), "{refused}");
    Database::of(&server).await.assert_recount().await;
}
