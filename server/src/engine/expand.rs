//! Reads a batch's source, page by page, while its items already run.

use std::{ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Engine, Fault, LEASE, gate::Terms};
use crate::{
    clock,
    connector::Origin,
    domain::{
        backoff::Backoff,
        batch::{Batch, State},
        failure::{Failure, FailureClass},
        id::BatchSeq,
        request::{self, Request, Response},
        spec::{BatchSpec, Source},
        upstream::{Pressure, PressureCause},
    },
    fetch::{Call, FetchError, Meter, Verdict, classify},
    progress::Entry,
    source::{self, Download, Fetched, Page, SourceError, Tools},
    store::{PageRead, SourceLease, SourcePage, StoreError},
};

/// Of the list, and of a file of keys whose server gives no parts of it.
const BODY_BYTES_MAX: u64 = 64 << 20;
const STORE_RETRY: Duration = Duration::from_millis(500);

/// Reads whenever the batch runs, until the source is read, the batch is paused or over, or the node drains.
pub(super) async fn run(engine: &Arc<Engine>, batch: &Arc<Batch>, entry: &Arc<Entry>) {
    let mut states = entry.subscribe();
    while !engine.draining.is_cancelled() {
        let (state, expanded) = {
            let batch = states.borrow_and_update();
            (batch.state, batch.expanded)
        };
        match state {
            _ if expanded => return,
            State::Running => read(engine, batch, entry, &mut states).await,
            // A resume may still come.
            State::Pausing => {
                tokio::select! {
                    changed = states.changed() => if changed.is_err() { return },
                    () = engine.draining.cancelled() => {}
                }
            }
            State::Open
            | State::Queued
            | State::Paused
            | State::Stopping
            | State::Completed
            | State::Failed
            | State::Stopped => {
                return;
            }
        }
    }
}

/// Reads as long as the batch runs.
async fn read(
    engine: &Arc<Engine>,
    batch: &Arc<Batch>,
    entry: &Arc<Entry>,
    states: &mut watch::Receiver<Arc<Batch>>,
) {
    let now = clock::now();
    match engine.store.claim_source(batch.seq, &engine.node, now, now + page_lease(batch)).await {
        Ok(Some(lease)) => {
            let states = states.clone();
            Expansion { engine, batch, entry, states, lease, unrecorded: Cost::default() }.run().await;
        }
        Ok(None) => {
            goes_on(engine, states, STORE_RETRY).await;
        }
        Err(error) => {
            tracing::warn!(batch_id = %batch.id, error = %error, "the source could not be leased");
            goes_on(engine, states, STORE_RETRY).await;
        }
    }
}

struct Expansion<'a> {
    engine: &'a Arc<Engine>,
    batch: &'a Arc<Batch>,
    entry: &'a Arc<Entry>,
    states: watch::Receiver<Arc<Batch>>,
    lease: SourceLease,
    /// Sent and received since the last page that was stored.
    unrecorded: Cost,
}

#[derive(Default)]
struct Cost {
    requests: i64,
    bytes_received: i64,
}

impl Expansion<'_> {
    async fn run(mut self) {
        let spec = &self.batch.spec;
        let meter = Arc::new(Meter::default());
        let download = Downloader {
            engine: Arc::clone(self.engine),
            user_agent: spec.fetch.user_agent.as_str().into(),
            terms: Terms::of(spec),
            meter: Arc::clone(&meter),
            reader: Some((self.batch.seq, Arc::clone(self.entry))),
        };
        let tools = self.engine.tools(download, Fetched::Kept);
        let Some(mut source) = source::open(spec, tools) else { return };
        let backoff = spec.fetch.retry().backoff;
        let mut position = self.lease.position.take();
        let mut failures = 0;
        loop {
            let page = tokio::select! {
                page = source.page(position.as_deref()) => page,
                () = cut_off(self.engine, self.entry) => {
                    self.store(PageRead::Release).await;
                    return;
                }
            };
            let (requests, bytes_received) = meter.take();
            self.unrecorded.requests += i64::from(requests);
            self.unrecorded.bytes_received += bytes_received;
            let read = match page {
                Ok(Page { items, next, list }) => {
                    // One that brings nothing was read to where the reading was.
                    if next != position {
                        failures = 0;
                    }
                    self.entry.set_source(None);
                    position.clone_from(&next);
                    PageRead::Items { items, next, list }
                }
                Err(error @ (SourceError::Unreadable(_) | SourceError::NoList { .. })) => {
                    PageRead::Unreadable(error.to_string())
                }
                Err(error @ (SourceError::Temporary(_) | SourceError::Store(_))) => {
                    failures += 1;
                    let wait = wait_after(&error, failures, &backoff);
                    tracing::warn!(
                        batch_id = %self.batch.id, action = "source_read", status = "retry", error = %error,
                        retry_count = failures, wait_ms = wait.as_millis() as u64, "the source is read again later",
                    );
                    self.entry.set_source(unread(&self.batch.spec, wait));
                    if goes_on(self.engine, &mut self.states, wait).await {
                        continue;
                    }
                    PageRead::Release
                }
            };
            if self.store(read).await {
                return;
            }
            if !self.may_go_on() {
                self.store(PageRead::Release).await;
                return;
            }
        }
    }

    fn may_go_on(&self) -> bool {
        self.states.borrow().state == State::Running && !self.engine.draining.is_cancelled()
    }

    /// Stores a page, however long that takes. Answers whether the reading is over.
    async fn store(&mut self, read: PageRead) -> bool {
        let cost = std::mem::take(&mut self.unrecorded);
        let mut page = SourcePage {
            batch: self.batch.seq,
            epoch: self.lease.epoch,
            read,
            requests: cost.requests,
            bytes_received: cost.bytes_received,
            lease_until: clock::now() + page_lease(self.batch),
        };
        loop {
            let now = clock::now();
            page.lease_until = now + page_lease(self.batch);
            match self.engine.store.expand(&page, now).await {
                Ok(expanded) => {
                    self.engine.take_up_all(expanded.admitted);
                    self.engine.hub.publish(expanded.batch, &[]);
                    return expanded.over;
                }
                Err(error) => {
                    tracing::error!(batch_id = %self.batch.id, error = %error, "a page of the source could not be stored");
                    if self.engine.draining.is_cancelled() {
                        return true;
                    }
                    if !error.is_transient() && self.engine.pause_by(self.batch.seq, &Fault::of(&error)).await
                    {
                        // The page is read again after the repair.
                        page.read = PageRead::Release;
                    }
                    self.engine.pause_for(STORE_RETRY).await;
                }
            }
        }
    }
}

/// Waits until what is in flight is to be cut off, for the batch or for the process.
async fn cut_off(engine: &Engine, entry: &Entry) {
    let in_flight = entry.cut_off();
    tokio::select! {
        () = in_flight.cancelled() => {}
        () = engine.abort.cancelled() => {}
    }
}

/// What holds a batch back whose source is asked for again after `wait`.
fn unread(spec: &BatchSpec, wait: Duration) -> Option<Pressure> {
    let origin = match &spec.source {
        Source::JpxListing(list) => Origin::of_url(&list.uri)?,
        Source::File(file) => Origin::of_url(&file.uri)?,
        Source::Inline { .. } | Source::Uploaded(_) | Source::BatchItems { .. } => return None,
    };
    let now = clock::now();
    Some(Pressure {
        upstream: origin.upstream(),
        host: origin.host,
        cause: PressureCause::Outage,
        permitted_per_s: 0.0,
        held_until: Some(now + wait),
        since: now,
    })
}

fn wait_after(error: &SourceError, failures: u32, backoff: &Backoff) -> Duration {
    let wait = backoff.wait(failures, rand::random());
    match error {
        SourceError::Temporary(failure) => wait.max(failure.retry_after.unwrap_or_default()),
        SourceError::Store(_) | SourceError::Unreadable(_) | SourceError::NoList { .. } => {
            wait.max(STORE_RETRY)
        }
    }
}

/// A page may take as long as two downloads and their quick tries may.
fn page_lease(batch: &Batch) -> Duration {
    LEASE + 4 * batch.spec.fetch.attempt_timeout
}

/// Waits, unless the batch stops running or the node drains meanwhile.
async fn goes_on(engine: &Engine, states: &mut watch::Receiver<Arc<Batch>>, wait: Duration) -> bool {
    tokio::select! {
        () = tokio::time::sleep(wait) => true,
        () = engine.draining.cancelled() => false,
        () = stopped(states) => false,
    }
}

/// Waits until the batch does not run any more.
async fn stopped(states: &mut watch::Receiver<Arc<Batch>>) {
    // An entry that is gone has ended.
    let _ = states.wait_for(|batch| batch.state != State::Running).await;
}

impl Engine {
    /// What the source of a batch is read with that is planned and not made: requests go through the gates like any
    /// other, and what they bring is not stored.
    pub fn tools_of_plan(self: &Arc<Self>, spec: &BatchSpec) -> Tools {
        let download = Downloader {
            engine: Arc::clone(self),
            user_agent: spec.fetch.user_agent.as_str().into(),
            terms: Terms::of(spec),
            meter: Arc::default(),
            reader: None,
        };
        self.tools(download, Fetched::Dropped)
    }

    fn tools(&self, download: Downloader, fetched: Fetched) -> Tools {
        let (store, roots) = (Arc::clone(&self.store), Arc::clone(&self.roots));
        Tools { store, download: Arc::new(download), roots, fetched }
    }
}

/// Downloads under the limits of whatever host it is, at the batch's own rate.
struct Downloader {
    engine: Arc<Engine>,
    user_agent: Arc<str>,
    terms: Terms,
    meter: Arc<Meter>,
    /// The batch that reads; a plan is none.
    reader: Option<(BatchSeq, Arc<Entry>)>,
}

#[async_trait]
impl Download for Downloader {
    async fn get(&self, url: &str, part: Option<Range<u64>>) -> Result<Response, Failure> {
        let origin = Origin::of_url(url).ok_or_else(|| {
            Failure::new(FailureClass::Permanent, "UNSENDABLE", &format!("{url:?} is no http(s) URL"))
        })?;
        let upstream = origin.upstream();
        let gates = &self.engine.gates;
        let (lane, withdrawn) = match &self.reader {
            Some((batch, entry)) => {
                let lane = gates.join(&upstream, &origin.host, *batch, self.terms).await;
                (lane, entry.sending().child_token())
            }
            None => (gates.visit(&upstream, &origin.host, self.terms).await, CancellationToken::new()),
        };
        let lane = lane.map_err(|error: StoreError| {
            Failure::new(FailureClass::Temporary, "STORE", &error.to_string())
        })?;
        let is_part = part.is_some();
        let call = Call {
            request: Request { part, ..Request::get(url.to_owned(), "*/*") },
            user_agent: Arc::clone(&self.user_agent),
            timeout: self.terms.attempt_timeout,
            body_bytes_max: BODY_BYTES_MAX,
            permits: Arc::clone(&lane) as _,
            withdrawn: withdrawn.clone(),
            meter: Arc::clone(&self.meter),
        };
        let mut fetched = Box::pin(self.engine.fetcher.fetch(call));
        let reply = tokio::select! {
            reply = &mut fetched => reply,
            () = self.engine.draining.cancelled() => {
                withdrawn.cancel();
                fetched.await
            }
        };
        let now: DateTime<Utc> = clock::now();
        if reply.is_ok() && classify::verdict(&reply, now) == Some(Verdict::Alive) {
            lane.lives().await;
        }
        match reply {
            // Other successes hold something else than the file: "not yet", or nothing.
            Ok(response) if response.status == 200 || is_part && response.status == 206 => Ok(response),
            Ok(response) => Err(classify::reply(&request::Fault::Status, &response, now)),
            Err(FetchError::Held { until }) => {
                let message = format!(
                    "nothing was asked: requests to {} are held until {}, as it asked for fewer or failed",
                    origin.host,
                    until.format("%Y-%m-%dT%H:%M:%SZ")
                );
                let mut failure = Failure::new(FailureClass::Temporary, "RATE_LIMITED", &message);
                failure.retry_after = (until - now).to_std().ok();
                Err(failure)
            }
            Err(error) => Err(classify::transport(&error)
                .unwrap_or_else(|| Failure::new(FailureClass::Temporary, "WITHDRAWN", "not sent"))),
        }
    }
}
