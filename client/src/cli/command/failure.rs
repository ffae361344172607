//! Why a command came to nothing, how it is said, and the exit status for it.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use tonic::Code;

use super::explain;
use crate::{
    Error,
    cli::{exit, spec::SpecError},
    error::innermost_cause,
};

#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Call(#[from] Error),
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error("there is no reason {0:?}; `haul explain` lists those there are")]
    UnknownReason(String),
    #[error("cannot write the output")]
    Output(#[from] io::Error),
    /// Of `haul results`.
    #[error("cannot {what} the cursor file {}", .path.display())]
    CursorFile { what: &'static str, path: PathBuf, source: io::Error },
    /// What stands in it is refused.
    #[error("{}: {error}", .path.display())]
    Cursor { path: PathBuf, error: Error },
    /// Arguments that do not go together.
    #[error("{0}")]
    Usage(String),
    /// A file that was not sent whole, and what is there now.
    #[error("{error}")]
    Unsent { error: Error, left: Option<String> },
    /// Somebody was asked, and did not say yes.
    #[error("{batch} was not deleted")]
    Declined { batch: String },
    /// Ctrl-C while a batch was followed.
    #[error("{batch} goes on; follow it with: haul watch {batch}")]
    Interrupted { batch: String },
}

impl Failure {
    pub(super) fn status(&self) -> u8 {
        match self {
            // Whoever reads our output has read enough.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Call(error) | Self::Cursor { error, .. } | Self::Unsent { error, .. } => {
                exit::of_error(error)
            }
            Self::Spec(_) | Self::UnknownReason(_) | Self::CursorFile { .. } | Self::Usage(_) => exit::USAGE,
            Self::Output(_) | Self::Declined { .. } => exit::CALL,
            Self::Interrupted { .. } => exit::INTERRUPTED,
        }
    }

    /// Says what went wrong, why, and the way out.
    pub(super) fn write(&self, err: &mut impl Write) {
        if self.status() == 0 {
            return;
        }
        let mut text = format!("haul: {self}");
        // The layers of a transport between the two say nothing that these do not.
        let cause = match self {
            Self::Unsent { error, .. } => innermost_cause(error),
            _ => innermost_cause(self),
        };
        if let Some(cause) = cause {
            text = format!("{text}: {cause}");
        }
        if let Some(advice) = self.advice() {
            text = format!("{text}\n  {advice}");
        }
        if let Self::Unsent { left: Some(left), .. } = self {
            text = format!("{text}\n  {left}");
        }
        if let Some(reason) = self.reason() {
            text = format!("{text}\n  {}", explain::pointer(reason));
        }
        // There is nobody left to tell.
        let _ = writeln!(err, "{text}");
    }

    /// The server's stable word for it. What went wrong on this side of the connection has none.
    fn reason(&self) -> Option<&str> {
        match self {
            Self::Call(error) | Self::Cursor { error, .. } | Self::Unsent { error, .. } => error.reason(),
            _ => None,
        }
    }

    fn advice(&self) -> Option<&'static str> {
        let error = match self {
            Self::Call(error) | Self::Unsent { error, .. } => error,
            Self::Cursor { .. } => return Some("name the file of this batch, or none to begin anew"),
            _ => return None,
        };
        match error {
            Error::Unreachable { .. } => {
                Some("start a server with `hauld serve`, or name another with --server or HAUL_SERVER")
            }
            Error::InvalidServer { .. } => Some("give an address like http://127.0.0.1:50051"),
            Error::Refused(refusal) => match refusal.reason.as_str() {
                "BATCH_NOT_FOUND" => Some("`haul list` shows the batches there are"),
                "BATCH_EXISTS" => Some("give another --id, or none for a new one"),
                "REQUEST_ID_REUSED" => Some("give another --request-id, or none for a new one"),
                "SOURCE_UNREADABLE" => {
                    Some("a batch of this spec would wait for its source, or fail: see to it first")
                }
                "BATCH_TERMINAL" | "BATCH_STOPPING" | "BATCH_NOT_TERMINAL" => {
                    Some("`haul get` shows where the batch stands")
                }
                "BATCH_SEALED" => Some("it takes no further items: start another batch for them"),
                "BATCH_OPEN" => Some("`haul upload` sends it items and seals it"),
                "" if refusal.code == Code::Unimplemented => {
                    Some("is that a haul server? Check --server and HAUL_SERVER")
                }
                _ => None,
            },
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::{Refusal, Violation};

    fn violation(field: &str, description: &str) -> Violation {
        Violation { field: field.to_owned(), description: description.to_owned() }
    }

    fn said(failure: &Failure) -> String {
        let mut err = Vec::new();
        failure.write(&mut err);
        String::from_utf8(err).unwrap()
    }

    #[test]
    fn an_unreachable_server() {
        let failure = Failure::Call(Error::Unreachable {
            server: "http://127.0.0.1:50051".to_owned(),
            source: "connection refused".into(),
        });
        assert_eq!(failure.status(), 1);
        assert_eq!(
            said(&failure),
            "haul: cannot reach http://127.0.0.1:50051: connection refused\n  \
             start a server with `hauld serve`, or name another with --server or HAUL_SERVER\n"
        );
    }

    #[test]
    fn a_refusal_with_violations() {
        let failure = Failure::Call(Error::Refused(Box::new(Refusal {
            code: Code::InvalidArgument,
            reason: "INVALID_FIELD".to_owned(),
            message: "2 fields are wrong".to_owned(),
            violations: vec![
                violation("spec.fetch.workers", "must be at least 1"),
                violation("batch_id", "is too short"),
            ],
            metadata: HashMap::new(),
            retry_after: None,
        })));
        assert_eq!(failure.status(), 2);
        assert_eq!(
            said(&failure),
            "haul: 2 fields are wrong\n  spec.fetch.workers: must be at least 1\n  batch_id: is too short\n  \
             (INVALID_FIELD; see: haul explain INVALID_FIELD)\n"
        );
    }

    #[test]
    fn a_reason_is_said_once_as_the_last_line_and_explained_where_it_is_known() {
        let refused = |reason: &str| {
            Failure::Call(Error::Refused(Box::new(Refusal {
                code: Code::FailedPrecondition,
                reason: reason.to_owned(),
                message: "it is so".to_owned(),
                violations: Vec::new(),
                metadata: HashMap::new(),
                retry_after: None,
            })))
        };
        for (failure, last) in [
            (refused("BATCH_OPEN"), "  (BATCH_OPEN; see: haul explain BATCH_OPEN)"),
            (refused("STORE_FULL"), "  (STORE_FULL; see: haul explain STORE_FULL)"),
            (refused("OF_A_LATER_RELEASE"), "  (OF_A_LATER_RELEASE)"),
            (refused(""), "haul: it is so"),
            (Failure::Usage("no such file".to_owned()), "haul: no such file"),
        ] {
            let said = said(&failure);
            assert_eq!(said.lines().last(), Some(last), "{said}");
            assert_eq!(said.matches("haul explain").count(), last.matches("haul explain").count(), "{said}");
        }
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let failure = Failure::Output(io::ErrorKind::BrokenPipe.into());
        assert_eq!((failure.status(), said(&failure)), (0, String::new()));
    }
}
