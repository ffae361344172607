//! Pause, resume and stop, as the upstream and the caller see them.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use haul_proto::v1::{
    Batch, PauseRequest, ResumeRequest, StopRequest,
    batch::{PauseCause, State},
    item,
};
use haul_sim::{Outage, OutageKind, SimConfig};
use tonic::Code;

use crate::world::{
    Server, Upstream, Watching,
    database::Database,
    eventually, now_us,
    spec::{at_once, batch, fast, inline, millis, paced, prices},
    status::refused,
    upstream::Arrival,
    watching::{assert_adds_up, watch},
};

/// How long after the answer a request may still begin.
const QUIET_AFTER_US: u64 = 1_000_000;

fn pause(name: &str) -> PauseRequest {
    PauseRequest { name: name.to_owned(), reason: "lunch".to_owned(), ..PauseRequest::default() }
}

fn resume(name: &str) -> ResumeRequest {
    ResumeRequest { name: name.to_owned(), reason: String::new(), ..Default::default() }
}

fn stop(name: &str) -> StopRequest {
    StopRequest { name: name.to_owned(), reason: "enough".to_owned(), ..StopRequest::default() }
}

fn in_flight(batch: &Batch) -> i64 {
    batch.progress.as_ref().unwrap().in_flight_items
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_under_load_is_quiet_within_a_second_and_a_resume_goes_on() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::slow(200));
    let mut fetch = paced(80.0, 10);
    fetch.workers = Some(30);
    let name = server.start_batch(prices(300, &upstream, fetch)).await;
    server.batch_processed(&name, 20).await;

    let mut watching = Watching::open(&server, watch(&name)).await.unwrap();
    let answer = server.stub().pause(pause(&name)).await.unwrap().into_inner();
    let answered_us = now_us();
    assert!(answer.in_flight_items > 0, "it is under load");
    let batch = answer.batch.unwrap();
    assert_eq!((batch.state(), batch.pause_cause()), (State::Pausing, PauseCause::User));
    assert_eq!((batch.pause_reason.as_str(), batch.pause_message.as_str()), ("USER_PAUSE", "lunch"));

    let mut most = answer.in_flight_items;
    let paused = watching
        .state_when(|batch| {
            assert_adds_up(batch);
            if batch.state() == State::Pausing {
                assert!(in_flight(batch) <= most, "in flight only falls: {most}, then {}", in_flight(batch));
                most = in_flight(batch);
            }
            batch.state() == State::Paused
        })
        .await;
    assert_eq!(in_flight(&paused), 0);
    watching.quiet_seconds(2).await;

    let resumed_us = now_us();
    let batch = server.stub().resume(resume(&name)).await.unwrap().into_inner().batch.unwrap();
    assert_eq!((batch.state(), batch.pause_cause()), (State::Running, PauseCause::Unspecified));
    let ended = server.batch_ended(&name).await;
    assert_eq!((ended.state(), ended.progress.unwrap().succeeded_items), (State::Completed, 300));

    let charts = upstream.charts();
    let late: Vec<u64> = charts
        .iter()
        .filter(|chart| chart.at_us > answered_us + QUIET_AFTER_US && chart.at_us < resumed_us)
        .map(|chart| chart.at_us - answered_us)
        .collect();
    assert_eq!(late, [] as [u64; 0], "µs after the answer");
    let keys: HashSet<&str> = charts.iter().map(Arrival::key).collect();
    assert_eq!((keys.len(), charts.len()), (300, 300), "nothing is fetched twice");

    let report = server.client().await.get_report(&name).await.unwrap();
    assert!(report.paused_duration.unwrap().seconds >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_cancels_every_open_item_and_is_quiet_within_a_second() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::slow(200));
    let name = server.start_batch(prices(300, &upstream, paced(50.0, 10))).await;
    server.batch_processed(&name, 20).await;
    let mut watching = Watching::open(&server, watch(&name)).await.unwrap();
    let answer = server.stub().stop(stop(&name)).await.unwrap().into_inner();
    let answered_us = now_us();
    assert!(matches!(answer.batch.unwrap().state(), State::Stopping | State::Stopped));

    let ended = watching.rest().await.pop().unwrap();
    assert_eq!(ended.state(), State::Stopped);
    assert_eq!((ended.end_reason.as_str(), ended.end_message.as_str()), ("USER_STOP", "enough"));
    assert_adds_up(&ended);
    let progress = ended.progress.unwrap();
    assert_eq!(progress.processed_items, 300);
    assert!(progress.canceled_items > 0 && progress.succeeded_items >= 20);
    assert!(progress.percentage < 100.0, "what was canceled is not done");

    let items = server.items(&name).await;
    let count = |state| items.iter().filter(|item| item.state() == state).count() as i64;
    assert_eq!(count(item::State::Canceled), progress.canceled_items);
    assert_eq!(count(item::State::Succeeded), progress.succeeded_items);
    assert_eq!(items.len(), 300);

    // The heartbeats of a batch at rest are the clock by which the silence of this one is told.
    let resting = batch(inline((0..9).map(|n| format!("rest-{n}"))), &upstream.url(), paced(1.0, 1));
    let resting = server.start_batch(resting).await;
    server.stub().pause(pause(&resting)).await.unwrap();
    let mut watching = Watching::open(&server, watch(&resting)).await.unwrap();
    watching.state_when(|batch| batch.state() == State::Paused).await;
    watching.quiet_seconds(2).await;
    let late = upstream
        .charts()
        .iter()
        .filter(|chart| !chart.key().starts_with("rest-") && chart.at_us > answered_us + QUIET_AFTER_US)
        .count();
    assert_eq!(late, 0, "requests later than a second");
    Database::of(&server).await.assert_recount().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_that_meets_the_pause_on_its_way_calls_it_off() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::slow(2_000));
    let name = server.start_batch(prices(20, &upstream, at_once())).await;
    server.batch_when(&name, "has items in flight", |batch| in_flight(batch) == 10).await;
    let pausing = server.stub().pause(pause(&name)).await.unwrap().into_inner().batch.unwrap();
    assert_eq!(pausing.state(), State::Pausing);
    let resumed = server.stub().resume(resume(&name)).await.unwrap().into_inner().batch.unwrap();
    assert_eq!((resumed.state(), resumed.pause_cause()), (State::Running, PauseCause::Unspecified));
    assert!(resumed.revision > pausing.revision);
    assert_eq!(server.batch_ended(&name).await.progress.unwrap().succeeded_items, 20);
    assert_eq!(upstream.charts().len(), 20, "nothing is fetched twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_waits_no_longer_than_an_attempt_may_take() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::slow(60_000));
    let mut fetch = at_once();
    fetch.attempt_timeout = Some(millis(2_000));
    let name = server.start_batch(prices(50, &upstream, fetch)).await;
    server.batch_when(&name, "has items in flight", |batch| in_flight(batch) == 10).await;
    let answer = server.stub().pause(pause(&name)).await.unwrap().into_inner();
    let answered = Instant::now();
    assert_eq!(answer.in_flight_items, 10);
    let paused = server.batch_in(&name, State::Paused).await;
    assert!(
        answered.elapsed() < Duration::from_secs(4),
        "a try's 2 s and one more, not {:?}",
        answered.elapsed()
    );
    assert_adds_up(&paused);
    assert_eq!(paused.progress.unwrap().processed_items, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_retries() {
    let outage = Outage {
        start_after: Duration::ZERO,
        duration: Duration::from_hours(1),
        kind: OutageKind::Status503,
    };
    let config = SimConfig { outages: vec![outage], ..SimConfig::default() };
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::start(config));
    let mut fetch = fast();
    (fetch.initial_backoff, fetch.max_backoff) = (Some(millis(60_000)), Some(millis(60_000)));
    let name = server.start_batch(prices(3, &upstream, fetch)).await;
    let waiting = server
        .batch_when(&name, "waits", |batch| batch.progress.as_ref().unwrap().waiting_retry_items == 3)
        .await;
    assert_adds_up(&waiting);
    let parked = eventually("its slice is given back", || async {
        let items = server.items(&name).await;
        items.iter().all(|item| item.state() == item::State::Pending).then_some(items)
    });
    for item in parked.await {
        assert_eq!(item.attempt_count, 1);
        assert!(item.next_attempt_time.is_some());
        assert_eq!(item.error.unwrap().http_status, 503, "the latest failure shows");
    }
    let stopped = server.stub().stop(stop(&name)).await.unwrap().into_inner().batch.unwrap();
    assert!(matches!(stopped.state(), State::Stopping | State::Stopped));
    let ended = server.batch_ended(&name).await;
    assert_eq!((ended.state(), ended.progress.unwrap().canceled_items), (State::Stopped, 3));
    let items = server.items(&name).await;
    assert!(
        items.iter().all(|item| item.state() == item::State::Canceled && item.next_attempt_time.is_none())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_batch_is_stopped_at_once() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(30, &upstream, paced(5.0, 1))).await;
    server.batch_processed(&name, 2).await;
    server.stub().pause(pause(&name)).await.unwrap();
    let paused = server.batch_in(&name, State::Paused).await;
    let stopped = server.stub().stop(stop(&name)).await.unwrap().into_inner().batch.unwrap();
    assert_eq!((stopped.state(), stopped.pause_cause()), (State::Stopped, PauseCause::Unspecified));
    let (before, after) = (paused.progress.unwrap(), stopped.progress.unwrap());
    assert_eq!(after.canceled_items, 30 - before.processed_items);
    Database::of(&server).await.assert_recount().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_that_is_repeated_changes_nothing() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(50, &upstream, paced(2.0, 1))).await;
    let mut stub = server.stub();

    stub.pause(pause(&name)).await.unwrap();
    let paused = server.batch_in(&name, State::Paused).await;
    let again = stub.pause(pause(&name)).await.unwrap().into_inner().batch.unwrap();
    assert_eq!((again.state(), again.revision), (State::Paused, paused.revision));

    let resumed = stub.resume(resume(&name)).await.unwrap().into_inner().batch.unwrap();
    assert_eq!(resumed.state(), State::Running);
    let again = stub.resume(resume(&name)).await.unwrap().into_inner().batch.unwrap();
    assert_eq!(again.state(), State::Running);

    stub.stop(stop(&name)).await.unwrap();
    let stopped = server.batch_in(&name, State::Stopped).await;
    let again = stub.stop(stop(&name)).await.unwrap().into_inner().batch.unwrap();
    assert_eq!((again.state(), again.revision), (State::Stopped, stopped.revision));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_is_not_steered_any_more() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(2, &upstream, fast())).await;
    let ended = server.batch_ended(&name).await;
    let mut stub = server.stub();

    for answer in [
        stub.pause(pause(&name)).await.map(drop),
        stub.resume(resume(&name)).await.map(drop),
        stub.stop(stop(&name)).await.map(drop),
    ] {
        let details = refused(answer, Code::FailedPrecondition, "BATCH_TERMINAL");
        let metadata = &details.error_info().unwrap().metadata;
        assert_eq!(metadata["state"], "COMPLETED");
        assert!(metadata.contains_key("allowed"));
        let violation = &details.precondition_failure().unwrap().violations[0];
        assert_eq!((violation.r#type.as_str(), &violation.subject), ("STATE", &name));
    }
    assert_eq!(server.batch_ended(&name).await.revision, ended.revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_its_way_to_the_end_is_not_paused_or_resumed() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::slow(3_000));
    let name = server.start_batch(prices(50, &upstream, fast())).await;
    server.batch_when(&name, "has items in flight", |batch| in_flight(batch) > 0).await;
    let mut stub = server.stub();
    let stopping = stub.stop(stop(&name)).await.unwrap().into_inner().batch.unwrap();
    assert_eq!((stopping.state(), stopping.end_reason.as_str()), (State::Stopping, "USER_STOP"));

    for answer in [stub.pause(pause(&name)).await.map(drop), stub.resume(resume(&name)).await.map(drop)] {
        let details = refused(answer, Code::FailedPrecondition, "BATCH_STOPPING");
        let metadata = &details.error_info().unwrap().metadata;
        assert_eq!((metadata["state"].as_str(), metadata["allowed"].as_str()), ("STOPPING", "Stop"));
    }
    let again = stub.stop(stop(&name)).await.unwrap().into_inner().batch.unwrap();
    assert_eq!((again.state(), again.revision), (State::Stopping, stopping.revision));
    assert_eq!(server.batch_ended(&name).await.state(), State::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_runs_at_a_time_where_one_may_and_a_pause_lets_the_next_in() {
    let (server, upstream) = tokio::join!(Server::start(["--running-batches", "1"]), Upstream::healthy());
    let mut stub = server.stub();
    let first = server.start_batch(prices(60, &upstream, paced(5.0, 1))).await;
    let second = server.start_batch(prices(20, &upstream, paced(100.0, 20))).await;
    assert_eq!(server.batch_in(&first, State::Running).await.state(), State::Running);
    let queued = server.batch_in(&second, State::Queued).await;
    assert!(queued.start_time.is_none());

    let paused = stub.pause(pause(&second)).await.unwrap().into_inner().batch.unwrap();
    assert_eq!((paused.state(), paused.pause_cause()), (State::Paused, PauseCause::User));
    let resumed = stub.resume(resume(&second)).await.unwrap().into_inner().batch.unwrap();
    assert_eq!(resumed.state(), State::Queued, "the only place is taken");

    stub.pause(pause(&first)).await.unwrap();
    server.batch_in(&first, State::Paused).await;
    let ended = server.batch_ended(&second).await;
    assert_eq!((ended.state(), ended.progress.unwrap().succeeded_items), (State::Completed, 20));
    assert_eq!(server.batch_in(&first, State::Paused).await.state(), State::Paused);
    let resumed = stub.resume(resume(&first)).await.unwrap().into_inner().batch.unwrap();
    assert_eq!(resumed.state(), State::Running, "the place is free");
    stub.stop(stop(&first)).await.unwrap();
    server.batch_in(&first, State::Stopped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_batch_that_is_stopped_never_runs() {
    let (server, upstream) = tokio::join!(Server::start(["--running-batches", "1"]), Upstream::healthy());
    let first = server.start_batch(prices(60, &upstream, paced(2.0, 1))).await;
    let second = server.start_batch(prices(20, &upstream, fast())).await;
    server.batch_in(&second, State::Queued).await;
    let stopped = server.stub().stop(stop(&second)).await.unwrap().into_inner().batch.unwrap();
    assert_eq!((stopped.state(), stopped.progress.unwrap().canceled_items), (State::Stopped, 20));
    server.stub().stop(stop(&first)).await.unwrap();
    server.batch_in(&first, State::Stopped).await;
    Database::of(&server).await.assert_recount().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_does_not_exist_is_not_found() {
    let server = Server::start([]).await;
    let mut stub = server.stub();
    let name = "batches/nothing";
    for answer in [
        stub.pause(pause(name)).await.map(drop),
        stub.resume(resume(name)).await.map(drop),
        stub.stop(stop(name)).await.map(drop),
    ] {
        let details = refused(answer, Code::NotFound, "BATCH_NOT_FOUND");
        assert_eq!(details.resource_info().unwrap().resource_name, name);
    }
    let answer = stub.pause(pause("not a name")).await;
    refused(answer, Code::InvalidArgument, "INVALID_FIELD");
    let mut long = pause(name);
    long.reason = "x".repeat(1_025);
    refused(stub.pause(long).await, Code::InvalidArgument, "INVALID_FIELD");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_outlasts_the_server() {
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(40, &upstream, paced(20.0, 5))).await;
    server.batch_processed(&name, 5).await;
    server.stub().pause(pause(&name)).await.unwrap();
    let paused = server.batch_in(&name, State::Paused).await;
    let requests = upstream.charts().len();
    server.kill().await;
    server.start_again().await;

    let mut watching = Watching::open(&server, watch(&name)).await.unwrap();
    watching.quiet_seconds(2).await;
    let batch = server.batch_in(&name, State::Paused).await;
    assert_eq!((batch.revision, batch.pause_message.as_str()), (paused.revision, "lunch"));
    assert_eq!(upstream.charts().len(), requests);
    server.stub().resume(resume(&name)).await.unwrap();
    assert_eq!(server.batch_ended(&name).await.progress.unwrap().succeeded_items, 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_was_on_its_way_when_the_server_died_is_a_pause() {
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::slow(3_000));
    let name = server.start_batch(prices(20, &upstream, at_once())).await;
    server.batch_when(&name, "has items in flight", |batch| in_flight(batch) == 10).await;
    let pausing = server.stub().pause(pause(&name)).await.unwrap().into_inner().batch.unwrap();
    assert_eq!(pausing.state(), State::Pausing);
    server.kill().await;
    server.start_again().await;
    let paused = server.batch_in(&name, State::Paused).await;
    assert_eq!((paused.pause_cause(), paused.pause_message.as_str()), (PauseCause::User, "lunch"));
    assert!(paused.revision > pausing.revision);
    assert_eq!(upstream.charts().len(), 10);
}
