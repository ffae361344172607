//! The life of a batch, as one pure function.
//!
//! ```text
//!        sealed           admitted          pause             drained
//!  OPEN ───────▶ QUEUED ───────────▶ RUNNING ─────▶ PAUSING ─────────▶ PAUSED
//!                  ▲                  │  ▲            │ resume, outage over
//!                  │                  │  └────────────┘                   │
//!                  └──────────────────┼─────── resume, outage over ───────┘
//!                                     │ exhausted (PAUSING too)
//!                                     ▼
//!                                 COMPLETED
//!
//!  stop, replaced, from any of these:                        STOPPING ──drained──▶ STOPPED
//!  budget spent, deadline passed, source unreadable:         STOPPING ──drained──▶ FAILED
//! ```
//!
//! PAUSING and STOPPING are passed over where no lease is live. [`decide`] has no wildcard arm: a new state or input
//! does not compile until each of its cells is written.

mod decide;
#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};

pub use decide::{Decision, Input, Leases, Refusal, decide};

use super::{
    id::{BatchId, BatchSeq},
    progress::Counts,
    spec::{BatchSpec, Source},
};

/// Where a batch stands. The last three are terminal, and stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Takes items; nothing runs.
    Open,
    /// Waits for admission.
    Queued,
    /// Slices may be leased.
    Running,
    /// A pause is durable, some lease is still live.
    Pausing,
    /// No lease is live.
    Paused,
    /// The end is durable, some lease is still live.
    Stopping,
    /// Every item is final.
    Completed,
    /// Given up as a whole.
    Failed,
    /// Ended by somebody.
    Stopped,
}

impl State {
    /// All of them, for tests and for the store's constraint.
    pub const ALL: [Self; 9] = [
        Self::Open,
        Self::Queued,
        Self::Running,
        Self::Pausing,
        Self::Paused,
        Self::Stopping,
        Self::Completed,
        Self::Failed,
        Self::Stopped,
    ];

    /// Nothing follows.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Stopped)
    }

    /// The word that the store and people use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Queued => "QUEUED",
            Self::Running => "RUNNING",
            Self::Pausing => "PAUSING",
            Self::Paused => "PAUSED",
            Self::Stopping => "STOPPING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Stopped => "STOPPED",
        }
    }

    /// The state of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// Why a batch is paused, in rising rank: while a pause lasts the cause only rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PauseCause {
    /// Its upstream is down. Ends by itself, after a successful probe.
    UpstreamOutage,
    /// Pause was called.
    User,
    /// A failure of class SYSTEM.
    SystemFailure,
}

impl PauseCause {
    /// All of them, by rank.
    pub const ALL: [Self; 3] = [Self::UpstreamOutage, Self::User, Self::SystemFailure];

    /// The word that the store and people use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UpstreamOutage => "UPSTREAM_OUTAGE",
            Self::User => "USER",
            Self::SystemFailure => "SYSTEM_FAILURE",
        }
    }

    /// The cause of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == word)
    }
}

/// Which end a batch comes to. Fixed on the way into STOPPING.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// Every item is final.
    AllItemsFinal,
    /// Stop was called.
    UserStop,
    /// Another batch of its overlap key took its place.
    OverlapCancel,
    /// The source cannot be read, for good.
    SourceUnreadable,
    /// More items failed than its failure policy bears.
    FailureThreshold,
    /// It took longer than it was given.
    MaxDuration,
    /// It was not sealed in time.
    OpenTtl,
}

impl EndReason {
    const ALL: [Self; 7] = [
        Self::AllItemsFinal,
        Self::UserStop,
        Self::OverlapCancel,
        Self::SourceUnreadable,
        Self::FailureThreshold,
        Self::MaxDuration,
        Self::OpenTtl,
    ];

    /// The stable word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllItemsFinal => "ALL_ITEMS_FINAL",
            Self::UserStop => "USER_STOP",
            Self::OverlapCancel => "OVERLAP_CANCEL",
            Self::SourceUnreadable => "SOURCE_UNREADABLE",
            Self::FailureThreshold => "FAILURE_THRESHOLD",
            Self::MaxDuration => "MAX_DURATION",
            Self::OpenTtl => "OPEN_TTL",
        }
    }

    /// The reason of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }

    /// The terminal state that it leads to.
    pub fn end(self) -> State {
        match self {
            Self::AllItemsFinal => State::Completed,
            Self::UserStop | Self::OverlapCancel => State::Stopped,
            Self::SourceUnreadable | Self::FailureThreshold | Self::MaxDuration | Self::OpenTtl => {
                State::Failed
            }
        }
    }
}

/// What becomes of attempts in flight while a batch drains, in rising rank: it only rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DrainMode {
    /// They end.
    Finish,
    /// They are cut off.
    Abort,
}

impl DrainMode {
    const ALL: [Self; 2] = [Self::Finish, Self::Abort];

    /// The word that the store and people use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finish => "FINISH",
            Self::Abort => "ABORT",
        }
    }

    /// The mode of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == word)
    }
}

/// What a caller asks of a batch, with the reason that is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Stop sending; keep what is open for later.
    Pause {
        /// Shown as the pause's message.
        reason: String,
        /// What becomes of attempts in flight.
        drain: DrainMode,
    },
    /// Go on.
    Resume,
    /// End for good; cancel what is open.
    Stop {
        /// Shown as the end's message.
        reason: String,
        /// What becomes of attempts in flight.
        drain: DrainMode,
    },
}

impl Command {
    /// The call that it comes by.
    pub fn rpc(&self) -> &'static str {
        match self {
            Self::Pause { .. } => "Pause",
            Self::Resume => "Resume",
            Self::Stop { .. } => "Stop",
        }
    }

    /// The input of the state machine that it is.
    pub fn input(&self) -> Input {
        match self {
            Self::Pause { .. } => Input::Pause,
            Self::Resume => Input::Resume,
            Self::Stop { .. } => Input::Stop,
        }
    }

    /// What becomes of attempts in flight.
    pub fn drain(&self) -> DrainMode {
        match self {
            Self::Pause { drain, .. } | Self::Stop { drain, .. } => *drain,
            Self::Resume => DrainMode::Finish,
        }
    }
}

/// Why and since when a batch is paused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Who or what caused it.
    pub cause: PauseCause,
    /// Stable word, such as `USER_PAUSE` or `DISK_FULL`.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// Which end a batch comes or came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Why.
    pub reason: EndReason,
    /// For people.
    pub message: String,
}

/// How a batch came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Started; its items are fetched.
    Fetch,
    /// Made from another batch, whose kept bodies are decoded anew. Its source is that batch's items.
    Redecode {
        /// The batch that the bodies belong to.
        parent: BatchSeq,
    },
    /// Made from another batch, of whose items some that did not succeed are fetched.
    Retry {
        /// The batch that the items are of.
        parent: BatchSeq,
    },
}

impl Kind {
    /// Every word of the contract.
    pub const WORDS: [&str; 4] = ["FETCH", "RETRY", "REDECODE", "FILL"];

    /// The word that the store and people use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fetch => "FETCH",
            Self::Redecode { .. } => "REDECODE",
            Self::Retry { .. } => "RETRY",
        }
    }

    /// Its items are asked for, and not read from what is kept.
    pub fn is_fetched(self) -> bool {
        !matches!(self, Self::Redecode { .. })
    }

    /// The batch that it was made from.
    pub fn parent(self) -> Option<BatchSeq> {
        match self {
            Self::Fetch => None,
            Self::Redecode { parent } | Self::Retry { parent } => Some(parent),
        }
    }

    /// The kind of that word and parent.
    pub fn parse(word: &str, parent: Option<BatchSeq>) -> Option<Self> {
        let children = parent.map(|parent| [Self::Redecode { parent }, Self::Retry { parent }]);
        let known = children.into_iter().flatten().chain([Self::Fetch]);
        known.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// A batch as committed at its revision.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Its number in this store.
    pub seq: BatchSeq,
    /// Its name.
    pub id: BatchId,
    /// How it came about.
    pub kind: Kind,
    /// Where it stands.
    pub state: State,
    /// Set in PAUSING and PAUSED.
    pub pause: Option<Pause>,
    /// Set from STOPPING on.
    pub end: Option<End>,
    /// Set in PAUSING and STOPPING.
    pub drain: Option<DrainMode>,
    /// What was asked for, defaults filled in. Never changes, so it is shared.
    pub spec: std::sync::Arc<BatchSpec>,
    /// The list that was read, for a source that is one.
    pub list: Option<super::listing::ListVersion>,
    /// The source is fully read.
    pub expanded: bool,
    /// Exact at `revision`.
    pub counts: Counts,
    /// Grows with every visible change.
    pub revision: i64,
    /// Grows with every transition.
    pub control_revision: i64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it first ran.
    pub started_at: Option<DateTime<Utc>>,
    /// When it became terminal.
    pub ended_at: Option<DateTime<Utc>>,
    /// When it goes, with its items.
    pub purge_at: Option<DateTime<Utc>>,
    /// Since when it is in `state`.
    pub state_since: DateTime<Utc>,
    /// It stands still though nothing holds it back: since when.
    pub stalled_since: Option<DateTime<Utc>>,
    /// Time in RUNNING before `state_since`.
    pub active: std::time::Duration,
    /// Time in PAUSING and PAUSED before `state_since`.
    pub paused: std::time::Duration,
}

impl Batch {
    /// An outage has paused it, and nothing else since.
    pub fn waits_for_upstream(&self) -> bool {
        self.pause.as_ref().is_some_and(|pause| pause.cause == PauseCause::UpstreamOutage)
    }

    /// The batch that it was made from.
    pub fn parent(&self) -> Option<&BatchId> {
        match (self.kind, &self.spec.source) {
            (Kind::Redecode { .. } | Kind::Retry { .. }, Source::BatchItems { batch, .. }) => Some(batch),
            _ => None,
        }
    }

    /// Time in RUNNING up to `now`.
    pub fn active_until(&self, now: DateTime<Utc>) -> std::time::Duration {
        self.active + self.in_state(now, &[State::Running])
    }

    /// Time in PAUSING and PAUSED up to `now`.
    pub fn paused_until(&self, now: DateTime<Utc>) -> std::time::Duration {
        self.paused + self.in_state(now, &[State::Pausing, State::Paused])
    }

    fn in_state(&self, now: DateTime<Utc>, states: &[State]) -> std::time::Duration {
        if states.contains(&self.state) {
            (now - self.state_since).to_std().unwrap_or_default()
        } else {
            std::time::Duration::ZERO
        }
    }
}
