//! `haul pause`, `haul resume`, `haul stop`

use std::io::Write;

use clap::Args;
use futures::StreamExt;
use haul_proto::v1::{Batch, DrainMode, PauseRequest, StopRequest, batch::State};

use super::{Context, failure::Failure};
use crate::{
    Client, Error, WatchEvent, WatchOptions,
    cli::{label, number, output::Format},
};

#[derive(Args, Clone, Debug)]
struct Wish {
    /// Id of the batch, or batches/ID.
    batch: String,
    /// Why, for people.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Wait until it is so, or the batch is over.
    #[arg(long)]
    wait: bool,
}

#[derive(Args, Debug)]
struct Drain {
    /// Cut requests in flight off, in place of letting them end. Their items are not charged for it.
    #[arg(long)]
    abort: bool,
}

impl Drain {
    fn mode(&self) -> i32 {
        if self.abort { DrainMode::Abort } else { DrainMode::Finish }.into()
    }
}

/// Pause a batch: no further request is sent
///
/// Requests in flight end and are recorded, unless --abort is given. `haul resume` lets it go on.
#[derive(Args, Debug)]
pub(super) struct Pause {
    #[command(flatten)]
    wish: Wish,
    #[command(flatten)]
    drain: Drain,
}

/// Let a paused batch go on
#[derive(Args, Debug)]
pub(super) struct Resume {
    #[command(flatten)]
    wish: Wish,
}

/// End a batch for good
///
/// Requests in flight end and are recorded, unless --abort is given; items still open are canceled.
#[derive(Args, Debug)]
pub(super) struct Stop {
    #[command(flatten)]
    wish: Wish,
    #[command(flatten)]
    drain: Drain,
}

impl Pause {
    pub(super) async fn run(self, context: &Context, out: &mut impl Write) -> Result<u8, Failure> {
        let client = context.connect().await?;
        let Wish { batch: name, reason, .. } = self.wish.clone();
        let answer = client.pause_with(PauseRequest { name, reason, drain_mode: self.drain.mode() }).await?;
        let batch = answer.batch.ok_or_else(|| client.malformed("Pause", "a batch"))?;
        let wanted = Some(State::Paused);
        finish(&client, &self.wish, wanted, batch, answer.in_flight_items, context, out).await
    }
}

impl Resume {
    pub(super) async fn run(self, context: &Context, out: &mut impl Write) -> Result<u8, Failure> {
        let client = context.connect().await?;
        let answer = client.resume(&self.wish.batch, &self.wish.reason).await?;
        let batch = answer.batch.ok_or_else(|| client.malformed("Resume", "a batch"))?;
        finish(&client, &self.wish, Some(State::Running), batch, 0, context, out).await
    }
}

impl Stop {
    pub(super) async fn run(self, context: &Context, out: &mut impl Write) -> Result<u8, Failure> {
        let client = context.connect().await?;
        let Wish { batch: name, reason, .. } = self.wish.clone();
        let answer = client.stop_with(StopRequest { name, reason, drain_mode: self.drain.mode() }).await?;
        let batch = answer.batch.ok_or_else(|| client.malformed("Stop", "a batch"))?;
        finish(&client, &self.wish, None, batch, answer.in_flight_items, context, out).await
    }
}

/// Waits if asked to, then prints where the batch stands.
async fn finish(
    client: &Client,
    wish: &Wish,
    wanted: Option<State>,
    answered: Batch,
    in_flight_items: i64,
    context: &Context,
    out: &mut impl Write,
) -> Result<u8, Failure> {
    let (batch, in_flight_items) = if wish.wait {
        (reached(client, &wish.batch, wanted).await?, 0)
    } else {
        (answered, in_flight_items)
    };
    if context.output.format() == Format::Table {
        let in_flight = match in_flight_items {
            0 => String::new(),
            count => format!("; {} in flight", number::plural(count, "item", "items")),
        };
        let state = label::batch_state_with_cause(&batch);
        writeln!(out, "{}  {state}{in_flight}", batch.name)?;
    } else {
        context.output.batch(&batch, out)?;
    }
    Ok(0)
}

/// The batch as it is once it is in `wanted`, or over.
async fn reached(client: &Client, name: &str, wanted: Option<State>) -> Result<Batch, Error> {
    let mut events = client.watch(name, WatchOptions::default());
    while let Some(event) = events.next().await {
        match event? {
            WatchEvent::Terminal(batch) => return Ok(batch),
            WatchEvent::Snapshot(batch) | WatchEvent::Update(batch)
                if wanted.is_some_and(|wanted| batch.state() == wanted) =>
            {
                return Ok(batch);
            }
            _ => {}
        }
    }
    Err(client.malformed("WatchProgress", "a terminal event"))
}
