//! One thing to fetch, and what becomes of it.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{
    backoff::{Backoff, RETRY_AFTER_MAX},
    datum::Records,
    failure::{Failure, FailureClass},
};

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 512;
/// Most columns of an item.
pub const COLUMNS_MAX: usize = 64;
/// Largest columns of an item, as JSON text.
pub const COLUMNS_BYTES_MAX: usize = 64 * 1024;

/// Why a key is not one, in words that follow "the key".
pub fn key_fault(key: &str) -> Option<String> {
    if key.is_empty() {
        Some("is empty".to_owned())
    } else if key.len() > KEY_BYTES_MAX {
        Some(format!("has {} bytes, more than {KEY_BYTES_MAX}", key.len()))
    } else if key.chars().any(char::is_control) {
        Some("has a control character".to_owned())
    } else {
        None
    }
}

/// Values of an item beside its key: a JSON object as text, at most [`COLUMNS_BYTES_MAX`].
pub type Columns = String;

/// What a connector knows of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject<'a> {
    /// The caller's key.
    pub key: &'a str,
    /// Its other values.
    pub columns: Option<&'a str>,
}

impl<'a> Subject<'a> {
    /// An item without columns.
    pub fn keyed(key: &'a str) -> Self {
        Self { key, columns: None }
    }

    /// Of these.
    pub fn of((key, columns): &'a Keyed) -> Self {
        Self { key, columns: columns.as_deref() }
    }
}

/// A key, and the item's other values.
pub type Keyed = (String, Option<Columns>);

/// An item as a source yields it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewItem {
    /// The caller's key, unique in the batch.
    pub key: String,
    /// Its other values.
    pub columns: Option<Columns>,
    /// Set where the source knows already that it cannot be fetched: it is FAILED from the start.
    pub failure: Option<Failure>,
    /// Set where it is left out by rule: it is SKIPPED from the start, for this reason.
    pub skip_reason: Option<&'static str>,
}

impl NewItem {
    /// An item without columns.
    pub fn keyed(key: impl Into<String>) -> Self {
        Self { key: key.into(), columns: None, failure: None, skip_reason: None }
    }

    /// There is something left to do for it.
    pub fn is_open(&self) -> bool {
        self.failure.is_none() && self.skip_reason.is_none()
    }
}

/// An open item in a leased slice: what a worker needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenItem {
    /// Position in the batch, from 0.
    pub index: i64,
    /// The caller's key.
    pub key: String,
    /// Its other values.
    pub columns: Option<Columns>,
    /// Attempts charged so far.
    pub attempts: u32,
    /// Attempts recorded so far, uncharged ones included.
    pub recorded: u32,
    /// Not before this time.
    pub not_before: Option<DateTime<Utc>>,
}

impl OpenItem {
    /// What a connector knows of it.
    pub fn subject(&self) -> Subject<'_> {
        Subject { key: &self.key, columns: self.columns.as_deref() }
    }
}

/// The life of an item. The last four are final and recorded exactly once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Waits for a worker or its time.
    Pending,
    /// In a leased slice. Derived from live leases, so approximate.
    Running,
    /// Its records are committed.
    Succeeded,
    /// A permanent failure, or attempts spent.
    Failed,
    /// Left out by rule.
    Skipped,
    /// Open when its batch ended.
    Canceled,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Running, Self::Succeeded, Self::Failed, Self::Skipped, Self::Canceled];

    /// The word that the store and people use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Skipped => "SKIPPED",
            Self::Canceled => "CANCELED",
        }
    }

    /// The state of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// What a success was, beside its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status of the last reply.
    pub http_status: u16,
    /// Body bytes after decompression.
    pub size_bytes: i64,
    /// SHA-256 of the body.
    pub sha256: [u8; 32],
    /// Content-Type as received, at most 256 bytes.
    pub content_type: String,
    /// From the first byte sent to the last byte received.
    pub latency: Duration,
}

/// A reply's body as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptBody {
    /// The body, compressed with zstd.
    pub zstd: Vec<u8>,
    /// Status and type that it came with.
    pub http_status: u16,
    /// Content-Type as received.
    pub content_type: String,
}

/// Why an item is SKIPPED whose body was not kept, or not until now.
pub const NO_KEPT_BODY: &str = "NO_KEPT_BODY";

/// Largest body that is kept, compressed.
pub const KEPT_BODY_BYTES_MAX: usize = 16 << 20;

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Fetched and decoded.
    Succeeded {
        /// The reply.
        reply: Reply,
        /// What was in it.
        records: Records,
    },
    /// It failed.
    Failed(Failure),
    /// Given back before its end: gate held, pause, stop.
    Released {
        /// Not to be taken again before this time.
        not_before: Option<DateTime<Utc>>,
    },
}

/// One numbered execution of an item.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// The item's position.
    pub index: i64,
    /// The item's key.
    pub key: String,
    /// When its first request was sent; where there was none, when a worker took its item.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: DateTime<Utc>,
    /// Requests sent in it: 0 where it was given back before the send.
    pub requests: u32,
    /// Body bytes received, before decompression.
    pub bytes_received: i64,
    /// What it came to.
    pub outcome: Outcome,
    /// The body of the reply, if it is to be kept.
    pub body: Option<KeptBody>,
    /// Set where the connector judged a kept body and no reply: when that body was fetched.
    pub redecoded: Option<DateTime<Utc>>,
}

/// How an attempt ended, as a reader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// Not over, as far as is known.
    Running,
    /// The item succeeded.
    Succeeded,
    /// It failed.
    Failed,
    /// Given back after a request.
    Released,
}

impl AttemptOutcome {
    /// The outcome of the store's word.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "RUNNING" => Some(Self::Running),
            "SUCCEEDED" => Some(Self::Succeeded),
            "FAILED" => Some(Self::Failed),
            "RELEASED" => Some(Self::Released),
            _ => None,
        }
    }
}

/// An attempt as a reader sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct PastAttempt {
    /// The item's position.
    pub index: i64,
    /// The item's key.
    pub key: String,
    /// Its other values.
    pub columns: Option<Columns>,
    /// From 1, dense over the item's recorded attempts.
    pub number: u32,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// It counts against the limit.
    pub is_charged: bool,
    /// When it began; of a running one, if the node that asks knows.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Node that ran it.
    pub node: String,
    /// Requests sent in it.
    pub requests: u32,
    /// Body bytes received, before decompression.
    pub bytes_received: i64,
    /// HTTP status of the last reply.
    pub http_status: Option<u16>,
    /// How it failed.
    pub failure: Option<Failure>,
}

impl PastAttempt {
    /// What a connector knows of its item.
    pub fn subject(&self) -> Subject<'_> {
        Subject { key: &self.key, columns: self.columns.as_deref() }
    }
}

/// What a return or an end is recorded as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Final.
    Succeeded,
    /// Final.
    Failed,
    /// Back to PENDING.
    Open {
        /// The attempt counts against the limit.
        charged: bool,
        /// Not before this time.
        not_before: Option<DateTime<Utc>>,
        /// The batch must pause: it was a failure of class SYSTEM.
        system: bool,
    },
}

impl Outcome {
    /// The upstream had nothing to say to this item: it was not reached, or just asks for less.
    pub fn met_nobody(&self) -> bool {
        match self {
            Self::Succeeded { .. } => false,
            Self::Failed(failure) => {
                failure.class == FailureClass::Temporary
                    && (failure.push_back || failure.http_status.is_none())
            }
            Self::Released { .. } => true,
        }
    }
}

impl Next {
    /// Open as it was.
    pub const UNTOUCHED: Self = Self::Open { charged: false, not_before: None, system: false };

    /// The attempt counts against the item's limit, as the one that ends it does.
    pub fn is_charged(self) -> bool {
        !matches!(self, Self::Open { charged: false, .. })
    }

    /// The item is done with.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// How often an item may fail, and how long it then waits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// Charged attempts per item, the first included.
    pub attempts_max: u32,
    /// The waits between them.
    pub backoff: Backoff,
}

/// What becomes of an item after an attempt. `charged` is the number of attempts charged before this one, `draw` a
/// random number in `0.0..1.0`.
pub fn settle(
    outcome: &Outcome,
    charged: u32,
    policy: &RetryPolicy,
    ended_at: DateTime<Utc>,
    draw: f64,
) -> Next {
    let open = |charged, not_before, system| Next::Open { charged, not_before, system };
    let failure = match outcome {
        Outcome::Succeeded { .. } => return Next::Succeeded,
        Outcome::Released { not_before } => return open(false, *not_before, false),
        Outcome::Failed(failure) => failure,
    };
    let asked = failure.retry_after.map(|wait| wait.min(RETRY_AFTER_MAX));
    match failure.class {
        FailureClass::Permanent => Next::Failed,
        FailureClass::System => open(false, None, true),
        FailureClass::Temporary if failure.push_back => open(false, asked.map(|wait| ended_at + wait), false),
        FailureClass::Temporary if charged + 1 >= policy.attempts_max => Next::Failed,
        FailureClass::Temporary => {
            let wait = policy.backoff.wait(charged + 1, draw).max(asked.unwrap_or_default());
            open(true, Some(ended_at + wait), false)
        }
    }
}

/// An item as a reader sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Position in the batch, from 0.
    pub index: i64,
    /// The caller's key.
    pub key: String,
    /// Its other values.
    pub columns: Option<Columns>,
    /// Where it stands.
    pub state: State,
    /// Attempts charged to it.
    pub attempts: u32,
    /// Records committed.
    pub records_written: i64,
    /// Of these, records that existed before with other values.
    pub records_changed: i64,
    /// Start of the first attempt.
    pub first_attempt_at: Option<DateTime<Utc>>,
    /// Start of the latest attempt.
    pub last_attempt_at: Option<DateTime<Utc>>,
    /// Node that ran the latest attempt.
    pub last_attempt_node: Option<String>,
    /// Not before this time will it be tried again.
    pub not_before: Option<DateTime<Utc>>,
    /// Set once it succeeded.
    pub reply: Option<Reply>,
    /// The latest failure, if the item did not succeed.
    pub failure: Option<Failure>,
    /// Why it is SKIPPED.
    pub skip_reason: Option<String>,
    /// When its state was recorded.
    pub updated_at: Option<DateTime<Utc>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    fn policy() -> RetryPolicy {
        RetryPolicy {
            attempts_max: 4,
            backoff: Backoff {
                initial: Duration::from_secs(2),
                multiplier: 2.0,
                max: Duration::from_secs(300),
            },
        }
    }

    fn failed(class: FailureClass) -> Failure {
        Failure::new(class, "X", "x")
    }

    fn settled(failure: Failure, charged: u32) -> Next {
        settle(&Outcome::Failed(failure), charged, &policy(), DateTime::UNIX_EPOCH, 0.0)
    }

    fn after(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    #[test]
    fn a_temporary_failure_is_charged_and_waits_until_attempts_are_spent() {
        let temporary = || failed(FailureClass::Temporary);
        let waits = |seconds| Next::Open { charged: true, not_before: Some(after(seconds)), system: false };
        assert_eq!(settled(temporary(), 0), waits(1));
        assert_eq!(settled(temporary(), 1), waits(2));
        assert_eq!(settled(temporary(), 2), waits(4));
        assert_eq!(settled(temporary(), 3), Next::Failed);
    }

    #[test]
    fn a_longer_retry_after_wins_and_is_clamped() {
        let asking = |seconds| Failure {
            retry_after: Some(Duration::from_secs(seconds)),
            ..failed(FailureClass::Temporary)
        };
        assert_eq!(
            settled(asking(60), 0),
            Next::Open { charged: true, not_before: Some(after(60)), system: false }
        );
        assert_eq!(
            settled(asking(1_000_000), 0),
            Next::Open { charged: true, not_before: Some(after(86_400)), system: false }
        );
    }

    #[test]
    fn a_push_back_is_never_charged() {
        let push_back = Failure {
            push_back: true,
            retry_after: Some(Duration::from_secs(5)),
            ..failed(FailureClass::Temporary)
        };
        assert_eq!(
            settled(push_back, 3),
            Next::Open { charged: false, not_before: Some(after(5)), system: false }
        );
    }

    #[test]
    fn permanent_is_final_and_system_goes_back_uncharged() {
        assert_eq!(settled(failed(FailureClass::Permanent), 0), Next::Failed);
        assert_eq!(
            settled(failed(FailureClass::System), 3),
            Next::Open { charged: false, not_before: None, system: true }
        );
    }

    #[test]
    fn keys_have_bounds() {
        assert_eq!(key_fault("130A"), None);
        assert_eq!(key_fault(&"k".repeat(512)), None);
        for bad in [String::new(), "k".repeat(513), "a\nb".to_owned()] {
            assert!(key_fault(&bad).is_some(), "{bad:?}");
        }
    }
}
