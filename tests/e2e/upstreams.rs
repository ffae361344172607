//! The gate as people and services see and steer it.

use haul_client::upstream_name;
use haul_proto::v1::{
    BatchSpec, FetchPolicy, GetUpstreamRequest, HoldGateRequest, ListUpstreamsRequest, ReleaseGateRequest,
    UpdateUpstreamRequest, Upstream as Seen, batch::State, batch_spec::Source, breaker, host_pressure::Cause,
    upstream::HoldCause, upstream_service_client::UpstreamServiceClient,
};
use haul_sim::{Refuse, RetryAfter, SimConfig};
use prost_types::{Duration as Span, FieldMask};
use tonic::{Code, transport::Channel};

use crate::world::{
    Server, Upstream, eventually, now_us,
    spec::{batch, codes, fast, inline, listing, millis, paced, prices, starting},
    status::{fields, refused},
    upstream::{Arrival, assert_never_faster},
    watching::{Watching, watch},
};

const SECOND_US: u64 = 1_000_000;

fn stub(server: &Server) -> UpstreamServiceClient<Channel> {
    UpstreamServiceClient::new(server.channel())
}

fn named(upstream: &Upstream) -> String {
    upstream_name(&upstream.url())
}

fn limits(
    name: &str,
    rate: Option<f64>,
    burst: Option<i32>,
    in_flight: Option<i32>,
) -> UpdateUpstreamRequest {
    let upstream = Seen {
        name: name.to_owned(),
        configured_requests_per_second: rate,
        configured_burst: burst,
        configured_max_in_flight: in_flight,
        ..Seen::default()
    };
    UpdateUpstreamRequest { upstream: Some(upstream), ..UpdateUpstreamRequest::default() }
}

fn hold(name: &str, duration: Option<Span>) -> HoldGateRequest {
    HoldGateRequest { name: name.to_owned(), duration, reason: "lunch".to_owned() }
}

fn get(name: &str) -> GetUpstreamRequest {
    GetUpstreamRequest { name: name.to_owned() }
}

/// Waits until so many more requests have arrived.
async fn arrives(upstream: &Upstream, more: usize) -> Vec<Arrival> {
    let before = upstream.charts().len();
    eventually(&format!("{more} more requests"), || async {
        Some(upstream.charts()).filter(|charts| charts.len() >= before + more)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_by_hand_is_quiet_within_a_second_charges_nobody_and_outlives_the_process() {
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(400, &upstream, paced(40.0, 5))).await;
    server.batch_processed(&name, 20).await;
    let client = server.client().await;
    let before = client.get_upstream(&upstream.url()).await.unwrap();
    assert_eq!((before.live_batches, before.hold_cause()), (1, HoldCause::Unspecified));
    assert!((before.effective_requests_per_second - 40.0).abs() < 1e-9 && before.effective_burst == 5);

    let held = client.hold_gate(hold(&upstream.url(), None)).await.unwrap();
    let answered_us = now_us();
    assert_eq!((held.hold_cause(), held.hold_message.as_str()), (HoldCause::Operator, "lunch"));
    assert_eq!((held.held_until, held.effective_requests_per_second), (None, 0.0));
    assert!(held.held_since.is_some() && held.update_time.is_some());
    let mut watching = Watching::open(&server, watch(&name)).await.unwrap();
    watching.quiet_seconds(3).await;
    let charts = upstream.charts();
    assert!(charts.iter().all(|chart| chart.at_us <= answered_us + SECOND_US), "requests after the hold");

    let still = client.get_batch(&name).await.unwrap();
    let progress = still.progress.unwrap();
    let pressure = &progress.host_pressure[0];
    assert_eq!((still.state, pressure.cause()), (State::Running.into(), Cause::Operator));
    assert_eq!((pressure.held_until, pressure.permitted_requests_per_second), (None, 0.0));
    assert_eq!(progress.estimated_completion_time, None, "nobody knows its end");
    let said = server.haul(&["get", &name]).await.out;
    assert!(said.contains("127.0.0.1 is held by an operator until it is released"), "{said}");

    server.kill().await;
    server.start_again().await;
    let client = server.client().await;
    let again = client.get_upstream(&upstream.url()).await.unwrap();
    assert_eq!((again.hold_cause(), again.held_since), (HoldCause::Operator, held.held_since));
    Watching::open(&server, watch(&name)).await.unwrap().quiet_seconds(2).await;
    assert_eq!(upstream.charts().len(), charts.len(), "requests after the restart");

    let released = client.release_gate(&upstream.url(), "").await.unwrap();
    assert_eq!((released.hold_cause(), released.hold_message.as_str()), (HoldCause::Unspecified, ""));
    let ended = server.batch_ended(&name).await;
    assert_eq!((ended.state(), ended.progress.unwrap().succeeded_items), (State::Completed, 400));
    assert!(server.items(&name).await.iter().all(|item| item.attempt_count == 1), "nobody was charged");
    // Of one that is open nothing changes.
    client.release_gate(&upstream.url(), "").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_with_a_time_ends_by_itself() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(100, &upstream, paced(50.0, 5))).await;
    server.batch_processed(&name, 10).await;
    let span = Span { seconds: 3, nanos: 0 };
    let held = server.client().await.hold_gate(hold(&upstream.url(), Some(span))).await.unwrap();
    let until_us = held.held_until.unwrap().seconds as u64 * SECOND_US;
    let answered_us = now_us();
    assert_eq!(server.batch_ended(&name).await.progress.unwrap().succeeded_items, 100);
    let during = |chart: &Arrival| chart.at_us > answered_us + SECOND_US / 2 && chart.at_us < until_us;
    assert_eq!(upstream.charts().into_iter().filter(during).count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_set_while_a_batch_runs_are_obeyed_down_and_up_and_after_a_crash() {
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(3_000, &upstream, paced(40.0, 10))).await;
    server.batch_processed(&name, 30).await;
    let client = server.client().await;
    let slow = client.update_upstream(limits(&upstream.url(), Some(8.0), Some(2), None)).await.unwrap();
    assert_eq!((slow.configured_requests_per_second, slow.configured_burst), (Some(8.0), Some(2)));
    assert!((slow.effective_requests_per_second - 8.0).abs() < 1e-9 && slow.effective_burst == 2);
    let from_us = now_us() + SECOND_US / 2;
    arrives(&upstream, 20).await;
    server.kill().await;
    server.start_again().await;
    let charts = arrives(&upstream, 20).await;
    let since: Vec<Arrival> = charts.into_iter().filter(|chart| chart.at_us > from_us).collect();
    assert!(since.len() >= 20);
    assert_never_faster(&since, 8.0, 2.0);

    let client = server.client().await;
    let mut unset = limits(&upstream.url(), None, None, None);
    let paths = ["configured_requests_per_second", "configured_burst"].map(str::to_owned).into();
    unset.update_mask = Some(FieldMask { paths });
    let fast = client.update_upstream(unset).await.unwrap();
    assert_eq!((fast.configured_requests_per_second, fast.configured_burst), (None, None));
    assert!((fast.effective_requests_per_second - 40.0).abs() < 1e-9);
    let charts = arrives(&upstream, 150).await;
    let last = &charts[charts.len() - 100..];
    let took_s = (last[99].at_us - last[0].at_us) as f64 / 1e6;
    assert!(took_s < 8.0, "at 8 a second 100 requests take 12 s, not {took_s}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_are_in_flight_than_an_operator_allows_over_all_batches() {
    const LATENCY_MS: u64 = 300;
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::slow(LATENCY_MS));
    let client = server.client().await;
    let mut two = limits(&upstream.url(), None, None, Some(2));
    two.allow_missing = true;
    client.update_upstream(two).await.unwrap();
    let codes = codes(40);
    let spec = |keys: &[String]| batch(inline(keys.to_vec()), &upstream.url(), paced(1_000.0, 100));
    let names = [server.start_batch(spec(&codes[..20])).await, server.start_batch(spec(&codes[20..])).await];
    let seen = eventually("both are used", || async {
        let seen = client.get_upstream(&upstream.url()).await.unwrap();
        (seen.in_flight_requests == 2 && seen.waiting_items > 2).then_some(seen)
    })
    .await;
    assert_eq!(seen.live_batches, 2);
    for name in &names {
        assert_eq!(server.batch_ended(name).await.progress.unwrap().succeeded_items, 20);
    }
    let charts = upstream.charts();
    assert_eq!(charts.len(), 40);
    for three in charts.windows(3) {
        // The third comes only when the first has had its answer. Half of its time is left to a busy machine.
        let apart_ms = (three[2].at_us - three[0].at_us) / 1_000;
        assert!(apart_ms >= LATENCY_MS / 2, "three within {apart_ms} ms");
    }
    let after = client.get_upstream(&upstream.url()).await.unwrap();
    assert_eq!((after.in_flight_requests, after.waiting_items, after.live_batches), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_priority_0_and_20_share_an_upstream_by_one_and_two() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let codes = codes(1_200);
    let fetch = || FetchPolicy { workers: Some(30), ..paced(60.0, 2) };
    let spec = |keys: &[String], priority| BatchSpec {
        priority,
        ..batch(inline(keys.to_vec()), &upstream.url(), fetch())
    };
    let low = server.start_batch(spec(&codes[..600], 0)).await;
    let high = server.start_batch(spec(&codes[600..], 20)).await;
    server.batch_processed(&high, 320).await;
    let is_high = |chart: &Arrival| codes[600..].iter().any(|code| code == chart.key());
    let charts = upstream.charts();
    // From when both have had an answer, and so all of their workers wait.
    let first = charts.iter().position(is_high).unwrap();
    let window = &charts[first + 60..first + 360];
    let of_high = window.iter().filter(|chart| is_high(chart)).count();
    assert!((185..=215).contains(&of_high), "{of_high} of 300 went to the batch that is worth two");
    for name in [&low, &high] {
        server.client().await.stop(name, "").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_back_halves_the_pace_and_that_is_told_unless_it_is_turned_off() {
    let (server, calm, stubborn) = tokio::join!(Server::start([]), Upstream::healthy(), Upstream::healthy());
    let off = FetchPolicy { adaptive_pace: Some(false), ..paced(20.0, 10) };
    let name = server.start_batch(prices(3_000, &calm, paced(20.0, 10))).await;
    let unslowed = server.start_batch(prices(3_000, &stubborn, off)).await;
    let client = server.client().await;
    for (upstream, batch) in [(&calm, &name), (&stubborn, &unslowed)] {
        server.batch_processed(batch, 5).await;
        upstream.refuse(Some(Refuse::All { retry_after: RetryAfter::Seconds(2) }));
        let held = eventually("it is held", || async {
            let seen = client.get_upstream(&upstream.url()).await.unwrap();
            (seen.hold_cause() == HoldCause::RetryAfter).then_some(seen)
        })
        .await;
        upstream.refuse(None);
        assert_eq!(held.breaker.unwrap().consecutive_push_backs, 1);
        assert!(held.held_until.is_some() && held.effective_requests_per_second.abs() < f64::EPSILON);
    }
    let open = async |upstream: &Upstream| {
        eventually("it is open", || async {
            let seen = client.get_upstream(&upstream.url()).await.unwrap();
            (seen.hold_cause() == HoldCause::Unspecified).then_some(seen)
        })
        .await
    };
    let slowed = open(&calm).await;
    assert!((10.0..12.0).contains(&slowed.effective_requests_per_second), "{slowed:?}");
    assert_eq!(slowed.effective_burst, 5);
    let told = server
        .batch_when(&name, "is told to be slowed", |batch| {
            let pressure = &batch.progress.as_ref().unwrap().host_pressure;
            pressure.iter().any(|pressure| {
                pressure.cause() == Cause::PushedBack
                    && pressure.held_until.is_none()
                    && (10.0..12.0).contains(&pressure.permitted_requests_per_second)
            })
        })
        .await;
    assert_eq!(told.state(), State::Running);
    let free = open(&stubborn).await;
    assert!((free.effective_requests_per_second - 20.0).abs() < 1e-9, "{free:?}");
    let charts = arrives(&calm, 40).await;
    assert_never_faster(&charts[charts.len() - 40..], 13.0, 5.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_behind_a_held_gate_is_read_as_soon_as_that_is_released_and_a_plan_knows_what_is_set() {
    let config = SimConfig { items: Some(20), ..SimConfig::default() };
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::start(config));
    let client = server.client().await;
    let mut set = limits(&upstream.url(), Some(10.0), Some(5), None);
    set.allow_missing = true;
    client.update_upstream(set).await.unwrap();
    let planned = starting(prices(8, &upstream, paced(50.0, 20)));
    let plan = Box::pin(client.plan_batch(planned)).await.unwrap().plan.unwrap();
    let at = &plan.upstreams[0];
    assert_eq!((at.requests_per_second, at.burst, at.floor_duration), (10.0, 5, Some(millis(300))));

    client.hold_gate(hold(&upstream.url(), None)).await.unwrap();
    let source = Source::JpxListing(listing(&upstream));
    let name = server.start_batch(batch(source, &upstream.url(), fast())).await;
    let held = server
        .batch_when(&name, "is held back", |batch| {
            let pressure = &batch.progress.as_ref().unwrap().host_pressure;
            pressure.iter().any(|pressure| pressure.cause() == Cause::Operator)
        })
        .await;
    assert_eq!((held.state(), upstream.arrivals().len()), (State::Running, 0));
    client.release_gate(&upstream.url(), "").await.unwrap();
    assert_eq!(server.batch_ended(&name).await.progress.unwrap().succeeded_items, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_names_what_is_wrong() {
    let server = Server::start([]).await;
    let mut stub = stub(&server);
    let nobody = "upstreams/nobody.example";
    let missing = |details: tonic_types::ErrorDetails| {
        let resource = details.resource_info().unwrap().resource_name.clone();
        assert_eq!(resource, nobody);
    };
    missing(refused(stub.get_upstream(get(nobody)).await, Code::NotFound, "UPSTREAM_NOT_FOUND"));
    let update = limits(nobody, Some(1.0), None, None);
    missing(refused(stub.update_upstream(update.clone()).await, Code::NotFound, "UPSTREAM_NOT_FOUND"));
    missing(refused(stub.hold_gate(hold(nobody, None)).await, Code::NotFound, "UPSTREAM_NOT_FOUND"));
    let release = ReleaseGateRequest { name: nobody.to_owned(), reason: String::new() };
    missing(refused(stub.release_gate(release).await, Code::NotFound, "UPSTREAM_NOT_FOUND"));

    for name in ["", "nobody.example", "upstreams/", "upstreams/A.example", "upstreams/https-a.example-443"] {
        let details = refused(stub.get_upstream(get(name)).await, Code::InvalidArgument, "INVALID_FIELD");
        assert_eq!(fields(&details), ["name"], "{name}");
    }
    let mut wrong = limits("x", Some(f64::NAN), Some(0), Some(10_001));
    let details = refused(stub.update_upstream(wrong.clone()).await, Code::InvalidArgument, "INVALID_FIELD");
    let of = |field: &str| format!("upstream.{field}");
    let all = ["configured_requests_per_second", "configured_burst", "configured_max_in_flight"].map(of);
    assert_eq!(fields(&details), [vec![of("name")], all.to_vec()].concat());
    // What the mask does not name is not looked at; what cannot be set is named.
    let paths = ["configured_burst", "etag", "*"].map(str::to_owned).into();
    wrong.update_mask = Some(FieldMask { paths });
    let details = refused(stub.update_upstream(wrong).await, Code::InvalidArgument, "INVALID_FIELD");
    let expected =
        ["upstream.name", "update_mask.paths[1]", "update_mask.paths[2]", "upstream.configured_burst"];
    assert_eq!(fields(&details), expected);
    let empty = stub.update_upstream(UpdateUpstreamRequest::default()).await;
    assert_eq!(fields(&refused(empty, Code::InvalidArgument, "INVALID_FIELD")), ["upstream"]);

    for seconds in [0, -1, 30 * 86_400 + 1] {
        let mut long = hold(nobody, Some(Span { seconds, nanos: 0 }));
        long.reason = "x".repeat(1_025);
        let details = refused(stub.hold_gate(long).await, Code::InvalidArgument, "INVALID_FIELD");
        assert_eq!(fields(&details), ["duration", "reason"], "{seconds}");
    }
    let long = ReleaseGateRequest { name: nobody.to_owned(), reason: "x".repeat(1_025) };
    let details = refused(stub.release_gate(long).await, Code::InvalidArgument, "INVALID_FIELD");
    assert_eq!(fields(&details), ["reason"]);

    let made = UpdateUpstreamRequest { allow_missing: true, ..update.clone() };
    let made = stub.update_upstream(made).await.unwrap().into_inner().upstream.unwrap();
    assert_eq!((made.name.as_str(), made.origin.as_str()), (nobody, "https://nobody.example"));
    let mut conditional = limits(nobody, Some(2.0), None, None);
    conditional.upstream.as_mut().unwrap().etag = made.etag.clone();
    stub.update_upstream(conditional.clone()).await.unwrap();
    let details = refused(stub.update_upstream(conditional).await, Code::Aborted, "ETAG_MISMATCH");
    let now = stub.get_upstream(get(nobody)).await.unwrap().into_inner().upstream.unwrap();
    assert_eq!(details.error_info().unwrap().metadata["current_etag"], now.etag);
    assert!(now.etag != made.etag && now.configured_requests_per_second == Some(2.0));
    // Holding it changes no limit.
    let held = stub.hold_gate(hold(nobody, None)).await.unwrap().into_inner().upstream.unwrap();
    assert_eq!(held.etag, now.etag);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_go_by_name_in_pages_and_by_filter() {
    let server = Server::start([]).await;
    let mut stub = stub(&server);
    let names: Vec<String> = (0..5).map(|n| format!("upstreams/h{n}.example")).collect();
    for name in names.iter().rev() {
        let made = UpdateUpstreamRequest { allow_missing: true, ..limits(name, Some(1.0), None, None) };
        stub.update_upstream(made).await.unwrap();
    }
    stub.hold_gate(hold(&names[1], None)).await.unwrap();
    stub.hold_gate(hold(&names[3], None)).await.unwrap();
    let list = |page_size, page_token: &str, filter: &str| ListUpstreamsRequest {
        page_size,
        page_token: page_token.to_owned(),
        filter: filter.to_owned(),
    };
    let mut listed = Vec::new();
    let mut token = String::new();
    for page in 0.. {
        let answer = stub.list_upstreams(list(2, &token, "")).await.unwrap().into_inner();
        listed.extend(answer.upstreams.into_iter().map(|upstream| upstream.name));
        // One that comes in front meanwhile moves nobody.
        let early = format!("upstreams/a{page}.example");
        let made = UpdateUpstreamRequest { allow_missing: true, ..limits(&early, None, None, None) };
        stub.update_upstream(made).await.unwrap();
        token = answer.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, names);

    for (filter, count) in [
        ("hold_cause = OPERATOR", 2),
        ("NOT hold_cause = OPERATOR AND live_batches = 0", 6),
        ("breaker.state = CLOSED AND credential = \"\"", 8),
        ("breaker.state != CLOSED OR live_batches > 0", 0),
        ("origin = \"https://h1.example\"", 1),
    ] {
        let answer = stub.list_upstreams(list(0, "", filter)).await.unwrap().into_inner();
        assert_eq!(answer.upstreams.len(), count, "{filter}");
        assert!(answer.upstreams.iter().all(|seen| seen.breaker.unwrap().state() == breaker::State::Closed));
    }
    let answer = stub.list_upstreams(list(1, "", "hold_cause = OPERATOR")).await.unwrap().into_inner();
    assert_eq!(answer.upstreams[0].name, names[1]);
    let other = list(1, &answer.next_page_token, "");
    refused(stub.list_upstreams(other).await, Code::InvalidArgument, "INVALID_PAGE_TOKEN");
    let next = list(9, &answer.next_page_token, "hold_cause = OPERATOR");
    let answer = stub.list_upstreams(next).await.unwrap().into_inner();
    assert_eq!((answer.upstreams[0].name.as_str(), answer.next_page_token.as_str()), (names[3].as_str(), ""));

    refused(stub.list_upstreams(list(-1, "", "")).await, Code::InvalidArgument, "INVALID_FIELD");
    for filter in ["state = RUNNING", "hold_cause = LUNCH", "hold_cause > OPERATOR"] {
        refused(stub.list_upstreams(list(0, "", filter)).await, Code::InvalidArgument, "INVALID_FILTER");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_and_steer_upstreams_by_name_or_by_url() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(5, &upstream, paced(50.0, 5))).await;
    server.batch_ended(&name).await;
    let full = named(&upstream);
    let id = full.trim_start_matches("upstreams/");
    let listed = server.haul(&["upstreams"]).await;
    assert_eq!((listed.status, listed.err.as_str()), (0, ""));
    let row = listed.out.lines().nth(1).unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells, [id, "50", "-", "5", "0", "0", "0", "CLOSED", "open"], "{}", listed.out);

    let url = upstream.url();
    let set = server.haul(&["upstreams", "set", &url, "--rate", "0.5", "--max-in-flight", "3"]).await;
    assert!(set.status == 0 && set.out.contains("0.5 requests/s, 3 in flight"), "{}{}", set.out, set.err);
    let held = server.haul(&["upstreams", "hold", id, "--for", "1h", "--reason", "lunch"]).await;
    assert!(held.status == 0 && held.out.contains("held by an operator until "), "{}{}", held.out, held.err);
    let json = server.haul(&["upstreams", "get", &full, "-o", "json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(
        (json["name"].as_str(), json["holdCause"].as_str()),
        (Some(full.as_str()), Some("HOLD_CAUSE_OPERATOR"))
    );
    let released = server.haul(&["upstreams", "release", &url]).await;
    assert!(released.status == 0 && released.out.contains("Gate       open"), "{}", released.out);

    let nobody = server.haul(&["upstreams", "get", "nobody.example"]).await;
    assert!(nobody.status == 1 && nobody.err.contains("upstreams/nobody.example"), "{}", nobody.err);
    let made = server.haul(&["upstreams", "set", "nobody.example", "--burst", "7", "--allow-missing"]).await;
    assert_eq!(made.status, 0, "{}", made.err);
    let long = server.haul(&["upstreams", "hold", "nobody.example", "--for", "31d"]).await;
    assert!(long.status == 2 && long.err.contains("2592000s"), "{}", long.err);
}
