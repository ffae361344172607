//! Rules of a watch of one batch, one by one.

use std::time::{Duration, Instant};

use haul_client::{WatchEvent, WatchOptions};
use haul_proto::v1::{
    Batch, BatchView, GetBatchRequest, KnownRevision, PauseRequest, ResumeRequest, StopRequest, batch::State,
    watch_progress_response::Event,
};
use tokio_stream::StreamExt;
use tonic::Code;

use crate::world::{
    LONG, Server, Upstream, Watching,
    spec::{fast, millis, paced, prices},
    status::{fields, refused},
    watching::{assert_rising, watch, watch_from},
};

/// A batch that stands still.
async fn paused(server: &Server, upstream: &Upstream) -> Batch {
    let name = server.start_batch(prices(50, upstream, paced(5.0, 1))).await;
    pause(server, &name).await;
    server.batch_in(&name, State::Paused).await
}

async fn pause(server: &Server, name: &str) {
    server.stub().pause(PauseRequest { name: name.to_owned(), ..PauseRequest::default() }).await.unwrap();
}

async fn resume(server: &Server, name: &str) {
    server.stub().resume(ResumeRequest { name: name.to_owned(), ..ResumeRequest::default() }).await.unwrap();
}

async fn stop(server: &Server, name: &str) {
    server.stub().stop(StopRequest { name: name.to_owned(), ..StopRequest::default() }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn w01_headers_come_at_once_though_there_is_nothing_to_tell_yet() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let batch = paused(&server, &upstream).await;
    // Of somebody who knows more than the server, so that it waits.
    let request = watch_from(&batch.name, batch.revision + 1);
    let mut stub = server.stub();
    let asked = Instant::now();
    let mut stream = stub.watch_progress(request).await.unwrap().into_inner();
    let answered = asked.elapsed();
    assert!(stream.message().await.unwrap().is_some());
    let told = asked.elapsed();
    assert!(
        answered + Duration::from_millis(500) < told,
        "headers after {answered:?}, an event after {told:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn w02_of_many_known_revisions_each_counts_for_its_own_batch() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let batch = paused(&server, &upstream).await;
    let known = |revision| KnownRevision { name: batch.name.clone(), revision };
    let other = |n: usize| KnownRevision { name: format!("batches/other-{n}"), revision: i64::MAX };
    let others = || (0..998).map(other);
    let first = async |known: Vec<KnownRevision>| {
        let mut request = watch(&batch.name);
        request.known_revisions = known;
        Watching::open(&server, request).await.unwrap().event().await
    };
    let Event::Snapshot(shown) = first(others().chain([known(batch.revision - 1)]).collect()).await else {
        panic!("it is newer than what is known")
    };
    assert_eq!(shown.revision, batch.revision);
    let twice = [known(batch.revision - 1), known(batch.revision)];
    assert!(matches!(first(others().chain(twice).collect()).await, Event::InitialSyncDone(_)));

    let mut request = watch(&batch.name);
    request.known_revisions = (0..1_001).map(other).collect();
    let details =
        refused(Watching::open(&server, request).await.map(drop), Code::InvalidArgument, "INVALID_FIELD");
    assert_eq!(fields(&details), ["known_revisions"]);
    let mut request = watch(&batch.name);
    request.known_revisions = vec![known(1), KnownRevision { name: "x".to_owned(), revision: 1 }, known(-1)];
    let details =
        refused(Watching::open(&server, request).await.map(drop), Code::InvalidArgument, "INVALID_FIELD");
    assert_eq!(fields(&details), ["known_revisions[1].name", "known_revisions[2].revision"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn w03_each_event_is_the_whole_batch_in_the_view_asked_for() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(40, &upstream, paced(40.0, 5))).await;
    for view in [BatchView::Basic, BatchView::Full] {
        let mut watching = Watching::open(
            &server,
            haul_proto::v1::WatchProgressRequest { view: view.into(), ..watch(&name) },
        )
        .await
        .unwrap();
        let shown = watching.rest().await;
        let get = GetBatchRequest { name: name.clone(), view: view.into() };
        let read = server.stub().get_batch(get).await.unwrap().into_inner().batch.unwrap();
        assert_eq!(shown.last(), Some(&read), "the last message alone is right");
        for batch in &shown {
            assert_eq!((&batch.name, &batch.spec), (&read.name, &read.spec), "{view:?}");
            assert!(batch.progress.is_some() && batch.create_time == read.create_time);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn w04_who_knows_more_than_the_server_waits_for_it_and_is_never_told_less() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let batch = paused(&server, &upstream).await;
    let known = batch.revision + 4;
    let mut watching = Watching::open(&server, watch_from(&batch.name, known)).await.unwrap();
    let asked = Instant::now();
    assert!(matches!(watching.event().await, Event::InitialSyncDone(_)), "nothing older is sent");
    let waited = asked.elapsed();
    assert!(waited > Duration::from_millis(1_800) && waited < Duration::from_secs(10), "{waited:?}");
    let Event::Heartbeat(heartbeat) = watching.event().await else { panic!("nothing is newer") };
    assert_eq!(heartbeat.revision, known);

    resume(&server, &batch.name).await;
    let newer = watching.state_when(|_| true).await;
    assert!(newer.revision > known, "{} after {known}", newer.revision);
    // The end is told whatever is known.
    stop(&server, &batch.name).await;
    let ended = server.batch_ended(&batch.name).await;
    let mut watching = Watching::open(&server, watch_from(&batch.name, ended.revision + 100)).await.unwrap();
    assert!(matches!(watching.event().await, Event::Terminal(end) if end.revision == ended.revision));
}

#[tokio::test(flavor = "multi_thread")]
async fn w04_a_server_that_catches_up_within_the_wait_tells_at_once() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let batch = paused(&server, &upstream).await;
    let mut watching = Watching::open(&server, watch_from(&batch.name, batch.revision + 1)).await.unwrap();
    resume(&server, &batch.name).await;
    pause(&server, &batch.name).await;
    let shown = watching.state_when(|_| true).await;
    assert!(shown.revision > batch.revision + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn w05_intervals_out_of_bounds_are_moved_to_the_nearest() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(200, &upstream, paced(100.0, 5))).await;
    let mut request = watch(&name);
    request.min_interval = Some(millis(-5_000));
    request.heartbeat_interval = Some(millis(1));
    let mut stream = server.stub().watch_progress(request).await.unwrap().into_inner();
    let (mut last, mut updates, mut heartbeats) = (None::<prost_types::Timestamp>, 0, 0);
    let begun = Instant::now();
    while let Some(message) = stream.message().await.unwrap() {
        match message.event.unwrap() {
            Event::Update(batch) if batch.state() == State::Running => {
                updates += 1;
                // By the server's clock: the reader may be late.
                let at = message.server_time.unwrap();
                let millis =
                    |at: &prost_types::Timestamp| at.seconds * 1_000 + i64::from(at.nanos) / 1_000_000;
                let since = last.replace(at).map(|last| millis(&at) - millis(&last));
                assert!(since.is_none_or(|since| since >= 95), "{since:?} ms after the one before");
            }
            Event::Heartbeat(_) => heartbeats += 1,
            _ => {}
        }
    }
    assert!(updates >= 3, "{updates} updates");
    assert!(heartbeats <= begun.elapsed().as_secs(), "{heartbeats} heartbeats");
}

#[tokio::test(flavor = "multi_thread")]
async fn w05_a_change_of_state_does_not_wait_for_the_interval() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(200, &upstream, paced(5.0, 1))).await;
    let mut request = watch(&name);
    request.min_interval = Some(millis(60_000));
    let mut watching = Watching::open(&server, request).await.unwrap();
    watching.state_when(|batch| batch.state() == State::Running).await;
    let asked = Instant::now();
    pause(&server, &name).await;
    watching.state_when(|batch| batch.state() == State::Paused).await;
    resume(&server, &name).await;
    watching.state_when(|batch| batch.state() == State::Running).await;
    stop(&server, &name).await;
    watching.state_when(|batch| batch.state() == State::Stopped).await;
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn w09_a_watch_tells_of_the_batch_and_of_no_single_item() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(2_000, &upstream, fast())).await;
    let mut watching = Watching::open(&server, watch(&name)).await.unwrap();
    let begun = Instant::now();
    let mut events = 0;
    loop {
        events += 1;
        match watching.event().await {
            Event::Terminal(batch) => break assert_eq!(batch.progress.unwrap().succeeded_items, 2_000),
            Event::Removed(_) | Event::Draining(_) => panic!("neither happened"),
            _ => {}
        }
    }
    let most = 10 * (begun.elapsed().as_secs() + 1) + 10;
    assert!(events <= most, "{events} events for 2,000 items");
}

#[tokio::test(flavor = "multi_thread")]
async fn w11_watchers_of_a_leaving_server_are_told_to_come_back_at_different_times() {
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let batch = paused(&server, &upstream).await;
    let mut watchers = Vec::new();
    for _ in 0..20 {
        let mut watching = Watching::open(&server, watch(&batch.name)).await.unwrap();
        assert!(matches!(watching.event().await, Event::Snapshot(_)));
        watchers.push(watching);
    }
    let asked = Instant::now();
    server.signal("TERM").await;
    let mut waits = Vec::new();
    for watching in &mut watchers {
        let wait = loop {
            match watching.event().await {
                Event::Draining(draining) => break draining.reconnect_after.unwrap(),
                Event::Terminal(_) => panic!("the batch is not over"),
                _ => {}
            }
        };
        refused(watching.next().await, Code::Unavailable, "SERVER_DRAINING");
        waits.push(wait.seconds * 1_000 + i64::from(wait.nanos) / 1_000_000);
    }
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert!(waits.iter().all(|wait| (0..=5_000).contains(wait)), "{waits:?}");
    let (first, last) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert!(last - first > 1_000, "spread over {waits:?}");
    assert!(server.exit(Duration::from_secs(15)).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn w13_a_stream_ends_with_its_connections_age_and_the_client_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("haul.toml");
    std::fs::write(&config, "connection_age_s = 2\n").unwrap();
    let (server, upstream) =
        tokio::join!(Server::start(["--config", config.to_str().unwrap()]), Upstream::healthy());
    let name = server.start_batch(prices(240, &upstream, paced(40.0, 5))).await;

    let mut watching = Watching::open(&server, watch(&name)).await.unwrap();
    let mut client = server.client().await.watch(&name, WatchOptions::default());
    let begun = Instant::now();
    loop {
        match watching.event().await {
            Event::Draining(draining) => break assert!(draining.reconnect_after.unwrap().seconds <= 5),
            Event::Terminal(_) => panic!("it was to take longer"),
            _ => {}
        }
    }
    let age = begun.elapsed();
    assert!(age > Duration::from_millis(1_700) && age < Duration::from_secs(6), "{age:?}");
    refused(watching.next().await, Code::Unavailable, "SERVER_DRAINING");

    let (mut states, mut cuts) = (Vec::new(), 0);
    let ended = async {
        while let Some(event) = client.next().await {
            match event.unwrap() {
                WatchEvent::Snapshot(batch) | WatchEvent::Update(batch) => states.push(batch),
                WatchEvent::Terminal(batch) => return batch,
                WatchEvent::Reconnecting { .. } => cuts += 1,
                WatchEvent::Reconnected => {}
            }
        }
        panic!("the watch has an end")
    };
    let ended = tokio::time::timeout(LONG, ended).await.unwrap();
    states.push(ended);
    assert!(cuts > 0, "its connection grew old, too");
    assert_rising(&states);
    assert_eq!(states.last().unwrap().state(), State::Completed);
}
