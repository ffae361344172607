//! The client as its users write it: a start put together field by field, a batch held on to, a spec file's own words.

use haul_client::{Error, StartBatch, WatchEvent, WatchOptions, YahooChart};
use haul_proto::v1::{batch::State, item};
use tokio_stream::StreamExt;

use crate::world::{Server, Upstream, spec::codes};

fn prices(upstream: &Upstream, items: usize) -> StartBatch {
    StartBatch::yahoo_chart(YahooChart::range("1mo").base_url(upstream.url()))
        .items(codes(items))
        .as_of_date("2026-11-20")
        .time_zone("Asia/Tokyo")
        .label("team", "research")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_planned_started_paused_resumed_and_waited_for() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let client = server.client().await;
    let start = prices(&upstream, 30).rate(20.0, 1).workers(2).id("held");
    assert_eq!(client.plan(start.clone()).await.unwrap().requests, 30);

    let batch = client.start(start.clone()).await.unwrap();
    assert_eq!(batch.name(), "batches/held");
    batch.pause("lunch").await.unwrap();
    let paused = batch.wait_for(|batch| batch.state() == State::Paused).await.unwrap();
    assert_eq!((paused.state(), paused.pause_message.as_str()), (State::Paused, "lunch"));
    batch.resume("").await.unwrap();
    let ended = batch.wait().await.unwrap();
    assert_eq!(ended.end_reason, "ALL_ITEMS_FINAL");

    let items: Vec<_> = batch.items().collect::<Result<_, _>>().await.unwrap();
    assert!(items.len() == 30 && items.iter().all(|item| item.state() == item::State::Succeeded));
    let report = batch.report().await.unwrap();
    assert!(report.r#final && report.requests_sent == 30);
    let spec = batch.get().await.unwrap().spec.unwrap();
    assert_eq!(spec.labels["team"], "research");

    let taken = client.start(start).await.unwrap_err();
    assert_eq!((taken.reason(), taken.metadata("name")), (Some("BATCH_EXISTS"), Some("batches/held")));
    let over = batch.pause("").await.unwrap_err();
    assert_eq!((over.reason(), over.metadata("state")), (Some("BATCH_TERMINAL"), Some("COMPLETED")));
    let wrong = client.start(prices(&upstream, 1).rate(-1.0, 1).workers(0)).await.unwrap_err();
    let fields: Vec<&str> = wrong.violations().iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["spec.fetch.workers", "spec.fetch.requests_per_second"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_outlives_a_server_that_is_killed_and_goes_on_from_what_it_knows() {
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let client = server.client().await;
    let batch = client.start(prices(&upstream, 40).rate(10.0, 1)).await.unwrap();
    let mut events = batch.watch(WatchOptions::default());
    assert!(matches!(events.next().await, Some(Ok(WatchEvent::Snapshot(_)))));
    server.kill().await;
    let cut = loop {
        match events.next().await.unwrap().unwrap() {
            WatchEvent::Reconnecting { error, attempt: 1 } => break error,
            WatchEvent::Update(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(cut, Error::Unreachable { .. }), "{cut:?}");
    server.start_again().await;
    let mut revision = 0;
    loop {
        match events.next().await.unwrap().unwrap() {
            WatchEvent::Terminal(batch) => {
                assert_eq!(batch.progress.unwrap().succeeded_items, 40);
                break;
            }
            WatchEvent::Snapshot(batch) | WatchEvent::Update(batch) => {
                assert!(batch.revision > revision, "{} after {revision}", batch.revision);
                revision = batch.revision;
            }
            WatchEvent::Reconnecting { .. } | WatchEvent::Reconnected => {}
        }
    }
    assert!(events.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_finds_wrong_with_a_spec_file_is_said_in_its_own_spelling_and_with_its_lines() {
    let server = Server::start([]).await;
    let path = server.folder().join("wrong.yaml");
    let spec = "inlineItems: {items: [{key: a}]}\nyahooChart:\n  interval: 2d\nfetch:\n  maxAttempts: 50\n  requests_per_second: 0\n";
    std::fs::write(&path, spec).unwrap();
    let file = path.to_str().unwrap();
    for command in ["plan", "start"] {
        let said = server.haul(&[command, "-f", file]).await;
        assert_eq!((said.status, said.out.as_str()), (2, ""));
        for place in [
            "3: spec.yahooChart.interval: ",
            "5: spec.fetch.maxAttempts: ",
            "6: spec.fetch.requests_per_second: ",
        ] {
            assert!(said.err.contains(&format!("\n  {file}:{place}")), "{command}, {place}: {}", said.err);
        }
    }
    std::fs::write(&path, "inlineItems: {items: [{key: a}]}\nyahooChart: {}\nfetch: {maxAttempts: 50}\n")
        .unwrap();
    let said = server.haul(&["start", "-f", file]).await;
    assert!(said.err.starts_with(&format!("haul: {file}:3: spec.fetch.maxAttempts: ")), "{}", said.err);
    assert_eq!(said.err.matches("maxAttempts").count(), 1, "once: {}", said.err);
    assert!(said.err.ends_with("\n  (INVALID_FIELD; see: haul explain INVALID_FIELD)\n"), "{}", said.err);
}
