//! What a watcher sees. The names say which rule of the contract's section 10 a test is of.

use std::time::{Duration, Instant};

use haul_client::{WatchEvent, WatchOptions};
use haul_proto::v1::{Batch, BatchView, batch::State, batch_spec::Source, watch_progress_response::Event};
use tokio_stream::StreamExt;
use tonic::Code;

mod filter;
mod guarantee;
mod history;
mod matching;
mod rule;

use self::guarantee::{all_committed, figures};
use crate::world::{
    Server, Upstream, Watching,
    database::Database,
    eventually,
    intruder::Intruder,
    spec::{at_once, fast, millis, paced, prices},
    status::refused,
    watching::{assert_adds_up, assert_rising, watch, watch_from},
};

#[tokio::test(flavor = "multi_thread")]
async fn w02_a_snapshot_comes_first_then_news_then_the_end_and_ok() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(60, &upstream, paced(40.0, 5))).await;
    let mut watching = Watching::open(&server, watch(&name)).await.unwrap();

    let Event::Snapshot(first) = watching.event().await else { panic!("a snapshot is first") };
    assert!(matches!(watching.event().await, Event::InitialSyncDone(_)));
    let mut states = vec![first];
    states.extend(watching.rest().await);

    assert!(states.len() > 5, "there is news while it runs: {}", states.len());
    assert_rising(&states);
    states.iter().for_each(assert_adds_up);
    let last = states.last().unwrap();
    assert_eq!((last.state(), last.end_reason.as_str()), (State::Completed, "ALL_ITEMS_FINAL"));
    let progress = last.progress.as_ref().unwrap();
    assert_eq!((progress.total_items, progress.succeeded_items, progress.in_flight_items), (60, 60, 0));
    assert!((progress.percentage - 100.0).abs() < f64::EPSILON);
}

#[tokio::test(flavor = "multi_thread")]
async fn w04_every_figure_shown_is_a_committed_one() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    Intruder::at(&server).await.write_down_commits().await;
    let name = server.start_batch(prices(100, &upstream, paced(40.0, 5))).await;
    let shown = Watching::open(&server, watch(&name)).await.unwrap().rest().await;

    let committed = all_committed(&Database::of(&server).await.0).await.remove(&name).unwrap();
    assert!(shown.len() > 3, "{} states", shown.len());
    for batch in &shown {
        assert_eq!(committed.get(&batch.revision), Some(&figures(batch)), "revision {}", batch.revision);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn w05_figures_keep_to_the_interval_and_say_how_many_they_stand_for() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(120, &upstream, paced(40.0, 5))).await;
    let mut request = watch(&name);
    request.min_interval = Some(millis(1_000));
    let mut stream = server.stub().watch_progress(request).await.unwrap().into_inner();
    let (mut updates, mut shown_revision, mut last_update) = (0, 0, None::<Instant>);
    while let Some(message) = stream.message().await.unwrap() {
        match message.event.unwrap() {
            Event::Snapshot(batch) => shown_revision = batch.revision,
            Event::Update(batch) | Event::Terminal(batch) => {
                let skipped = batch.revision - shown_revision - 1;
                assert_eq!(message.conflated_count, skipped, "states that this one stands for");
                shown_revision = batch.revision;
                if batch.state() == State::Running {
                    let since = last_update.replace(Instant::now()).map(|last| last.elapsed());
                    assert!(since.is_none_or(|since| since > Duration::from_millis(800)), "after {since:?}");
                }
                updates += 1;
            }
            _ => {}
        }
    }
    assert!((2..=6).contains(&updates), "{updates} updates of a run of 3 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn w07_everybody_who_watches_is_told_the_end() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(40, &upstream, paced(40.0, 5))).await;
    let mut watchers = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let mut watching = Watching::open(&server, watch(&name)).await.unwrap();
        watchers.spawn(async move { watching.rest().await.pop().unwrap() });
    }
    let ends = watchers.join_all().await;
    assert!(ends.iter().all(|end| end.state() == State::Completed && end.revision == ends[0].revision));
}

#[tokio::test(flavor = "multi_thread")]
async fn w07_a_batch_that_is_over_is_terminal_at_once() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(3, &upstream, fast())).await;
    let ended = server.batch_ended(&name).await;

    let mut watching = Watching::open(&server, watch(&name)).await.unwrap();
    let Event::Terminal(batch) = watching.event().await else {
        panic!("nothing but the end is left to tell")
    };
    assert_eq!(batch.revision, ended.revision);
    assert_eq!(watching.next().await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn w06_whoever_knows_the_newest_revision_gets_no_snapshot_but_heartbeats() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(50, &upstream, paced(5.0, 1))).await;
    server.stub().pause(pausing(&name)).await.unwrap();
    let paused = server.batch_in(&name, State::Paused).await;

    let mut watching = Watching::open(&server, watch_from(&name, paused.revision)).await.unwrap();
    assert!(matches!(watching.event().await, Event::InitialSyncDone(_)), "the snapshot is known");
    let silent_since = Instant::now();
    let Event::Heartbeat(heartbeat) = watching.event().await else {
        panic!("nothing happens to a paused batch")
    };
    let silence = silent_since.elapsed();
    assert_eq!(heartbeat.revision, paused.revision);
    assert!(silence > Duration::from_millis(800) && silence < Duration::from_secs(5), "after {silence:?}");

    let mut watching = Watching::open(&server, watch_from(&name, paused.revision - 1)).await.unwrap();
    let Event::Snapshot(snapshot) = watching.event().await else { panic!("it is news to this one") };
    assert_eq!(snapshot.revision, paused.revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_shows_as_much_of_the_spec_as_was_asked_for() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(3, &upstream, fast())).await;
    server.batch_ended(&name).await;

    for (view, count) in [(BatchView::Unspecified, 0), (BatchView::Basic, 0), (BatchView::Full, 3)] {
        let mut request = watch(&name);
        request.view = view.into();
        let shown = Watching::open(&server, request).await.unwrap().rest().await.remove(0);
        let Some(Source::InlineItems(inline)) = shown.spec.unwrap().source else {
            panic!("the source's kind shows")
        };
        assert_eq!((inline.item_count, inline.items.len()), (count, 0), "{view:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn w01_what_is_not_there_is_refused_before_any_message() {
    let server = Server::start([]).await;
    let answer = Watching::open(&server, watch("batches/nothing")).await.map(drop);
    let details = refused(answer, Code::NotFound, "BATCH_NOT_FOUND");
    assert_eq!(details.resource_info().unwrap().resource_name, "batches/nothing");

    let answer = Watching::open(&server, watch("nothing")).await.map(drop);
    refused(answer, Code::InvalidArgument, "INVALID_FIELD");
    let mut nameless = watch("");
    nameless.target = None;
    let answer = Watching::open(&server, nameless).await.map(drop);
    refused(answer, Code::InvalidArgument, "INVALID_FIELD");
}

#[tokio::test(flavor = "multi_thread")]
async fn w04_revisions_go_on_rising_over_a_crash_of_the_server() {
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(120, &upstream, paced(40.0, 5))).await;
    let mut watching = Watching::open(&server, watch(&name)).await.unwrap();
    let seen = watching.state_when(|batch| batch.progress.as_ref().unwrap().processed_items >= 30).await;
    server.kill().await;
    let cut = loop {
        match watching.next().await {
            Ok(event) => assert!(event.is_some(), "OK without a terminal event"),
            Err(status) => break status,
        }
    };
    assert_ne!(cut.code(), Code::Ok);

    server.start_again().await;
    let mut watching = Watching::open(&server, watch_from(&name, seen.revision)).await.unwrap();
    let mut states = vec![seen];
    states.extend(watching.rest().await);
    assert_rising(&states);
    assert_eq!(states.last().unwrap().state(), State::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_watches_through_a_crash_of_the_server() {
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(120, &upstream, paced(40.0, 5))).await;
    let mut events = server.client().await.watch(&name, WatchOptions::default());
    let mut states: Vec<Batch> = Vec::new();
    let mut cuts = 0;
    let mut killed = false;
    while let Some(event) = events.next().await {
        match event.unwrap() {
            WatchEvent::Snapshot(batch) | WatchEvent::Update(batch) => states.push(batch),
            WatchEvent::Terminal(batch) => {
                states.push(batch);
                break;
            }
            WatchEvent::Reconnecting { .. } => cuts += 1,
            WatchEvent::Reconnected => {}
        }
        if !killed && states.last().is_some_and(|batch| batch.progress.as_ref().unwrap().processed_items > 30)
        {
            killed = true;
            server.kill().await;
            server.start_again().await;
        }
    }
    assert!(cuts > 0);
    assert_rising(&states);
    assert_eq!(states.last().unwrap().state(), State::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn w11_a_server_that_is_asked_to_end_says_so_hands_its_leases_back_and_ends() {
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::slow(300));
    let name = server.start_batch(prices(200, &upstream, paced(40.0, 5))).await;
    let mut watching = Watching::open(&server, watch(&name)).await.unwrap();
    watching.state_when(|batch| batch.progress.as_ref().unwrap().processed_items >= 10).await;

    let asked = Instant::now();
    server.signal("TERM").await;
    let draining = loop {
        match watching.event().await {
            Event::Draining(draining) => break draining,
            Event::Terminal(_) => panic!("the batch is not over"),
            _ => {}
        }
    };
    assert!(draining.reconnect_after.unwrap().seconds <= 5);
    let details = refused(watching.next().await, Code::Unavailable, "SERVER_DRAINING");
    assert!(details.retry_info().is_some());
    assert!(asked.elapsed() < Duration::from_secs(6), "{:?}", asked.elapsed());

    let status = server.exit(Duration::from_secs(15)).await;
    assert!(status.success(), "{status}");
    let database = Database::of(&server).await;
    assert_eq!(database.number("SELECT count(*) FROM batch_slices WHERE status = 'LEASED'").await, 0);
    assert_eq!(database.number("SELECT count(*) FROM batch_slices WHERE lost_count > 0").await, 0);
    database.assert_recount().await;

    server.start_again().await;
    let ended = server.batch_ended(&name).await;
    assert_eq!(ended.progress.unwrap().succeeded_items, 200);
    let mut fetched: Vec<String> = upstream.charts().iter().map(|chart| chart.key().to_owned()).collect();
    let requests = fetched.len();
    fetched.sort();
    fetched.dedup();
    assert_eq!((fetched.len(), requests), (200, 200), "what was in flight ended and was recorded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_upstream_shows_as_items_in_flight_by_their_keys() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::slow(2_000));
    let mut fetch = at_once();
    fetch.workers = Some(4);
    let name = server.start_batch(prices(8, &upstream, fetch)).await;
    let batch = eventually("four items are in flight", || async {
        let batch = server.client().await.get_batch(&name).await.unwrap();
        Some(batch).filter(|batch| batch.progress.as_ref().unwrap().in_flight_items == 4)
    })
    .await;
    assert_adds_up(&batch);
    let progress = batch.progress.unwrap();
    assert_eq!((progress.active_workers, progress.pending_items), (4, 4));
    let mut keys = progress.current_item_keys;
    keys.sort();
    // An item is in flight from just before its request on.
    let mut asked: Vec<String> = eventually("all four are asked for", || async {
        Some(upstream.charts().iter().map(|chart| chart.key().to_owned()).collect())
            .filter(|asked: &Vec<String>| asked.len() == 4)
    })
    .await;
    asked.sort();
    assert_eq!(keys, asked);
}

fn pausing(name: &str) -> haul_proto::v1::PauseRequest {
    haul_proto::v1::PauseRequest { name: name.to_owned(), ..Default::default() }
}
