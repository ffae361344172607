//! What kind of failure it was, and so what happens next.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The three classes. `fetch::classify` alone picks one for a request; the store's own refusals name theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FailureClass {
    /// May work later: retried until attempts are spent.
    Temporary,
    /// Will never work as asked: the item fails, the batch goes on.
    Permanent,
    /// Not the item's fault: the item goes back uncharged and the batch pauses.
    System,
}

impl FailureClass {
    /// All of them, in the contract's order.
    pub const ALL: [Self; 3] = [Self::Temporary, Self::Permanent, Self::System];

    /// The word that the store and people use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Temporary => "TEMPORARY",
            Self::Permanent => "PERMANENT",
            Self::System => "SYSTEM",
        }
    }

    /// The class of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == word)
    }
}

/// The reason of a 401 or 403, as long as it is not known to be the item's own fault, and of the pause that comes of it.
pub const CREDENTIALS_REFUSED: &str = "CREDENTIALS_REFUSED";

/// The reason of a key that the upstream says does not exist.
pub const NOT_FOUND: &str = "NOT_FOUND";

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What kind.
    pub class: FailureClass,
    /// Stable `UPPER_SNAKE_CASE` word, at most 64 characters.
    pub reason: String,
    /// HTTP status, where a reply came.
    pub http_status: Option<u16>,
    /// For people, at most 1 KiB.
    pub message: String,
    /// How long the upstream asked to wait.
    pub retry_after: Option<Duration>,
    /// A statement about the upstream rather than the item (429, 503 with Retry-After): the gate is held and the item
    /// goes back uncharged.
    pub push_back: bool,
    /// A refusal of which it is open whose fault it is (401, 403): the item goes back uncharged, and is not sent again
    /// until that is known.
    pub held_back: bool,
}

impl Failure {
    /// A failure that is no push-back.
    pub fn new(class: FailureClass, reason: impl Into<String>, message: &str) -> Self {
        Self {
            class,
            reason: reason.into(),
            http_status: None,
            message: super::text::message(message),
            retry_after: None,
            push_back: false,
            held_back: false,
        }
    }

    /// It says that there is no such key.
    pub fn is_of_a_missing_key(&self) -> bool {
        self.class == FailureClass::Permanent && self.reason == NOT_FOUND
    }

    /// The stable word of an outage in which this is what a batch's first items met.
    pub fn outage_reason(&self) -> &'static str {
        if self.push_back { "RATE_LIMITED" } else { "UPSTREAM_UNREACHABLE" }
    }

    /// The same with the reply's status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.http_status = Some(status);
        self
    }
}
