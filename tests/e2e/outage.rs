//! An upstream that refuses everybody, or is not there: the list is not burnt, and the batch goes on once it answers.

use haul_proto::v1::{
    BatchSpec, FetchPolicy, OutagePolicy,
    batch::{PauseCause, State},
    batch_spec::Source,
    host_pressure::Cause,
    item,
};
use haul_sim::{OutageKind, Refuse, RetryAfter, SimConfig};
use prost_types::Duration as Span;

use crate::world::{
    Server, Upstream,
    canned::{Canned, NOTHING},
    database::Database,
    spec::{at_once, batch, codes, fast, inline, listing, millis, prices},
    watching::{Watching, assert_adds_up, watch},
};

const SECOND: Option<Span> = Some(Span { seconds: 1, nanos: 0 });

/// 429 to everything, for a second each.
fn refuse_all() -> SimConfig {
    let refuse = Refuse::All { retry_after: RetryAfter::Seconds(1) };
    SimConfig { refuse: Some(refuse), ..SimConfig::default() }
}

fn asked_again_each_second(spec: BatchSpec) -> BatchSpec {
    let outage = OutagePolicy { probe_interval: SECOND, ..OutagePolicy::default() };
    BatchSpec { outage: Some(outage), ..spec }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_refused_at_once_does_not_burn_its_list() {
    let (server, upstream) = tokio::join!(
        Server::start([]),
        Upstream::start(SimConfig {
            refuse: Some(Refuse::All { retry_after: RetryAfter::None }),
            ..SimConfig::default()
        })
    );
    let source = Source::JpxListing(listing(&upstream));
    let name = server.start_batch(batch(source, &upstream.url(), fast())).await;
    let paused = server.batch_in(&name, State::Paused).await;
    assert_eq!(paused.pause_cause(), PauseCause::UpstreamOutage);
    assert_eq!(paused.pause_reason, "RATE_LIMITED");
    assert!(paused.pause_message.contains("127.0.0.1") && paused.pause_message.contains("429"), "{paused:?}");
    assert_adds_up(&paused);
    assert!((1..=3).contains(&upstream.charts().len()), "{}", upstream.charts().len());
    // Held for a minute, so nothing more is sent in this time. The heartbeats are the clock.
    Watching::open(&server, watch(&name)).await.unwrap().quiet_seconds(7).await;
    assert!(upstream.charts().len() <= 3);
    let progress = paused.progress.unwrap();
    assert_eq!((progress.failed_items, progress.retried_attempts), (0, 0));
    for item in server.items(&name).await {
        assert_eq!((item.state(), item.attempt_count), (item::State::Pending, 0));
    }
    let report = server.haul(&["report", &name]).await;
    assert!(
        report.out.contains("refuses requests from here") && report.out.contains("haul resume"),
        "{}",
        report.out
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_batch_goes_on_by_itself_once_it_is_answered() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::start(refuse_all()));
    let name = server.start_batch(asked_again_each_second(prices(200, &upstream, fast()))).await;
    server.batch_in(&name, State::Paused).await;
    let asked = upstream.charts().len();
    server.batch_when(&name, "asked again", |_| upstream.charts().len() > asked + 1).await;
    let still = server.batch_in(&name, State::Paused).await;
    assert_eq!(still.progress.unwrap().processed_items, 0);
    upstream.refuse(None);
    let ended = server.batch_ended(&name).await;
    assert_eq!((ended.state(), ended.progress.as_ref().unwrap().succeeded_items), (State::Completed, 200));
    assert_adds_up(&ended);
    assert!(server.items(&name).await.iter().all(|item| item.attempt_count == 1), "nobody was charged");
    Database::of(&server).await.assert_exactly_once(200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_or_a_policy_keeps_an_outage_from_ending_by_itself() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::start(refuse_all()));
    let paused_by_user = server.start_batch(asked_again_each_second(prices(20, &upstream, fast()))).await;
    server.batch_in(&paused_by_user, State::Paused).await;
    server.client().await.pause(&paused_by_user, "mine now").await.unwrap();
    let mut spec = asked_again_each_second(prices(20, &upstream, fast()));
    spec.outage.as_mut().unwrap().auto_resume = Some(false);
    let by_policy = server.start_batch(spec).await;
    // The breaker has tripped already, so it waits for its hold; a refused start of its own comes after a probe.
    let by_policy_state =
        server.batch_when(&by_policy, "paused", |batch| batch.state() == State::Paused).await;
    assert_eq!(by_policy_state.pause_cause(), PauseCause::UpstreamOutage);
    upstream.refuse(None);
    let ended = server.start_batch(asked_again_each_second(prices(5, &upstream, fast()))).await;
    assert_eq!(server.batch_ended(&ended).await.state(), State::Completed, "its items are the probe");
    Watching::open(&server, watch(&by_policy)).await.unwrap().quiet_seconds(3).await;
    for (name, cause) in [(&paused_by_user, PauseCause::User), (&by_policy, PauseCause::UpstreamOutage)] {
        let still = server.batch_in(name, State::Paused).await;
        assert_eq!(still.pause_cause(), cause);
        server.client().await.resume(name, "").await.unwrap();
        assert_eq!(server.batch_ended(name).await.progress.unwrap().succeeded_items, 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_not_there_pauses_the_batch_and_outlives_the_server() {
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let mut server = Server::start([]).await;
    let spec = {
        let upstream = Upstream::at(address).await;
        asked_again_each_second(prices(50, &upstream, fast()))
    };
    let name = server.start_batch(spec).await;
    let paused = server.batch_in(&name, State::Paused).await;
    assert_eq!(paused.pause_reason, "UPSTREAM_UNREACHABLE", "{}", paused.pause_message);
    assert_eq!(paused.progress.unwrap().failed_items, 0);
    server.kill().await;
    server.start_again().await;
    let paused = server.batch_in(&name, State::Paused).await;
    assert_eq!(paused.pause_cause(), PauseCause::UpstreamOutage);
    let _upstream = Upstream::at(address).await;
    let ended = server.batch_ended(&name).await;
    assert_eq!(ended.progress.unwrap().succeeded_items, 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_goes_down_midway_charges_little_and_is_waited_for() {
    const ITEMS: usize = 400;
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::slow(20));
    let mut spec = asked_again_each_second(prices(ITEMS, &upstream, fast()));
    spec.outage.as_mut().unwrap().hold = Some(Span { seconds: 2, nanos: 0 });
    let name = server.start_batch(spec).await;
    server.batch_processed(&name, 40).await;
    upstream.refuse(Some(Refuse::Down(OutageKind::HtmlPage)));
    let waiting = server
        .batch_when(&name, "held by its breaker", |batch| {
            batch.state() != State::Running
                || batch.progress.as_ref().is_some_and(|progress| {
                    progress.host_pressure.iter().any(|pressure| pressure.cause() == Cause::Outage)
                })
        })
        .await;
    if waiting.state() == State::Running {
        let pressure = &waiting.progress.as_ref().unwrap().host_pressure[0];
        assert!(pressure.held_until.is_none(), "{pressure:?}");
    }
    let paused = server.batch_in(&name, State::Paused).await;
    assert_eq!(paused.pause_cause(), PauseCause::UpstreamOutage);
    assert_eq!(paused.pause_reason, "UPSTREAM_UNREACHABLE");
    upstream.refuse(None);
    let ended = server.batch_ended(&name).await;
    let progress = ended.progress.as_ref().unwrap();
    assert_eq!((ended.state(), progress.succeeded_items), (State::Completed, ITEMS as i64));
    assert!(progress.retried_attempts <= 30, "charged before the trip: {}", progress.retried_attempts);
    Database::of(&server).await.assert_exactly_once(ITEMS as i64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_or_a_stop_in_an_outage_is_quiet_though_a_probe_waits_for_its_permit() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::start(refuse_all()));
    let slow = FetchPolicy { requests_per_second: Some(0.2), burst: Some(1), ..fast() };
    let name = server.start_batch(asked_again_each_second(prices(10, &upstream, slow))).await;
    server.batch_in(&name, State::Paused).await;
    let mut watching = Watching::open(&server, watch(&name)).await.unwrap();
    // By then the next probe is due, and has to wait for the rate.
    watching.quiet_seconds(3).await;
    server.client().await.pause(&name, "quiet").await.unwrap();
    let sent = upstream.charts().len();
    watching.quiet_seconds(8).await;
    assert_eq!(upstream.charts().len(), sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_probe_items_than_outcomes_under_way_are_recorded_all_the_same() {
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let (server, mut spec) = {
        let (server, upstream) = tokio::join!(Server::start([]), Upstream::at(address));
        (server, asked_again_each_second(prices(500, &upstream, at_once())))
    };
    spec.fetch.as_mut().unwrap().commit_group_size = Some(2);
    spec.fetch.as_mut().unwrap().probe_items = Some(400);
    let name = server.start_batch(spec).await;
    let paused = server.batch_in(&name, State::Paused).await;
    assert_eq!(paused.pause_reason, "UPSTREAM_UNREACHABLE");
    assert_adds_up(&paused);
    let items = server.items(&name).await;
    assert!(items.iter().all(|item| item.attempt_count == 0), "nobody is charged");
    assert!(items.iter().filter(|item| item.error.is_some()).count() >= 10, "and what was tried is told");
    let _upstream = Upstream::at(address).await;
    assert_eq!(server.batch_ended(&name).await.progress.unwrap().succeeded_items, 500);
}

/// An upstream at which these codes always fail, and every other has nothing to tell.
async fn bad_at(codes: &[String], head: &'static str) -> Canned {
    let bad: Vec<String> = codes.iter().map(|code| format!("/{code}.T?")).collect();
    Canned::choosing(move |request| {
        if bad.iter().any(|path| request.contains(path)) {
            return (head.to_owned(), String::new());
        }
        (NOTHING.0.to_owned(), NOTHING.1.to_owned())
    })
    .await
}

/// Items that fail whenever they are asked for, at an upstream that answers all others, do not keep the batch.
#[tokio::test(flavor = "multi_thread")]
async fn bad_items_end_failed_wherever_they_stand_and_however_many() {
    let all = codes(40);
    for bad in [&all[36..], &all[..4], &all[28..]] {
        let (server, upstream) = tokio::join!(Server::start([]), bad_at(bad, "500 Internal Server Error"));
        let spec = asked_again_each_second(batch(inline(all.clone()), &upstream.url(), fast()));
        let name = server.start_batch(spec).await;
        let ended = server.batch_ended(&name).await;
        let progress = ended.progress.as_ref().unwrap();
        let figures = (progress.succeeded_items, progress.failed_items);
        assert_eq!(figures, (40 - bad.len() as i64, bad.len() as i64), "{}", ended.pause_message);
        assert_adds_up(&ended);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn first_items_that_nobody_answers_do_not_keep_the_others() {
    let all = codes(20);
    let (server, upstream) = tokio::join!(Server::start([]), bad_at(&all[..3], ""));
    let mut fetch = fast();
    fetch.attempt_timeout = Some(millis(1_000));
    let name = server.start_batch(asked_again_each_second(batch(inline(all), &upstream.url(), fetch))).await;
    let ended = server.batch_ended(&name).await;
    let progress = ended.progress.unwrap();
    assert_eq!((progress.succeeded_items, progress.failed_items), (17, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_reads_its_list_elsewhere_keeps_no_other_from_its_probe() {
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let server = Server::start([]).await;
    let (mut first, mut second) = {
        let upstream = Upstream::at(address).await;
        let mut listless = listing(&upstream);
        listless.uri = "http://127.0.0.1:1/list.xls".to_owned();
        let listless = batch(Source::JpxListing(listless), &upstream.url(), fast());
        (listless, prices(30, &upstream, fast()))
    };
    first.outage =
        Some(OutagePolicy { hold: Some(Span { seconds: 3_600, nanos: 0 }), ..OutagePolicy::default() });
    second = asked_again_each_second(second);
    server.start_batch(first).await;
    let name = server.start_batch(second).await;
    server.batch_in(&name, State::Paused).await;
    let _upstream = Upstream::at(address).await;
    assert_eq!(server.batch_ended(&name).await.progress.unwrap().succeeded_items, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_and_a_resume_do_not_let_the_list_go_after_the_first_items() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::slow(60_000));
    let mut fetch = fast();
    (fetch.workers, fetch.attempt_timeout) = (Some(20), Some(millis(2_000)));
    let name = server.start_batch(prices(40, &upstream, fetch)).await;
    server.batch_when(&name, "has sent the first", |_| upstream.charts().len() == 3).await;
    let client = server.client().await;
    client.pause(&name, "").await.unwrap();
    client.resume(&name, "").await.unwrap();
    let paused = server.batch_in(&name, State::Paused).await;
    assert_eq!(paused.pause_cause(), PauseCause::UpstreamOutage);
    assert!(upstream.charts().len() <= 7, "{}", upstream.charts().len());
    assert_eq!(paused.progress.unwrap().failed_items, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_cannot_be_reached_is_said_to_be_what_is_waited_for() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let mut list = listing(&upstream);
    list.uri = "http://127.0.0.1:1/list.xls".to_owned();
    let name = server.start_batch(batch(Source::JpxListing(list), &upstream.url(), fast())).await;
    let waiting = server
        .batch_when(&name, "waits for its list", |batch| {
            batch.progress.as_ref().is_some_and(|progress| !progress.host_pressure.is_empty())
        })
        .await;
    let pressure = &waiting.progress.unwrap().host_pressure[0];
    assert_eq!((pressure.cause(), pressure.host.as_str()), (Cause::Outage, "127.0.0.1"));
    assert!(pressure.next_probe_time.is_some());
}
