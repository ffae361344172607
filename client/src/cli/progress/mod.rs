//! Live progress on standard error, to the end of a batch.
//!
//! ```text
//!   watch ──────────┐
//!   failures poll ──┼──▶ follow ──▶ display: bar (terminal), plain lines (elsewhere), nothing
//!   wait poll ──────┤
//!   tick ───────────┘
//! ```
//!
//! Following never changes a batch: dropped, as on Ctrl-C, it leaves the batch running and the terminal clean.

mod bar;
mod failure;
mod line;
mod plain;
mod wait;

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use futures::{
    StreamExt,
    future::{BoxFuture, OptionFuture},
};
use haul_proto::v1::{Batch, FailureGroup};
use tokio::time::{Instant, MissedTickBehavior};

pub(crate) use self::line::{done, held_back, standing};
use self::{bar::Bar, failure::FailurePoll, plain::Plain, wait::WaitPoll};
use crate::{
    Client, Error, WatchEvent, WatchOptions,
    cli::{clock, connection::Connection, queue},
};

/// How to show progress.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ProgressMode {
    /// A bar on a terminal, plain lines elsewhere.
    #[default]
    Auto,
    /// Plain lines.
    Plain,
    /// Nothing.
    Quiet,
}

/// After which figures that did not move are asked for.
const STALE: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_secs(1);

/// Watches a batch to its end, and shows how it goes on standard error. Returns the batch as it ended.
///
/// It may be dropped at any time. A caller that wants Ctrl-C to leave the batch running selects against it:
///
/// ```no_run
/// use haul_client::cli::progress::{ProgressMode, follow};
///
/// # async fn demo(client: haul_client::Client) -> Result<(), haul_client::Error> {
/// tokio::select! {
///     batch = follow(&client, "nightly", ProgressMode::Auto) => drop(batch?),
///     _ = tokio::signal::ctrl_c() => {}
/// }
/// # Ok(())
/// # }
/// ```
pub async fn follow(client: &Client, name: &str, mode: ProgressMode) -> Result<Batch, Error> {
    let mut display = Display::new(mode);
    let mut connection = Connection::default();
    let mut failures = FailurePoll::new(mode);
    let mut poll = None;
    let mut waits = WaitPoll::new(mode);
    let mut asking = None;
    let mut heard = Instant::now();
    let mut refresh: Option<BoxFuture<'_, Result<Batch, Error>>> = None;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut events = client.watch(name, WatchOptions::default());
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(WatchEvent::Terminal(batch))) => {
                    display.end(&batch);
                    return Ok(batch);
                }
                Some(Ok(WatchEvent::Snapshot(batch) | WatchEvent::Update(batch))) => {
                    heard = Instant::now();
                    failures.observe(&batch);
                    waits.observe(&batch);
                    display.batch(batch);
                }
                Some(Ok(WatchEvent::Reconnecting { attempt, error })) => {
                    if let Some(text) = connection.lost(attempt, &error) {
                        display.lost(text);
                    }
                }
                Some(Ok(WatchEvent::Reconnected)) => {
                    if let Some(text) = connection.back() {
                        display.back(text);
                    }
                }
                Some(Err(error)) => return Err(error),
                None => return Err(client.malformed("WatchProgress", "a terminal event")),
            },
            Some(report) = OptionFuture::from(poll.as_mut()) => {
                poll = None;
                // Failures are a service to the reader; without a report the rest still is one.
                if let Ok(report) = report {
                    display.failures(report);
                }
            }
            Some(waits_for) = OptionFuture::from(asking.as_mut()) => {
                asking = None;
                if let Ok(waits_for) = waits_for {
                    display.waits_for(waits_for);
                }
            }
            Some(batch) = OptionFuture::from(refresh.as_mut()) => {
                refresh = None;
                heard = Instant::now();
                // Its end is told by the watch.
                if let Ok(batch) = batch && batch.end_time.is_none() {
                    display.batch(batch);
                }
            }
            _ = tick.tick() => display.tick(),
        }
        // A watch tells of what was committed. Where nothing is, estimates grow old, and what is waited for changes.
        if refresh.is_none() && mode != ProgressMode::Quiet && heard.elapsed() >= STALE {
            refresh = Some(Box::pin(client.get_batch(name)));
        }
        if poll.is_none() && failures.is_due() {
            failures.begin();
            poll = Some(Box::pin(failure::groups(client, name)));
        }
        if asking.is_none()
            && let Some(batch) = waits.begin()
        {
            asking = Some(Box::pin(async move { queue::waits_for(client, &batch, clock::now()).await }));
        }
    }
}

enum Display {
    Bar(Box<Bar>),
    Plain(Box<Plain<io::Stderr>>),
    Quiet,
}

impl Display {
    fn new(mode: ProgressMode) -> Self {
        match mode {
            ProgressMode::Quiet => Self::Quiet,
            ProgressMode::Auto if io::stderr().is_terminal() => Self::Bar(Box::new(Bar::new())),
            ProgressMode::Auto | ProgressMode::Plain => Self::Plain(Box::new(Plain::new(io::stderr()))),
        }
    }

    fn batch(&mut self, batch: Batch) {
        match self {
            Self::Bar(bar) => bar.batch(batch, clock::now()),
            Self::Plain(plain) => plain.batch(&batch, clock::now()),
            Self::Quiet => {}
        }
    }

    fn failures(&mut self, groups: Vec<FailureGroup>) {
        match self {
            Self::Bar(bar) => bar.failures(groups, clock::now()),
            Self::Plain(plain) => plain.failures(&groups),
            Self::Quiet => {}
        }
    }

    fn waits_for(&mut self, waits_for: Option<String>) {
        match self {
            Self::Bar(bar) => bar.waits_for(waits_for, clock::now()),
            Self::Plain(plain) => plain.waits_for(waits_for, clock::now()),
            Self::Quiet => {}
        }
    }

    fn lost(&mut self, text: String) {
        match self {
            Self::Bar(bar) => bar.lost(text, clock::now()),
            Self::Plain(plain) => plain.lost(&text, clock::now()),
            Self::Quiet => {}
        }
    }

    fn back(&mut self, text: &str) {
        match self {
            // There the line below it is gone.
            Self::Bar(bar) => bar.back(clock::now()),
            Self::Plain(plain) => plain.back(text, clock::now()),
            Self::Quiet => {}
        }
    }

    fn tick(&mut self) {
        match self {
            Self::Bar(bar) => bar.draw(clock::now()),
            Self::Plain(plain) => plain.tick(clock::now()),
            Self::Quiet => {}
        }
    }

    fn end(&mut self, batch: &Batch) {
        match self {
            Self::Bar(bar) => bar.clear(),
            Self::Plain(plain) => plain.end(batch, clock::now()),
            Self::Quiet => {}
        }
    }
}
