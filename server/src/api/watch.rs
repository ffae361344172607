//! Progress events on the wire.

use futures::{Stream, StreamExt, stream};
use haul_proto::v1::{self, watch_progress_response::Event as Shown};
use tonic::Status;

use super::{
    batch::batch,
    status::{ApiError, Violation},
    time,
};
use crate::{
    clock,
    control::watch::{Event, Options},
    domain::id::BatchId,
};

const KNOWN_REVISIONS_MAX: usize = 1_000;

pub(super) fn bounded(request: &v1::WatchProgressRequest) -> Result<(), ApiError> {
    let known = request.known_revisions.len();
    if known > KNOWN_REVISIONS_MAX {
        let problem = format!("has {known} entries, more than {KNOWN_REVISIONS_MAX}");
        return Err(ApiError::Invalid(vec![Violation::new("known_revisions", problem)]));
    }
    Ok(())
}

pub(super) fn options(request: &v1::WatchProgressRequest, id: &BatchId) -> Options {
    let name = id.name();
    Options {
        known_revision: request
            .known_revisions
            .iter()
            .filter(|known| known.name == name)
            .map(|known| known.revision)
            .max()
            .unwrap_or(0),
        min_interval: request.min_interval.as_ref().map(|interval| time::span(interval).unwrap_or_default()),
        heartbeat_interval: request
            .heartbeat_interval
            .as_ref()
            .map(|interval| time::span(interval).unwrap_or_default()),
    }
}

/// The events as responses; after `draining` the status that says so.
pub(super) fn responses(
    events: impl Stream<Item = Event> + Send + 'static,
    view: v1::BatchView,
) -> impl Stream<Item = Result<v1::WatchProgressResponse, Status>> + Send + 'static {
    events.flat_map(move |event| {
        let (shown, conflated_count, over) = match event {
            Event::Snapshot(snapshot) => (Shown::Snapshot(batch(&snapshot, view)), 0, false),
            Event::Update(snapshot, conflated) => (Shown::Update(batch(&snapshot, view)), conflated, false),
            Event::Terminal(snapshot, conflated) => {
                (Shown::Terminal(batch(&snapshot, view)), conflated, false)
            }
            Event::InitialSyncDone => (Shown::InitialSyncDone(v1::InitialSyncDone {}), 0, false),
            Event::Heartbeat { revision } => (Shown::Heartbeat(v1::Heartbeat { revision }), 0, false),
            Event::Draining { reconnect_after } => {
                let reconnect_after = Some(time::duration(reconnect_after));
                (Shown::Draining(v1::Draining { reconnect_after }), 0, true)
            }
        };
        let response = v1::WatchProgressResponse {
            event: Some(shown),
            server_time: Some(time::timestamp(clock::now())),
            conflated_count,
        };
        let end = over.then(|| Err(Status::from(ApiError::Draining)));
        stream::iter(std::iter::once(Ok(response)).chain(end))
    })
}
