//! What `StartBatch` takes and what it refuses.

use haul_proto::v1::{
    AsOf, BatchSpec, FailureClass, FetchPolicy, OutagePolicy, StartBatchRequest, YahooChart,
    as_of::Moment,
    batch::State,
    batch_spec::{Connector, Source},
    item,
    start_batch_response::Outcome,
    yahoo_chart::{Event, Window},
};
use prost_types::{Duration, value::Kind};
use tonic::Code;

use crate::world::{
    Server, Upstream,
    spec::{batch, codes, fast, file, inline, millis, paced, prices, starting},
    status::{fields, refused},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_echoes_every_default() {
    let server = Server::start([]).await;
    let spec = BatchSpec {
        source: Some(inline(["1301".to_owned()])),
        connector: Some(Connector::YahooChart(YahooChart {
            base_url: "http://127.0.0.1:9".to_owned(),
            ..YahooChart::default()
        })),
        ..BatchSpec::default()
    };
    let answer = server.stub().start_batch(starting(spec)).await.unwrap().into_inner();
    assert_eq!(answer.outcome(), Outcome::Started);
    let started = answer.batch.unwrap();
    assert!(matches!(started.state(), State::Queued | State::Running));
    let id = started.name.strip_prefix("batches/").unwrap();
    assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 7);

    let echoed = started.spec.unwrap();
    let seconds = |seconds| Some(Duration { seconds, nanos: 0 });
    let user_agent = echoed.fetch.as_ref().unwrap().user_agent.clone();
    assert!(user_agent.starts_with("haul/"), "{user_agent}");
    assert_eq!(
        echoed.fetch.unwrap(),
        FetchPolicy {
            workers: Some(10),
            attempt_timeout: seconds(30),
            max_attempts: Some(4),
            initial_backoff: seconds(2),
            backoff_multiplier: Some(2.0),
            max_backoff: seconds(300),
            requests_per_second: Some(5.0),
            burst: Some(20),
            adaptive_pace: Some(true),
            max_body_bytes: Some(16 << 20),
            commit_group_size: Some(10),
            commit_group_interval: Some(millis(250)),
            user_agent,
            keep_bodies: seconds(7 * 86_400),
            probe_items: Some(3),
            item_deadline: seconds(72 * 3_600),
            rules: Vec::new(),
        }
    );
    assert_eq!(echoed.failure.unwrap().min_processed_items, Some(100));
    assert_eq!(echoed.retention, seconds(30 * 86_400));
    assert_eq!(
        echoed.outage.unwrap(),
        OutagePolicy { hold: seconds(300), auto_resume: Some(true), probe_interval: seconds(60) }
    );
    let Some(Connector::YahooChart(chart)) = echoed.connector else { panic!("the connector is echoed") };
    assert_eq!((chart.interval.as_str(), chart.symbol_suffix.as_deref()), ("1d", Some(".T")));
    assert_eq!(chart.window, Some(Window::Range("1y".to_owned())));
    let events: Vec<Event> = chart.events().collect();
    assert_eq!(events, [Event::Dividends, Event::Splits, Event::CapitalGains]);
    let as_of = echoed.as_of.unwrap();
    assert_eq!(as_of.moment, Some(Moment::Time(started.create_time.unwrap())), "the logical date is now");
    assert_eq!(as_of.time_zone, "UTC");
    assert!(!as_of.zone_data_version.is_empty());
    let Some(Source::InlineItems(items)) = echoed.source else { panic!("the source is echoed") };
    assert_eq!((items.item_count, items.items.len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_is_the_first_instant_of_that_day_in_its_zone_and_decides_the_window() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let mut spec = prices(1, &upstream, fast());
    spec.as_of = Some(AsOf {
        moment: Some(Moment::Date("2026-02-27".to_owned())),
        time_zone: "Asia/Tokyo".to_owned(),
        ..AsOf::default()
    });
    let (first, second) = (server.start_batch(spec.clone()).await, server.start_batch(spec).await);
    let ended = server.batch_ended(&first).await;
    server.batch_ended(&second).await;
    let as_of = ended.spec.unwrap().as_of.unwrap();
    // 2026-02-27T00:00 in Tokyo.
    let midnight = prost_types::Timestamp { seconds: 1_772_118_000, nanos: 0 };
    assert_eq!(as_of.moment, Some(Moment::Time(midnight)));
    assert_eq!(as_of.time_zone, "Asia/Tokyo");

    let queries: Vec<String> = upstream.charts().into_iter().map(|chart| chart.query).collect();
    assert_eq!(queries.len(), 2);
    assert_eq!(queries[0], queries[1], "the same date sends the same request");
    assert!(queries[0].contains(&format!("period2={}", 1_772_118_000 + 86_400)), "{}", queries[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_wrong_is_said_at_once() {
    let server = Server::start([]).await;
    let spec = BatchSpec {
        batch_type: "Not A Word".to_owned(),
        labels: [("UPPER".to_owned(), "x".to_owned())].into(),
        as_of: Some(AsOf { time_zone: "Mars/Base".to_owned(), ..AsOf::default() }),
        source: Some(inline(["1301".to_owned(), String::new()])),
        connector: Some(Connector::YahooChart(YahooChart {
            interval: "7d".to_owned(),
            window: Some(Window::Range("soon".to_owned())),
            base_url: "ftp://host".to_owned(),
            ..YahooChart::default()
        })),
        fetch: Some(FetchPolicy {
            workers: Some(0),
            requests_per_second: Some(-1.0),
            burst: Some(0),
            attempt_timeout: Some(millis(1)),
            ..FetchPolicy::default()
        }),
        ..BatchSpec::default()
    };
    let request =
        StartBatchRequest { batch_id: "NO".to_owned(), request_id: "no uuid".to_owned(), ..starting(spec) };
    let details = refused(server.stub().start_batch(request).await, Code::InvalidArgument, "INVALID_FIELD");
    let mut found = fields(&details);
    found.sort_unstable();
    let mut expected = [
        "batch_id",
        "request_id",
        "spec.batch_type",
        "spec.labels",
        "spec.as_of.time_zone",
        "spec.inline_items.items[1].key",
        "spec.yahoo_chart.interval",
        "spec.yahoo_chart.range",
        "spec.yahoo_chart.base_url",
        "spec.fetch.workers",
        "spec.fetch.requests_per_second",
        "spec.fetch.burst",
        "spec.fetch.attempt_timeout",
    ];
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(details.error_info().unwrap().metadata["violations_total"], "13");
    for violation in &details.bad_request().unwrap().field_violations {
        assert!(!violation.description.is_empty(), "{}", violation.field);
    }
    assert!(server.client().await.list_batches(10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named() {
    let server = Server::start([]).await;
    let answer = server.stub().start_batch(StartBatchRequest::default()).await;
    assert_eq!(fields(&refused(answer, Code::InvalidArgument, "INVALID_FIELD")), ["spec"]);
    let answer = server.stub().start_batch(starting(BatchSpec::default())).await;
    let details = refused(answer, Code::InvalidArgument, "INVALID_FIELD");
    assert_eq!(fields(&details), ["spec.source", "spec.connector"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_key_counts_once() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let code = codes(1).remove(0);
    let spec = batch(inline([code.clone(), code.clone(), code]), &upstream.url(), fast());
    let ended = {
        let name = server.start_batch(spec).await;
        server.batch_ended(&name).await
    };
    assert_eq!(ended.progress.unwrap().total_items, 1);
    let Some(Source::InlineItems(items)) = ended.spec.unwrap().source else { panic!("it is inline") };
    assert_eq!(items.item_count, 3, "what was given");
    assert_eq!(upstream.charts().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_inline_items_than_may_be_are_refused_and_as_many_as_may_be_are_taken() {
    let server = Server::start([]).await;
    let items = |count: usize| inline((0..count).map(|n| format!("k{n}")));
    let spec = |count| batch(items(count), "http://127.0.0.1:9", paced(0.001, 1));
    let answer = server.stub().start_batch(starting(spec(10_001))).await;
    let details = refused(answer, Code::InvalidArgument, "TOO_MANY_INLINE_ITEMS");
    assert_eq!(fields(&details), ["spec.inline_items"]);
    assert!(details.error_info().unwrap().metadata["limit"].contains("10000"));

    let name = server.start_batch(spec(10_000)).await;
    let batch = server.client().await.get_batch(&name).await.unwrap();
    assert_eq!(batch.progress.unwrap().total_items, 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_below_a_root_is_read_with_its_columns_and_one_outside_is_forbidden() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("keys");
    std::fs::create_dir(&root).unwrap();
    let codes = codes(2);
    let text = format!("key,name,shares\n{},\"Ocean, Ltd.\",10\n{},Mine,\n", codes[0], codes[1]);
    std::fs::write(root.join("some.csv"), text).unwrap();
    std::fs::write(folder.path().join("outside.csv"), "key\n1301\n").unwrap();
    let (server, upstream) =
        tokio::join!(Server::start(["--file-root", root.to_str().unwrap()]), Upstream::healthy());

    let name = server.start_batch(batch(file(&root.join("some.csv")), &upstream.url(), fast())).await;
    let ended = server.batch_ended(&name).await;
    assert_eq!((ended.state(), ended.progress.unwrap().succeeded_items), (State::Completed, 2));
    let items = server.items(&name).await;
    let column = |n: usize, name: &str| {
        let columns = &items[n].spec.as_ref().unwrap().columns.as_ref().unwrap().fields;
        match columns[name].kind.clone().unwrap() {
            Kind::StringValue(text) => text,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(items[0].spec.as_ref().unwrap().key, codes[0]);
    assert_eq!((column(0, "name").as_str(), column(0, "shares").as_str()), ("Ocean, Ltd.", "10"));
    assert_eq!(column(1, "name"), "Mine");

    for path in [folder.path().join("outside.csv"), root.join("../outside.csv"), "/etc/hostname".into()] {
        let answer = server.stub().start_batch(starting(batch(file(&path), &upstream.url(), fast()))).await;
        let details = refused(answer, Code::InvalidArgument, "TARGET_FORBIDDEN");
        assert_eq!(fields(&details), ["spec.file.uri"]);
    }
    let answer =
        server.stub().start_batch(starting(batch(file(&root.join("no.csv")), &upstream.url(), fast()))).await;
    assert_eq!(fields(&refused(answer, Code::InvalidArgument, "INVALID_FIELD")), ["spec.file.uri"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_what_it_should_be_fails_the_batch_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("keys.csv"), "code,name\n1301,x\n").unwrap();
    let (server, upstream) =
        tokio::join!(Server::start(["--file-root", folder.path().to_str().unwrap()]), Upstream::healthy());
    let name =
        server.start_batch(batch(file(&folder.path().join("keys.csv")), &upstream.url(), fast())).await;
    let ended = server.batch_ended(&name).await;
    assert_eq!((ended.state(), ended.end_reason.as_str()), (State::Failed, "SOURCE_UNREADABLE"));
    assert!(ended.end_message.contains("key"), "{}", ended.end_message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_makes_no_request_fails_alone_and_no_key_leaves_its_place_in_the_url() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let code = codes(1).remove(0);
    let keys = [code.as_str(), "a/../../healthz", "7203.T?range=max#", "a b"].map(str::to_owned);
    let name = server.start_batch(batch(inline(keys), &upstream.url(), fast())).await;
    let ended = server.batch_ended(&name).await;
    let progress = ended.progress.unwrap();
    assert_eq!(
        (ended.state, progress.succeeded_items, progress.failed_items),
        (State::Completed.into(), 1, 3)
    );
    for item in &server.items(&name).await[1..] {
        let error = item.error.as_ref().unwrap();
        assert_eq!(
            (item.state(), error.failure_class()),
            (item::State::Failed, FailureClass::Permanent),
            "{error:?}"
        );
    }
    let arrivals = upstream.arrivals();
    assert!(arrivals.iter().all(|arrival| arrival.endpoint == "chart"), "{arrivals:?}");
    assert!(arrivals.iter().all(|arrival| !arrival.query.contains("range=max")), "{arrivals:?}");
}
