//! The steps of an item's path, each by itself and with fixed inputs: decode, record, the limiter's permit, publish.
//!
//! `cargo bench -p haul-server`; the whole path beside others is measured by bench/run.

#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::unwrap_used, reason = "a bench may panic")]

use std::{
    fmt::Write,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use haul_server::{
    connector::{self, Connector},
    domain::{
        batch::{Batch, Kind},
        id::{BatchId, BatchSeq, NodeId},
        item::{Attempt, NewItem, Next, OpenItem, Outcome, Reply, Subject},
        request::{FileHead, Response},
        spec::BatchSpec,
    },
    engine::gate::bucket::Bucket,
    progress::Hub,
    store::{
        Commit, Hold, LeaseWrite, NewBatch, Recording, Store,
        sqlite::{Limits, SqliteStore},
    },
};

const BARS: i64 = 250;
const GROUP: usize = 50;
/// Close of a session, and the day of `as_of`.
const LAST: i64 = 1_730_145_600;
const SPEC: &str = r#"{
  "display_name": "bench", "batch_type": "bench", "labels": {},
  "as_of": {"time": "2024-10-29T04:00:00Z", "zone": "America/New_York"}, "source": {"inline": {"item_count": 0}},
  "connector": {"yahoo_chart": {"interval": "1d", "window": {"range": "1y"}, "events": [], "symbol_suffix": "",
    "base_url": "http://127.0.0.1:1"}},
  "fetch": {"workers": 64, "attempt_timeout_ms": 30000, "attempts_max": 4, "initial_backoff_ms": 2000,
    "backoff_multiplier": 2.0, "max_backoff_ms": 300000, "rate_per_s": 1000000.0, "burst": 100000,
    "body_bytes_max": 16777216, "commit_group_size": 50, "commit_group_interval_ms": 250, "user_agent": "bench",
    "keep_bodies_ms": 0, "probe_items": 3, "item_deadline_ms": 259200000},
  "outage": {"hold_ms": 300000, "auto_resume": true, "probe_interval_ms": 60000}
}"#;

fn spec() -> BatchSpec {
    serde_json::from_str(SPEC).unwrap()
}

/// A year of bars, 18 KB, the same each time.
fn body(symbol: &str) -> Bytes {
    let column = |value: &dyn Fn(i64) -> String| (0..BARS).map(value).collect::<Vec<_>>().join(",");
    // Five bars of seven days, the last one yesterday.
    let times = column(&|n| (LAST - (BARS - n + 2 * ((BARS - n) / 5)) * 86_400).to_string());
    let prices =
        |of: i64| column(&|n| format!("{}.{:06}", 100 + of, (n * 7_919_317 + of * 104_729) % 1_000_000));
    let volumes = column(&|n| (10_000 + n * 7_919).to_string());
    let mut text = format!(
        r#"{{"chart":{{"result":[{{"meta":{{"currency":"USD","symbol":"{symbol}","exchangeName":"NMS","instrumentType":"EQUITY","firstTradeDate":345479400,"regularMarketTime":{LAST},"exchangeTimezoneName":"America/New_York","dataGranularity":"1d"}},"timestamp":[{times}],"indicators":{{"quote":[{{"volume":[{volumes}]"#
    );
    for (of, name) in ["open", "high", "low", "close"].into_iter().enumerate() {
        write!(text, r#","{name}":[{}]"#, prices(of as i64)).unwrap();
    }
    write!(text, r#"}}],"adjclose":[{{"adjclose":[{}]}}]}}}}],"error":null}}}}"#, prices(4)).unwrap();
    text.into()
}

fn response(body: Bytes) -> Response {
    Response {
        status: 200,
        content_type: "application/json".to_owned(),
        retry_after: None,
        date: None,
        bytes_received: body.len() as i64,
        body,
        digest: None,
        latency: Duration::from_millis(1),
        file: FileHead::default(),
    }
}

fn decode(c: &mut Criterion) {
    let connector = connector::build(&spec());
    let response = response(body("BENCH"));
    let item = Subject::keyed("BENCH");
    let request = connector.request(item).unwrap();
    assert_eq!(connector.decode(item, &request, &response).unwrap().len() as i64, BARS);
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Bytes(response.body.len() as u64));
    group.bench_function("a year of bars", |b| {
        b.iter(|| connector.decode(black_box(item), &request, black_box(&response)));
    });
    group.finish();
}

/// A batch in a store of its own, and the commits that end it.
async fn commits(store: &SqliteStore, connector: &dyn Connector, groups: usize) -> Vec<Commit> {
    let (node, now) = (NodeId::generate(), DateTime::<Utc>::from_timestamp(LAST, 0).unwrap());
    let keys: Vec<String> = (0..groups * GROUP).map(|n| format!("K{n:06}")).collect();
    let new = NewBatch {
        id: BatchId::chosen("bench").unwrap(),
        kind: Kind::Fetch,
        spec: spec(),
        items: Some(keys.iter().map(NewItem::keyed).collect()),
        request: None,
    };
    let batch = store.create_batch(new, now).await.unwrap().batch.seq;
    let until = now + TimeDelta::hours(1);
    let mut commits = Vec::new();
    while let Some(slice) = store.claim_slice(batch, &node, now, until).await.unwrap().slice {
        for items in slice.items.chunks(GROUP) {
            let lease = LeaseWrite { slice: slice.no, epoch: slice.epoch, hold: Hold::Until(until) };
            let recording = |item: &OpenItem| {
                let response = response(body(&item.key));
                let request = connector.request(item.subject()).unwrap();
                let records = connector.decode(item.subject(), &request, &response).unwrap();
                let reply = Reply {
                    http_status: 200,
                    size_bytes: response.bytes_received,
                    sha256: [7; 32],
                    content_type: response.content_type,
                    latency: response.latency,
                };
                let attempt = Attempt {
                    index: item.index,
                    key: item.key.clone(),
                    started_at: now,
                    ended_at: now,
                    requests: 1,
                    bytes_received: response.bytes_received,
                    outcome: Outcome::Succeeded { reply, records },
                    body: None,
                    redecoded: None,
                };
                Recording { slice: slice.no, item: item.clone(), attempt, next: Next::Succeeded }
            };
            let attempts = items.iter().map(recording).collect();
            commits.push(Commit { batch, node: node.clone(), now, leases: vec![lease], attempts });
        }
    }
    commits
}

fn record(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let connector = connector::build(&spec());
    let mut group = c.benchmark_group("record");
    group.sample_size(10).measurement_time(Duration::from_secs(8));
    group.throughput(Throughput::Elements(GROUP as u64));
    group.bench_function("a group of 50 items of 250 rows", |b| {
        b.iter_custom(|groups| {
            let folder = tempfile::tempdir().unwrap();
            runtime.block_on(async {
                let store =
                    SqliteStore::open(&folder.path().join("haul.db"), Limits::default()).await.unwrap();
                let commits = commits(&store, &*connector, groups as usize).await;
                assert_eq!(commits.len() as u64, groups);
                let began = Instant::now();
                for commit in &commits {
                    black_box(store.commit(commit).await.unwrap());
                }
                let took = began.elapsed();
                store.close().await;
                took
            })
        });
    });
    group.finish();
}

fn limiter(c: &mut Criterion) {
    let mut group = c.benchmark_group("limiter");
    group.bench_function("a permit", |b| {
        let (mut bucket, mut now) = (Bucket::full(1_000.0, 100), Duration::ZERO);
        b.iter(|| {
            now += black_box(&bucket).wait(now);
            bucket.take(now);
        });
    });
    group.finish();
}

fn publish(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let batch: Batch = runtime.block_on(async {
        let store = SqliteStore::open(&folder.path().join("haul.db"), Limits::default()).await.unwrap();
        commits(&store, &*connector::build(&spec()), 1).await;
        let batch = store.live_batches(None, 1).await.unwrap().remove(0);
        store.close().await;
        batch
    });
    let mut group = c.benchmark_group("publish");
    for subscribers in [0, 1_000] {
        group.bench_function(format!("a commit to {subscribers} subscribers"), |b| {
            let hub = Hub::default();
            let entry = hub.follow(&batch);
            let held: Vec<_> = (0..subscribers).map(|_| entry.subscribe()).collect();
            let mut revision = batch.revision;
            let next = || {
                revision += 1;
                Batch { revision, seq: BatchSeq(batch.seq.0), ..batch.clone() }
            };
            b.iter_batched(next, |batch| hub.publish(batch, &[]), BatchSize::SmallInput);
            black_box((Arc::strong_count(&entry), held.len()));
        });
    }
    group.finish();
}

criterion_group!(benches, decode, record, limiter, publish);
criterion_main!(benches);
