//! An upstream that turns the caller away (401, 403): whose fault it is, is found out before anybody is charged for it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use haul_proto::v1::{
    BatchSpec, FailureClass, FetchPolicy, RetryFailedRequest,
    batch::{PauseCause, State},
    batch_spec::Source,
    item,
};
use haul_sim::{DenyStatus, Refuse, SimConfig};
use tonic::Code;

use crate::world::{
    Server, Upstream,
    canned::{Canned, NOTHING},
    database::Database,
    spec::{at_once, batch, codes, fast, inline, listing, paced, prices, remote, starting},
    status::refused,
    watching::{Watching, assert_adds_up, assert_rising, watch},
};

fn deny(status: DenyStatus, keys: &[String]) -> Refuse {
    Refuse::Deny { status, keys: keys.to_vec(), lasts: None }
}

fn denying(status: DenyStatus, keys: &[String]) -> SimConfig {
    SimConfig { refuse: Some(deny(status, keys)), ..SimConfig::default() }
}

fn is_held_back(item: &haul_proto::v1::Item) -> bool {
    item.error.as_ref().is_some_and(|error| error.reason == "CREDENTIALS_REFUSED")
}

/// How often each key was asked for.
fn asked(upstream: &Upstream) -> HashMap<String, usize> {
    let mut asked = HashMap::new();
    for chart in upstream.charts() {
        *asked.entry(chart.key().to_owned()).or_default() += 1;
    }
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_is_refused_pauses_the_batch_at_once_and_a_repair_and_a_resume_end_it() {
    let (server, upstream) =
        tokio::join!(Server::start([]), Upstream::start(denying(DenyStatus::Unauthorized, &[])));
    let source = Source::JpxListing(listing(&upstream));
    let name = server.start_batch(batch(source, &upstream.url(), fast())).await;
    let paused = server.batch_in(&name, State::Paused).await;
    assert_eq!(paused.pause_cause(), PauseCause::SystemFailure);
    assert_eq!(paused.pause_reason, "CREDENTIALS_REFUSED");
    assert!(
        paused.pause_message.contains("127.0.0.1") && paused.pause_message.contains("HTTP 401"),
        "{paused:?}"
    );
    assert_adds_up(&paused);
    assert!((1..=3).contains(&upstream.charts().len()), "{}", upstream.charts().len());
    let progress = paused.progress.as_ref().unwrap();
    assert!(progress.total_items >= 1_000, "{progress:?}");
    assert_eq!((progress.processed_items, progress.retried_attempts), (0, 0));
    let items = server.items(&name).await;
    assert!(items.iter().all(|item| (item.state(), item.attempt_count) == (item::State::Pending, 0)));
    assert_eq!(items.iter().filter(|item| is_held_back(item)).count(), 3);
    let report = server.haul(&["report", &name]).await;
    for words in ["turns requests from here away", "credential", "fetch.rules", "haul resume"] {
        assert!(report.out.contains(words), "{words}: {}", report.out);
    }

    upstream.refuse(None);
    let said = server.haul(&["resume", &name]).await;
    assert_eq!(said.status, 0, "{}", said.err);
    // All of the list: as long as it goes on, it is waited for.
    for processed in (500..=4_000).step_by(500) {
        server.batch_processed(&name, processed).await;
    }
    let ended = server.batch_ended(&name).await;
    let progress = ended.progress.as_ref().unwrap();
    assert_eq!((ended.state(), progress.succeeded_items), (State::Completed, progress.total_items));
    assert!(progress.total_items >= 4_000);
    assert!(server.items(&name).await.iter().all(|item| item.attempt_count == 1), "nobody was charged");
    Database::of(&server).await.assert_exactly_once(progress.total_items).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_expires_midway_costs_no_more_than_what_was_under_way() {
    const ITEMS: usize = 400;
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::slow(20));
    let name = server.start_batch(prices(ITEMS, &upstream, fast())).await;
    server.batch_processed(&name, 40).await;
    upstream.refuse(Some(deny(DenyStatus::Forbidden, &[])));
    let paused = server.batch_in(&name, State::Paused).await;
    assert_eq!(
        (paused.pause_cause(), paused.pause_reason.as_str()),
        (PauseCause::SystemFailure, "CREDENTIALS_REFUSED")
    );
    let refused = upstream.charts().iter().filter(|chart| chart.status == 403).count();
    assert!((3..=13).contains(&refused), "{refused}");
    // One that overtook another on its way may have shown that to be its own fault.
    assert!(paused.progress.as_ref().unwrap().failed_items <= 1, "{paused:?}");
    upstream.refuse(None);
    server.client().await.resume(&name, "").await.unwrap();
    let ended = server.batch_ended(&name).await;
    let progress = ended.progress.as_ref().unwrap();
    assert_eq!(ended.state(), State::Completed);
    assert_eq!(progress.succeeded_items + progress.failed_items, ITEMS as i64);
    assert_adds_up(&ended);
}

/// The first, the last and three neighbours: each is failed, by its one attempt, and the others are fetched.
#[tokio::test(flavor = "multi_thread")]
async fn items_that_are_refused_among_others_that_are_not_fail_for_good() {
    let all = codes(200);
    for (workers, bad) in [(10, vec![0, 80, 81, 82, 199]), (1, vec![0, 80, 82, 199]), (1, vec![198, 199])] {
        let bad: Vec<String> = bad.into_iter().map(|place: usize| all[place].clone()).collect();
        let (server, upstream) =
            tokio::join!(Server::start([]), Upstream::start(denying(DenyStatus::Forbidden, &bad)));
        let mut spec = batch(inline(all.clone()), &upstream.url(), fast());
        spec.fetch.as_mut().unwrap().workers = Some(workers);
        let name = server.start_batch(spec).await;
        let states = Watching::open(&server, watch(&name)).await.unwrap().rest().await;
        assert_rising(&states);
        states.iter().for_each(assert_adds_up);
        let ended = states.last().unwrap();
        assert_eq!(ended.state(), State::Completed, "{}", ended.pause_message);
        let failed: Vec<_> = server
            .items(&name)
            .await
            .into_iter()
            .filter(|item| item.state() == item::State::Failed)
            .collect();
        let keys: Vec<_> = failed.iter().map(|item| item.spec.as_ref().unwrap().key.clone()).collect();
        assert_eq!(keys, bad);
        for item in &failed {
            let error = item.error.as_ref().unwrap();
            assert_eq!(
                (error.failure_class(), error.reason.as_str()),
                (FailureClass::Permanent, "HTTP_STATUS")
            );
            assert_eq!((error.http_status, item.attempt_count), (403, 1));
        }
        assert!(asked(&upstream).values().all(|times| *times == 1), "nobody is asked twice");

        upstream.refuse(None);
        let mut stub = server.stub();
        let request =
            RetryFailedRequest { name, filter: "state = FAILED".to_owned(), ..RetryFailedRequest::default() };
        let child = stub.retry_failed(request).await.unwrap().into_inner().batch.unwrap().name;
        assert_eq!(server.batch_ended(&child).await.progress.unwrap().succeeded_items, bad.len() as i64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_nothing_but_refused_items_waits_for_a_repair() {
    for (items, probe_items) in [(1, 3), (2, 3), (20, 1), (20, 10_000)] {
        let (server, upstream) =
            tokio::join!(Server::start([]), Upstream::start(denying(DenyStatus::Unauthorized, &[])));
        let mut spec = prices(items, &upstream, at_once());
        let fetch = spec.fetch.as_mut().unwrap();
        (fetch.probe_items, fetch.workers) = (Some(probe_items), Some(5));
        let name = server.start_batch(spec).await;
        for _ in 0..2 {
            let paused = server.batch_in(&name, State::Paused).await;
            assert_eq!(paused.pause_reason, "CREDENTIALS_REFUSED", "{items} {probe_items}");
            assert_eq!(paused.progress.unwrap().failed_items, 0);
            server.client().await.resume(&name, "").await.unwrap();
        }
        server.batch_in(&name, State::Paused).await;
        assert!(upstream.charts().len() <= 3 * 7, "each time a handful: {}", upstream.charts().len());
        upstream.refuse(None);
        server.client().await.resume(&name, "").await.unwrap();
        assert_eq!(server.batch_ended(&name).await.progress.unwrap().succeeded_items, items as i64);
    }
}

/// Two items that are refused, and four others that come after them, one every two seconds.
async fn two_refused_and_others_slowly() -> (Server, Upstream, Vec<String>, BatchSpec) {
    let all = codes(6);
    let bad = all[..2].to_vec();
    let (server, upstream) =
        tokio::join!(Server::start([]), Upstream::start(denying(DenyStatus::Forbidden, &bad)));
    let mut spec = batch(inline(all), &upstream.url(), paced(0.5, 2));
    spec.fetch.as_mut().unwrap().workers = Some(1);
    (server, upstream, bad, spec)
}

/// Waits until both are held back.
async fn both_held_back(server: &Server, name: &str) {
    let figures = |batch: &haul_proto::v1::Batch| {
        let attempts = &batch.progress.as_ref().unwrap().failures;
        attempts.iter().map(|class| class.failed_attempts).sum::<i64>() == 2
    };
    let batch = server.batch_when(name, "has both held back", figures).await;
    assert_adds_up(&batch);
    assert_eq!(batch.progress.unwrap().processed_items, 0);
    assert_eq!(server.items(name).await.iter().filter(|item| is_held_back(item)).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_back_is_so_after_a_crash_and_judged_by_what_comes_then() {
    let (mut server, upstream, bad, spec) = two_refused_and_others_slowly().await;
    let name = server.start_batch(spec).await;
    both_held_back(&server, &name).await;
    server.kill().await;
    server.start_again().await;
    let ended = server.batch_ended(&name).await;
    let progress = ended.progress.as_ref().unwrap();
    assert_eq!((ended.state(), progress.succeeded_items, progress.failed_items), (State::Completed, 4, 2));
    let asked = asked(&upstream);
    assert!(bad.iter().all(|key| asked[key] == 1), "they were not asked for again: {asked:?}");
    let failed = server
        .items(&name)
        .await
        .into_iter()
        .filter(|item| item.attempt_count == 1 && item.state() == item::State::Failed);
    assert_eq!(failed.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_back_is_asked_for_again_after_a_pause_and_canceled_by_a_stop() {
    let (server, upstream, bad, spec) = two_refused_and_others_slowly().await;
    let name = server.start_batch(spec.clone()).await;
    both_held_back(&server, &name).await;
    let client = server.client().await;
    client.pause(&name, "").await.unwrap();
    server.batch_in(&name, State::Paused).await;
    upstream.refuse(None);
    client.resume(&name, "").await.unwrap();
    assert_eq!(server.batch_ended(&name).await.progress.unwrap().succeeded_items, 6);
    assert!(bad.iter().all(|key| asked(&upstream)[key] == 2));

    upstream.refuse(Some(deny(DenyStatus::Forbidden, &bad)));
    let name = server.start_batch(spec).await;
    both_held_back(&server, &name).await;
    client.stop(&name, "").await.unwrap();
    let ended = server.batch_ended(&name).await;
    assert_adds_up(&ended);
    let progress = ended.progress.unwrap();
    assert_eq!((ended.state, progress.failed_items), (State::Stopped.into(), 0));
    let items = server.items(&name).await;
    assert!(items[..2].iter().all(|item| (item.state(), item.attempt_count) == (item::State::Canceled, 0)));
}

/// An upstream at which the first request waits for its answer until so many others have theirs. It says yes or no, and
/// the opposite to all others.
async fn first_one_last(yes: bool, others: usize) -> Canned {
    let arrived = AtomicUsize::new(0);
    let (answered, changed) = (Mutex::new(0_usize), Condvar::new());
    Canned::choosing(move |_| {
        let is_first = arrived.fetch_add(1, Ordering::SeqCst) == 0;
        if is_first {
            let wait = || drop(changed.wait_while(answered.lock().unwrap(), |answered| *answered < others));
            tokio::task::block_in_place(wait);
        }
        *answered.lock().unwrap() += 1;
        changed.notify_all();
        if yes == is_first { (NOTHING.0.to_owned(), NOTHING.1) } else { ("403 Forbidden".to_owned(), "") }
    })
    .await
}

/// Answers come in any order: a success says something of what was sent before it, and nothing of what was sent later.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_answer_to_an_early_request_shows_nothing_of_later_ones() {
    let one_after_the_other = || FetchPolicy { probe_items: Some(10_000), ..paced(20.0, 1) };
    let (server, upstream) = tokio::join!(Server::start([]), first_one_last(true, 3));
    let name = server.start_batch(batch(inline(codes(30)), &upstream.url(), one_after_the_other())).await;
    let paused = server.batch_in(&name, State::Paused).await;
    assert_eq!(paused.pause_reason, "CREDENTIALS_REFUSED");
    let progress = paused.progress.unwrap();
    assert_eq!((progress.succeeded_items, progress.failed_items), (1, 0));
    assert!(upstream.requests() <= 13, "{}", upstream.requests());

    let upstream = first_one_last(false, 10).await;
    let name = server.start_batch(batch(inline(codes(30)), &upstream.url(), one_after_the_other())).await;
    let progress = server.batch_ended(&name).await.progress.unwrap();
    assert_eq!((progress.succeeded_items, progress.failed_items), (29, 1));
    assert_eq!(upstream.requests(), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_refused_pauses_the_batch_and_fails_the_plan() {
    let all = codes(3);
    let keys = all.join("\n");
    let open = Arc::new(AtomicBool::new(false));
    let is_open = Arc::clone(&open);
    let (server, upstream, list) = tokio::join!(
        Server::start([]),
        Upstream::healthy(),
        Canned::choosing(move |_| {
            if is_open.load(Ordering::SeqCst) {
                ("200 OK".to_owned(), keys.clone())
            } else {
                ("403 Forbidden".to_owned(), String::new())
            }
        })
    );
    let spec = batch(remote(format!("{}/keys?token=secret", list.url())), &upstream.url(), fast());
    let mut plan = starting(spec.clone());
    plan.validate_only = true;
    refused(server.stub().start_batch(plan).await, Code::FailedPrecondition, "SOURCE_UNREADABLE");
    let name = server.start_batch(spec).await;
    let paused = server.batch_in(&name, State::Paused).await;
    assert_eq!(
        (paused.pause_cause(), paused.pause_reason.as_str()),
        (PauseCause::SystemFailure, "CREDENTIALS_REFUSED")
    );
    assert_eq!(paused.pause_message, format!("{}/keys?…: HTTP 403: refused", list.url()));
    assert_eq!(list.requests(), 2, "the plan's and the batch's");
    open.store(true, Ordering::SeqCst);
    server.client().await.resume(&name, "").await.unwrap();
    assert_eq!(server.batch_ended(&name).await.progress.unwrap().succeeded_items, 3);
}
