//! Final items as a stream: each once, in one order for all, over cut streams, crashes and restarts.

use std::collections::HashSet;

use haul_client::{ResultsEvent, ResultsOptions};
use haul_proto::v1::{Item, StopRequest, StreamResultsRequest, StreamResultsResponse, item};
use haul_sim::SimConfig;
use tokio_stream::StreamExt;
use tonic::{Code, Status, Streaming};

use crate::world::{
    LONG, Server, Upstream, eventually,
    spec::{batch, codes, fast, inline, paced, prices},
    status::{fields, refused},
};

fn of(name: &str) -> StreamResultsRequest {
    StreamResultsRequest { name: name.to_owned(), ..StreamResultsRequest::default() }
}

fn following(name: &str, after_cursor: &str) -> StreamResultsRequest {
    StreamResultsRequest { follow: true, after_cursor: after_cursor.to_owned(), ..of(name) }
}

async fn open(
    server: &Server,
    request: StreamResultsRequest,
) -> Result<Streaming<StreamResultsResponse>, Status> {
    Ok(server.stub().stream_results(request).await?.into_inner())
}

async fn next(
    stream: &mut Streaming<StreamResultsResponse>,
) -> Result<Option<StreamResultsResponse>, Status> {
    tokio::time::timeout(LONG, stream.message()).await.expect("the stream lives")
}

/// Reads a stream to its end that is OK: all items, and the last message.
async fn all(server: &Server, request: StreamResultsRequest) -> (Vec<Item>, StreamResultsResponse) {
    let mut stream = open(server, request).await.unwrap();
    let (mut items, mut last) = (Vec::new(), StreamResultsResponse::default());
    while let Some(chunk) = next(&mut stream).await.unwrap() {
        assert!(!last.complete, "nothing follows the last message");
        assert!(chunk.complete || !chunk.items.is_empty(), "one item at least");
        items.extend(chunk.items.iter().cloned());
        last = chunk;
    }
    (items, last)
}

fn keys(items: &[Item]) -> Vec<&str> {
    items.iter().map(|item| item.spec.as_ref().unwrap().key.as_str()).collect()
}

/// A reader that goes away in the middle and comes back wherever it was once.
struct Reader {
    /// Everything seen, in order.
    seen: Vec<Item>,
    /// Cursors, and how much was seen with each.
    cursors: Vec<(String, usize)>,
    complete: bool,
}

impl Reader {
    fn new() -> Self {
        Self { seen: Vec::new(), cursors: vec![(String::new(), 0)], complete: false }
    }

    /// Reads so many chunks from behind the `back`th last cursor. What comes again is what came before.
    async fn read(&mut self, server: &Server, name: &str, back: usize, chunks: usize) {
        let at = self.cursors.len().saturating_sub(back + 1);
        let (cursor, mut position) = self.cursors[at].clone();
        // The server may be down.
        let Ok(mut stream) = open(server, following(name, &cursor)).await else { return };
        for _ in 0..chunks {
            let Ok(Some(chunk)) = next(&mut stream).await else { return };
            for item in chunk.items {
                match self.seen.get(position) {
                    Some(known) => assert_eq!(*known, item, "the order is one"),
                    None => self.seen.push(item),
                }
                position += 1;
            }
            self.cursors.push((chunk.cursor, position));
            self.complete |= chunk.complete;
            if chunk.complete {
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reader_gets_each_item_once_in_one_order_over_crashes() {
    const ITEMS: usize = 300;
    let config = SimConfig { faults: 0.2, ..SimConfig::default() };
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::start(config));
    let items = codes(ITEMS).into_iter().chain(["none".to_owned()]);
    let name = server.start_batch(batch(inline(items), &upstream.url(), paced(100.0, 20))).await;

    // One follows with the client that others use, and knows nothing of crashes.
    let client = server.client().await;
    let mut events = client.results(&name, ResultsOptions { follow: true, ..ResultsOptions::default() });
    let follower = tokio::spawn(async move {
        let (mut items, mut complete) = (Vec::new(), false);
        while let Some(event) = events.next().await {
            if let ResultsEvent::Chunk(chunk) = event.unwrap() {
                items.extend(chunk.items);
                complete = chunk.complete;
            }
        }
        (items, complete)
    });
    let mut readers = [Reader::new(), Reader::new()];
    for (round, processed) in [20, 60, 120, 190, 250].into_iter().enumerate() {
        server.batch_processed(&name, processed).await;
        for (reader, back) in readers.iter_mut().zip([round % 3, 5]) {
            reader.read(&server, &name, back, 1 + round).await;
        }
        if round % 2 == 1 {
            server.kill().await;
            server.start_again().await;
        }
    }
    for (reader, back) in readers.iter_mut().zip([0, 7]) {
        while !reader.complete {
            reader.read(&server, &name, back, usize::MAX).await;
        }
    }
    server.batch_ended(&name).await;
    let (order, last) = all(&server, of(&name)).await;
    assert!(last.complete);
    assert_eq!(order.len(), ITEMS + 1);
    assert_eq!(keys(&order).into_iter().collect::<HashSet<_>>().len(), ITEMS + 1, "each once");
    for reader in &readers {
        assert_eq!(reader.seen, order);
    }
    assert_eq!(follower.await.unwrap(), (order.clone(), true));
    let mut by_index = order;
    by_index.sort_by_key(|item| item.index);
    assert_eq!(by_index, server.items(&name).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_tells_what_was_canceled_and_what_a_filter_takes() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(250, &upstream, paced(20.0, 20))).await;
    server.batch_processed(&name, 10).await;
    let (so_far, last) = all(&server, of(&name)).await;
    assert!(!last.complete && so_far.len() >= 10, "it goes on");
    let mut waiting = open(&server, following(&name, &last.cursor)).await.unwrap();
    let stop = StopRequest { name: name.clone(), ..StopRequest::default() };
    server.stub().stop(stop).await.unwrap();
    let mut rest = Vec::new();
    loop {
        let chunk = next(&mut waiting).await.unwrap().expect("OK follows the last message");
        rest.extend(chunk.items);
        if chunk.complete {
            break;
        }
    }
    assert_eq!(next(&mut waiting).await.unwrap(), None);
    let (order, last) = all(&server, of(&name)).await;
    assert_eq!([so_far, rest].concat(), order);
    assert_eq!(order.len(), 250);

    let filter = "state = CANCELED".to_owned();
    let (canceled, _) = all(&server, StreamResultsRequest { filter, ..of(&name) }).await;
    assert!(canceled.len() > 100 && canceled.iter().all(|item| item.state() == item::State::Canceled));
    assert!(canceled.iter().all(|item| item.update_time.is_some()));
    let filter = "state = SUCCEEDED AND records_written < 0".to_owned();
    let (none, end) = all(&server, StreamResultsRequest { filter, ..of(&name) }).await;
    assert_eq!((none.len(), end.complete), (0, true));
    // A cursor is good for another filter too.
    let (behind, end) = all(&server, StreamResultsRequest { after_cursor: last.cursor, ..of(&name) }).await;
    assert_eq!((behind.len(), end.complete), (0, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_come_up_to_the_limit_asked_for() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(3, &upstream, fast())).await;
    server.batch_ended(&name).await;
    let bodies = async |limit| {
        let request = StreamResultsRequest { inline_body_limit_bytes: limit, ..of(&name) };
        let (items, _) = all(&server, request).await;
        items.into_iter().map(|item| item.result.unwrap()).collect::<Vec<_>>()
    };
    for result in bodies(1 << 20).await {
        assert_eq!(result.inline_body.len() as i64, result.size_bytes);
        assert!(result.inline_body.starts_with(b"{\"chart\""), "the reply as it came");
    }
    assert!(bodies(0).await.iter().all(|result| result.inline_body.is_empty()));
    assert!(bodies(10).await.iter().all(|result| result.inline_body.is_empty()), "none is cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_cursor_of_the_batch_is_refused() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(2, &upstream, fast())).await;
    let other = server.start_batch(prices(1, &upstream, fast())).await;
    server.batch_ended(&name).await;
    server.batch_ended(&other).await;
    let (_, last) = all(&server, of(&name)).await;
    let mut tampered = last.cursor.clone();
    tampered.replace_range(20..21, if &tampered[20..21] == "0" { "1" } else { "0" });
    for (name, after_cursor) in [(&other, &last.cursor), (&name, &tampered), (&name, &"x".to_owned())] {
        let answer = open(&server, following(name, after_cursor)).await;
        let details = refused(answer, Code::InvalidArgument, "INVALID_CURSOR");
        assert_eq!(fields(&details), ["after_cursor"]);
    }
    let filter = StreamResultsRequest { filter: "state = done".to_owned(), ..of(&name) };
    let details = refused(open(&server, filter).await, Code::InvalidArgument, "INVALID_FILTER");
    assert_eq!(details.error_info().unwrap().metadata["column"], "9");
    let bodies = StreamResultsRequest { inline_body_limit_bytes: (1 << 20) + 1, ..of(&name) };
    let details = refused(open(&server, bodies).await, Code::InvalidArgument, "INVALID_FIELD");
    assert_eq!(fields(&details), ["inline_body_limit_bytes"]);
    refused(open(&server, of("batches/none")).await, Code::NotFound, "BATCH_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_leaves_says_so_and_the_cursor_outlives_it() {
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(60, &upstream, paced(20.0, 20))).await;
    let mut stream = open(&server, following(&name, "")).await.unwrap();
    let first = next(&mut stream).await.unwrap().expect("the batch goes on");
    server.signal("TERM").await;
    let mut seen = first.items;
    let mut cursor = first.cursor;
    let left = loop {
        match next(&mut stream).await {
            Ok(Some(chunk)) => {
                seen.extend(chunk.items);
                cursor = chunk.cursor;
            }
            Ok(None) => panic!("OK follows only the last message"),
            Err(status) => break status,
        }
    };
    let details = refused(Err::<(), _>(left), Code::Unavailable, "SERVER_DRAINING");
    assert!(details.retry_info().is_some());
    server.exit(LONG).await;
    server.start_again().await;
    let (rest, last) = all(&server, following(&name, &cursor)).await;
    assert!(last.complete);
    seen.extend(rest);
    assert_eq!(seen, all(&server, of(&name)).await.0);
    assert_eq!(seen.len(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_reads_each_item_once_over_any_number_of_runs() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(40, &upstream, paced(20.0, 10))).await;
    let file = server.folder().join("nightly.at");
    let file = file.to_str().unwrap();
    let mut lines: Vec<String> = Vec::new();
    let first = eventually("the first item is final", || async {
        let said = server.haul(&["results", &name, "--cursor-file", file]).await;
        assert_eq!(said.status, 0, "{}", said.err);
        (!said.out.is_empty()).then_some(said.out)
    })
    .await;
    lines.extend(first.lines().map(str::to_owned));
    let said = server.haul(&["results", &name, "--cursor-file", file, "--follow"]).await;
    assert_eq!((said.status, said.err.as_str()), (0, ""));
    lines.extend(said.out.lines().map(str::to_owned));
    let keys: HashSet<String> = lines
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["spec"]["key"].to_string())
        .collect();
    assert_eq!((lines.len(), keys.len()), (40, 40));
    let again = server.haul(&["results", &name, "--cursor-file", file]).await;
    assert_eq!((again.status, again.out.as_str()), (0, ""));

    let said = server.haul(&["results", &name, "-o", "json", "--filter", "key = none"]).await;
    let chunk: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((chunk["complete"].as_bool(), chunk["items"].as_array()), (Some(true), None));
    let said = server.haul(&["results", &name, "--filter", "state ="]).await;
    assert_eq!(said.status, 2);
    assert!(said.err.contains("column 8"), "{}", said.err);
}
