//! A watch keeps its promises over streams that break.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod scripted;

use std::time::Duration;

use futures::StreamExt;
use haul_client::{Error, WatchEvent, WatchOptions};
use haul_proto::v1::{Batch, Draining, Heartbeat, InitialSyncDone, watch_progress_response::Event};
use scripted::{
    Scripted,
    Step::{Fail, Hang, Send},
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

fn batch(revision: i64) -> Batch {
    Batch { name: "batches/nightly".to_owned(), revision, ..Batch::default() }
}

/// What a caller sees, in short.
async fn seen(server: &Scripted, options: WatchOptions) -> Vec<String> {
    let client = server.client().await;
    client
        .watch("nightly", options)
        .map(|event| match event {
            Ok(WatchEvent::Snapshot(batch)) => format!("snapshot {}", batch.revision),
            Ok(WatchEvent::Update(batch)) => format!("update {}", batch.revision),
            Ok(WatchEvent::Terminal(batch)) => format!("terminal {}", batch.revision),
            Ok(WatchEvent::Reconnecting { attempt, .. }) => format!("reconnecting {attempt}"),
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
            "update 4",
            "reconnecting 2",
            "reconnecting 3",
            "terminal 4",
        ]
    );
    assert_eq!(server.known_revisions(), [None, Some(3), Some(4), Some(4)]);
}

#[tokio::test]
async fn a_draining_server_is_left() {
    let server = Scripted::start().await;
    let reconnect_after = Some(prost_types::Duration { seconds: 0, nanos: 2_000_000 });
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
            assert_eq!(refusal.retry_after, Some(Duration::from_millis(2)));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(events.next().await, Some(Ok(WatchEvent::Terminal(_)))));
    assert!(events.next().await.is_none());
    assert_eq!(server.known_revisions(), [None, Some(7)]);
}

#[tokio::test]
async fn silence_of_three_heartbeats_is_a_broken_stream() {
    let server = Scripted::start().await;
    server.stream([Send(Event::Snapshot(batch(1))), Hang]);
    server.stream([Send(Event::Terminal(batch(2)))]);
    let options = WatchOptions { heartbeat_interval: Duration::from_millis(20), ..WatchOptions::default() };
    assert_eq!(seen(&server, options).await, ["snapshot 1", "reconnecting 1", "terminal 2"]);
}

#[tokio::test]
async fn ok_without_an_end_is_a_broken_stream() {
    let server = Scripted::start().await;
    server.stream([Send(Event::Snapshot(batch(1)))]);
    server.stream([Send(Event::Terminal(batch(2)))]);
    assert_eq!(seen(&server, WatchOptions::default()).await, ["snapshot 1", "reconnecting 1", "terminal 2"]);
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
    assert!(matches!(events.next().await, Some(Ok(WatchEvent::Terminal(_)))));
}

#[tokio::test]
async fn a_refusal_ends_the_watch() {
    let server = Scripted::start().await;
    server.no_stream(refusal(Code::NotFound, "BATCH_NOT_FOUND"));
    assert_eq!(seen(&server, WatchOptions::default()).await, ["error BATCH_NOT_FOUND"]);
}
