//! Progress events on the wire.

use std::collections::HashMap;

use futures::{Stream, StreamExt, stream};
use haul_proto::{
    FrameEvent, WatchFrame,
    v1::{self, BatchView},
};
use prost::Message;
use tonic::Status;

use super::{
    batch::batch,
    status::{ApiError, Violation},
    time,
};
pub(super) use crate::control::watch::Event;
use crate::{
    clock,
    control::watch::{Options, WATCHED_MAX},
    domain::{
        filter::{BatchField, Filter},
        id::BatchId,
    },
    progress::Shared,
};

/// What is watched.
pub(super) enum Target {
    One(BatchId),
    Matching(Filter<BatchField>),
}

pub(super) fn target(request: &v1::WatchProgressRequest) -> Result<Target, ApiError> {
    use v1::watch_progress_request::Target as Asked;
    match &request.target {
        Some(Asked::Name(name)) => BatchId::from_name(name).map(Target::One).ok_or_else(|| {
            let problem = format!("{name:?} is not batches/{{batch}}, {{batch}} being {}", BatchId::PATTERN);
            ApiError::Invalid(vec![Violation::new("name", problem)])
        }),
        Some(Asked::Filter(text)) => match Filter::parse_over(text, |field| WATCHABLE.contains(&field)) {
            Ok(filter) => Ok(Target::Matching(filter)),
            Err(fault) => Err(ApiError::Invalid(vec![Violation::filter("filter", &fault)])),
        },
        None => Err(ApiError::Invalid(vec![Violation::new("name", "is required, or filter")])),
    }
}

const KNOWN_REVISIONS_MAX: usize = 1_000;
/// What a watch may be filtered by: fields that change with a batch's revision, or never.
const WATCHABLE: [BatchField; 4] =
    [BatchField::State, BatchField::Labels, BatchField::OverlapKey, BatchField::ParentBatch];

pub(super) fn options(request: &v1::WatchProgressRequest) -> Result<Options, ApiError> {
    let known = &request.known_revisions;
    if known.len() > KNOWN_REVISIONS_MAX {
        let problem = format!("has {} entries, more than {KNOWN_REVISIONS_MAX}", known.len());
        return Err(ApiError::Invalid(vec![Violation::new("known_revisions", problem)]));
    }
    let mut known_revisions = HashMap::new();
    let mut faults = Vec::new();
    for (n, v1::KnownRevision { name, revision }) in known.iter().enumerate() {
        let fault = |field, problem| Violation::new(format!("known_revisions[{n}].{field}"), problem);
        match BatchId::from_name(name) {
            None => faults.push(fault("name", format!("{name:?} is not batches/{{batch}}"))),
            Some(_) if *revision < 0 => faults.push(fault("revision", format!("{revision} is negative"))),
            Some(id) => {
                let known = known_revisions.entry(id).or_insert(*revision);
                *known = (*known).max(*revision);
            }
        }
    }
    if !faults.is_empty() {
        return Err(ApiError::Invalid(faults));
    }
    let span = |span: &Option<prost_types::Duration>| {
        span.as_ref().map(|interval| time::span(interval).unwrap_or_default())
    };
    Ok(Options {
        known_revisions,
        min_interval: span(&request.min_interval),
        heartbeat_interval: span(&request.heartbeat_interval),
    })
}

/// The events as frames; after the last one the status that says why, if it was not the end of a batch.
pub(super) fn frames(
    events: impl Stream<Item = Event> + Send + 'static,
    view: BatchView,
) -> impl Stream<Item = Result<WatchFrame, Status>> + Send + 'static {
    events.flat_map(move |event| {
        let (event, conflated_count, end) = match event {
            Event::Snapshot(shared) => (FrameEvent::Snapshot(encoded(&shared, view)), 0, None),
            Event::Update(shared, conflated) => (FrameEvent::Update(encoded(&shared, view)), conflated, None),
            Event::Terminal(shared, conflated) => {
                (FrameEvent::Terminal(encoded(&shared, view)), conflated, None)
            }
            Event::InitialSyncDone => (FrameEvent::InitialSyncDone(v1::InitialSyncDone {}), 0, None),
            Event::Heartbeat { revision } => (FrameEvent::Heartbeat(v1::Heartbeat { revision }), 0, None),
            Event::Removed(id) => (FrameEvent::Removed(id.name()), 0, None),
            Event::Draining { reconnect_after } => {
                let reconnect_after = Some(time::duration(reconnect_after));
                (FrameEvent::Draining(v1::Draining { reconnect_after }), 0, Some(ApiError::Draining))
            }
            Event::TooMany => return told(None, Some(ApiError::TooManyWatched { limit: WATCHED_MAX })),
            Event::Failed(error) => return told(None, Some(error.into())),
        };
        let server_time = Some(time::timestamp(clock::now()));
        told(Some(WatchFrame { event: Some(event), server_time, conflated_count }), end)
    })
}

type Told = stream::Chain<
    stream::Iter<std::option::IntoIter<Result<WatchFrame, Status>>>,
    stream::Iter<std::option::IntoIter<Result<WatchFrame, Status>>>,
>;

fn told(frame: Option<WatchFrame>, end: Option<ApiError>) -> Told {
    let end = end.map(|error| Err(Status::from(error)));
    stream::iter(frame.map(Ok)).chain(stream::iter(end))
}

fn encoded(shared: &Shared, view: BatchView) -> bytes::Bytes {
    shared.encoded(view.into(), |snapshot| batch(snapshot, view).encode_to_vec().into())
}

#[cfg(test)]
mod tests;
