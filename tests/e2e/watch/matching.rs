//! Watches by filter as the client has them, and the command: through a restart of the server, with nothing left out.

use std::{
    collections::{HashMap, HashSet},
    process::Stdio,
};

use haul_client::{Error, MatchEvent, WatchOptions};
use haul_proto::v1::{Batch, BatchSpec, batch::State};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio_stream::{Stream, StreamExt};

use crate::world::{
    LONG, Server, Upstream,
    program::command,
    spec::{millis, paced, prices},
};

const FILTER: &str = "labels.team = a AND state != PAUSED";

fn labelled(team: &str, spec: BatchSpec) -> BatchSpec {
    BatchSpec { labels: [("team".to_owned(), team.to_owned())].into(), ..spec }
}

/// A batch that does not end by itself during a test.
async fn slow(server: &Server, upstream: &Upstream, team: &str) -> String {
    server.start_batch(labelled(team, prices(500, upstream, paced(5.0, 1)))).await
}

/// An event that is more than another figure of a batch that is followed.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Turn {
    Comes(String),
    Leaves(String),
    Ends(String, State),
    Cut,
    Mended,
}

use Turn::{Comes, Cut, Ends, Leaves, Mended};

/// A watch whose promises are looked at with each event.
struct Told<S> {
    events: S,
    followed: HashSet<String>,
    revisions: HashMap<String, i64>,
    figures: u32,
    is_cut: bool,
}

impl<S: Stream<Item = Result<MatchEvent, Error>> + Unpin> Told<S> {
    fn new(events: S) -> Self {
        Self { events, followed: HashSet::new(), revisions: HashMap::new(), figures: 0, is_cut: false }
    }

    async fn turn(&mut self) -> Turn {
        loop {
            if let Some(turn) = self.event().await {
                return turn;
            }
        }
    }

    async fn event(&mut self) -> Option<Turn> {
        let event = tokio::time::timeout(LONG, self.events.next()).await.expect("the watch lives");
        match event.expect("it has no end").unwrap() {
            MatchEvent::Snapshot(batch) => {
                self.newer(&batch);
                self.followed.insert(batch.name.clone()).then_some(Comes(batch.name))
            }
            MatchEvent::Update(batch) => {
                self.newer(&batch);
                assert!(self.followed.contains(&batch.name), "{} came with a snapshot", batch.name);
                self.figures += 1;
                None
            }
            MatchEvent::Terminal(batch) => {
                self.newer(&batch);
                assert!(self.followed.remove(&batch.name), "{} was followed", batch.name);
                Some(Ends(batch.name.clone(), batch.state()))
            }
            MatchEvent::Removed(name) => {
                assert!(self.followed.remove(&name), "{name} was followed");
                Some(Leaves(name))
            }
            // Each try that comes to nothing is told.
            MatchEvent::Reconnecting { .. } => (!std::mem::replace(&mut self.is_cut, true)).then_some(Cut),
            MatchEvent::Reconnected => {
                assert!(std::mem::take(&mut self.is_cut), "it was cut before");
                Some(Mended)
            }
        }
    }

    fn newer(&mut self, batch: &Batch) {
        let before = self.revisions.insert(batch.name.clone(), batch.revision);
        assert!(before.is_none_or(|before| before < batch.revision), "{} after {before:?}", batch.revision);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_follows_all_that_match_through_a_crash_of_the_server() {
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let first = slow(&server, &upstream, "a").await;
    slow(&server, &upstream, "b").await;
    let client = server.client().await;
    let options = WatchOptions {
        min_interval: std::time::Duration::try_from(millis(100)).unwrap(),
        ..WatchOptions::default()
    };
    let mut told = Told::new(client.watch_matching(FILTER, options));
    assert_eq!(told.turn().await, Comes(first.clone()), "the one there is");

    let second = slow(&server, &upstream, "a").await;
    assert_eq!(told.turn().await, Comes(second.clone()));
    while told.figures < 5 {
        assert_eq!(told.event().await, None, "only figures change");
    }
    client.pause(&second, "").await.unwrap();
    assert_eq!(told.turn().await, Leaves(second.clone()));

    server.kill().await;
    assert_eq!(told.turn().await, Cut);
    server.start_again().await;
    // Nobody reads the watch meanwhile, so it misses all of this.
    client.resume(&second, "").await.unwrap();
    client.stop(&first, "").await.unwrap();
    server.batch_ended(&first).await;
    let third = server.start_batch(labelled("a", prices(10, &upstream, paced(5.0, 1)))).await;
    assert_eq!(told.turn().await, Mended);
    let missed = HashSet::from([told.turn().await, told.turn().await, told.turn().await]);
    let expected = [Comes(second.clone()), Ends(first, State::Stopped), Comes(third.clone())];
    assert_eq!(missed, HashSet::from(expected));

    assert_eq!(told.turn().await, Ends(third, State::Completed), "by itself");
    client.stop(&second, "").await.unwrap();
    assert_eq!(told.turn().await, Ends(second, State::Stopped));
}

#[tokio::test(flavor = "multi_thread")]
async fn haul_prints_all_that_match_and_says_once_that_the_server_is_away_and_once_that_it_is_back() {
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let first = slow(&server, &upstream, "a").await;
    slow(&server, &upstream, "b").await;
    let mut haul = command("haul");
    haul.args(["--server", &server.address(), "watch", "--filter", FILTER]);
    let mut haul = haul.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(haul.stdout.take().unwrap()).lines();
    // Reads on to a line of this batch that says so.
    let mut line = async |name: &str, said: &str| {
        let id = name.trim_start_matches("batches/");
        let found = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("it goes on");
                let (_, line) = line.split_once(' ').expect("a time is first");
                if line.starts_with(&format!("{id} {said}")) {
                    return;
                }
            }
        };
        tokio::time::timeout(LONG, found).await.unwrap_or_else(|_| panic!("{name} {said}"));
    };
    line(&first, "RUNNING").await;
    let client = server.client().await;
    client.pause(&first, "").await.unwrap();
    line(&first, "matches no more").await;

    server.kill().await;
    let mut err = BufReader::new(haul.stderr.take().unwrap());
    let mut said = String::new();
    tokio::time::timeout(LONG, err.read_line(&mut said)).await.expect("a line").unwrap();
    assert!(said.starts_with("haul: connection lost (") && said.contains("reconnecting"), "{said}");
    server.start_again().await;
    client.resume(&first, "").await.unwrap();
    line(&first, "RUNNING").await;
    client.stop(&first, "wrong list").await.unwrap();
    line(&first, "STOPPED, USER_STOP (wrong list)").await;

    haul.kill().await.unwrap();
    let mut rest = String::new();
    err.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "haul: connected again\n");
}
