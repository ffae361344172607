//! Results come once each over streams that break.

use futures::StreamExt;
use haul_client::{ResultsEvent, ResultsOptions};
use haul_proto::v1::{Item, StreamResultsResponse};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::scripted::Scripted;

#[allow(clippy::unnecessary_wraps, reason = "it is a step of a script")]
fn chunk(indexes: &[i64], cursor: &str, complete: bool) -> Result<StreamResultsResponse, Status> {
    let items = indexes.iter().map(|index| Item { index: *index, ..Item::default() }).collect();
    Ok(StreamResultsResponse { items, cursor: cursor.to_owned(), complete })
}

fn refusal(code: Code, reason: &str) -> Status {
    Status::with_error_details(code, "refused", ErrorDetails::with_error_info(reason, "haul.v1", []))
}

/// What a caller sees, in short.
async fn seen(server: &Scripted, options: ResultsOptions) -> Vec<String> {
    let client = server.client().await;
    let short = |event| match event {
        Ok(ResultsEvent::Chunk(chunk)) => {
            let indexes: Vec<i64> = chunk.items.iter().map(|item| item.index).collect();
            format!("{indexes:?}{}", if chunk.complete { " complete" } else { "" })
        }
        Ok(ResultsEvent::Reconnecting { attempt, .. }) => format!("reconnecting {attempt}"),
        Ok(ResultsEvent::Reconnected) => "reconnected".to_owned(),
        Err(haul_client::Error::Refused(refusal)) => format!("error {}", refusal.reason),
        Err(error) => format!("error {error}"),
    };
    client.results("nightly", options).map(short).collect().await
}

#[tokio::test]
async fn a_cut_stream_goes_on_behind_its_last_cursor() {
    let server = Scripted::start().await;
    server.results([chunk(&[3], "a", false), Err(refusal(Code::Unavailable, "SERVER_DRAINING"))]);
    server.results([Err(Status::internal("the stream was reset"))]);
    // OK without the last message is a break, for whoever follows.
    server.results([chunk(&[1, 2], "b", false)]);
    server.results([chunk(&[0], "c", true)]);
    let options = ResultsOptions { follow: true, ..ResultsOptions::default() };
    let expected = [
        "[3]",
        "reconnecting 1",
        "reconnected",
        "reconnecting 2",
        "reconnected",
        "[1, 2]",
        "reconnecting 3",
        "reconnected",
        "[0] complete",
    ];
    assert_eq!(seen(&server, options).await, expected);
    assert_eq!(server.cursors(), ["", "a", "a", "b"]);
}

#[tokio::test]
async fn who_does_not_follow_ends_with_what_there_is() {
    let server = Scripted::start().await;
    server.results([chunk(&[3], "y", false)]);
    let options = ResultsOptions { after_cursor: "x".to_owned(), ..ResultsOptions::default() };
    assert_eq!(seen(&server, options).await, ["[3]"]);
    assert_eq!(server.cursors(), ["x"]);
}

#[tokio::test]
async fn a_refusal_is_final() {
    let server = Scripted::start().await;
    server.results([Err(refusal(Code::InvalidArgument, "INVALID_CURSOR"))]);
    let options = ResultsOptions { follow: true, ..ResultsOptions::default() };
    assert_eq!(seen(&server, options).await, ["error INVALID_CURSOR"]);
}
