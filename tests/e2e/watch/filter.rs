//! W8: watches of every live batch that matches a filter.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use haul_proto::v1::{
    Batch, BatchSpec, KnownRevision, ListBatchesRequest, PauseRequest, RedecodeRequest, ResumeRequest,
    StopRequest, WatchProgressRequest, batch::State, watch_progress_response::Event,
};
use tokio::task::JoinSet;
use tonic::Code;

use crate::world::{
    Server, Upstream, Watching,
    spec::{fast, paced, prices, starting},
    status::{fields, refused},
    watching::watch_matching,
};

fn labelled(value: &str, spec: BatchSpec) -> BatchSpec {
    BatchSpec { labels: [("team".to_owned(), value.to_owned())].into(), ..spec }
}

/// A batch that does not end by itself during a test.
async fn slow(server: &Server, upstream: &Upstream, team: &str) -> String {
    server.start_batch(labelled(team, prices(500, upstream, paced(5.0, 1)))).await
}

async fn pause(server: &Server, name: &str) -> Batch {
    server.stub().pause(PauseRequest { name: name.to_owned(), ..PauseRequest::default() }).await.unwrap();
    server.batch_in(name, State::Paused).await
}

async fn resume(server: &Server, name: &str) {
    server.stub().resume(ResumeRequest { name: name.to_owned(), ..ResumeRequest::default() }).await.unwrap();
}

async fn stop(server: &Server, name: &str) -> Batch {
    server.stub().stop(StopRequest { name: name.to_owned(), ..StopRequest::default() }).await.unwrap();
    server.batch_ended(name).await
}

/// Reads on to the first event of a batch that is no mere update.
async fn turn(watching: &mut Watching, name: &str) -> Event {
    loop {
        match watching.news().await {
            Event::Update(_) => {}
            event => {
                let of = match &event {
                    Event::Snapshot(batch) | Event::Terminal(batch) => &batch.name,
                    Event::Removed(name) => name,
                    other => panic!("{other:?} where {name} was to turn"),
                };
                assert_eq!(of, name);
                return event;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn w08_batches_are_told_as_they_come_change_and_end() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let first = slow(&server, &upstream, "a").await;
    let ended = server.start_batch(labelled("a", prices(2, &upstream, fast()))).await;
    server.batch_ended(&ended).await;
    slow(&server, &upstream, "b").await;

    let mut watching = Watching::open(&server, watch_matching("labels.team = a")).await.unwrap();
    assert!(matches!(watching.news().await, Event::Snapshot(batch) if batch.name == first));
    assert!(
        matches!(watching.news().await, Event::InitialSyncDone(_)),
        "only live ones, only those that match"
    );

    let second = slow(&server, &upstream, "a").await;
    assert!(matches!(turn(&mut watching, &second).await, Event::Snapshot(_)));
    let third = server.start_batch(labelled("a", prices(5, &upstream, paced(5.0, 1)))).await;
    assert!(matches!(turn(&mut watching, &third).await, Event::Snapshot(_)));
    let Event::Terminal(end) = turn(&mut watching, &third).await else { panic!("it ends by itself") };
    assert_eq!((end.state(), end.end_reason.as_str()), (State::Completed, "ALL_ITEMS_FINAL"));

    // The stream goes on after an end.
    stop(&server, &first).await;
    let Event::Terminal(end) = turn(&mut watching, &first).await else { panic!("it was stopped") };
    assert_eq!(end.state(), State::Stopped);
    let Event::Update(update) = watching.news().await else { panic!("the other one runs on") };
    assert_eq!(update.name, second);
}

#[tokio::test(flavor = "multi_thread")]
async fn w08_a_batch_enters_and_leaves_with_its_state() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = slow(&server, &upstream, "a").await;
    let mut watching = Watching::open(&server, watch_matching("state = PAUSED")).await.unwrap();
    assert!(matches!(watching.news().await, Event::InitialSyncDone(_)), "none is paused");
    let asked = Instant::now();
    let paused = pause(&server, &name).await;
    assert!(
        matches!(turn(&mut watching, &name).await, Event::Snapshot(batch) if batch.revision == paused.revision)
    );
    resume(&server, &name).await;
    assert!(matches!(turn(&mut watching, &name).await, Event::Removed(_)));
    pause(&server, &name).await;
    assert!(matches!(turn(&mut watching, &name).await, Event::Snapshot(_)), "it came back");
    stop(&server, &name).await;
    assert!(matches!(turn(&mut watching, &name).await, Event::Terminal(_)), "an end is no mere leaving");
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    let Event::Heartbeat(heartbeat) = watching.event().await else { panic!("nothing is left to tell") };
    assert_eq!(heartbeat.revision, 0, "it is of no one batch");
}

#[tokio::test(flavor = "multi_thread")]
async fn w08_batches_that_no_one_works_on_are_told_too_after_a_restart() {
    let (mut server, upstream) = tokio::join!(Server::start(["--running-batches", "1"]), Upstream::healthy());
    let running = slow(&server, &upstream, "a").await;
    let waiting = slow(&server, &upstream, "a").await;
    assert_eq!(server.batch_in(&waiting, State::Queued).await.name, waiting);
    server.kill().await;
    server.start_again().await;

    let mut watching = Watching::open(&server, watch_matching("state = QUEUED")).await.unwrap();
    assert!(matches!(watching.news().await, Event::Snapshot(batch) if batch.name == waiting));
    assert!(matches!(watching.news().await, Event::InitialSyncDone(_)));
    stop(&server, &running).await;
    assert!(matches!(turn(&mut watching, &waiting).await, Event::Removed(_)), "it was let in");
}

#[tokio::test(flavor = "multi_thread")]
async fn w08_what_a_client_knows_is_not_told_again_and_what_it_missed_is() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let mut known = Vec::new();
    let mut names = HashMap::new();
    for what in ["unchanged", "changed", "left", "ended"] {
        let name = slow(&server, &upstream, "a").await;
        let batch = pause(&server, &name).await;
        known.push(KnownRevision { name: name.clone(), revision: batch.revision });
        names.insert(what, name);
    }
    names.insert("gone", "batches/gone-long-ago".to_owned());
    known.push(KnownRevision { name: names["gone"].clone(), revision: 7 });
    resume(&server, &names["changed"]).await;
    let changed = pause(&server, &names["changed"]).await;
    resume(&server, &names["left"]).await;
    let ended = stop(&server, &names["ended"]).await;

    let request = WatchProgressRequest { known_revisions: known, ..watch_matching("state = PAUSED") };
    let mut watching = Watching::open(&server, request).await.unwrap();
    let mut told = Vec::new();
    loop {
        match watching.news().await {
            Event::InitialSyncDone(_) => break,
            Event::Snapshot(batch) => told.push(("snapshot", batch.name, batch.revision)),
            Event::Terminal(batch) => told.push(("terminal", batch.name, batch.revision)),
            Event::Removed(name) => told.push(("removed", name, 0)),
            other => panic!("{other:?}"),
        }
    }
    told.sort();
    let mut expected = vec![
        ("removed", names["gone"].clone(), 0),
        ("removed", names["left"].clone(), 0),
        ("snapshot", names["changed"].clone(), changed.revision),
        ("terminal", names["ended"].clone(), ended.revision),
    ];
    expected.sort();
    assert_eq!(told, expected);
    // The one that is known is watched all the same.
    resume(&server, &names["unchanged"]).await;
    assert!(matches!(turn(&mut watching, &names["unchanged"]).await, Event::Removed(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn w08_children_are_found_by_their_parent() {
    let (server, upstream) = tokio::join!(Server::start(["--running-batches", "1"]), Upstream::healthy());
    let parent = server.start_batch(prices(3, &upstream, fast())).await;
    server.batch_ended(&parent).await;
    let running = slow(&server, &upstream, "a").await;
    let mut watching =
        Watching::open(&server, watch_matching(&format!("parent_batch = \"{parent}\""))).await.unwrap();
    assert!(matches!(watching.news().await, Event::InitialSyncDone(_)));
    // It waits for its turn until the other one is stopped.
    let request = RedecodeRequest { name: parent.clone(), ..RedecodeRequest::default() };
    let child = server.stub().redecode(request).await.unwrap().into_inner().batch.unwrap();
    let Event::Snapshot(told) = turn(&mut watching, &child.name).await else { panic!("it has begun") };
    assert_eq!((told.state(), told.parent_batch), (State::Queued, parent));
    stop(&server, &running).await;
    let Event::Terminal(end) = turn(&mut watching, &child.name).await else { panic!("it was let in") };
    assert_eq!(end.state(), State::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn w08_batches_are_found_by_their_overlap_key() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let spec = |key: &str, priority| BatchSpec {
        overlap_key: key.to_owned(),
        priority,
        ..prices(500, &upstream, paced(5.0, 1))
    };
    for other in ["hourly", ""] {
        server.start_batch(spec(other, 3)).await;
    }
    let nightly = server.start_batch(spec("nightly", 3)).await;
    let mut watching = Watching::open(&server, watch_matching("overlap_key = nightly")).await.unwrap();
    assert!(matches!(watching.news().await, Event::Snapshot(batch) if batch.name == nightly));
    assert!(matches!(watching.news().await, Event::InitialSyncDone(_)));

    let filter = "overlap_key != hourly AND overlap_key != \"\" AND priority > 2".to_owned();
    let request = ListBatchesRequest { filter, ..ListBatchesRequest::default() };
    let listed = server.stub().list_batches(request).await.unwrap().into_inner().batches;
    assert_eq!(listed.iter().map(|batch| &batch.name).collect::<Vec<_>>(), [&nightly]);
}

#[tokio::test(flavor = "multi_thread")]
async fn w08_a_filter_that_is_none_or_of_other_fields_is_refused() {
    let server = Server::start([]).await;
    for filter in ["state =", "labels.team = a AND", "create_time > 2026-01-01T00:00:00Z", "display_name = x"]
    {
        let answer = Watching::open(&server, watch_matching(filter)).await.map(drop);
        let details = refused(answer, Code::InvalidArgument, "INVALID_FILTER");
        assert_eq!(fields(&details), ["filter"], "{filter}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn w08_a_thousand_batches_are_followed_and_one_more_is_refused() {
    let (server, upstream) = tokio::join!(Server::start(["--running-batches", "1"]), Upstream::healthy());
    slow(&server, &upstream, "b").await;
    let (stub, spec) = (server.stub(), labelled("a", prices(1, &upstream, fast())));
    let start = |count: usize| {
        let mut starts = JoinSet::new();
        for _ in 0..count {
            let (mut stub, spec) = (stub.clone(), spec.clone());
            starts.spawn(async move { stub.start_batch(starting(spec)).await.map(drop).unwrap() });
        }
        starts.join_all()
    };
    for _ in 0..10 {
        start(100).await;
    }
    let mut watching = Watching::open(&server, watch_matching("labels.team = a")).await.unwrap();
    for n in 0..1_000 {
        assert!(matches!(watching.news().await, Event::Snapshot(_)), "{n}");
    }
    assert!(matches!(watching.news().await, Event::InitialSyncDone(_)));
    start(1).await;
    let details = refused(watching.next().await, Code::ResourceExhausted, "WATCH_LIMIT");
    assert_eq!(details.error_info().unwrap().metadata["limit"], "1000");
    let answer = Watching::open(&server, watch_matching("labels.team = a")).await.map(drop);
    refused(answer, Code::ResourceExhausted, "WATCH_LIMIT");
    // Those of another filter are not in the way.
    let mut watching = Watching::open(&server, watch_matching("labels.team = b")).await.unwrap();
    assert!(matches!(watching.news().await, Event::Snapshot(_)));
}
