//! What need not be fetched: what is fetched already, and what is known not to exist.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    dataset::Address,
    filter::RETRIED,
    spec::{BatchSpec, Connector, Source, optional_millis},
};

/// Why an item is SKIPPED whose key succeeded before, by the same settings and for the same `as_of`.
pub const ALREADY_FETCHED: &str = "ALREADY_FETCHED";
/// Why an item is SKIPPED whose key is remembered as missing.
pub const KNOWN_MISSING: &str = "KNOWN_MISSING";

/// What is left out. By default nothing, so that a repeated `as_of` sends the same requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkipPolicy {
    /// Keys that succeeded before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fetched: bool,
    /// Keys that the upstream said do not exist, and for how long from `as_of` on that is remembered.
    #[serde(
        default,
        rename = "missing_ttl_ms",
        with = "optional_millis",
        skip_serializing_if = "Option::is_none"
    )]
    pub missing_ttl: Option<Duration>,
}

impl SkipPolicy {
    /// Longest time to live.
    pub const MISSING_TTL_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

    /// Nothing is left out, and nothing remembered.
    pub fn is_off(&self) -> bool {
        *self == Self::default()
    }
}

/// What the items of a batch are held against when they are taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkipRule {
    /// The logical date.
    pub as_of: DateTime<Utc>,
    /// The settings by which they may have been fetched before.
    pub fetched: Option<[u8; 32]>,
    /// Where their keys may be known to be missing.
    pub missing: Option<Address>,
}

impl SkipRule {
    /// The rule of a spec; nothing where it leaves nothing out. What is decoded anew is not fetched, and whoever names
    /// items to be fetched again wants them asked for.
    pub fn of(spec: &BatchSpec) -> Option<Self> {
        let is_named = match &spec.source {
            Source::BatchItems { again: false, .. } => return None,
            Source::BatchItems { filter, .. } => filter != RETRIED,
            Source::Inline { .. } | Source::Uploaded(_) | Source::JpxListing(_) | Source::File(_) => false,
        };
        let fetched = spec.skip.fetched.then(|| settings_sha256(&spec.connector));
        let missing = (spec.skip.missing_ttl.is_some() && !is_named).then(|| Address::of(&spec.connector));
        (fetched.is_some() || missing.is_some()).then_some(Self { as_of: spec.as_of.time, fetched, missing })
    }
}

/// The hash of a connector's settings, which tells which dataset they fill as well.
pub fn settings_sha256(connector: &Connector) -> [u8; 32] {
    // Its maps are sorted: the same settings are the same text.
    Sha256::digest(serde_json::json!(connector).to_string()).into()
}
