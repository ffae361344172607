//! A watch keeps its promises over streams that break.

use std::time::{Duration, Instant};

use futures::StreamExt;
use haul_client::{Client, ClientOptions, Error, MatchEvent, WatchEvent, WatchOptions};
use haul_proto::v1::{
    Batch, Draining, Heartbeat, InitialSyncDone, batch::State, watch_progress_request::Target,
    watch_progress_response::Event,
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::scripted::{
    Scripted,
    Step::{Fail, Hang, Send, Unknown},
    impatient,
};

fn batch(revision: i64) -> Batch {
    Batch { name: "batches/nightly".to_owned(), revision, ..Batch::default() }
}

/// What a caller sees, in short.
async fn seen(server: &Scripted, options: WatchOptions) -> Vec<String> {
    seen_by(&server.client().await, options).await
}

async fn seen_by(client: &Client, options: WatchOptions) -> Vec<String> {
    client
        .watch("nightly", options)
        .map(|event| match event {
            Ok(WatchEvent::Snapshot(batch)) => format!("snapshot {}", batch.revision),
            Ok(WatchEvent::Update(batch)) => format!("update {}", batch.revision),
            Ok(WatchEvent::Terminal(batch)) => format!("terminal {}", batch.revision),
            Ok(WatchEvent::Reconnecting { attempt, .. }) => format!("reconnecting {attempt}"),
            Ok(WatchEvent::Reconnected) => "reconnected".to_owned(),
            Err(error) => format!("error {}", error.reason().unwrap_or("?")),
        })
        .collect()
        .await
}

fn refusal(code: Code, reason: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, "haul.v1", []);
    Status::with_error_details(code, "refused", details)
}

#[tokio::test]
async fn each_revision_is_seen_once_over_all_streams() {
    let server = Scripted::start().await;
    server.stream([
        Send(Event::Snapshot(batch(1))),
        Send(Event::InitialSyncDone(InitialSyncDone {})),
        Send(Event::Update(batch(3))),
        Fail(refusal(Code::Unavailable, "STORE_UNAVAILABLE")),
    ]);
    // A node that is behind repeats what the client has.
    server.stream([
        Send(Event::Snapshot(batch(2))),
        Send(Event::Update(batch(3))),
        Send(Event::Heartbeat(Heartbeat { revision: 3 })),
        Send(Event::Update(batch(4))),
        Fail(Status::internal("the stream was reset")),
    ]);
    server.no_stream(Status::unavailable("not yet"));
    server.stream([Send(Event::Terminal(batch(4)))]);
    assert_eq!(
        seen(&server, WatchOptions::default()).await,
        [
            "snapshot 1",
            "update 3",
            "reconnecting 1",
            "reconnected",
            "update 4",
            "reconnecting 2",
            "reconnecting 3",
            "reconnected",
            "terminal 4",
        ]
    );
    assert_eq!(server.known_revisions(), [None, Some(3), Some(4), Some(4)]);
}

#[tokio::test]
async fn a_watch_by_filter_goes_on_from_all_that_it_knows() {
    let server = Scripted::start().await;
    let of = |id: &str, revision| Batch { name: format!("batches/{id}"), revision, ..Batch::default() };
    server.stream([
        Send(Event::Snapshot(of("a", 1))),
        Send(Event::Snapshot(of("b", 4))),
        Send(Event::InitialSyncDone(InitialSyncDone {})),
        Send(Event::Snapshot(of("c", 1))),
        Send(Event::Update(of("a", 2))),
        Send(Event::Snapshot(of("d", 1))),
        Send(Event::Terminal(of("c", 2))),
        Send(Event::Removed("batches/d".to_owned())),
        Fail(refusal(Code::Unavailable, "SERVER_DRAINING")),
    ]);
    server.stream([
        // A node that is behind repeats what the client has.
        Send(Event::Snapshot(of("a", 2))),
        Send(Event::Terminal(of("b", 5))),
        // It matches again.
        Send(Event::Snapshot(of("d", 1))),
        Fail(refusal(Code::InvalidArgument, "INVALID_FILTER")),
    ]);
    let told = server.client().await.watch_matching("labels.team:research", WatchOptions::default());
    let id = |name: &str| name.trim_start_matches("batches/").to_owned();
    let told: Vec<String> = told
        .map(|event| match event {
            Ok(MatchEvent::Snapshot(batch)) => format!("snapshot {} {}", id(&batch.name), batch.revision),
            Ok(MatchEvent::Update(batch)) => format!("update {} {}", id(&batch.name), batch.revision),
            Ok(MatchEvent::Terminal(batch)) => format!("terminal {} {}", id(&batch.name), batch.revision),
            Ok(MatchEvent::Removed(name)) => format!("removed {}", id(&name)),
            Ok(MatchEvent::Reconnecting { attempt, .. }) => format!("reconnecting {attempt}"),
            Ok(MatchEvent::Reconnected) => "reconnected".to_owned(),
            Err(error) => format!("error {}", error.reason().unwrap_or("?")),
        })
        .collect()
        .await;
    assert_eq!(
        told,
        [
            "snapshot a 1",
            "snapshot b 4",
            "snapshot c 1",
            "update a 2",
            "snapshot d 1",
            "terminal c 2",
            "removed d",
            "reconnecting 1",
            "reconnected",
            "terminal b 5",
            "snapshot d 1",
            "error INVALID_FILTER",
        ]
    );
    let asked = server.watched();
    let filter = Some(Target::Filter("labels.team:research".to_owned()));
    assert!(asked.iter().all(|request| request.target == filter), "{asked:?}");
    let known = |request: &haul_proto::v1::WatchProgressRequest| {
        request.known_revisions.iter().map(|known| (id(&known.name), known.revision)).collect::<Vec<_>>()
    };
    assert_eq!(asked.iter().map(known).collect::<Vec<_>>(), [vec![], vec![(id("a"), 2), (id("b"), 4)]]);
}

#[tokio::test]
async fn a_draining_server_is_left() {
    let server = Scripted::start().await;
    let asked = Duration::from_millis(200);
    let reconnect_after = Some(prost_types::Duration::try_from(asked).unwrap());
    server.stream([
        Send(Event::Snapshot(batch(7))),
        Send(Event::Draining(Draining { reconnect_after })),
        Hang,
    ]);
    server.stream([Send(Event::Terminal(batch(8)))]);
    let client = server.client().await;
    let mut events = client.watch("batches/nightly", WatchOptions::default());
    assert!(matches!(events.next().await, Some(Ok(WatchEvent::Snapshot(_)))));
    match events.next().await {
        Some(Ok(WatchEvent::Reconnecting { attempt: 1, error: Error::Refused(refusal) })) => {
            assert_eq!(refusal.reason, "SERVER_DRAINING");
            assert_eq!(refusal.retry_after, Some(asked));
        }
        other => panic!("{other:?}"),
    }
    let left = Instant::now();
    assert!(matches!(events.next().await, Some(Ok(WatchEvent::Reconnected))));
    assert!(matches!(events.next().await, Some(Ok(WatchEvent::Terminal(_)))));
    assert!(left.elapsed() >= asked, "{:?}", left.elapsed());
    assert!(events.next().await.is_none());
    assert_eq!(server.known_revisions(), [None, Some(7)]);
}

#[tokio::test]
async fn silence_of_three_heartbeats_is_a_broken_stream() {
    let server = Scripted::start().await;
    server.stream([Send(Event::Snapshot(batch(1))), Hang]);
    server.stream([Send(Event::Terminal(batch(2)))]);
    let options = WatchOptions { heartbeat_interval: Duration::from_millis(500), ..WatchOptions::default() };
    assert_eq!(seen(&server, options).await, ["snapshot 1", "reconnecting 1", "reconnected", "terminal 2"]);
}

#[tokio::test]
async fn ok_without_an_end_is_a_broken_stream() {
    let server = Scripted::start().await;
    server.stream([Send(Event::Snapshot(batch(1)))]);
    server.stream([Send(Event::Terminal(batch(2)))]);
    assert_eq!(
        seen(&server, WatchOptions::default()).await,
        ["snapshot 1", "reconnecting 1", "reconnected", "terminal 2"]
    );
}

#[tokio::test]
async fn a_cut_connection_is_made_again() {
    let server = Scripted::start().await;
    server.stream([Send(Event::Snapshot(batch(1))), Hang]);
    server.stream([Send(Event::Terminal(batch(2)))]);
    let client = server.client().await;
    let mut events = client.watch("nightly", WatchOptions::default());
    assert!(matches!(events.next().await, Some(Ok(WatchEvent::Snapshot(_)))));
    server.cut();
    match events.next().await {
        Some(Ok(WatchEvent::Reconnecting { error: Error::Unreachable { server: address, .. }, .. })) => {
            assert_eq!(address, server.url());
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(events.next().await, Some(Ok(WatchEvent::Reconnected))));
    assert!(matches!(events.next().await, Some(Ok(WatchEvent::Terminal(_)))));
}

#[tokio::test]
async fn a_new_stream_is_opened_where_it_may_help_and_nowhere_else() {
    let retry_info = |code, reason| {
        let mut details = ErrorDetails::with_error_info(reason, "haul.v1", []);
        details.set_retry_info(Some(Duration::ZERO));
        Status::with_error_details(code, "refused", details)
    };
    let opened_again = ["reconnecting 1", "reconnected", "terminal 2"];
    for (status, expected) in [
        (refusal(Code::Unavailable, "STORE_UNAVAILABLE"), Ok(opened_again)),
        (refusal(Code::Unavailable, "SERVER_DRAINING"), Ok(opened_again)),
        (refusal(Code::Unavailable, "A_REASON_OF_LATER"), Ok(opened_again)),
        (refusal(Code::DeadlineExceeded, "DEADLINE"), Ok(opened_again)),
        (retry_info(Code::ResourceExhausted, "WATCH_LIMIT"), Ok(opened_again)),
        // What a proxy or a broken connection looks like.
        (Status::internal("RST_STREAM"), Ok(opened_again)),
        (Status::unknown("502"), Ok(opened_again)),
        (refusal(Code::ResourceExhausted, "WATCH_LIMIT"), Err("error WATCH_LIMIT")),
        (refusal(Code::NotFound, "BATCH_NOT_FOUND"), Err("error BATCH_NOT_FOUND")),
        (refusal(Code::InvalidArgument, "INVALID_FIELD"), Err("error INVALID_FIELD")),
        (refusal(Code::Unauthenticated, "CREDENTIALS"), Err("error CREDENTIALS")),
        (refusal(Code::Internal, "INTERNAL"), Err("error INTERNAL")),
        (Status::unimplemented("unavailable, try again later"), Err("error ?")),
    ] {
        let server = Scripted::start().await;
        server.no_stream(status.clone());
        server.stream([Send(Event::Terminal(batch(2)))]);
        let expected: Vec<&str> = expected.map_or_else(|end| vec![end], |seen| seen.to_vec());
        assert_eq!(seen(&server, WatchOptions::default()).await, expected, "{status}");
    }
}

#[tokio::test]
async fn a_server_that_says_when_is_asked_then() {
    let server = Scripted::start().await;
    let asked = Duration::from_millis(200);
    let details = ErrorDetails::with_retry_info(Some(asked));
    server.no_stream(Status::with_error_details(Code::Unavailable, "soon", details));
    server.stream([Send(Event::Terminal(batch(1)))]);
    let began = Instant::now();
    assert_eq!(seen(&server, WatchOptions::default()).await, ["reconnecting 1", "reconnected", "terminal 1"]);
    assert!(began.elapsed() >= asked, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_stream_that_was_healthy_counts_from_the_beginning() {
    let again = || Status::unavailable("again");
    for (healthy_after, attempts) in [
        (Duration::ZERO, ["reconnecting 1", "reconnecting 2", "reconnecting 1", "reconnecting 1"]),
        (Duration::from_hours(1), ["reconnecting 1", "reconnecting 2", "reconnecting 3", "reconnecting 4"]),
    ] {
        let server = Scripted::start().await;
        // One that was never opened was not healthy.
        server.no_stream(again());
        server.no_stream(again());
        server.stream([Fail(again())]);
        server.stream([Fail(again())]);
        server.stream([Send(Event::Terminal(batch(1)))]);
        let client = server.client_with(ClientOptions { healthy_after, ..impatient() }).await;
        let mut seen = seen_by(&client, WatchOptions::default()).await;
        seen.retain(|event| event.starts_with("reconnecting"));
        assert_eq!(seen, attempts, "healthy after {healthy_after:?}");
    }
}

#[tokio::test]
async fn the_end_is_the_terminal_event_and_no_state() {
    let server = Scripted::start().await;
    let at = |revision, state: i32| Batch { state, ..batch(revision) };
    server.stream([
        Send(Event::Snapshot(at(1, State::Completed.into()))),
        Unknown,
        Send(Event::Update(at(2, 99))),
        Send(Event::Terminal(at(3, 98))),
    ]);
    assert_eq!(seen(&server, WatchOptions::default()).await, ["snapshot 1", "update 2", "terminal 3"]);
}

#[tokio::test]
async fn a_watch_has_no_deadline() {
    let server = Scripted::start().await;
    server.stream([Send(Event::Terminal(batch(1)))]);
    seen(&server, WatchOptions::default()).await;
    let deadlines: Vec<_> = server.calls().into_iter().map(|call| call.deadline).collect();
    assert_eq!(deadlines, [None]);
}

const PING: Duration = Duration::from_millis(20);

fn pinging() -> ClientOptions {
    ClientOptions { keepalive_interval: PING, ..impatient() }
}

/// A ping is a frame of 17 bytes.
const PING_BYTES: u64 = 17;

#[tokio::test]
async fn a_connection_is_asked_for_life_while_a_watch_is_on_it_and_never_else() {
    let idle = Scripted::start().await;
    idle.batches([Ok(batch(1))]);
    let client = idle.client_with(pinging()).await;
    client.get_batch("nightly").await.unwrap();

    let watched = Scripted::start().await;
    watched.stream([Send(Event::Snapshot(batch(1))), Hang]);
    let mut events = watched.client_with(pinging()).await.watch("nightly", WatchOptions::default());
    assert!(matches!(events.next().await, Some(Ok(WatchEvent::Snapshot(_)))));
    let pings = async {
        // What belongs to the call itself, such as its window's update, is on its way for a moment.
        watched.receives(5 * PING_BYTES).await;
        let quiet = idle.bytes_received();
        watched.receives(10 * PING_BYTES).await;
        assert_eq!(idle.bytes_received(), quiet, "an idle connection is quiet");
    };
    tokio::select! {
        event = events.next() => panic!("{event:?}"),
        () = pings => {}
    }
}

#[tokio::test]
async fn a_connection_that_gives_no_sign_of_life_is_left() {
    let server = Scripted::start().await;
    server.stream([Send(Event::Snapshot(batch(1))), Hang]);
    let options = ClientOptions { keepalive_timeout: Duration::from_secs(1), ..pinging() };
    let client = server.client_with(options).await;
    let mut events = client.watch("nightly", WatchOptions::default());
    assert!(matches!(events.next().await, Some(Ok(WatchEvent::Snapshot(_)))));
    server.freeze();
    let event = tokio::time::timeout(Duration::from_secs(10), events.next()).await.expect("it is noticed");
    assert!(
        matches!(&event, Some(Ok(WatchEvent::Reconnecting { error: Error::Unreachable { .. }, .. }))),
        "{event:?}"
    );
}
