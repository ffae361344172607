//! `haul pause`, `haul resume`, `haul stop`

use std::io::Write;

use clap::Args;
use haul_proto::v1::{Batch, DrainMode, PauseRequest, Progress, StopRequest, batch::State};

use super::{Context, failure::Failure};
use crate::{
    Client,
    cli::{label, number, output::Format},
};

#[derive(Args, Clone, Debug)]
struct Wish {
    /// Id of the batch, or batches/ID.
    batch: String,
    /// Why, for people.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    /// Wait until it is so, or the batch is over.
    #[arg(long)]
    wait: bool,
}

#[derive(Args, Debug)]
struct Drain {
    /// Cut off requests in flight instead of letting them end. Their items are not charged for it.
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
#[command(after_long_help = "\
Examples:
  haul pause nightly --reason \"the provider asked us to\"
  haul pause nightly --wait     until nothing is in flight any more")]
pub(super) struct Pause {
    #[command(flatten)]
    wish: Wish,
    #[command(flatten)]
    drain: Drain,
}

/// Let a paused batch go on
///
/// What is final stays so, and is not asked for again.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  haul resume nightly
  haul resume nightly --wait && haul watch nightly")]
pub(super) struct Resume {
    #[command(flatten)]
    wish: Wish,
}

/// End a batch for good
///
/// Requests in flight end and are recorded, unless --abort is given; items still open are canceled.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  haul stop nightly --reason \"wrong list\" --wait")]
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
        let answer = client
            .pause_with(PauseRequest {
                name,
                reason,
                drain_mode: self.drain.mode(),
                ..PauseRequest::default()
            })
            .await?;
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
        let answer = client
            .stop_with(StopRequest { name, reason, drain_mode: self.drain.mode(), ..StopRequest::default() })
            .await?;
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
        let is_so = |batch: &Batch| wanted.is_some_and(|wanted| batch.state() == wanted);
        (client.batch(&wish.batch).wait_for(is_so).await?, 0)
    } else {
        (answered, in_flight_items)
    };
    if context.output.format() == Format::Table {
        let progress = Progress { in_flight_items, ..batch.progress.clone().unwrap_or_default() };
        let mut said = label::batch_state_with_cause(&batch);
        for (items, what) in label::in_flight(&progress).into_iter().filter(|(items, _)| *items > 0) {
            said = format!("{said}; {} {what}", number::plural(items, "item", "items"));
        }
        writeln!(out, "{}  {said}", batch.name)?;
    } else {
        context.output.batch(&batch, out)?;
    }
    Ok(0)
}
