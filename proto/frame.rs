//! A `WatchProgressResponse` with its batch encoded before: the same bytes on the wire, made once for all watchers.

use bytes::Bytes;
use prost::Message;

use crate::v1::{
    Draining, Heartbeat, InitialSyncDone, WatchProgressResponse, watch_progress_response::Event,
};

/// One event of a watch as a server sends it. To protobuf an embedded message and a field of its bytes are one thing, so
/// tags and meaning are those of [`WatchProgressResponse`], field by field.
#[derive(Clone, PartialEq, Message)]
pub struct WatchFrame {
    /// What it is.
    #[prost(oneof = "FrameEvent", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub event: Option<FrameEvent>,
    /// Server's clock at sending.
    #[prost(message, optional, tag = "8")]
    pub server_time: Option<prost_types::Timestamp>,
    /// Updates that this one stands for.
    #[prost(int64, tag = "9")]
    pub conflated_count: i64,
}

/// The event of a [`WatchFrame`]. Bytes are a `Batch`.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum FrameEvent {
    /// Full state, first of all.
    #[prost(bytes = "bytes", tag = "1")]
    Snapshot(Bytes),
    /// Full state after a change.
    #[prost(bytes = "bytes", tag = "2")]
    Update(Bytes),
    /// Full state at the end.
    #[prost(bytes = "bytes", tag = "3")]
    Terminal(Bytes),
    /// The first states have been sent.
    #[prost(message, tag = "4")]
    InitialSyncDone(InitialSyncDone),
    /// Nothing new.
    #[prost(message, tag = "5")]
    Heartbeat(Heartbeat),
    /// A batch that is watched no more.
    #[prost(string, tag = "6")]
    Removed(String),
    /// The node is leaving.
    #[prost(message, tag = "7")]
    Draining(Draining),
}

impl From<WatchProgressResponse> for WatchFrame {
    fn from(response: WatchProgressResponse) -> Self {
        let WatchProgressResponse { event, server_time, conflated_count } = response;
        let event = event.map(|event| match event {
            Event::Snapshot(batch) => FrameEvent::Snapshot(batch.encode_to_vec().into()),
            Event::Update(batch) => FrameEvent::Update(batch.encode_to_vec().into()),
            Event::Terminal(batch) => FrameEvent::Terminal(batch.encode_to_vec().into()),
            Event::InitialSyncDone(done) => FrameEvent::InitialSyncDone(done),
            Event::Heartbeat(heartbeat) => FrameEvent::Heartbeat(heartbeat),
            Event::Removed(name) => FrameEvent::Removed(name),
            Event::Draining(draining) => FrameEvent::Draining(draining),
        });
        Self { event, server_time, conflated_count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::Batch;

    #[test]
    fn a_frame_has_the_bytes_of_the_message_that_it_stands_for() {
        let batch = Batch { name: "batches/abcd".to_owned(), revision: 7, ..Batch::default() };
        let events = [
            Some(Event::Snapshot(batch.clone())),
            Some(Event::Update(batch.clone())),
            Some(Event::Terminal(batch)),
            Some(Event::InitialSyncDone(InitialSyncDone {})),
            Some(Event::Heartbeat(Heartbeat { revision: 8 })),
            Some(Event::Removed("batches/abcd".to_owned())),
            Some(Event::Draining(Draining { reconnect_after: None })),
            None,
        ];
        for event in events {
            let server_time = Some(prost_types::Timestamp { seconds: 9, nanos: 10 });
            let message = WatchProgressResponse { event, server_time, conflated_count: 11 };
            let frame = WatchFrame::from(message.clone());
            assert_eq!(frame.encode_to_vec(), message.encode_to_vec(), "{message:?}");
            assert_eq!(WatchProgressResponse::decode(&*frame.encode_to_vec()).unwrap(), message);
        }
    }
}
