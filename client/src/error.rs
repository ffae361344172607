//! What can go wrong with a call. What happens to an item is data, and never here.

use std::{collections::HashMap, error::Error as StdError, fmt, time::Duration};

use tonic::{Code, Status, TimeoutExpired};
use tonic_types::StatusExt;

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, or one that broke under the call.
    #[error("cannot reach {server}")]
    Unreachable {
        /// The address that was tried.
        server: String,
        /// What the transport says.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Connected, but silent past the deadline.
    #[error("no answer from {server} within {after:?}")]
    NoAnswer {
        /// The address that was called.
        server: String,
        /// How long it was silent.
        after: Duration,
    },
    /// The server answered with an error.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// An answer that the contract rules out.
    #[error("{server} answered {rpc} without {missing}")]
    Malformed {
        /// The address that answered.
        server: String,
        /// The RPC.
        rpc: &'static str,
        /// What its answer lacks.
        missing: &'static str,
    },
    /// Not an address.
    #[error("{server:?} is no server address: {problem}")]
    InvalidServer {
        /// What was given.
        server: String,
        /// What is wrong with it.
        problem: String,
    },
    /// What was to be uploaded could not be had.
    #[error("{0}")]
    Items(BoxError),
}

/// Why items could not be had, in whatever words their source has.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// An error that a server sent.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Canonical code.
    pub code: Code,
    /// Stable `UPPER_SNAKE_CASE` reason of domain `haul.v1`; empty where gRPC itself refused. Callers decide by it.
    pub reason: String,
    /// For people.
    pub message: String,
    /// Every field at fault and what is wrong with it.
    pub violations: Vec<(String, String)>,
    /// The message's variables, by stable keys.
    pub metadata: HashMap<String, String>,
    /// How long the server asks to wait before a repeat. Absent: it does not say.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            write!(f, "refused: {}", self.code)?;
        } else {
            f.write_str(&self.message)?;
        }
        // A message about one field says all that there is to say of it.
        let said = |description: &str| self.violations.len() == 1 && self.message.contains(description);
        for (field, description) in self.violations.iter().filter(|(_, description)| !said(description)) {
            write!(f, "\n  {field}: {description}")?;
        }
        Ok(())
    }
}

impl Refusal {
    fn from_status(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info();
        Self {
            code: status.code(),
            reason: info.map(|info| info.reason.clone()).unwrap_or_default(),
            message: status.message().to_owned(),
            violations: details
                .bad_request()
                .map(|bad| {
                    bad.field_violations
                        .iter()
                        .map(|violation| (violation.field.clone(), violation.description.clone()))
                        .collect()
                })
                .unwrap_or_default(),
            metadata: info.map(|info| info.metadata.clone()).unwrap_or_default(),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
        }
    }
}

impl Error {
    /// The stable reason of a refusal; `None` where no server refused.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) => Some(&refusal.reason),
            _ => None,
        }
    }

    pub(crate) fn from_status(server: &str, deadline: Duration, status: Status) -> Self {
        if caused_by_deadline(&status) {
            return Self::NoAnswer { server: server.to_owned(), after: deadline };
        }
        let refusal = Refusal::from_status(&status);
        // A status that came over the wire has no source; one that tonic made of a transport's failure has.
        if refusal.reason.is_empty() && status.source().is_some() {
            return Self::Unreachable { server: server.to_owned(), source: status.into() };
        }
        Self::Refused(Box::new(refusal))
    }

    /// Whether the same call may work in a moment, whatever the call.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(refusal) => match refusal.code {
                Code::Unavailable => true,
                Code::ResourceExhausted => refusal.retry_after.is_some(),
                _ => false,
            },
            Self::NoAnswer { .. } | Self::Malformed { .. } | Self::InvalidServer { .. } | Self::Items(_) => {
                false
            }
        }
    }

    /// Whether a watch that ended so is to be opened again. A stream cut below gRPC shows as one of several codes
    /// without a reason.
    pub(crate) fn is_broken_stream(&self) -> bool {
        match self {
            Self::NoAnswer { .. } | Self::Malformed { .. } => true,
            Self::Refused(refusal) if refusal.reason.is_empty() => matches!(
                refusal.code,
                Code::Cancelled | Code::Unknown | Code::Internal | Code::DeadlineExceeded | Code::Unavailable
            ),
            Self::Refused(refusal) if refusal.code == Code::DeadlineExceeded => true,
            _ => self.is_transient(),
        }
    }

    /// How long the server asks to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            _ => None,
        }
    }
}

/// What an error goes back to; `None` where it is its own cause.
#[cfg(feature = "cli")]
pub(crate) fn innermost_cause<'a>(
    error: &'a (dyn StdError + 'static),
) -> Option<&'a (dyn StdError + 'static)> {
    let mut innermost = error.source()?;
    while let Some(inner) = innermost.source() {
        innermost = inner;
    }
    Some(innermost)
}

fn caused_by_deadline(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<TimeoutExpired>() {
            return true;
        }
        cause = error.source();
    }
    false
}
