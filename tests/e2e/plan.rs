//! What a start would do, without doing it.

use std::{collections::BTreeMap, fmt::Write, path::Path};

use haul_proto::v1::{
    AsOf, FetchPolicy, JpxListing, Plan, StartBatchRequest, StartBatchResponse, YahooChart,
    as_of::Moment,
    batch::State,
    batch_spec::{Connector, Source},
    conflict,
    start_batch_response::Outcome,
    yahoo_chart::Window,
};
use tonic::{Code, Status};

use crate::world::{
    Server, Upstream,
    canned::Canned,
    database::Database,
    program,
    spec::{batch, codes, fast, file, inline, issues, listing, paced, prices, starting},
    status::refused,
};

const REQUEST_ID: &str = "0190b6f0-7c1e-7d3a-9d2f-2f6f0b3c9a11";
const REAL: &str = "https://query1.finance.yahoo.com";

async fn answer(server: &Server, request: StartBatchRequest) -> Result<StartBatchResponse, Status> {
    let request = StartBatchRequest { validate_only: true, ..request };
    server.stub().start_batch(request).await.map(tonic::Response::into_inner)
}

async fn planned(server: &Server, request: StartBatchRequest) -> Plan {
    let answer = answer(server, request).await.unwrap();
    assert_eq!(answer.outcome(), Outcome::Validated);
    answer.plan.unwrap()
}

/// Asserts that there is nothing in the store but what the limiter remembers of a host.
async fn assert_untouched(server: &Server) {
    let database = Database::of(server).await;
    let rows = "SELECT (SELECT count(*) FROM batch_executions) + (SELECT count(*) FROM batch_execution_details)
        + (SELECT count(*) FROM requests) + (SELECT count(*) FROM list_versions) + (SELECT count(*) FROM listed_issues)";
    assert_eq!(database.number(rows).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_of_the_whole_list_counts_what_the_start_then_does_and_leaves_nothing_behind() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let request = StartBatchRequest {
        batch_id: "tokyo".to_owned(),
        request_id: REQUEST_ID.to_owned(),
        ..starting(batch(Source::JpxListing(listing(&upstream)), &upstream.url(), fast()))
    };
    let answer = answer(&server, request.clone()).await.unwrap();
    let total = issues().len() as i64;
    let shown = answer.batch.unwrap();
    assert_eq!((shown.name.as_str(), shown.create_time, shown.state()), ("", None, State::Unspecified));
    let shown = shown.spec.unwrap();
    assert_eq!(shown.fetch.unwrap().max_attempts, Some(4), "defaults are filled in");
    let Some(Source::JpxListing(list)) = shown.source else { panic!("it is the list") };
    assert_eq!((list.list_date.as_str(), list.list_sha256.len()), ("2026-10-31", 32));

    let plan = answer.plan.unwrap();
    assert_eq!((plan.total_items, plan.requests, plan.duplicate_items), (total, total, 0));
    assert!(!plan.total_is_partial);
    let [at] = plan.upstreams.as_slice() else { panic!("one upstream: {plan:?}") };
    assert!(at.upstream.starts_with("upstreams/http-127.0.0.1-"), "{}", at.upstream);
    assert_eq!((at.requests, at.requests_per_second, at.burst), (total, 5_000.0, 1_000));
    let floor = std::time::Duration::try_from(plan.floor_duration.unwrap()).unwrap();
    assert!((floor.as_secs_f64() - (total - 1_000) as f64 / 5_000.0).abs() < 1e-6, "{floor:?}");
    assert_eq!(at.floor_duration, plan.floor_duration);
    assert_eq!(plan.first_requests.len(), 5);
    assert_eq!((plan.conflicts.as_slice(), plan.warnings.as_slice()), (&[][..], &[][..]));

    planned(&server, request.clone()).await;
    assert_untouched(&server).await;
    assert!(server.client().await.list_batches(10).await.unwrap().is_empty());
    let asked: Vec<String> = upstream.arrivals().into_iter().map(|arrival| arrival.endpoint).collect();
    assert_eq!(asked, ["list"], "no item is asked for, and the list but once");

    // The same id and request id are free, and the real run sends what was shown.
    let started = server.stub().start_batch(request).await.unwrap().into_inner();
    assert_eq!(started.outcome(), Outcome::Started);
    let ended = server.batch_ended("tokyo").await;
    assert_eq!((ended.state(), ended.progress.unwrap().total_items), (State::Completed, total));
    let sent: BTreeMap<String, String> = upstream
        .charts()
        .into_iter()
        .map(|chart| (chart.key().to_owned(), format!("{}{}?{}", upstream.url(), chart.path, chart.query)))
        .collect();
    assert_eq!(sent.len() as i64, plan.requests);
    let agents: Vec<String> = upstream.charts().into_iter().map(|chart| chart.user_agent).collect();
    for request in &plan.first_requests {
        assert_eq!((request.method.as_str(), &request.url), ("GET", &sent[&request.item_key]));
        assert!(agents.iter().all(|agent| *agent == request.headers["User-Agent"]), "{request:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_holes_and_keys_that_make_no_request_are_counted_as_the_start_counts_them() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let codes = codes(3);
    let keys = [codes[0].clone(), codes[1].clone(), codes[0].clone(), "a b".to_owned(), codes[0].clone()];
    let spec = batch(inline(keys), &upstream.url(), fast());
    let plan = planned(&server, starting(spec.clone())).await;
    assert_eq!((plan.total_items, plan.duplicate_items, plan.requests), (3, 2, 2));
    assert_eq!(plan.sample_duplicate_keys, [codes[0].clone()]);
    assert_eq!(plan.warnings.len(), 1, "{:?}", plan.warnings);
    assert!(plan.warnings[0].contains("PERMANENT / INVALID_KEY: a b"), "{:?}", plan.warnings);
    let name = server.start_batch(spec).await;
    assert_eq!(server.batch_ended(&name).await.progress.unwrap().total_items, plan.total_items);
    assert_eq!(upstream.charts().len() as i64, plan.requests);

    let source = JpxListing {
        include_codes: vec!["0001".to_owned(), codes[2].clone(), "0002".to_owned()],
        ..listing(&upstream)
    };
    let spec = batch(Source::JpxListing(source), &upstream.url(), fast());
    let plan = planned(&server, starting(spec)).await;
    assert_eq!((plan.total_items, plan.requests), (3, 1));
    assert_eq!(plan.warnings.len(), 1, "{:?}", plan.warnings);
    assert!(plan.warnings[0].starts_with("2 items would fail without a request"), "{:?}", plan.warnings);
    assert!(plan.warnings[0].contains("CODE_NOT_LISTED: 0001 0002"), "{:?}", plan.warnings);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_refused_where_the_start_would_be() {
    let root = tempfile::tempdir().unwrap();
    let upstream = Upstream::healthy().await;
    let server = tokyo(&upstream, root.path(), "live_batches = 1\n").await;
    let spec = prices(2, &upstream, paced(0.01, 1));
    let started = StartBatchRequest {
        batch_id: "first".to_owned(),
        request_id: REQUEST_ID.to_owned(),
        ..starting(spec.clone())
    };
    // A plan before it takes neither the name nor the id nor the place.
    planned(&server, started.clone()).await;
    server.stub().start_batch(started.clone()).await.unwrap();

    let mut wrong = starting(spec.clone());
    wrong.spec.as_mut().unwrap().fetch.as_mut().unwrap().workers = Some(0);
    let forbidden = starting(batch(file(Path::new("/etc/hostname")), &upstream.url(), fast()));
    let missing = starting(batch(file(&root.path().join("missing.txt")), &upstream.url(), fast()));
    let many = starting(batch(inline((0..10_001).map(|n| format!("k{n}"))), &upstream.url(), fast()));
    let taken = StartBatchRequest { request_id: String::new(), ..started.clone() };
    let reused = StartBatchRequest { batch_id: "other".to_owned(), ..started.clone() };
    for (request, code, reason) in [
        (wrong, Code::InvalidArgument, "INVALID_FIELD"),
        (missing, Code::InvalidArgument, "INVALID_FIELD"),
        (forbidden, Code::InvalidArgument, "TARGET_FORBIDDEN"),
        (many, Code::InvalidArgument, "TOO_MANY_INLINE_ITEMS"),
        (taken, Code::AlreadyExists, "BATCH_EXISTS"),
        (reused, Code::AlreadyExists, "REQUEST_ID_REUSED"),
        (starting(spec), Code::ResourceExhausted, "BATCH_QUOTA"),
    ] {
        let as_planned = answer(&server, request.clone()).await.map(drop).expect_err(reason);
        let as_started = server.stub().start_batch(request).await.map(drop).expect_err(reason);
        assert_eq!(as_planned.message(), as_started.message());
        for status in [as_planned, as_started] {
            refused::<()>(Err(status), code, reason);
        }
    }
    // What a start would answer again, a plan says.
    let plan = planned(&server, started).await;
    assert!(plan.warnings[0].contains("batches/first"), "{:?}", plan.warnings);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_cannot_be_read_is_named() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("headless.csv"), "code,name\n1301,x\n").unwrap();
    std::fs::write(root.path().join("list.xls"), "no spreadsheet").unwrap();
    let (server, upstream) =
        tokio::join!(Server::start(["--file-root", root.path().to_str().unwrap()]), Upstream::healthy());
    let failing = Canned::saying("503 Service Unavailable").await;
    let list = |uri: String| Source::JpxListing(JpxListing { uri, ..JpxListing::default() });
    for (source, named, said) in [
        (file(&root.path().join("headless.csv")), "headless.csv", "key"),
        (list(format!("file://{}/list.xls", root.path().display())), "list.xls", ""),
        (list(format!("{}/nothing.xls", upstream.url())), "nothing.xls", "404"),
        (list(format!("{}/list.xls", failing.url())), "list.xls", "try again"),
    ] {
        let answer = answer(&server, starting(batch(source, &upstream.url(), fast()))).await;
        let details = refused(answer, Code::FailedPrecondition, "SOURCE_UNREADABLE");
        let violation = &details.precondition_failure().unwrap().violations[0];
        assert_eq!(violation.r#type, "SOURCE");
        assert!(
            violation.description.contains(named) && violation.description.contains(said),
            "{violation:?}"
        );
    }
    assert_untouched(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_past_date_is_planned_from_the_list_that_was_stored_and_refused_with_the_earliest_there_is() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let few = JpxListing { include_codes: codes(3), ..listing(&upstream) };
    let spec = |date: &str| {
        let mut spec = batch(Source::JpxListing(few.clone()), &upstream.url(), fast());
        spec.as_of = Some(AsOf { moment: Some(Moment::Date(date.to_owned())), ..AsOf::default() });
        spec
    };
    let unreadable = |answer| {
        let details = refused(answer, Code::FailedPrecondition, "SOURCE_UNREADABLE");
        details.error_info().unwrap().metadata.get("list_date").cloned()
    };
    assert_eq!(unreadable(answer(&server, starting(spec("2020-06-01"))).await), None);
    assert!(upstream.arrivals().is_empty(), "a past date asks nobody");

    let mut current = spec("2020-06-01");
    current.as_of = None;
    let name = server.start_batch(current).await;
    server.batch_ended(&name).await;
    let list_date = unreadable(answer(&server, starting(spec("2020-06-01"))).await);
    assert_eq!(list_date.as_deref(), Some("2026-10-31"));
    let plan = planned(&server, starting(spec("2099-01-01"))).await;
    assert_eq!(plan.total_items, 3);
    assert_eq!(upstream.arrivals().iter().filter(|arrival| arrival.endpoint == "list").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_keys_are_planned_in_little_memory_and_what_lies_beyond_is_a_lower_bound() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("keys.txt");
    let mut text = String::new();
    for n in 0..1_000_500 {
        writeln!(text, "K{n:07}").unwrap();
    }
    std::fs::write(&path, &text).unwrap();
    let server = Server::start(["--file-root", root.path().to_str().unwrap()]).await;
    let before = server.peak_memory_kib();
    let plan = planned(&server, starting(batch(file(&path), "http://127.0.0.1:9", fast()))).await;
    assert_eq!((plan.total_items, plan.requests, plan.total_is_partial), (1_000_000, 1_000_000, true));
    let grown = server.peak_memory_kib() - before;
    assert!(grown < 100 << 10, "a plan of a million keys took {grown} KiB");
    assert_untouched(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_batches_at_the_same_upstream_are_named() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(20, &upstream, paced(0.5, 1))).await;
    server.batch_processed(&name, 1).await;
    let plan = planned(&server, starting(prices(1, &upstream, fast()))).await;
    let [conflict] = plan.conflicts.as_slice() else { panic!("one is in its way: {plan:?}") };
    assert_eq!((&conflict.batch, conflict.kind()), (&name, conflict::Kind::SharedUpstream));
    assert_eq!(conflict.upstream, plan.upstreams[0].upstream);
    let elsewhere = planned(&server, starting(batch(inline(codes(1)), "http://127.0.0.1:9", fast()))).await;
    assert!(elsewhere.conflicts.is_empty());
    server.client().await.stop(&name, "").await.unwrap();
    server.batch_ended(&name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_allowed_and_looks_wrong_is_said() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let chart = |base_url: &str, interval: &str, range: &str| {
        Connector::YahooChart(YahooChart {
            base_url: base_url.to_owned(),
            interval: interval.to_owned(),
            window: Some(Window::Range(range.to_owned())),
            ..YahooChart::default()
        })
    };
    let named = FetchPolicy { user_agent: "prices (+mailto:me@here.test)".to_owned(), ..paced(0.0125, 1) };
    let simulated = upstream.url();
    for (connector, fetch, expected) in [
        (chart(&simulated, "1d", "1y"), paced(500.0, 100), &[][..]),
        (chart(REAL, "1d", "1y"), paced(5.0, 20), &["5 requests/s", "a burst of 20", "User-Agent \"haul/"]),
        (chart(REAL, "1d", "1y"), named, &["it takes at least 4.1 days"]),
        (chart(&simulated, "1m", "2mo"), fast(), &["bars of 1m reach back 30 days"]),
    ] {
        let mut spec = batch(Source::JpxListing(listing(&upstream)), "", fetch);
        spec.connector = Some(connector);
        let plan = planned(&server, starting(spec)).await;
        assert_eq!(plan.warnings.len(), expected.len(), "{:?}", plan.warnings);
        for (warning, said) in plan.warnings.iter().zip(expected) {
            assert!(warning.contains(said), "{warning}");
        }
    }
}

/// A server whose exchange is the simulator, and which may read below a folder.
async fn tokyo(upstream: &Upstream, folder: &Path, more: &str) -> Server {
    let (config, list_uri) = (folder.join("haul.toml"), upstream.list_url());
    let roots = [folder.to_str().unwrap()];
    std::fs::write(&config, format!("list_uri = {list_uri:?}\nfile_roots = {roots:?}\n{more}")).unwrap();
    Server::start(["--config", config.to_str().unwrap()]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_is_accepted_and_the_one_for_the_real_upstream_keeps_below_what_is_reported() {
    let (folder, upstream) = (tempfile::tempdir().unwrap(), Upstream::healthy().await);
    let server = tokyo(&upstream, folder.path(), "").await;
    std::fs::write(folder.path().join("codes.csv"), "code\n7203\n6758\n").unwrap();
    let mut plans = BTreeMap::new();
    for example in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")).unwrap() {
        let path = example.unwrap().path();
        // The clients beside the specs are no specs.
        if path.is_dir() {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let here = folder.path().join(&name);
        std::fs::write(&here, text.replace("/srv/haul/keys", folder.path().to_str().unwrap())).unwrap();
        let said = server.haul(&["plan", "-f", here.to_str().unwrap(), "-o", "json"]).await;
        assert_eq!(said.status, 0, "{name}: {}", said.err);
        let document: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        plans.insert(name, document["plan"].clone());
    }
    let total = issues().len().to_string();
    for (name, items) in
        [("codes.yaml", "3"), ("keys-file.yaml", "2"), ("tokyo.yaml", &total), ("tokyo-real.yaml", &total)]
    {
        assert_eq!(plans[name]["requests"], items, "{name}");
    }
    let warnings = |name: &str| plans[name]["warnings"].to_string();
    assert!(warnings("tokyo.yaml").contains("5 requests/s"), "{}", warnings("tokyo.yaml"));
    let real = warnings("tokyo-real.yaml");
    assert!(!real.contains("requests/s") && !real.contains("burst"), "{real}");
    assert!(real.contains("4.1 days"), "{real}");
    assert_untouched(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_a_plan_for_people_and_for_programs() {
    let (folder, upstream) = (tempfile::tempdir().unwrap(), Upstream::healthy().await);
    let server = tokyo(&upstream, folder.path(), "").await;
    let path = folder.path().join("spec.yaml");
    let spec = format!(
        "displayName: Three\nasOf: {{date: 2026-11-20, timeZone: Asia/Tokyo}}\n\
         inlineItems: {{items: [{{key: \"1301\"}}, {{key: \"1332\"}}, {{key: \"1301\"}}]}}\n\
         yahooChart: {{baseUrl: \"{}\", range: 5d}}\nfetch: {{requestsPerSecond: 0.001, burst: 1}}\n",
        upstream.url()
    );
    std::fs::write(&path, spec).unwrap();
    let file = path.to_str().unwrap();
    let said = server.haul(&["plan", "-f", file]).await;
    assert_eq!((said.status, said.err.as_str()), (0, ""));
    let port = upstream.url().rsplit_once(':').unwrap().1.to_owned();
    let query = "period1=1794754800&period2=1795186800&interval=1d&events=div,split,capitalGains&includePrePost=false";
    let agent = concat!("haul/", env!("CARGO_PKG_VERSION"));
    let text = said.out.replace(query, "QUERY").replace(&port, "PPPPP").replace(agent, "haul/V");
    assert_eq!(
        text.lines().filter(|line| !line.starts_with("As of")).collect::<Vec<_>>().join("\n"),
        "\
A plan: nothing was started, and no item was asked for.

Title     Three
Source    3 items in the request
Items     2; 1 repeat of a key left out: 1301
Requests  2
Workers   10; at most 4 attempts an item, 30s each
Shortest  16m 40s (1,000 s)

UPSTREAM              REQUESTS  PER SECOND  BURST  SHORTEST
http-127.0.0.1-PPPPP         2       0.001      1   16m 40s

First requests
  1301  GET http://127.0.0.1:PPPPP/v8/finance/chart/1301.T?QUERY
  1332  GET http://127.0.0.1:PPPPP/v8/finance/chart/1332.T?QUERY
  Accept: application/json
  User-Agent: haul/V"
    );

    let said = server.haul(&["plan", "-f", file, "-o", "json"]).await;
    let document: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(document["plan"]["floorDuration"], "1000s");
    assert_eq!(document["plan"]["sampleDuplicateKeys"][0], "1301");
    assert_eq!(document["batch"]["spec"]["fetch"]["maxAttempts"], 4);
    assert!(document["batch"].get("name").is_none());

    std::fs::write(&path, "inlineItems: {items: [{key: \"\"}]}\nyahooChart: {}\n").unwrap();
    assert_eq!(server.haul(&["plan", "-f", file]).await.status, 2);
    let missing = format!("jpxListing: {{uri: \"{}/no.xls\"}}\nyahooChart: {{}}\n", upstream.url());
    std::fs::write(&path, missing).unwrap();
    let said = server.haul(&["plan", "-f", file]).await;
    assert_eq!((said.status, said.out.as_str()), (1, ""));
    assert!(said.err.contains("no.xls") && said.err.contains("see to it first"), "{}", said.err);
    assert!(program::run("haul", ["plan"]).await.err.contains("--file"));
}
