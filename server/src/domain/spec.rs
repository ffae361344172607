//! What a batch is to do, defaults filled in. The store holds it as the JSON that serde makes of these types.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::{backoff::Backoff, id::BatchId, item::RetryPolicy, listing::Segment, window::Range};

mod http_fetch;

pub use http_fetch::{HttpFetch, Placement, Statuses};

/// A batch's spec. It does not change once the batch is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchSpec {
    /// For people; at most 256 characters.
    pub display_name: String,
    /// The caller's word for the kind of work.
    pub batch_type: String,
    /// Exact-match metadata.
    pub labels: BTreeMap<String, String>,
    /// The logical date, frozen.
    pub as_of: AsOf,
    /// Where the items come from.
    pub source: Source,
    /// What fetches them.
    pub connector: Connector,
    /// How they are fetched.
    pub fetch: FetchPolicy,
    /// What is done when the upstream is down.
    #[serde(default)]
    pub outage: OutagePolicy,
    /// When the whole batch is given up.
    #[serde(default)]
    pub failure: FailurePolicy,
    /// What it does where another live batch has its overlap key; nothing without a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
    /// Higher is admitted first, but for batches of one overlap key: those take their turns as they came.
    #[serde(default)]
    pub priority: i32,
    /// It stays QUEUED until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<DateTime<Utc>>,
    /// Time from its first run to its end at most, pauses included.
    #[serde(
        default,
        rename = "max_duration_ms",
        with = "optional_millis",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_duration: Option<Duration>,
    /// How long batch and items stay after the end.
    #[serde(default = "retention", rename = "retention_ms", with = "millis")]
    pub retention: Duration,
}

impl BatchSpec {
    /// Default of `retention`.
    pub const RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);
}

fn retention() -> Duration {
    BatchSpec::RETENTION
}

/// Batches with the same key do not run beside each other, unless asked to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlap {
    /// Of what there is to be one run at a time.
    pub key: String,
    /// What the newcomer does.
    pub policy: OverlapPolicy,
}

/// What a new batch does where another live batch has its overlap key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OverlapPolicy {
    /// It is not made.
    Skip,
    /// It waits, unless one waits already.
    BufferOne,
    /// It waits, first in first out.
    BufferAll,
    /// It stops the live one and takes the place of one that waits.
    CancelOther,
    /// It runs beside it.
    AllowAll,
}

impl OverlapPolicy {
    /// The word that the store uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "SKIP",
            Self::BufferOne => "BUFFER_ONE",
            Self::BufferAll => "BUFFER_ALL",
            Self::CancelOther => "CANCEL_OTHER",
            Self::AllowAll => "ALLOW_ALL",
        }
    }
}

/// When the whole batch is given up. By default: never.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailurePolicy {
    /// Failed items that it bears.
    pub failed_items_max: Option<i64>,
    /// Share of processed items that may have failed, 0 to 1.
    pub failed_ratio_max: Option<f64>,
    /// Processed items before that share counts.
    pub processed_items_min: i64,
}

impl FailurePolicy {
    /// Why a batch is given up of whose items so many are final and so many of these failed, if it is.
    pub fn spent(&self, processed: i64, failed: i64) -> Option<String> {
        let items = |count| if count == 1 { "item" } else { "items" };
        if let Some(max) = self.failed_items_max.filter(|max| failed > *max) {
            return Some(format!("{failed} {} failed, more than max_failed_items {max}", items(failed)));
        }
        let max = self.failed_ratio_max?;
        // Divided, not multiplied: 29 of 100 is 0.29 and no more.
        (processed >= self.processed_items_min && failed as f64 / processed as f64 > max).then(|| {
            let items = items(processed);
            format!("{failed} of {processed} {items} failed, a larger share than max_failed_ratio {max}")
        })
    }
}

impl Default for FailurePolicy {
    fn default() -> Self {
        Self { failed_items_max: None, failed_ratio_max: None, processed_items_min: 100 }
    }
}

/// The logical date that a batch is for. Every window derives from it and from nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsOf {
    /// The instant.
    pub time: DateTime<Utc>,
    /// The zone that gives it a date.
    pub zone: Tz,
}

impl AsOf {
    /// The calendar date in the zone.
    pub fn date(&self) -> NaiveDate {
        self.time.with_timezone(&self.zone).date_naive()
    }
}

/// Where items come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Given with the start; stored as items at once.
    Inline {
        /// How many were given, duplicates included.
        item_count: i64,
    },
    /// Sent by uploads while the batch is OPEN.
    Uploaded(UploadedItems),
    /// The exchange's list.
    JpxListing(JpxListing),
    /// A file of keys.
    File(FileSource),
    /// Another batch's items: the source of its children.
    BatchItems {
        /// That batch.
        batch: BatchId,
        /// Only these of its items, as in a list of them; empty means all.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        filter: String,
        /// They are fetched again; else their kept bodies are decoded anew.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        again: bool,
    },
}

/// Items that come by uploads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadedItems {
    /// How many will come, for progress until it is sealed; 0: unknown.
    pub expected_items: i64,
    /// It is given up where it is not sealed by then.
    #[serde(rename = "open_ttl_ms", with = "millis")]
    pub open_ttl: Duration,
}

/// The exchange's list of listed issues, narrowed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JpxListing {
    /// Where it is: http, https or file.
    pub uri: String,
    /// Segments to take; empty means all.
    pub segments: Vec<Segment>,
    /// Only these codes; empty means all.
    pub include_codes: Vec<String>,
    /// Codes to leave out, applied last.
    pub exclude_codes: Vec<String>,
    /// When every version is later than `as_of`, the earliest one is taken.
    #[serde(default)]
    pub allow_later_list: bool,
    /// `as_of` was current when the batch was made, so the published file may be asked for.
    pub current: bool,
}

/// A file of keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileSource {
    /// Where it is: http, https or file.
    pub uri: String,
    /// How it is laid out.
    pub format: FileFormat,
    /// Column that holds the key, of CSV and NDJSON.
    pub key_column: String,
    /// WHATWG encoding label.
    pub encoding: String,
}

/// Layout of a file of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum FileFormat {
    /// One key per line.
    Lines,
    /// RFC 4180 with a header row.
    Csv,
    /// One JSON object per line.
    Ndjson,
}

/// What fetches the items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Connector {
    /// Price history.
    YahooChart(YahooChart),
    /// Any HTTP API.
    HttpFetch(HttpFetch),
}

/// Price history from Yahoo Finance's chart endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct YahooChart {
    /// Bar length, such as `1d`.
    pub interval: String,
    /// How far back.
    pub window: Window,
    /// Events to fetch.
    pub events: Vec<ChartEvent>,
    /// Appended to each key, such as `.T`.
    pub symbol_suffix: String,
    /// Scheme and host, no path.
    pub base_url: String,
}

/// How far back a price history goes, counted from the close of `as_of`'s calendar day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// By calendar arithmetic.
    Range(Range),
    /// By whole days.
    Days {
        /// Length.
        days: u32,
        /// Between the window's end and the close of `as_of`'s day.
        offset_days: u32,
    },
}

/// Things that happen to a share beside its price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ChartEvent {
    /// Dividends.
    Dividends,
    /// Splits and consolidations.
    Splits,
    /// Capital gains of funds.
    CapitalGains,
}

/// How items are fetched. Durations are stored in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FetchPolicy {
    /// Attempts in flight at once.
    pub workers: u32,
    /// One request, from its first byte sent to its last byte received.
    #[serde(rename = "attempt_timeout_ms", with = "millis")]
    pub attempt_timeout: Duration,
    /// Charged attempts per item, the first included.
    pub attempts_max: u32,
    /// Longest wait before the second attempt.
    #[serde(rename = "initial_backoff_ms", with = "millis")]
    pub initial_backoff: Duration,
    /// Factor from attempt to attempt.
    pub backoff_multiplier: f64,
    /// Ceiling of the wait.
    #[serde(rename = "max_backoff_ms", with = "millis")]
    pub max_backoff: Duration,
    /// Most requests per second.
    pub rate_per_s: f64,
    /// Requests that may go at once after idleness.
    pub burst: u32,
    /// Largest body, after decompression.
    pub body_bytes_max: u64,
    /// Outcomes committed together at most.
    pub commit_group_size: u32,
    /// Longest wait of an outcome for its group.
    #[serde(rename = "commit_group_interval_ms", with = "millis")]
    pub commit_group_interval: Duration,
    /// User-Agent header.
    pub user_agent: String,
    /// How long bodies are kept after the batch's end; zero: not at all.
    #[serde(rename = "keep_bodies_ms", with = "millis")]
    pub keep_bodies: Duration,
    /// Items that run until one of them has had an answer of its own.
    #[serde(default = "probe_items")]
    pub probe_items: u32,
    /// How long an item may stay open after its first attempt, in the batch's time in RUNNING.
    #[serde(default = "item_deadline", rename = "item_deadline_ms", with = "millis")]
    pub item_deadline: Duration,
}

fn item_deadline() -> Duration {
    FetchPolicy::ITEM_DEADLINE
}

fn probe_items() -> u32 {
    FetchPolicy::PROBE_ITEMS
}

/// What is done when the upstream is down: its breaker is not closed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutagePolicy {
    /// How long the batch stays RUNNING meanwhile.
    #[serde(rename = "hold_ms", with = "millis")]
    pub hold: Duration,
    /// It goes on by itself after a successful probe.
    pub auto_resume: bool,
    /// Longest time between probes.
    #[serde(rename = "probe_interval_ms", with = "millis")]
    pub probe_interval: Duration,
}

impl Default for OutagePolicy {
    fn default() -> Self {
        Self { hold: Duration::from_secs(300), auto_resume: true, probe_interval: Duration::from_secs(60) }
    }
}

impl FetchPolicy {
    /// Default of `probe_items`.
    pub const PROBE_ITEMS: u32 = 3;
    /// Default of `keep_bodies`.
    pub const KEEP_BODIES: Duration = Duration::from_secs(7 * 24 * 3600);
    /// Default of `item_deadline`.
    pub const ITEM_DEADLINE: Duration = Duration::from_secs(72 * 3600);

    /// Its part that decides on retries.
    pub fn retry(&self) -> RetryPolicy {
        RetryPolicy {
            attempts_max: self.attempts_max,
            backoff: Backoff {
                initial: self.initial_backoff,
                multiplier: self.backoff_multiplier,
                max: self.max_backoff,
            },
        }
    }
}

/// Durations as whole milliseconds.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(value.as_millis() as u64)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

/// Durations that may be absent, as whole milliseconds.
mod optional_millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[allow(clippy::ref_option, reason = "serde gives a field by reference")]
    pub(super) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(|span| span.as_millis() as u64).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_by_more_than_it_bears() {
        let items = |max| FailurePolicy { failed_items_max: Some(max), ..FailurePolicy::default() };
        let ratio = |max, min| FailurePolicy {
            failed_ratio_max: Some(max),
            processed_items_min: min,
            ..FailurePolicy::default()
        };
        for (policy, processed, failed, spent) in [
            (FailurePolicy::default(), 1_000, 1_000, false),
            (items(0), 5, 0, false),
            (items(0), 5, 1, true),
            (items(3), 5, 3, false),
            (items(3), 5, 4, true),
            (ratio(0.0, 1), 1, 0, false),
            (ratio(0.0, 1), 1, 1, true),
            (ratio(0.29, 100), 99, 99, false),
            (ratio(0.29, 100), 100, 29, false),
            (ratio(0.29, 100), 100, 30, true),
            (ratio(1.0, 1), 7, 7, false),
        ] {
            assert_eq!(
                policy.spent(processed, failed).is_some(),
                spent,
                "{policy:?}: {failed} of {processed}"
            );
        }
        let said = items(0).spent(5, 1).unwrap();
        assert_eq!(said, "1 item failed, more than max_failed_items 0");
    }
}
