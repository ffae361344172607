//! An upstream: scheme, host and port that limits apply to.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

/// Its id, of the same pattern as a batch's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamId(String);

impl UpstreamId {
    /// The id of an origin: `https` on its usual port by the host alone, anything else with scheme and port, a host
    /// that does not fit by its hash.
    pub fn of(scheme: &str, host: &str, port: u16) -> Self {
        let readable: String = host
            .to_ascii_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let readable = match (scheme, port) {
            ("https", 443) => readable,
            _ => format!("{scheme}-{readable}-{port}"),
        };
        let readable = readable.trim_matches('-');
        // Only a host of plain letters, digits and dots can be read back from it.
        let exact = host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
        if exact && (4..=63).contains(&readable.len()) {
            return Self(readable.to_owned());
        }
        let hash = Sha256::digest(format!("{scheme}://{host}:{port}"));
        let hash = super::text::hex(&hash[..4]);
        let head = readable[..readable.len().min(54)].trim_matches('-');
        Self(format!("{head}-{hash}").trim_matches('-').to_owned())
    }

    /// An id as the store holds it.
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    /// The bare id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The resource name, `upstreams/{upstream}`.
    pub fn name(&self) -> String {
        format!("upstreams/{}", self.0)
    }
}

/// What is durable of an upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamRecord {
    /// Its id.
    pub id: UpstreamId,
    /// Host name.
    pub host: String,
    /// Requests per second, as last in force.
    pub rate_per_s: f64,
    /// Burst, as last in force.
    pub burst: u32,
    /// Its gate is held until then.
    pub held_until: Option<DateTime<Utc>>,
    /// Holds by push-back in a row without a success between, without a time named by the upstream.
    pub push_backs: u32,
}

/// How an upstream holds a batch back.
#[derive(Debug, Clone, PartialEq)]
pub struct Pressure {
    /// Which one.
    pub upstream: UpstreamId,
    /// Host name.
    pub host: String,
    /// Why.
    pub cause: PressureCause,
    /// Permitted now; 0 while the gate is held.
    pub permitted_per_s: f64,
    /// When its gate opens by itself.
    pub held_until: Option<DateTime<Utc>>,
    /// Since when the cause holds.
    pub since: DateTime<Utc>,
}

/// Why items wait for an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PressureCause {
    /// The permitted rate is used up.
    RateLimited,
    /// Its gate is held, because it asked for less.
    PushedBack,
}

#[cfg(test)]
mod tests {
    use super::UpstreamId;
    use crate::domain::id::BatchId;

    #[test]
    fn ids_are_readable_distinct_and_of_the_patterns_form() {
        let id = |scheme, host, port| UpstreamId::of(scheme, host, port).as_str().to_owned();
        assert_eq!(id("https", "query1.finance.yahoo.com", 443), "query1-finance-yahoo-com");
        assert_eq!(id("http", "127.0.0.1", 8080), "http-127-0-0-1-8080");
        assert_ne!(id("https", "a.b-c.example", 443), id("https", "a-b.c.example", 443));
        let long = format!("{}.example", "x".repeat(200));
        for id in [
            id("https", &long, 443),
            id("http", "::1", 1),
            id("https", "t.co", 443),
            id("https", "日本.jp", 443),
        ] {
            assert!(BatchId::chosen(&id).is_some(), "{id}");
        }
    }
}
