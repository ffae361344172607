//! One stream of `WatchProgress`, as it comes over the wire.

use haul_proto::v1::{
    Batch, KnownRevision, WatchProgressRequest, WatchProgressResponse, watch_progress_request::Target,
    watch_progress_response::Event,
};
use tonic::{Status, Streaming};

use super::{LONG, Server, spec::millis};

/// A watch under way.
pub(crate) struct Watching(Streaming<WatchProgressResponse>);

/// Asks for news of a batch as often as may be.
pub(crate) fn watch(name: &str) -> WatchProgressRequest {
    WatchProgressRequest {
        target: Some(Target::Name(name.to_owned())),
        min_interval: Some(millis(100)),
        heartbeat_interval: Some(millis(1_000)),
        ..WatchProgressRequest::default()
    }
}

/// Asks for news of every live batch that matches.
pub(crate) fn watch_matching(filter: &str) -> WatchProgressRequest {
    WatchProgressRequest { target: Some(Target::Filter(filter.to_owned())), ..watch("") }
}

/// The same, for somebody who has seen a revision.
pub(crate) fn watch_from(name: &str, revision: i64) -> WatchProgressRequest {
    let known = KnownRevision { name: name.to_owned(), revision };
    WatchProgressRequest { known_revisions: vec![known], ..watch(name) }
}

impl Watching {
    pub(crate) async fn open(server: &Server, request: WatchProgressRequest) -> Result<Self, Status> {
        Ok(Self(server.stub().watch_progress(request).await?.into_inner()))
    }

    /// The next event; nothing at the end that is OK.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, Status> {
        let message = tokio::time::timeout(LONG, self.0.message()).await.expect("the watch lives")?;
        Ok(message.map(|message| message.event.expect("an event that is known")))
    }

    /// The next event of a stream that is not at its end.
    pub(crate) async fn event(&mut self) -> Event {
        self.next().await.unwrap().expect("the stream goes on")
    }

    /// Reads on to the end. Answers with every state of the batch, the terminal one last.
    pub(crate) async fn rest(&mut self) -> Vec<Batch> {
        let mut states = Vec::new();
        loop {
            match self.event().await {
                Event::Snapshot(batch) | Event::Update(batch) => states.push(batch),
                Event::Terminal(batch) => {
                    states.push(batch);
                    assert_eq!(self.next().await.unwrap(), None, "OK follows the terminal event");
                    return states;
                }
                _ => {}
            }
        }
    }

    /// Reads on to the first state of the batch that is as wished.
    pub(crate) async fn state_when(&mut self, mut is: impl FnMut(&Batch) -> bool) -> Batch {
        loop {
            match self.event().await {
                Event::Snapshot(batch) | Event::Update(batch) | Event::Terminal(batch) if is(&batch) => {
                    return batch;
                }
                Event::Terminal(batch) => panic!("over before that: {batch:?}"),
                _ => {}
            }
        }
    }

    /// The next event that is no proof of life.
    pub(crate) async fn news(&mut self) -> Event {
        loop {
            match self.event().await {
                Event::Heartbeat(_) => {}
                event => return event,
            }
        }
    }

    /// Reads on for so many seconds of silence: each ends with a heartbeat.
    pub(crate) async fn quiet_seconds(&mut self, count: u32) {
        let mut beats = 0;
        while beats < count {
            if let Event::Heartbeat(_) = self.event().await {
                beats += 1;
            }
        }
    }
}

/// Asserts what holds at every revision.
#[track_caller]
pub(crate) fn assert_adds_up(batch: &Batch) {
    let progress = batch.progress.as_ref().unwrap();
    let final_items =
        progress.succeeded_items + progress.failed_items + progress.skipped_items + progress.canceled_items;
    let open = progress.pending_items + progress.waiting_retry_items + progress.in_flight_items;
    assert_eq!(progress.processed_items, final_items, "{progress:?}");
    assert_eq!(progress.total_items, progress.processed_items + open, "{progress:?}");
    assert!(
        progress.pending_items >= 0 && progress.waiting_retry_items >= 0 && progress.in_flight_items >= 0
    );
}

/// Asserts that each state is newer than the one before it.
#[track_caller]
pub(crate) fn assert_rising(states: &[Batch]) {
    for pair in states.windows(2) {
        assert!(pair[0].revision < pair[1].revision, "{} then {}", pair[0].revision, pair[1].revision);
    }
}
