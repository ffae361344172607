//! What a call that makes a batch came to: said on standard error, and printed.

use std::io::{self, Write};

use haul_proto::v1::{Batch, start_batch_response::Outcome};

use super::{Context, failure::Failure, watch};
use crate::{
    Client,
    cli::{
        clock, exit, label,
        output::Format,
        queue::{live_of_key, named, replaced_by, waits_for},
    },
};

/// A call that made a batch, or was answered with another one.
pub(super) struct Started<'a> {
    pub(super) client: &'a Client,
    pub(super) batch: &'a Batch,
    pub(super) outcome: Outcome,
    /// It is to be followed to its end.
    pub(super) watched: bool,
    pub(super) context: &'a Context,
}

impl Started<'_> {
    /// Prints a batch that was just made, and follows it if asked to; one that was skipped has nothing to follow.
    pub(super) async fn said(&self, out: &mut impl Write) -> Result<u8, Failure> {
        self.announce(out).await?;
        self.followed(out).await
    }

    /// Says what a start came to, and the batch's name.
    pub(super) async fn announce(&self, out: &mut impl Write) -> Result<(), Failure> {
        let Self { client, batch, outcome, watched, context } = *self;
        for remark in remarks(client, batch, outcome, watched).await {
            // Lost with standard error.
            let _ = writeln!(io::stderr(), "haul: {remark}");
        }
        if context.output.format() == Format::Table {
            context.output.started(outcome, batch, None, out)?;
            out.flush()?;
        }
        Ok(())
    }

    /// Follows it if asked to, and prints what a program reads: a document is whole, so it comes at the end.
    pub(super) async fn followed(&self, out: &mut impl Write) -> Result<u8, Failure> {
        let Self { client, batch, outcome, watched, context } = *self;
        if watched && outcome != Outcome::Skipped {
            let (batch, report) = watch::ended(client, &batch.name).await?;
            context.output.started(outcome, &batch, Some(&report), out)?;
            return Ok(exit::code(&batch));
        }
        if context.output.format() != Format::Table {
            context.output.started(outcome, batch, None, out)?;
        }
        out.flush()?;
        Ok(0)
    }
}

/// What a start came to, where it is not simply a new batch that runs. The start is done: what cannot be asked about the
/// others is left out.
async fn remarks(client: &Client, batch: &Batch, outcome: Outcome, watched: bool) -> Vec<String> {
    if outcome == Outcome::Skipped {
        return vec![skipped(client, batch, watched).await];
    }
    let mut remarks = Vec::new();
    if outcome == Outcome::Replayed {
        remarks.push("this request id was answered before; this is its batch".to_owned());
    }
    let id = label::batch_id(&batch.name);
    let replaced = replaced_by(client, batch).await.unwrap_or_default();
    if !replaced.is_empty() {
        remarks.push(format!("{id} takes the place of {}", named(&replaced.iter().collect::<Vec<_>>())));
    }
    // Whoever follows it is told as long as it waits.
    if !watched && let Some(what) = waits_for(client, batch, clock::now()).await.unwrap_or_default() {
        remarks.push(format!("{id}: QUEUED {what}"));
    }
    remarks
}

/// Which batches kept a new one from being made.
async fn skipped(client: &Client, live: &Batch, watched: bool) -> String {
    let key = live.spec.clone().unwrap_or_default().overlap_key;
    let mut others = live_of_key(client, &key).await.unwrap_or_default();
    others.retain(|other| other.name != live.name);
    let all: Vec<&Batch> = std::iter::once(live).chain(&others).collect();
    let have = if all.len() == 1 { "has" } else { "have" };
    let follow = if watched {
        format!("; follow it with: haul watch {}", label::batch_id(&live.name))
    } else {
        String::new()
    };
    format!("nothing was started: {} {have} the overlap key {key:?}{follow}", named(&all))
}
