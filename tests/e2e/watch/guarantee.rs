//! The six guarantees under random schedules: commits, pauses, slow readers, reconnects, restarts and crashes.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use haul_proto::v1::{
    Batch, KnownRevision, PauseRequest, ResumeRequest, WatchProgressRequest,
    haul_service_client::HaulServiceClient, watch_progress_response::Event,
};
use sqlx::SqlitePool;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use super::history::{Figures, GUARANTEES, History, Kind, Seen, Stream, Watcher, intervals};
use crate::world::{
    Server, Upstream,
    database::Database,
    intruder::Intruder,
    spec::{millis, paced, prices},
    watching::watch,
};

const BATCHES: usize = 3;
const WATCHERS_PER_BATCH: usize = 8;
const ITEMS: usize = 300;
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Twice the longest run on a busy machine.
const LONGEST: Duration = Duration::from_mins(2);

/// A die with a seed (xorshift).
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn another(&mut self) -> Self {
        Self(self.roll(u64::MAX) | 1)
    }
}

fn connect(server: &str, window: Option<u32>) -> HaulServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{server}")).unwrap();
    HaulServiceClient::new(endpoint.initial_stream_window_size(window).connect_lazy())
}

/// The newest committed revision.
async fn committed(store: &SqlitePool, name: &str) -> i64 {
    let sql = "SELECT revision FROM batch_executions WHERE 'batches/' || name = $1";
    sqlx::query_scalar(sql).bind(name).fetch_one(store).await.unwrap()
}

/// Watches to the end, over streams that it or the server cuts.
async fn follow(server: String, store: SqlitePool, batch: String, mut dice: Dice) -> Watcher {
    let mut watcher = Watcher { batch: batch.clone(), streams: Vec::new() };
    let mut known = 0;
    let is_slow = dice.roll(3) == 0;
    loop {
        // A small window lets the server feel that the reader is slow.
        let mut stub = connect(&server, is_slow.then_some(1_024));
        let mut stream =
            Stream { known, committed_before: committed(&store, &batch).await, ..Stream::default() };
        let request = WatchProgressRequest {
            known_revisions: vec![KnownRevision { name: batch.clone(), revision: known }],
            min_interval: Some(millis(100 + dice.roll(400) as i64)),
            heartbeat_interval: Some(millis(HEARTBEAT.as_millis() as i64)),
            ..watch(&batch)
        };
        let patience = 1 + dice.roll(30);
        let Ok(response) = stub.watch_progress(request).await else {
            // The server is away: asked again, to the deadline of the whole.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let mut messages = response.into_inner();
        for _ in 0..patience {
            let asked = Instant::now();
            let message = match messages.message().await {
                Ok(Some(message)) => message,
                Ok(None) => {
                    stream.ended = true;
                    break;
                }
                Err(_) => break,
            };
            stream.silence = stream.silence.max(intervals(asked.elapsed(), HEARTBEAT));
            let state = |kind, batch: Batch| Seen::State {
                kind,
                revision: batch.revision,
                figures: figures(&batch),
                conflated: message.conflated_count,
            };
            let seen = match message.event.unwrap() {
                Event::Snapshot(batch) => state(Kind::Snapshot, batch),
                Event::Update(batch) => state(Kind::Update, batch),
                Event::Terminal(batch) => state(Kind::Terminal, batch),
                Event::InitialSyncDone(_) => Seen::SyncDone,
                Event::Heartbeat(heartbeat) => Seen::Heartbeat(heartbeat.revision),
                Event::Draining(_) | Event::Removed(_) => continue,
            };
            if let Seen::State { revision, .. } = seen {
                known = revision;
            }
            stream.seen.push(seen);
            if is_slow {
                // Not a wait for something: this is the reader's slowness.
                tokio::time::sleep(Duration::from_millis(dice.roll(700))).await;
            }
        }
        let over = matches!(stream.seen.last(), Some(Seen::State { kind: Kind::Terminal, .. }));
        watcher.streams.push(stream);
        if over {
            return watcher;
        }
    }
}

pub(super) fn figures(batch: &Batch) -> Figures {
    let progress = batch.progress.as_ref().unwrap();
    Figures {
        state: batch.state().as_str_name().trim_start_matches("STATE_").to_owned(),
        total: progress.total_items,
        succeeded: progress.succeeded_items,
        failed: progress.failed_items,
        skipped: progress.skipped_items,
        canceled: progress.canceled_items,
        records: progress.records_written,
    }
}

/// Everything that was committed, as the store's own triggers wrote it down in the same transactions.
pub(super) async fn all_committed(store: &SqlitePool) -> HashMap<String, BTreeMap<i64, Figures>> {
    type Row = (String, i64, String, i64, i64, i64, i64, i64, i64);
    let rows: Vec<Row> =
        sqlx::query_as("SELECT * FROM committed ORDER BY rowid").fetch_all(store).await.unwrap();
    let mut committed: HashMap<String, BTreeMap<i64, Figures>> = HashMap::new();
    for (name, revision, state, total, succeeded, failed, skipped, canceled, records) in rows {
        let figures = Figures { state, total, succeeded, failed, skipped, canceled, records };
        committed.entry(format!("batches/{name}")).or_default().insert(revision, figures);
    }
    committed
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_are_told_what_is_promised_whatever_happens() {
    let seed = RandomState::new().hash_one(0) | 1;
    let mut dice = Dice(seed);
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    Intruder::at(&server).await.write_down_commits().await;
    let store = Database::of(&server).await.0;
    let mut names = Vec::new();
    for _ in 0..BATCHES {
        names.push(server.start_batch(prices(ITEMS, &upstream, paced(90.0, 5))).await);
    }
    let over = Arc::new(AtomicBool::new(false));
    let mut watchers = JoinSet::new();
    for name in names.iter().flat_map(|name| std::iter::repeat_n(name, WATCHERS_PER_BATCH)) {
        watchers.spawn(follow(server.address(), store.clone(), name.clone(), dice.another()));
    }
    let told = JoinSet::from_iter([{
        let over = Arc::clone(&over);
        async move {
            let told = tokio::time::timeout(LONGEST, watchers.join_all()).await;
            over.store(true, Ordering::SeqCst);
            told
        }
    }]);
    let (mut restarts, mut pauses) = (0, 0);
    while !over.load(Ordering::SeqCst) {
        // Not a wait for something: the times of what happens are the randomness of the test.
        tokio::time::sleep(Duration::from_millis(300 + dice.roll(900))).await;
        let name = names[dice.roll(BATCHES as u64) as usize].clone();
        match dice.roll(4) {
            0 if restarts < 4 => {
                restarts += 1;
                server.kill().await;
                server.start_again().await;
            }
            1 if restarts < 4 => {
                restarts += 1;
                server.signal("TERM").await;
                assert!(server.exit(Duration::from_secs(15)).await.success(), "seed {seed}");
                server.start_again().await;
            }
            2 => {
                pauses += 1;
                // It may be over.
                let _ = server.stub().pause(PauseRequest { name, ..PauseRequest::default() }).await;
            }
            _ => {
                for name in &names {
                    let _ = server
                        .stub()
                        .resume(ResumeRequest { name: name.clone(), ..ResumeRequest::default() })
                        .await;
                }
            }
        }
    }
    let watchers = told.join_all().await.remove(0).unwrap_or_else(|_| panic!("seed {seed}: it does not end"));
    let history = History { committed: all_committed(&store).await, watchers };

    let streams: usize = history.watchers.iter().map(|watcher| watcher.streams.len()).sum();
    let states = history.committed.values().map(BTreeMap::len).sum::<usize>();
    assert!(streams > 2 * history.watchers.len() && states > 100, "{streams} streams, {states} states");
    for (name, check) in GUARANTEES {
        check(&history).unwrap_or_else(|problem| {
            panic!("seed {seed}, {restarts} restarts, {pauses} pauses: not {name}: {problem}")
        });
    }
}
