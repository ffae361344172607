//! An upstream that fails: what is retried, what is given up, what is waited for.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use haul_proto::v1::{FailureClass, batch::State, host_pressure::Cause, item};
use haul_sim::{Outage, OutageKind, RateLimit, RetryAfter, SimConfig};

use crate::world::{
    Server, Upstream, Watching,
    database::Database,
    now_us,
    spec::{fast, millis, paced, prices},
    upstream::Arrival,
    watching::{assert_adds_up, watch},
};

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_in_passing_is_fetched_and_what_fails_for_good_is_told() {
    const ITEMS: usize = 300;
    let (server, upstream) = tokio::join!(
        Server::start([]),
        Upstream::start(SimConfig { faults: 0.2, permanent: 0.05, ..SimConfig::default() })
    );
    let mut fetch = paced(200.0, 20);
    fetch.workers = Some(30);
    fetch.attempt_timeout = Some(millis(2_000));
    let name = server.start_batch(prices(ITEMS, &upstream, fetch)).await;
    let ended = server.batch_ended(&name).await;
    assert_eq!(ended.state(), State::Completed);
    assert_adds_up(&ended);
    let progress = ended.progress.unwrap();
    assert_eq!(progress.processed_items, ITEMS as i64);

    let mut arrivals: HashMap<String, Vec<Arrival>> = HashMap::new();
    let charts = upstream.charts();
    for chart in &charts {
        arrivals.entry(chart.key().to_owned()).or_default().push(chart.clone());
    }
    let dead: HashSet<&str> = charts.iter().filter(|chart| chart.permanent).map(Arrival::key).collect();
    assert!(dead.len() > 5, "the simulator has dead codes: {}", dead.len());
    assert_eq!(progress.failed_items as usize, dead.len());

    let items = server.items(&name).await;
    for item in &items {
        let key = item.spec.as_ref().unwrap().key.as_str();
        let requests = &arrivals[key];
        let faults: Vec<&str> = requests.iter().filter_map(|request| request.fault.as_deref()).collect();
        if dead.contains(key) {
            assert_eq!(item.state(), item::State::Failed, "{key}");
            assert_eq!((item.attempt_count, requests.len()), (1, 1), "{key}: what is gone is asked for once");
            assert_eq!(item.error.as_ref().unwrap().failure_class(), FailureClass::Permanent, "{key}");
            continue;
        }
        assert_eq!(item.state(), item::State::Succeeded, "{key}: {faults:?}");
        assert_eq!(requests.len(), faults.len() + 1, "{key}: once it succeeded it is not asked for again");
        // Nobody is charged for a push-back; a broken connection may be tried again within an attempt.
        let charged = faults.iter().filter(|fault| **fault != "http_429").count() as i32;
        let broken = faults.iter().filter(|fault| **fault == "reset").count() as i32;
        let attempts = 1 + charged - broken..=1 + charged;
        assert!(attempts.contains(&item.attempt_count), "{key}: {} attempts, {faults:?}", item.attempt_count);
    }
    let retried: i64 = items.iter().map(|item| i64::from(item.attempt_count) - 1).sum();
    assert_eq!(progress.retried_attempts, retried);

    let report = server.client().await.get_report(&name).await.unwrap();
    assert!(report.r#final);
    assert_eq!(report.requests_sent as usize, charts.len());
    assert_eq!(report.failures.iter().map(|group| group.items).sum::<i64>(), progress.failed_items);
    for group in &report.failures {
        assert_eq!(group.failure_class(), FailureClass::Permanent);
        assert!(!group.reason.is_empty() && !group.sample_keys.is_empty());
        assert!(group.sample_keys.iter().all(|key| dead.contains(key.as_str())), "{group:?}");
    }
    Database::of(&server).await.assert_exactly_once(ITEMS as i64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_never_answers_spends_its_attempts_and_fails_alone() {
    let (server, upstream) = tokio::join!(
        Server::start([]),
        Upstream::start(SimConfig {
            outages: vec![Outage {
                start_after: Duration::ZERO,
                duration: Duration::from_hours(1),
                kind: OutageKind::Status503
            }],
            ..SimConfig::default()
        })
    );
    let mut fetch = fast();
    fetch.max_attempts = Some(3);
    let name = server.start_batch(prices(2, &upstream, fetch)).await;
    let ended = server.batch_ended(&name).await;
    assert_eq!((ended.state(), ended.progress.unwrap().failed_items), (State::Completed, 2));
    for item in server.items(&name).await {
        let error = item.error.as_ref().unwrap();
        assert_eq!((item.state(), item.attempt_count), (item::State::Failed, 3));
        assert_eq!((error.failure_class(), error.http_status), (FailureClass::Temporary, 503));
    }
    assert_eq!(upstream.charts().len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_back_in_seconds_holds_everybody_and_charges_nobody() {
    held_for_all(RetryAfter::Seconds(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_back_until_a_date_holds_everybody_and_charges_nobody() {
    held_for_all(RetryAfter::Date(2)).await;
}

/// A 429 asks for two seconds: two batches keep still for so long, but for what was on its way, and lose no attempt.
async fn held_for_all(retry_after: RetryAfter) {
    const ON_ITS_WAY_US: u64 = 500_000;
    let limit = Some(RateLimit { rate_per_s: 5.0, burst: 5 });
    let (server, upstream) = tokio::join!(
        Server::start([]),
        Upstream::start(SimConfig { limit, retry_after, ..SimConfig::default() })
    );
    let mut fetch = fast();
    fetch.workers = Some(4);
    // A push-back that is charged fails its item.
    fetch.max_attempts = Some(1);
    let first = server.start_batch(prices(10, &upstream, fetch.clone())).await;
    let second = server.start_batch(prices(10, &upstream, fetch)).await;

    let mut watching = Watching::open(&server, watch(&first)).await.unwrap();
    let held = watching
        .state_when(|batch| {
            let pressure = &batch.progress.as_ref().unwrap().host_pressure;
            pressure.iter().any(|pressure| pressure.held_until.is_some())
        })
        .await;
    let pressure = &held.progress.as_ref().unwrap().host_pressure[0];
    assert_eq!((pressure.cause(), pressure.host.as_str()), (Cause::PushedBack, "127.0.0.1"));
    assert!(pressure.permitted_requests_per_second.abs() < f64::EPSILON);
    let until_us = pressure.held_until.unwrap().seconds as u64 * 1_000_000;
    assert!(until_us < now_us() + 3_000_000, "two seconds, and a date is rounded up to the second");

    for name in [&first, &second] {
        let ended = server.batch_ended(name).await;
        let progress = ended.progress.unwrap();
        assert_eq!((progress.succeeded_items, progress.retried_attempts), (10, 0), "{name}");
        assert!(server.items(name).await.iter().all(|item| item.attempt_count == 1));
    }
    let charts = upstream.charts();
    let pushed_back: Vec<u64> =
        charts.iter().filter(|chart| chart.status == 429).map(|chart| chart.at_us).collect();
    assert!(pushed_back.len() > 1, "the limit was met more than once");
    for at_us in pushed_back {
        let during = charts
            .iter()
            .filter(|chart| chart.at_us > at_us + ON_ITS_WAY_US && chart.at_us < at_us + 2_000_000)
            .count();
        assert_eq!(during, 0, "requests while the gate was held");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_outlasts_the_server() {
    let limit = Some(RateLimit { rate_per_s: 0.5, burst: 1 });
    let retry_after = RetryAfter::Seconds(6);
    let (mut server, upstream) = tokio::join!(
        Server::start([]),
        Upstream::start(SimConfig { limit, retry_after, ..SimConfig::default() })
    );
    let mut fetch = fast();
    fetch.workers = Some(1);
    let name = server.start_batch(prices(2, &upstream, fetch)).await;
    // Shown as waiting means recorded, and the hold was stored before that.
    let what = "is held back";
    server.batch_when(&name, what, |batch| batch.progress.as_ref().unwrap().waiting_retry_items == 1).await;
    server.kill().await;
    server.start_again().await;
    let ended = server.batch_ended(&name).await;
    assert_eq!(ended.progress.unwrap().succeeded_items, 2);
    let charts = upstream.charts();
    let pushed_back = charts.iter().find(|chart| chart.status == 429).unwrap().at_us;
    let early = charts
        .iter()
        .filter(|chart| chart.at_us > pushed_back && chart.at_us < pushed_back + 6_000_000)
        .count();
    assert_eq!(early, 0, "requests before the time that the upstream asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_at_one_upstream_leaves_others_alone() {
    let limit = Some(RateLimit { rate_per_s: 0.01, burst: 1 });
    let retry_after = RetryAfter::Seconds(3_600);
    let (server, pushing, calm) = tokio::join!(
        Server::start([]),
        Upstream::start(SimConfig { limit, retry_after, ..SimConfig::default() }),
        Upstream::healthy()
    );
    let held = server.start_batch(prices(5, &pushing, fast())).await;
    server
        .batch_when(&held, "is held back", |batch| {
            let pressure = &batch.progress.as_ref().unwrap().host_pressure;
            pressure.iter().any(|pressure| pressure.held_until.is_some())
        })
        .await;
    let free = server.start_batch(prices(50, &calm, fast())).await;
    assert_eq!(server.batch_ended(&free).await.progress.unwrap().succeeded_items, 50);
    let report = server.client().await.get_report(&held).await.unwrap();
    assert!(!report.r#final);
    let still = server.client().await.get_batch(&held).await.unwrap();
    assert_eq!((still.state(), still.progress.unwrap().processed_items), (State::Running, 1));
}
