//! Bad luck with the store: no room, somebody else's lock, writes that are refused. Nothing is lost by it.

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use haul_proto::v1::{
    Batch,
    batch::{PauseCause, State},
};
use tempfile::TempDir;

use crate::world::{
    Server, Upstream,
    canned::Canned,
    database::Database,
    disk::Disk,
    eventually,
    intruder::Intruder,
    spec::{batch, fast, file, paced, prices},
    watching::{Watching, watch},
};

/// What a server may take to end, and a second for the process itself.
const END: Duration = Duration::from_secs(16);

fn processed(batch: &Batch) -> i64 {
    batch.progress.as_ref().unwrap().processed_items
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_pauses_the_batch_and_with_room_again_it_goes_on() {
    const ITEMS: usize = 300;
    let Some(disk) = Disk::mount(16) else {
        #[allow(clippy::print_stderr, reason = "a test that did not happen must not look like one that did")]
        {
            eprintln!("SKIPPED: no disk can be mounted here; run it as root");
        }
        return;
    };
    let (server, upstream) = tokio::join!(Server::start_in(disk.folder(), []), Upstream::healthy());
    let name = server.start_batch(prices(ITEMS, &upstream, paced(50.0, 10))).await;
    server.batch_processed(&name, 30).await;
    disk.fill();
    // Without any room the pause itself may have to wait, and nothing is sent meanwhile.
    let seen = eventually("the full disk is noticed", || async {
        let batch = server.client().await.get_batch(&name).await.unwrap();
        let waits = || server.log().iter().any(|line| line.to_string().contains("could not be recorded yet"));
        (batch.state() == State::Paused || waits()).then_some(batch)
    })
    .await;
    assert!(processed(&seen) < ITEMS as i64);
    disk.make_room();
    let paused = server.batch_in(&name, State::Paused).await;
    assert_eq!(paused.pause_cause(), PauseCause::SystemFailure);
    assert_eq!(paused.pause_reason, "DISK_FULL", "{}", paused.pause_message);
    Database::of(&server).await.assert_recount().await;

    server.client().await.resume(&name, "").await.unwrap();
    let ended = server.batch_ended(&name).await;
    assert_eq!((ended.state(), ended.progress.unwrap().succeeded_items), (State::Completed, ITEMS as i64));
    Database::of(&server).await.assert_exactly_once(ITEMS as i64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_lock_is_waited_for() {
    const ITEMS: usize = 200;
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(ITEMS, &upstream, paced(50.0, 10))).await;
    server.batch_processed(&name, 30).await;
    let mut intruder = Intruder::at(&server).await;
    intruder.lock().await;
    let locked = Instant::now();
    // Longer than a statement waits by itself.
    server.logged("a commit is repeated").await;
    assert!(locked.elapsed() > Duration::from_secs(4), "{:?}", locked.elapsed());
    let still = server.client().await.get_batch(&name).await.unwrap();
    assert_eq!((still.state(), still.pause_cause()), (State::Running, PauseCause::Unspecified));
    // Repeated more than once. The heartbeats are the clock.
    Watching::open(&server, watch(&name)).await.unwrap().quiet_seconds(4).await;
    intruder.unlock().await;

    let ended = server.batch_ended(&name).await;
    let progress = ended.progress.as_ref().unwrap();
    assert_eq!((ended.state(), progress.succeeded_items), (State::Completed, ITEMS as i64));
    assert_eq!(progress.retried_attempts, 0, "nobody is charged");
    Database::of(&server).await.assert_exactly_once(ITEMS as i64).await;
    let paused = server.client().await.get_report(&name).await.unwrap().paused_duration.unwrap_or_default();
    assert_eq!((paused.seconds, paused.nanos), (0, 0), "it went on by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_ends_in_time_though_somebody_else_has_the_lock() {
    const ITEMS: usize = 200;
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::slow(100));
    let name = server.start_batch(prices(ITEMS, &upstream, paced(50.0, 10))).await;
    server.batch_processed(&name, 30).await;
    let mut intruder = Intruder::at(&server).await;
    intruder.lock().await;
    server.signal("TERM").await;
    assert!(server.exit(END).await.success());
    intruder.unlock().await;

    server.start_again().await;
    let ended = server.batch_ended(&name).await;
    assert_eq!((ended.state(), ended.progress.unwrap().succeeded_items), (State::Completed, ITEMS as i64));
    Database::of(&server).await.assert_exactly_once(ITEMS as i64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_reached_though_the_leases_are_not_given_back() {
    const ITEMS: usize = 40;
    let (server, _upstream, name, mut intruder) = leased(ITEMS).await;
    let client = server.client().await;
    intruder.refuse_leases_given_back().await;
    client.pause(&name, "").await.unwrap();
    let asked = Instant::now();
    server.logged("leases could not be written").await;
    intruder.relent().await;
    server.batch_in(&name, State::Paused).await;
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());

    client.resume(&name, "").await.unwrap();
    let ended = server.batch_ended(&name).await;
    assert_eq!((ended.state(), ended.progress.unwrap().succeeded_items), (State::Completed, ITEMS as i64));
    Database::of(&server).await.assert_exactly_once(ITEMS as i64).await;
    let report = client.get_report(&name).await.unwrap();
    assert_eq!(report.lost_leases, 0, "given back late, and no worker was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_reached_though_the_leases_are_not_given_back() {
    let (server, _upstream, name, mut intruder) = leased(40).await;
    intruder.refuse_leases_given_back().await;
    server.client().await.stop(&name, "").await.unwrap();
    let asked = Instant::now();
    server.logged("leases could not be written").await;
    intruder.relent().await;
    let ended = server.batch_ended(&name).await;
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    assert_eq!((ended.state(), processed(&ended)), (State::Stopped, 40));
    Database::of(&server).await.assert_recount().await;
}

/// A batch that holds leases, and somebody who may spoil their return.
async fn leased(items: usize) -> (Server, Upstream, String, Intruder) {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::slow(1_000));
    let name = server.start_batch(prices(items, &upstream, fast())).await;
    let busy = |batch: &Batch| batch.progress.as_ref().unwrap().in_flight_items == 10;
    server.batch_when(&name, "has items in flight", busy).await;
    let intruder = Intruder::at(&server).await;
    (server, upstream, name, intruder)
}

/// A source of more than a page.
const KEYS: usize = 1_500;

/// A batch whose second page of items the store has refused.
async fn refused_page(upstream: &Canned) -> (TempDir, Server, String, Intruder) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.txt");
    let mut text = String::new();
    for n in 0..KEYS {
        writeln!(text, "K{n:06}").unwrap();
    }
    std::fs::write(&path, text).unwrap();
    let server = Server::start(["--file-root", folder.path().to_str().unwrap()]).await;
    let mut intruder = Intruder::at(&server).await;
    intruder.refuse_second_page().await;
    let name = server.start_batch(batch(file(&path), &upstream.url(), fast())).await;
    let paused = server.batch_in(&name, State::Paused).await;
    assert_eq!(paused.pause_cause(), PauseCause::SystemFailure);
    assert_eq!(paused.pause_reason, "STORE_FAULT");
    assert!(paused.pause_message.contains("bad luck"), "{}", paused.pause_message);
    let progress = paused.progress.as_ref().unwrap();
    assert!(progress.total_is_partial && progress.total_items < KEYS as i64, "{progress:?}");
    (folder, server, name, intruder)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_the_source_that_is_refused_pauses_and_a_resume_reads_it_again() {
    let upstream = Canned::saying("404 Not Found").await;
    let (_folder, server, name, mut intruder) = refused_page(&upstream).await;
    intruder.relent().await;
    server.client().await.resume(&name, "").await.unwrap();
    let ended = server.batch_ended(&name).await;
    assert_eq!((ended.state(), processed(&ended)), (State::Completed, KEYS as i64));
    let database = Database::of(&server).await;
    let dense = "SELECT count(*) FROM batch_execution_details WHERE item_key = printf('K%06d', item_index)";
    assert_eq!(database.number(dense).await, KEYS as i64, "each key is there, at its place");
    database.assert_exactly_once(KEYS as i64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_source_is_refused_can_be_stopped() {
    let upstream = Canned::saying("404 Not Found").await;
    let (_folder, server, name, _intruder) = refused_page(&upstream).await;
    server.client().await.stop(&name, "").await.unwrap();
    assert_eq!(server.batch_ended(&name).await.state(), State::Stopped);
    Database::of(&server).await.assert_recount().await;
}
