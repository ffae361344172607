//! What can go wrong with a call. What happens to an item is data, and never here.

use std::{collections::HashMap, error::Error as StdError, fmt, time::Duration};

use haul_proto::v1;
use tonic::{Code, Status, TimeoutExpired};
use tonic_types::{FieldViolation, StatusExt};

/// The domain of this contract's reasons. A proxy may have reasons of its own, which mean nothing here.
const DOMAIN: &str = "haul.v1";

/// Why a call came to nothing.
///
/// Decide by [`reason`](Self::reason), never by the text:
///
/// ```no_run
/// # async fn demo(client: haul_client::Client) -> Result<(), haul_client::Error> {
/// match client.get_batch("nightly").await {
///     Ok(batch) => println!("{} of its items are final", batch.progress.unwrap_or_default().processed_items),
///     Err(error) if error.reason() == Some("BATCH_NOT_FOUND") => println!("there is none"),
///     Err(error) => return Err(error),
/// }
/// # Ok(())
/// # }
/// ```
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
    /// Nothing was made: another batch of the same overlap key is live, and the overlap policy is to skip.
    #[error("nothing was made: {} of the same overlap key is live", .live.name)]
    Skipped {
        /// The one that is live.
        live: Box<v1::Batch>,
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
    /// Every field at fault and what is wrong with it; the first 20, `violations_total` in the metadata counts all.
    pub violations: Vec<Violation>,
    /// The message's variables, by stable keys.
    pub metadata: HashMap<String, String>,
    /// How long the server asks to wait before a repeat. Absent: it does not say.
    pub retry_after: Option<Duration>,
}

/// Something wrong with one field of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// Where, such as `spec.fetch.workers` or `spec.inline_items.items[17].key`.
    pub field: String,
    /// What is wrong, and what would be right.
    pub description: String,
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
        for Violation { field, description } in self.violations.iter().filter(|one| !said(&one.description)) {
            write!(f, "\n  {field}: {description}")?;
        }
        Ok(())
    }
}

impl Refusal {
    fn from_status(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == DOMAIN);
        Self {
            code: status.code(),
            reason: info.map(|info| info.reason.clone()).unwrap_or_default(),
            message: status.message().to_owned(),
            violations: details
                .bad_request()
                .map(|bad| {
                    let violation = |one: &FieldViolation| Violation {
                        field: one.field.clone(),
                        description: one.description.clone(),
                    };
                    bad.field_violations.iter().map(violation).collect()
                })
                .unwrap_or_default(),
            metadata: info.map(|info| info.metadata.clone()).unwrap_or_default(),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
        }
    }
}

impl Error {
    /// What the server said, if it was the server that refused.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// The stable reason of a refusal, such as `BATCH_NOT_FOUND`; `None` where no haul server gave one.
    pub fn reason(&self) -> Option<&str> {
        self.refusal().map(|refusal| refusal.reason.as_str()).filter(|reason| !reason.is_empty())
    }

    /// A variable of the refusal's message by its stable key, such as `state` of `BATCH_TERMINAL`.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.refusal()?.metadata.get(key).map(String::as_str)
    }

    /// Every field at fault; empty where no field is.
    pub fn violations(&self) -> &[Violation] {
        self.refusal().map_or(&[], |refusal| &refusal.violations)
    }

    /// How long the server asks to wait before the same call. Calls that may be repeated have been, by then.
    pub fn retry_after(&self) -> Option<Duration> {
        self.refusal()?.retry_after
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
            Self::NoAnswer { .. }
            | Self::Malformed { .. }
            | Self::InvalidServer { .. }
            | Self::Skipped { .. }
            | Self::Items(_) => false,
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
