//! What a batch is to do, defaults filled in. The store holds it as the JSON that serde makes of these types.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::{backoff::Backoff, id::BatchId, item::RetryPolicy, listing::Segment, window::Range};

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
    },
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
