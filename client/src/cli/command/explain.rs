//! `haul explain`: the pages of docs/errors, which are part of the program.

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::Failure;
use crate::cli::output::{Format, Output};

include!(concat!(env!("OUT_DIR"), "/reasons.rs"));

/// Say what a reason means and what to do about it
///
/// Reasons come with refused calls, failed items, pauses and ends. It asks no server. Without a reason it lists those
/// there are. With -o json or yaml it is one document: `reason` and its `page` in Markdown, or `reasons`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  haul explain BATCH_QUOTA
  haul explain rate_limited")]
pub(super) struct Explain {
    /// The reason, in capitals or not.
    reason: Option<String>,
}

/// Where a reason is explained; of one that this program does not know, the reason alone.
pub(super) fn pointer(reason: &str) -> String {
    match page(reason) {
        Some(_) => format!("({reason}; see: haul explain {reason})"),
        None => format!("({reason})"),
    }
}

fn page(reason: &str) -> Option<&'static str> {
    REASONS.iter().find(|(known, _)| *known == reason).map(|(_, page)| *page)
}

impl Explain {
    pub(super) fn run(self, output: &Output, out: &mut impl Write) -> Result<u8, Failure> {
        let for_people = output.format() == Format::Table;
        let Some(asked) = self.reason else {
            let reasons: Vec<&str> = REASONS.iter().map(|(reason, _)| *reason).collect();
            if for_people {
                writeln!(out, "{}", reasons.join("\n"))?;
            } else {
                output.document(&json!({ "reasons": reasons }), out)?;
            }
            return Ok(0);
        };
        let reason = asked.to_ascii_uppercase();
        let Some(page) = page(&reason) else {
            return Err(Failure::UnknownReason(asked));
        };
        if for_people {
            write!(out, "{page}")?;
        } else {
            output.document(&json!({ "reason": reason, "page": page }), out)?;
        }
        Ok(0)
    }
}
