//! Killed and stopped at bad moments: every item ends once.

use std::{collections::HashSet, fmt::Write};

use haul_proto::v1::{StopRequest, batch::State};
use haul_sim::SimConfig;

use crate::world::{
    Server, Upstream,
    database::Database,
    eventually, now_us,
    spec::{batch, file, millis, paced, prices},
    upstream::Arrival,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_killed_three_times_ends_by_itself_and_every_item_once() {
    const ITEMS: usize = 300;
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::slow(30));
    let name = server.start_batch(prices(ITEMS, &upstream, paced(100.0, 20))).await;
    let mut done_before: Vec<(u64, HashSet<String>)> = Vec::new();
    for processed in [40, 110, 200] {
        server.batch_processed(&name, processed).await;
        server.kill().await;
        let done = Database::of(&server).await.succeeded_keys().await;
        assert!(done.len() as i64 >= processed, "what was shown is in the tables");
        done_before.push((now_us(), done));
        server.start_again().await;
    }
    let ended = server.batch_ended(&name).await;
    assert_eq!((ended.state(), ended.progress.unwrap().succeeded_items), (State::Completed, ITEMS as i64));
    Database::of(&server).await.assert_exactly_once(ITEMS as i64).await;
    let charts = upstream.charts();
    for (killed_us, done) in done_before {
        let again: Vec<&str> = charts
            .iter()
            .filter(|chart| chart.at_us > killed_us)
            .map(Arrival::key)
            .filter(|key| done.contains(*key))
            .collect();
        assert_eq!(again, [] as [&str; 0], "completed and fetched again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_outlast_crashes_and_no_crash_is_charged_to_an_item() {
    const ITEMS: usize = 200;
    let config = SimConfig { faults: 0.3, ..SimConfig::default() };
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::start(config));
    let mut fetch = paced(100.0, 20);
    fetch.attempt_timeout = Some(millis(1_000));
    let name = server.start_batch(prices(ITEMS, &upstream, fetch)).await;
    for processed in [30, 80, 140] {
        server.batch_processed(&name, processed).await;
        server.kill().await;
        server.start_again().await;
    }
    let ended = server.batch_ended(&name).await;
    assert_eq!(ended.state(), State::Completed);
    let progress = ended.progress.unwrap();
    assert_eq!(progress.succeeded_items, ITEMS as i64);
    let database = Database::of(&server).await;
    database.assert_exactly_once(ITEMS as i64).await;
    let retried = "SELECT sum(max(attempts - 1, 0)) FROM batch_execution_details";
    assert_eq!(progress.retried_attempts, database.number(retried).await);
    let charts = upstream.charts();
    for item in server.items(&name).await {
        let key = &item.spec.as_ref().unwrap().key;
        let faults = charts.iter().filter(|chart| chart.key() == key && chart.fault.is_some()).count();
        assert!(
            item.attempt_count as usize <= 1 + faults,
            "{key}: {} attempts, {faults} faults",
            item.attempt_count
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_whose_reading_is_killed_is_read_on_without_a_gap_or_a_double() {
    const KEYS: usize = 100_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.txt");
    let mut text = String::new();
    for n in 0..KEYS {
        writeln!(text, "K{n:06}").unwrap();
    }
    std::fs::write(&path, text).unwrap();
    let (mut server, upstream) =
        tokio::join!(Server::start(["--file-root", folder.path().to_str().unwrap()]), Upstream::healthy());
    let name = server.start_batch(batch(file(&path), &upstream.url(), paced(0.5, 1))).await;

    let mut interrupted = 0;
    for share in [1, 3, 6] {
        let read = server
            .batch_when(&name, "is read further", |batch| {
                let progress = batch.progress.as_ref().unwrap();
                progress.total_items > KEYS as i64 * share / 10 || !progress.total_is_partial
            })
            .await;
        interrupted += i32::from(read.progress.unwrap().total_is_partial);
        server.kill().await;
        server.start_again().await;
    }
    assert!(interrupted > 1, "the reading was interrupted {interrupted} times");
    let read =
        server.batch_when(&name, "is read", |batch| !batch.progress.as_ref().unwrap().total_is_partial).await;
    assert_eq!(read.progress.unwrap().total_items, KEYS as i64);

    let database = Database::of(&server).await;
    let dense = "SELECT count(*) FROM batch_execution_details WHERE item_key = printf('K%06d', item_index)";
    assert_eq!(database.number(dense).await, KEYS as i64, "each key is there, at its place");
    assert_eq!(database.number("SELECT count(*) FROM batch_execution_details").await, KEYS as i64);
    server.stub().stop(StopRequest { name: name.clone(), ..StopRequest::default() }).await.unwrap();
    server.batch_ended(&name).await;
    database.assert_recount().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_frozen_past_its_leases_still_records_everything_once() {
    const ITEMS: usize = 200;
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::slow(100));
    let name = server.start_batch(prices(ITEMS, &upstream, paced(40.0, 10))).await;
    server.batch_processed(&name, 40).await;
    server.signal("STOP").await;
    let database = Database::of(&server).await;
    eventually("its leases have run out", || async {
        let live = "SELECT count(*) FROM batch_slices
                     WHERE lease_until_at > (julianday('now') - 2440587.5) * 86400000";
        (database.number(live).await == 0).then_some(())
    })
    .await;
    server.signal("CONT").await;
    let ended = server.batch_ended(&name).await;
    assert_eq!((ended.state(), ended.progress.unwrap().succeeded_items), (State::Completed, ITEMS as i64));
    database.assert_exactly_once(ITEMS as i64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_outlasts_a_crash() {
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::slow(2_000));
    let name = server.start_batch(prices(100, &upstream, paced(50.0, 10))).await;
    server
        .batch_when(&name, "has items in flight", |batch| {
            batch.progress.as_ref().unwrap().in_flight_items > 0
        })
        .await;
    let answer =
        server.stub().stop(StopRequest { name: name.clone(), ..StopRequest::default() }).await.unwrap();
    assert_eq!(answer.into_inner().batch.unwrap().state(), State::Stopping);
    server.kill().await;
    let requests = upstream.charts().len();
    server.start_again().await;
    let ended = eventually("it is stopped", || async {
        let batch = server.client().await.get_batch(&name).await.unwrap();
        Some(batch).filter(|batch| batch.end_time.is_some())
    })
    .await;
    assert_eq!((ended.state(), ended.progress.unwrap().canceled_items), (State::Stopped, 100));
    assert_eq!(upstream.charts().len(), requests);
    Database::of(&server).await.assert_recount().await;
}
