//! When a batch, or an item, is given up: budget, deadline, lost workers.

use std::time::Instant;

use haul_proto::v1::{BatchSpec, FailurePolicy, batch::State, item};
use haul_sim::SimConfig;

use crate::world::{
    Server, Upstream,
    database::Database,
    intruder::Intruder,
    spec::{at_once, fast, millis, paced, prices},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_fails_too_often_is_given_up() {
    let config = SimConfig { permanent: 1.0, ..SimConfig::default() };
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::start(config));
    let failure = FailurePolicy { max_failed_items: Some(5), ..FailurePolicy::default() };
    let spec = BatchSpec { failure: Some(failure), ..prices(200, &upstream, paced(50.0, 1)) };
    let name = server.start_batch(spec).await;
    let said = server.haul(&["watch", &name]).await;
    assert_eq!(said.status, 4, "{}{}", said.out, said.err);
    let ended = server.batch_in(&name, State::Failed).await;
    assert_eq!(ended.end_reason, "FAILURE_THRESHOLD");
    assert!(
        ended.end_message.ends_with("items failed, more than max_failed_items 5"),
        "{}",
        ended.end_message
    );
    let progress = ended.progress.unwrap();
    assert_eq!(progress.failed_items + progress.canceled_items, 200);
    // What was under way when the sixth failed is recorded as well: ten workers, and four groups of ten on their way to the
    // store.
    assert!((6..=6 + 10 + 4 * 10).contains(&progress.failed_items), "{}", progress.failed_items);
    Database::of(&server).await.assert_recount().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_has_so_much_time_and_no_more_whatever_happens_to_it() {
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::slow(300));
    let timed = |seconds| BatchSpec { max_duration: Some(millis(seconds)), ..prices(900, &upstream, fast()) };
    let running = server.start_batch(timed(2_000)).await;
    let paused = server.start_batch(timed(2_000)).await;
    server.haul(&["pause", &paused, "--abort", "--wait"]).await;
    for name in [&running, &paused] {
        let ended = server.batch_in(name, State::Failed).await;
        assert_eq!(ended.end_reason, "MAX_DURATION");
        let (start, end) = (ended.start_time.unwrap(), ended.end_time.unwrap());
        let took_ms = (end.seconds - start.seconds) * 1_000 + i64::from(end.nanos - start.nanos) / 1_000_000;
        assert!((2_000..6_000).contains(&took_ms), "{name}: {took_ms} ms");
    }

    let killed = server.start_batch(timed(3_600_000)).await;
    server.batch_processed(&killed, 1).await;
    server.kill().await;
    // As if nobody had been there for so long.
    Intruder::at(&server).await.let_an_hour_pass().await;
    let sent = upstream.charts().len();
    server.start_again().await;
    let ended = server.batch_in(&killed, State::Failed).await;
    assert_eq!(ended.end_reason, "MAX_DURATION");
    assert_eq!(upstream.charts().len(), sent, "its time was over when the server came back");
    Database::of(&server).await.assert_recount().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_takes_its_worker_along_is_found_and_failed() {
    // Nothing of it is ever recorded: the server dies with each request in flight.
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::slow(60_000));
    let name = server.start_batch(prices(2, &upstream, at_once())).await;
    let began = Instant::now();
    for death in 1..=20 {
        let flying = server
            .batch_when(&name, "is at work, or over", |batch| {
                batch.end_time.is_some() || batch.progress.as_ref().unwrap().in_flight_items > 0
            })
            .await;
        if flying.end_time.is_some() {
            break;
        }
        assert!(death < 20, "it never ends");
        server.kill().await;
        server.start_again().await;
    }
    let ended = server.batch_in(&name, State::Completed).await;
    assert_eq!(ended.progress.unwrap().failed_items, 2, "after {:?}", began.elapsed());
    for item in server.items(&name).await {
        assert_eq!(
            (item.state(), item.error.unwrap().reason.as_str()),
            (item::State::Failed, "WORKER_CRASH")
        );
    }
    let report = server.client().await.get_report(&name).await.unwrap();
    assert!(report.lost_leases >= 10, "{}", report.lost_leases);
    Database::of(&server).await.assert_recount().await;
}
