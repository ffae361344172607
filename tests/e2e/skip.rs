//! What need not be fetched: keys that were fetched for the same day, and keys that do not exist.

use std::collections::BTreeSet;

use haul_proto::v1::{
    AsOf, Batch, BatchSpec, ClearMissingKeysRequest, HttpFetch, ListItemsRequest, ListMissingKeysRequest,
    SkipPolicy, StreamResultsRequest, as_of::Moment, batch::State, batch_spec::Connector,
    dataset_service_client::DatasetServiceClient, item,
};
use haul_sim::SimConfig;
use serde_json::Value;
use tokio_stream::StreamExt;
use tonic::Code;

use crate::world::{
    Server, Upstream,
    canned::Canned,
    database::Database,
    spec::{at_once, batch, codes, fast, file, inline, paced, prices, starting},
    status::{fields, refused},
    watching::assert_adds_up,
};

const ITEMS: usize = 60;
const DAY: &str = "2026-11-20";
const DAY_S: i64 = 86_400;

fn of_day(date: &str, spec: BatchSpec) -> BatchSpec {
    let moment = Some(Moment::Date(date.to_owned()));
    BatchSpec { as_of: Some(AsOf { moment, time_zone: "Asia/Tokyo".to_owned(), ..AsOf::default() }), ..spec }
}

fn skipping_fetched(spec: BatchSpec) -> BatchSpec {
    BatchSpec { skip: Some(SkipPolicy { skip_fetched: true, ..SkipPolicy::default() }), ..spec }
}

/// Missing keys are remembered for a week.
fn remembering(spec: BatchSpec) -> BatchSpec {
    let week = prost_types::Duration { seconds: 7 * DAY_S, nanos: 0 };
    let skip = SkipPolicy { negative_cache_ttl: Some(week), ..SkipPolicy::default() };
    BatchSpec { skip: Some(skip), ..spec }
}

/// An upstream that fails for good for some keys: most of them do not exist, a few are refused.
async fn with_missing_keys() -> Upstream {
    Upstream::start(SimConfig { permanent: 0.4, ..SimConfig::default() }).await
}

async fn ended(server: &Server, spec: BatchSpec) -> Batch {
    let name = server.start_batch(spec).await;
    let batch = server.batch_ended(&name).await;
    assert_eq!(batch.state(), State::Completed);
    assert_adds_up(&batch);
    batch
}

/// Keys of a batch's items in a state, with why they were left out.
async fn keys(server: &Server, batch: &str, state: item::State) -> BTreeSet<(String, String)> {
    let items = server.items(batch).await.into_iter().filter(|item| item.state() == state);
    items.map(|item| (item.spec.unwrap().key, item.skip_reason)).collect()
}

/// What was asked for since there were so many requests, each key as often as it was.
fn asked(upstream: &Upstream, before: usize) -> Vec<String> {
    let mut asked: Vec<String> =
        upstream.charts()[before..].iter().map(|chart| chart.key().to_owned()).collect();
    asked.sort();
    asked
}

fn plain(keys: &BTreeSet<(String, String)>) -> Vec<String> {
    keys.iter().map(|(key, _)| key.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_of_a_day_asks_only_for_what_the_first_one_did_not_get() {
    let (server, upstream) = tokio::join!(Server::start([]), with_missing_keys());
    let spec = || of_day(DAY, skipping_fetched(prices(ITEMS, &upstream, fast())));
    let first = ended(&server, spec()).await;
    let (fetched, failed) = (
        keys(&server, &first.name, item::State::Succeeded).await,
        keys(&server, &first.name, item::State::Failed).await,
    );
    assert!(!fetched.is_empty() && !failed.is_empty());
    assert_eq!(first.spec.unwrap().skip.unwrap(), spec().skip.unwrap(), "the spec says what it leaves out");

    let client = server.client().await;
    let planned = client.plan_batch(starting(spec())).await.unwrap().plan.unwrap();
    assert_eq!((planned.total_items, planned.skipped_items), (ITEMS as i64, fetched.len() as i64));
    assert_eq!(planned.requests, failed.len() as i64);

    let before = upstream.charts().len();
    let second = ended(&server, spec()).await;
    assert_eq!(asked(&upstream, before), plain(&failed));
    let progress = second.progress.unwrap();
    assert_eq!(
        (progress.skipped_items, progress.failed_items, progress.total_items),
        (fetched.len() as i64, failed.len() as i64, ITEMS as i64)
    );
    let skipped = keys(&server, &second.name, item::State::Skipped).await;
    assert_eq!(plain(&skipped), plain(&fetched));
    assert!(skipped.iter().all(|(_, reason)| reason == "ALREADY_FETCHED"));

    // Readers find them by state and by reason, and among the results.
    let mut stub = server.stub();
    for filter in ["state = SKIPPED", "skip_reason = ALREADY_FETCHED"] {
        let request = ListItemsRequest {
            parent: second.name.clone(),
            filter: filter.to_owned(),
            ..ListItemsRequest::default()
        };
        assert_eq!(stub.list_items(request).await.unwrap().into_inner().items.len(), fetched.len());
    }
    let request = StreamResultsRequest { name: second.name.clone(), ..StreamResultsRequest::default() };
    let mut chunks = stub.stream_results(request).await.unwrap().into_inner();
    let mut told = 0;
    while let Some(chunk) = chunks.next().await {
        told += chunk.unwrap().items.len();
    }
    assert_eq!(told, ITEMS);
    let said = server.haul(&["get", &second.name]).await;
    assert!(said.out.contains(&format!("{} skipped", fetched.len())), "{}", said.out);

    // Another day, and other settings of the connector, are other things to fetch.
    let before = upstream.charts().len();
    ended(&server, of_day("2026-11-19", spec())).await;
    assert_eq!(upstream.charts().len() - before, ITEMS);
    let mut weekly = spec();
    let Some(Connector::YahooChart(chart)) = &mut weekly.connector else { unreachable!("prices are charts") };
    chart.interval = "1wk".to_owned();
    let before = upstream.charts().len();
    ended(&server, weekly).await;
    assert_eq!(upstream.charts().len() - before, ITEMS);
    Database::of(&server).await.assert_recount().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_keys_are_asked_for_once_until_their_time_is_over_or_they_are_forgotten() {
    let (server, upstream) = tokio::join!(Server::start([]), with_missing_keys());
    let spec = |day: &str| of_day(day, remembering(prices(ITEMS, &upstream, fast())));
    let first = ended(&server, spec(DAY)).await;
    let failed: Vec<_> =
        server.items(&first.name).await.into_iter().filter(|item| item.error.is_some()).collect();
    let missing: BTreeSet<String> = failed
        .iter()
        .filter(|item| item.error.as_ref().unwrap().reason == "NOT_FOUND")
        .map(|item| item.spec.as_ref().unwrap().key.clone())
        .collect();
    assert!(missing.len() > 2 && missing.len() < ITEMS);

    let said = server.haul(&["missing", "list", "stock_prices", "-o", "json"]).await;
    let listed: Value = serde_json::from_str(&said.out).unwrap();
    let listed = listed["missingKeys"].as_array().unwrap();
    assert_eq!(
        listed.iter().map(|known| known["key"].as_str().unwrap()).collect::<Vec<_>>(),
        Vec::from_iter(&missing)
    );
    for known in listed {
        assert_eq!((&known["reason"], &known["batch"]), (&"NOT_FOUND".into(), &first.name.as_str().into()));
        assert!([404, 200].map(Value::from).contains(&known["httpStatus"]), "{known}");
        let times = (&known["asOf"], &known["expireTime"]);
        assert_eq!(times, (&"2026-11-19T15:00:00Z".into(), &"2026-11-26T15:00:00Z".into()));
    }

    // The same day, and up to the last one of the week.
    for day in [DAY, "2026-11-26"] {
        let before = upstream.charts().len();
        let again = ended(&server, spec(day)).await;
        let skipped = keys(&server, &again.name, item::State::Skipped).await;
        assert_eq!(plain(&skipped), Vec::from_iter(missing.clone()), "{day}");
        assert!(skipped.iter().all(|(_, reason)| reason == "KNOWN_MISSING"));
        let asked = asked(&upstream, before);
        assert_eq!(asked.len(), ITEMS - missing.len(), "{day}");
        assert!(asked.iter().all(|key| !missing.contains(key)), "{day}");
    }

    // A retry that names one asks for it; what it finds is as before.
    let parent = ended(&server, spec(DAY)).await.name;
    let one = missing.first().unwrap();
    let before = upstream.charts().len();
    let filter = format!("key = '{one}'");
    let said = server.haul(&["retry", &parent, "--filter", &filter, "--id", "named", "--watch"]).await;
    assert_eq!(said.status, 3, "{}{}", said.out, said.err);
    assert_eq!(asked(&upstream, before), [one.as_str()]);

    // Forgotten by hand, by key and all.
    let said = server.haul(&["missing", "clear", "stock_prices", one, "nobody"]).await;
    assert_eq!(said.out, "1 key forgotten\n", "{}", said.err);
    let before = upstream.charts().len();
    ended(&server, spec(DAY)).await;
    assert_eq!(asked(&upstream, before).len(), ITEMS - missing.len() + 1);
    let said = server.haul(&["missing", "clear", "stock_prices", "--all", "-o", "json"]).await;
    assert_eq!(said.out.replace(['\n', ' '], ""), format!("{{\"clearedCount\":\"{}\"}}", missing.len()));
    let before = upstream.charts().len();
    ended(&server, spec(DAY)).await;
    assert_eq!(asked(&upstream, before).len(), ITEMS);

    // A day on which its time is over, and one before it was found out.
    for day in ["2026-11-27", "2026-11-18"] {
        let before = upstream.charts().len();
        ended(&server, spec(day)).await;
        assert_eq!(asked(&upstream, before).len(), ITEMS, "{day}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_without_a_time_to_live_neither_remembers_nor_asks_what_is_remembered() {
    let (server, upstream) = tokio::join!(Server::start([]), with_missing_keys());
    let spec = || of_day(DAY, prices(ITEMS, &upstream, fast()));
    ended(&server, spec()).await;
    let client = server.client().await;
    assert!(client.missing_keys("stock_prices").next().await.is_none());
    ended(&server, remembering(spec())).await;
    let known: Vec<_> = client.missing_keys("stock_prices").collect().await;
    assert!(!known.is_empty());
    let before = upstream.charts().len();
    assert_eq!(ended(&server, spec()).await.progress.unwrap().skipped_items, 0);
    assert_eq!(upstream.charts().len() - before, ITEMS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_one_api_does_not_know_is_asked_of_another_and_what_comes_back_is_known_no_more() {
    let server = Server::start(["--allow-target", "127.0.0.0/8"]).await;
    let absent = Canned::saying("404 Not Found").await;
    let present = Canned::saying("200 OK").await;
    let spec = |url: String| {
        let http = HttpFetch { url_template: url, ..HttpFetch::default() };
        let connector = Some(Connector::HttpFetch(http));
        remembering(of_day(DAY, BatchSpec { connector, ..batch(inline(["a".to_owned()]), "", fast()) }))
    };
    let at = |upstream: &Canned| spec(format!("{}/{{{{ item.key }}}}", upstream.url()));
    ended(&server, at(&absent)).await;
    assert_eq!(ended(&server, at(&absent)).await.progress.unwrap().skipped_items, 1);
    assert_eq!(absent.requests(), 1);
    assert_eq!(ended(&server, at(&present)).await.progress.unwrap().succeeded_items, 1);
    let client = server.client().await;
    let known: Vec<_> = client.missing_keys("responses").collect().await;
    assert_eq!(known.len(), 1, "the other one does not know it still");

    // Both paths of one template: what was missing is there by now.
    let turning = Canned::choosing({
        let first = std::sync::atomic::AtomicBool::new(true);
        move |_| {
            let is_first = first.swap(false, std::sync::atomic::Ordering::SeqCst);
            let status = if is_first { "404 Not Found" } else { "200 OK" };
            (status.to_owned(), "")
        }
    })
    .await;
    let missing = ended(&server, at(&turning)).await;
    assert_eq!(client.missing_keys("responses").collect::<Vec<_>>().await.len(), 2);
    let named = ["retry", &missing.name, "--filter", "state = FAILED", "--watch"];
    assert_eq!(server.haul(&named).await.status, 0);
    assert_eq!(client.missing_keys("responses").collect::<Vec<_>>().await.len(), 1, "it is forgotten");
    assert_eq!(ended(&server, at(&turning)).await.progress.unwrap().succeeded_items, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decided_outlives_a_crash() {
    const KEYS: usize = 1_500;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("codes");
    let all = codes(KEYS);
    std::fs::write(&path, all.join("\n")).unwrap();
    let (mut server, upstream) =
        tokio::join!(Server::start(["--file-root", folder.path().to_str().unwrap()]), Upstream::healthy());
    let (even, odd): (Vec<_>, Vec<_>) = all.iter().cloned().enumerate().partition(|(n, _)| n % 2 == 0);
    let [even, odd] = [even, odd].map(|half| half.into_iter().map(|(_, code)| code).collect::<BTreeSet<_>>());
    ended(&server, of_day(DAY, batch(inline(even.clone()), &upstream.url(), at_once()))).await;

    let before = upstream.charts().len();
    let spec = of_day(DAY, skipping_fetched(batch(file(&path), &upstream.url(), paced(300.0, 50))));
    let name = server.start_batch(spec).await;
    for processed in [100, 500] {
        server.batch_processed(&name, even.len() as i64 + processed).await;
        server.kill().await;
        server.start_again().await;
        let skipped = keys(&server, &name, item::State::Skipped).await;
        assert_eq!(skipped.into_iter().map(|(key, _)| key).collect::<BTreeSet<_>>(), even);
    }
    let ended = server.batch_ended(&name).await;
    assert_adds_up(&ended);
    let progress = ended.progress.unwrap();
    assert_eq!((progress.skipped_items, progress.succeeded_items), (even.len() as i64, odd.len() as i64));
    let asked: BTreeSet<String> = asked(&upstream, before).into_iter().collect();
    assert_eq!(asked, odd, "what was fetched before is asked for by nobody, whoever died meanwhile");
    Database::of(&server).await.assert_recount().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_out_is_no_throughput() {
    const LEFT: usize = 250;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("codes");
    std::fs::write(&path, codes(LEFT + 50).join("\n")).unwrap();
    let (server, upstream) =
        tokio::join!(Server::start(["--file-root", folder.path().to_str().unwrap()]), Upstream::healthy());
    ended(&server, of_day(DAY, prices(LEFT, &upstream, at_once()))).await;
    let spec = of_day(DAY, skipping_fetched(batch(file(&path), &upstream.url(), paced(5.0, 1))));
    let name = server.start_batch(spec).await;
    let progress = server.batch_processed(&name, LEFT as i64 + 12).await.progress.unwrap();
    assert_eq!(progress.skipped_items, LEFT as i64);
    assert!((1.0..1_000.0).contains(&progress.items_per_minute), "{}", progress.items_per_minute);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_keys_are_paged_and_what_is_wrong_with_a_call_is_said() {
    let (server, upstream) = tokio::join!(Server::start([]), with_missing_keys());
    ended(&server, remembering(prices(ITEMS, &upstream, fast()))).await;
    let all: Vec<_> =
        server.client().await.missing_keys("stock_prices").collect::<Result<_, _>>().await.unwrap();
    let mut stub = DatasetServiceClient::new(server.channel());
    let parent = "datasets/stock_prices".to_owned();
    let mut paged = Vec::new();
    let mut page = ListMissingKeysRequest { parent: parent.clone(), page_size: 3, ..Default::default() };
    loop {
        let answer = stub.list_missing_keys(page.clone()).await.unwrap().into_inner();
        assert!(answer.missing_keys.len() <= 3);
        // The last key of a page may be forgotten before the next one is read.
        let last = answer.missing_keys.last().unwrap().key.clone();
        paged.extend(answer.missing_keys);
        if answer.next_page_token.is_empty() {
            break;
        }
        page.page_token = answer.next_page_token;
        let keys = vec![last];
        let cleared =
            stub.clear_missing_keys(ClearMissingKeysRequest { parent: parent.clone(), keys, all: false });
        assert_eq!(cleared.await.unwrap().into_inner().cleared_count, 1);
    }
    assert_eq!(paged, all);

    let foreign = ListMissingKeysRequest { parent: "datasets/responses".to_owned(), ..page.clone() };
    refused(stub.list_missing_keys(foreign).await, Code::InvalidArgument, "INVALID_PAGE_TOKEN");
    let wrong =
        ListMissingKeysRequest { parent: "stock_prices".to_owned(), page_size: -1, ..Default::default() };
    let details = refused(stub.list_missing_keys(wrong).await, Code::InvalidArgument, "INVALID_FIELD");
    assert_eq!(fields(&details), ["parent", "page_size"]);
    let nowhere = ListMissingKeysRequest { parent: "datasets/weather".to_owned(), ..Default::default() };
    refused(stub.list_missing_keys(nowhere).await, Code::NotFound, "DATASET_NOT_FOUND");
    let many: Vec<String> = (0..10_001).map(|n| n.to_string()).collect();
    for (parent, keys, all, at_fault) in [
        (parent.as_str(), vec![], false, &["keys"][..]),
        (parent.as_str(), vec!["1301".to_owned()], true, &["all"]),
        ("datasets/Prices", many, false, &["parent", "keys"]),
    ] {
        let wrong = ClearMissingKeysRequest { parent: parent.to_owned(), keys, all };
        let details = refused(stub.clear_missing_keys(wrong).await, Code::InvalidArgument, "INVALID_FIELD");
        assert_eq!(fields(&details), at_fault);
    }
    let nowhere = ClearMissingKeysRequest { parent: "datasets/weather".to_owned(), all: true, keys: vec![] };
    refused(stub.clear_missing_keys(nowhere).await, Code::NotFound, "DATASET_NOT_FOUND");
}
