//! Any HTTP API: requests from templates, replies as they came, many hosts in one batch.

use std::{collections::HashSet, io::Write};

use haul_proto::v1::{
    AsOf, Batch, BatchSpec, BodyOutput, FailureClass, FetchPolicy, HttpFetch, InlineItems, ItemSpec,
    as_of::Moment,
    batch::State,
    batch_spec::{Connector, Source},
    body_output::Placement,
    http_fetch::{Method, Output},
    item,
};
use prost_types::{Struct, Value, value::Kind};

use crate::world::{
    Server, Upstream,
    database::Database,
    hosts::{Answer, Asked, Hosts},
    spec::{at_once, fast, inline, millis, starting},
    watching::assert_adds_up,
};

const LOOPBACK: [&str; 2] = ["--allow-target", "127.0.0.0/8"];
const OK: &str = "200 OK\r\ncontent-type: text/plain";

fn http(url_template: impl Into<String>) -> HttpFetch {
    HttpFetch { url_template: url_template.into(), ..HttpFetch::default() }
}

fn discarding(http: HttpFetch) -> HttpFetch {
    let body = BodyOutput { placement: Placement::Discard.into(), ..BodyOutput::default() };
    HttpFetch { output: Some(Output::Body(body)), ..http }
}

fn spec(keys: &[&str], http: HttpFetch, fetch: FetchPolicy) -> BatchSpec {
    BatchSpec {
        source: Some(inline(keys.iter().map(|key| (*key).to_owned()))),
        connector: Some(Connector::HttpFetch(http)),
        fetch: Some(fetch),
        ..BatchSpec::default()
    }
}

fn of_day(date: &str, spec: BatchSpec) -> BatchSpec {
    let moment = Some(Moment::Date(date.to_owned()));
    let as_of = AsOf { moment, time_zone: "Asia/Tokyo".to_owned(), ..AsOf::default() };
    BatchSpec { as_of: Some(as_of), ..spec }
}

/// Items with a host each.
fn with_hosts(items: impl IntoIterator<Item = (String, String)>) -> Option<Source> {
    let text = |text: String| Value { kind: Some(Kind::StringValue(text)) };
    let item = |(key, host): (String, String)| {
        let columns = Struct { fields: [("host".to_owned(), text(host))].into() };
        ItemSpec { key, columns: Some(columns) }
    };
    let items = items.into_iter().map(item).collect();
    Some(Source::InlineItems(InlineItems { items, item_count: 0 }))
}

async fn ended(server: &Server, spec: BatchSpec) -> (Batch, Vec<item::State>) {
    let name = server.start_batch(spec).await;
    let batch = server.batch_ended(&name).await;
    assert_adds_up(&batch);
    let states = server.items(&name).await.iter().map(haul_proto::v1::Item::state).collect();
    (batch, states)
}

/// The last item of a batch failed like this.
async fn failed(server: &Server, spec: BatchSpec) -> (FailureClass, String, i32) {
    let name = server.start_batch(spec).await;
    server.batch_ended(&name).await;
    let error = server.items(&name).await.pop().unwrap().error.unwrap();
    (error.failure_class(), error.reason, error.http_status)
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_are_rows_that_a_repeated_day_overwrites_and_another_day_does_not() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let template = format!("{}/api/things/{{{{ item.key }}}}?day={{{{ as_of_date }}}}", upstream.url());
    let keys = ["a b", "c/d", "極"];
    let of = |day| of_day(day, spec(&keys, http(template.as_str()), fast()));
    let (batch, states) = ended(&server, of("2026-11-20")).await;
    assert_eq!((batch.state(), states), (State::Completed, vec![item::State::Succeeded; 3]));
    assert_eq!(batch.progress.unwrap().records_written, 3);
    let database = Database::of(&server).await;
    let rows = "SELECT count(*) FROM responses WHERE http_status = 200 AND method = 'GET'
                AND content_type LIKE 'application/json%' AND size_bytes > 0 AND length(sha256) = 32
                AND hex(substr(body, 1, 4)) = '28B52FFD'";
    assert_eq!(database.number(rows).await, 3);
    let paths: Vec<String> = upstream.arrivals().into_iter().map(|arrival| arrival.path).collect();
    assert_eq!(
        paths.iter().map(String::as_str).collect::<HashSet<_>>(),
        HashSet::from(["/api/things/a%20b", "/api/things/c%2Fd", "/api/things/%E6%A5%B5"])
    );
    assert!(upstream.arrivals().iter().all(|arrival| arrival.query == "day=2026-11-20"));

    ended(&server, of("2026-11-20")).await;
    assert_eq!(database.number("SELECT count(*) FROM responses").await, 3);
    assert_eq!(database.number("SELECT count(*) FROM responses WHERE batch_seq = 2").await, 3);
    ended(&server, of("2026-11-21")).await;
    assert_eq!(database.number("SELECT count(*) FROM responses").await, 6);
    assert_eq!(database.number("SELECT count(*) FROM kept_bodies").await, 9);
    database.assert_recount().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_discarded_is_counted_and_hashed_and_kept_nowhere() {
    let hosts = Hosts::saying(|_| Answer::Whole(OK, b"abc".to_vec())).await;
    let server = Server::start([]).await;
    let url = format!("http://{}/{{{{ item.key }}}}", hosts.host(1));
    let (batch, states) = ended(&server, spec(&["x"], discarding(http(url)), fast())).await;
    assert_eq!(states, [item::State::Succeeded]);
    let item = server.items(&batch.name).await.remove(0);
    assert_eq!(item.result.unwrap().size_bytes, 3);
    let database = Database::of(&server).await;
    let sha256 =
        "SELECT count(*) FROM responses WHERE body IS NULL AND size_bytes = 3 AND lower(hex(sha256)) =
                  'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'";
    assert_eq!(database.number(sha256).await, 1);
    assert_eq!(database.number("SELECT count(*) FROM kept_bodies").await, 0);
    let redecode = server.haul(&["redecode", &batch.name]).await;
    assert!(redecode.status == 1 && redecode.err.contains("NO_KEPT_BODIES"), "{}", redecode.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_discarded_is_never_held_in_memory() {
    const PIECE: usize = 1 << 20;
    const ITEMS: usize = 4;
    const PIECES: usize = 64;
    let hosts = Hosts::saying(|_| Answer::Long(OK, vec![7; PIECE], PIECES)).await;
    let server = Server::start([]).await;
    let before = server.peak_memory_kib();
    let url = format!("http://{}/{{{{ item.key }}}}", hosts.host(1));
    let fetch =
        FetchPolicy { max_body_bytes: Some(1 << 30), attempt_timeout: Some(millis(60_000)), ..at_once() };
    let (batch, states) = ended(&server, spec(&["a", "b", "c", "d"], discarding(http(url)), fetch)).await;
    assert_eq!(states, [item::State::Succeeded; ITEMS]);
    assert_eq!(batch.progress.unwrap().bytes_received, (ITEMS * PIECES * PIECE) as i64);
    let grown = server.peak_memory_kib() - before;
    assert!(grown < 64 * 1024, "{grown} KiB more, for bodies of 64 MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_is_a_success_where_the_spec_says_so() {
    let hosts = Hosts::saying(|asked| match asked.path.as_str() {
        "/gone" => Answer::Whole("404 Not Found\r\ncontent-type: text/plain", b"no such thing".to_vec()),
        _ => Answer::Whole("302 Found\r\nlocation: /gone", Vec::new()),
    })
    .await;
    let server = Server::start([]).await;
    let url = format!("http://{}/{{{{ item.key }}}}", hosts.host(1));
    let permanent = |reason: &str, status| (FailureClass::Permanent, reason.to_owned(), status);
    let (gone, moved) =
        (spec(&["gone"], http(url.as_str()), fast()), spec(&["moved"], http(url.as_str()), fast()));
    assert_eq!(failed(&server, gone).await, permanent("NOT_FOUND", 404));
    assert_eq!(failed(&server, moved).await, permanent("HTTP_STATUS", 302), "a redirect is not followed");
    assert_eq!(hosts.asked().len(), 2);
    let accepting = HttpFetch { accept_statuses: vec!["2xx".to_owned(), "404".to_owned()], ..http(url) };
    let (_, states) = ended(&server, spec(&["gone"], accepting, fast())).await;
    assert_eq!(states, [item::State::Succeeded]);
    let rows = "SELECT count(*) FROM responses WHERE http_status = 404 AND size_bytes = 13";
    assert_eq!(Database::of(&server).await.number(rows).await, 1);
}

/// So many zeros, which take a thousandth of that.
fn bomb(bytes: usize) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&vec![0; bytes]).unwrap();
    gzip.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_much_or_never_ends_is_given_up() {
    const GZIP: &str = "200 OK\r\ncontent-encoding: gzip";
    let (too_much, fitting) = (bomb(64 << 20), bomb(1 << 20));
    let hosts = Hosts::saying(move |asked| match asked.path.as_str() {
        "/bomb" => Answer::Whole(GZIP, too_much.clone()),
        "/large" => Answer::Whole(OK, vec![7; (1 << 20) + 1]),
        "/fits" => Answer::Whole(GZIP, fitting.clone()),
        _ => Answer::Endless,
    })
    .await;
    let server = Server::start([]).await;
    let url = format!("http://{}/{{{{ item.key }}}}", hosts.host(1));
    let too_large = (FailureClass::Permanent, "BODY_TOO_LARGE".to_owned(), 0);
    let stored = |key| spec(&[key], http(url.as_str()), fast());
    let told = |key, fetch| spec(&[key], discarding(http(url.as_str())), fetch);
    let bounded = || FetchPolicy { max_body_bytes: Some(10 << 20), ..fast() };
    assert_eq!(failed(&server, stored("bomb")).await, too_large);
    assert_eq!(failed(&server, told("bomb", bounded())).await, too_large);
    assert_eq!(failed(&server, stored("large")).await, too_large);
    assert_eq!(ended(&server, told("large", bounded())).await.1, [item::State::Succeeded]);
    assert_eq!(ended(&server, stored("fits")).await.1, [item::State::Succeeded]);
    // The first item shows that the upstream lives.
    let hasty = FetchPolicy {
        attempt_timeout: Some(millis(1_000)),
        max_attempts: Some(2),
        workers: Some(1),
        ..fast()
    };
    for http in [http(url.as_str()), discarding(http(url.as_str()))] {
        let spec = spec(&["fits", "endless"], http, hasty.clone());
        assert_eq!(failed(&server, spec).await, (FailureClass::Temporary, "ATTEMPT_TIMEOUT".to_owned(), 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_no_body_and_headers_are_sent_as_rendered() {
    let hosts = Hosts::saying(|_| Answer::Whole(OK, vec![7; 5 << 20])).await;
    let server = Server::start([]).await;
    let headers = [("X-Key", "{{ item.key }}/{{ as_of_date }}"), ("Accept", "text/csv")];
    let http = HttpFetch {
        method: Method::Head.into(),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..http(format!("http://{}/x", hosts.host(1)))
    };
    let (_, states) = ended(&server, of_day("2026-11-20", spec(&["k"], http, fast()))).await;
    assert_eq!(states, [item::State::Succeeded]);
    let asked = hosts.asked().remove(0);
    assert_eq!(asked.method, "HEAD");
    assert_eq!((asked.header("x-key"), asked.header("accept")), ("k/2026-11-20", "text/csv"));
    assert!(asked.header("user-agent").starts_with("haul/"), "{asked:?}");
    let rows = "SELECT count(*) FROM responses WHERE method = 'HEAD' AND size_bytes = 0";
    assert_eq!(Database::of(&server).await.number(rows).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_comes_to_nothing_fails_its_item_and_no_other() {
    let hosts = Hosts::saying(|_| Answer::Whole(OK, Vec::new())).await;
    let server = Server::start(LOOPBACK).await;
    let source =
        with_hosts([("good".to_owned(), hosts.host(1)), ("forbidden".to_owned(), "10.0.0.1".to_owned())]);
    let Some(Source::InlineItems(mut items)) = source else { unreachable!() };
    items.items.push(ItemSpec { key: "bare".to_owned(), columns: None });
    let spec = BatchSpec {
        source: Some(Source::InlineItems(items)),
        ..spec(&[], http("http://{{ item.host | safe }}/"), fast())
    };
    let name = server.start_batch(spec).await;
    server.batch_ended(&name).await;
    let items = server.items(&name).await;
    let reason = |nth: usize| items[nth].error.as_ref().map(|error| error.reason.as_str());
    assert_eq!((items[0].state(), reason(0)), (item::State::Succeeded, None));
    assert_eq!(reason(1), Some("TARGET_FORBIDDEN"));
    assert_eq!(reason(2), Some("TEMPLATE_FAILED"));
    assert!(items[2].error.as_ref().unwrap().message.contains("item.host"), "{:?}", items[2].error);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_hosts_are_asked_in_one_batch_each_at_its_own_rate() {
    const HOSTS: usize = 200;
    const EACH: usize = 3;
    let hosts = Hosts::saying(|_| Answer::Whole(OK, Vec::new())).await;
    let server = Server::start(LOOPBACK).await;
    let items = (0..HOSTS * EACH).map(|n| (format!("k{n}"), hosts.host(1 + n % HOSTS)));
    // One rate for all of them would take ten minutes.
    let fetch = FetchPolicy {
        requests_per_second: Some(1.0),
        burst: Some(EACH as i32 * 2),
        workers: Some(50),
        ..FetchPolicy::default()
    };
    let spec = BatchSpec {
        source: with_hosts(items),
        ..spec(&[], http("http://{{ item.host | safe }}/{{ item.key }}"), fetch)
    };
    let (batch, states) = ended(&server, spec).await;
    assert_eq!((batch.state(), states), (State::Completed, vec![item::State::Succeeded; HOSTS * EACH]));
    let asked = hosts.asked();
    assert_eq!(asked.len(), HOSTS * EACH);
    assert_eq!(asked.iter().map(Asked::host).collect::<HashSet<_>>().len(), HOSTS);
    assert_eq!(Database::of(&server).await.number("SELECT count(*) FROM upstreams").await, HOSTS as i64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_asks_for_less_holds_its_own_items_alone() {
    const EACH: usize = 100;
    let pushed_back = std::sync::atomic::AtomicBool::new(false);
    let hosts = Hosts::saying(move |asked| {
        let is_first =
            asked.host() == "127.0.0.2" && !pushed_back.swap(true, std::sync::atomic::Ordering::SeqCst);
        if is_first {
            Answer::Whole("429 Too Many Requests\r\nretry-after: 4", Vec::new())
        } else {
            Answer::Whole(OK, Vec::new())
        }
    })
    .await;
    let server = Server::start(LOOPBACK).await;
    let items = (0..3 * EACH).map(|n| (format!("k{n}"), hosts.host(1 + n % 3)));
    let fetch = FetchPolicy { workers: Some(2), ..fast() };
    let spec = BatchSpec {
        source: with_hosts(items),
        ..spec(&[], http("http://{{ item.host | safe }}/{{ item.key }}"), fetch)
    };
    let name = server.start_batch(spec).await;
    // The others are done while it is held, and it keeps its items.
    let batch = server.batch_processed(&name, 2 * EACH as i64).await;
    let asked = hosts.asked();
    let of = |host: &str| asked.iter().filter(|asked| asked.host() == host).count();
    assert_eq!((of("127.0.0.1"), of("127.0.0.3")), (EACH, EACH));
    assert!(of("127.0.0.2") <= 2, "the held one is asked no more: {}", of("127.0.0.2"));
    assert_eq!(batch.state(), State::Running);
    let ended = server.batch_ended(&name).await;
    let progress = ended.progress.as_ref().unwrap();
    assert_eq!((progress.succeeded_items, progress.retried_attempts), (3 * EACH as i64, 0));
    Database::of(&server).await.assert_recount().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_shows_the_requests_as_they_would_be_sent_and_each_upstream() {
    let server = Server::start(LOOPBACK).await;
    let items = [("a b", "127.0.0.1:81"), ("c", "127.0.0.2:81"), ("d", "127.0.0.2:81")];
    let headers = [("X-Day".to_owned(), "{{ as_of_date }}".to_owned())].into();
    let http = HttpFetch { headers, ..http("http://{{ item.host | safe }}/{{ item.key }}") };
    let spec = BatchSpec {
        source: with_hosts(items.map(|(key, host)| (key.to_owned(), host.to_owned()))),
        ..spec(
            &[],
            http,
            FetchPolicy { burst: Some(1), requests_per_second: Some(0.5), ..FetchPolicy::default() },
        )
    };
    let mut start = starting(of_day("2026-11-20", spec));
    start.validate_only = true;
    let plan = server.client().await.start_batch(start).await.unwrap().plan.unwrap();
    let first = &plan.first_requests[0];
    assert_eq!((first.method.as_str(), first.url.as_str()), ("GET", "http://127.0.0.1:81/a%20b"));
    assert_eq!((first.headers["x-day"].as_str(), first.headers["Accept"].as_str()), ("2026-11-20", "*/*"));
    let upstreams: Vec<(&str, i64)> =
        plan.upstreams.iter().map(|plan| (plan.upstream.as_str(), plan.requests)).collect();
    assert_eq!(upstreams, [("upstreams/http-127-0-0-2-81", 2), ("upstreams/http-127-0-0-1-81", 1)]);
    assert_eq!((plan.requests, plan.floor_duration.unwrap().seconds), (3, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_asks_for_nonsense_is_refused_with_field_value_and_way_out() {
    let server = Server::start([]).await;
    for (http, field, said) in [
        (http(""), "url_template", "is required, such as"),
        (http("h.test/x"), "url_template", "makes no absolute http or https URL"),
        (http("http://h.test/{{ item.key"), "url_template", "syntax error"),
        (http("http://h.test/".to_owned() + &"x".repeat(65_536)), "url_template", "more than 65536"),
        (http("http://169.254.169.254/{{ item.key }}"), "url_template", "--allow-target"),
        (HttpFetch { method: 3, ..http("http://h.test/") }, "method", "3 is no method"),
        (
            HttpFetch { accept_statuses: vec!["2xx".into(), "20x".into()], ..http("http://h.test/") },
            "accept_statuses[1]",
            "\"20x\" is not a status such as",
        ),
        (
            HttpFetch { accept_statuses: vec!["429".into()], ..http("http://h.test/") },
            "accept_statuses[0]",
            "never a success",
        ),
        (
            HttpFetch { headers: [("Host".to_owned(), "x".to_owned())].into(), ..http("http://h.test/") },
            "headers[Host]",
            "it is that of the URL",
        ),
        (
            HttpFetch { headers: [("a b".to_owned(), "x".to_owned())].into(), ..http("http://h.test/") },
            "headers[a b]",
            "is no header name",
        ),
        (
            HttpFetch { headers: [("x-y".to_owned(), "{{".to_owned())].into(), ..http("http://h.test/") },
            "headers[x-y]",
            "syntax error",
        ),
        (
            HttpFetch {
                output: Some(Output::Body(BodyOutput { dataset: "mine".into(), ..BodyOutput::default() })),
                ..http("http://h.test/")
            },
            "body.dataset",
            "\"mine\" is not \"responses\"",
        ),
        (
            HttpFetch {
                output: Some(Output::Body(BodyOutput { placement: 2, ..BodyOutput::default() })),
                ..http("http://h.test/")
            },
            "body.placement",
            "2 is no placement",
        ),
    ] {
        let status = server.stub().start_batch(starting(spec(&["k"], http, fast()))).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{field}");
        assert!(status.message().contains(&format!("spec.http_fetch.{field}")), "{}", status.message());
        assert!(status.message().contains(said), "{field}: {}", status.message());
    }
}
