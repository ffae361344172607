//! `haul explain`: the pages of docs/errors, which are part of the program.

use std::io::Write;

use clap::Args;

use super::Failure;

include!(concat!(env!("OUT_DIR"), "/reasons.rs"));

/// Say what a reason means and what to do about it
///
/// Reasons come with refused calls, failed items, pauses and ends. It asks no server. Without a reason it lists those
/// there are.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  haul explain BATCH_QUOTA
  haul explain rate_limited")]
pub(super) struct Explain {
    /// The reason, in capitals or not.
    reason: Option<String>,
}

impl Explain {
    pub(super) fn run(self, out: &mut impl Write) -> Result<u8, Failure> {
        let Some(asked) = self.reason else {
            for (reason, _) in REASONS {
                writeln!(out, "{reason}")?;
            }
            return Ok(0);
        };
        let reason = asked.to_ascii_uppercase();
        let Some((_, page)) = REASONS.iter().find(|(known, _)| *known == reason) else {
            return Err(Failure::UnknownReason(asked));
        };
        write!(out, "{page}")?;
        Ok(0)
    }
}
