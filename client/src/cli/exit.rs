//! What an exit status says: 0 all succeeded or skipped, 1 the call was refused or the server unreachable, 2 usage or
//! configuration, 3 some items failed, 4 the batch failed or was stopped.

use haul_proto::v1::{Batch, batch::State};
use tonic::Code;

use crate::Error;

/// A call was refused, or the server could not be reached. A request that is wrong in itself is [`USAGE`].
pub const CALL: u8 = 1;
/// The command line, the configuration or the spec file is wrong.
pub const USAGE: u8 = 2;
/// Some items failed.
pub const ITEMS_FAILED: u8 = 3;
/// The batch ended before its items did.
pub const BATCH_ENDED_EARLY: u8 = 4;
/// Ctrl-C; 128 and the signal's number, as shells have it.
pub const INTERRUPTED: u8 = 130;

/// The exit status that tells why a call came to nothing.
pub fn of_error(error: &Error) -> u8 {
    match error {
        Error::InvalidServer { .. } | Error::Items(_) => USAGE,
        Error::Refused(refusal) if refusal.code == Code::InvalidArgument => USAGE,
        Error::Refused(_)
        | Error::Unreachable { .. }
        | Error::NoAnswer { .. }
        | Error::Malformed { .. }
        | Error::Skipped { .. } => CALL,
    }
}

/// The exit status that tells how a batch ended. A state that this client does not know is no success.
pub fn code(batch: &Batch) -> u8 {
    match batch.state() {
        State::Completed if failed_items(batch) == 0 => 0,
        State::Completed => ITEMS_FAILED,
        _ => BATCH_ENDED_EARLY,
    }
}

fn failed_items(batch: &Batch) -> i64 {
    batch.progress.as_ref().map_or(0, |progress| progress.failed_items)
}

#[cfg(test)]
mod tests {
    use haul_proto::v1::Progress;

    use super::*;

    #[test]
    fn statuses() {
        for (state, failed_items, expected) in [
            (State::Completed, 0, 0),
            (State::Completed, 3, 3),
            (State::Failed, 0, 4),
            (State::Stopped, 3, 4),
            (State::Unspecified, 0, 4),
        ] {
            let batch = Batch {
                state: state.into(),
                progress: Some(Progress { failed_items, ..Progress::default() }),
                ..Batch::default()
            };
            assert_eq!(code(&batch), expected, "{state:?}, {failed_items} failed");
        }
    }
}
