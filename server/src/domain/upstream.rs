//! An upstream: scheme, host and port that limits apply to.

use std::{net::Ipv6Addr, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};

mod breaker;
mod pace;
mod view;

pub use breaker::{Breaker, FIRST_PROBE, Signal};
pub use pace::Pace;
pub use view::{BreakerState, HoldCause, Holding, Upstream};

use super::text;

const COLLECTION: &str = "upstreams/";
/// Longest id: a scheme, a host name and a port.
const ID_BYTES_MAX: usize = 270;

/// Its id, which says scheme, host and port, each in one way only.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamId(String);

impl UpstreamId {
    /// The id of an origin: `https` on its usual port by the host alone, anything else with scheme and port. The host is
    /// as a URL has it, an IPv6 address in brackets.
    pub fn of(scheme: &str, host: &str, port: u16) -> Self {
        let written = |c: char| if c == ':' { '_' } else { c.to_ascii_lowercase() };
        let host: String = host.trim_matches(['[', ']']).chars().map(written).collect();
        // A host that looks like such an id is written in full.
        if (scheme, port) == ("https", 443) && parts(&host).is_none() {
            return Self(host);
        }
        Self(format!("{scheme}-{host}-{port}"))
    }

    /// Reads a resource name, `upstreams/{upstream}`; nothing if it is no origin's, or not written as it is.
    pub fn from_name(name: &str) -> Option<Self> {
        let id = name.strip_prefix(COLLECTION).filter(|id| id.len() <= ID_BYTES_MAX)?;
        let (scheme, host, port) = Self(id.to_owned()).origin();
        let is_host = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
        let is_written = host.starts_with('[') || !host.is_empty() && host.chars().all(is_host);
        let canonical = Self::of(&scheme, &host, port);
        (is_written && canonical.0 == id).then_some(canonical)
    }

    /// An id as the store holds it.
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    /// Scheme, host and port that it says.
    pub fn origin(&self) -> (String, String, u16) {
        let (scheme, host, port) = parts(&self.0).unwrap_or(("https", &self.0, 443));
        let address = host
            .contains('_')
            .then(|| host.replace('_', ":"))
            .filter(|host| host.parse::<Ipv6Addr>().is_ok());
        let host = address.map_or_else(|| host.to_owned(), |address| format!("[{address}]"));
        (scheme.to_owned(), host, port)
    }

    /// The origin as a URL has it, with the port unless it is the scheme's.
    pub fn url(&self) -> String {
        match self.origin() {
            (scheme, host, 443) if scheme == "https" => format!("https://{host}"),
            (scheme, host, 80) if scheme == "http" => format!("http://{host}"),
            (scheme, host, port) => format!("{scheme}://{host}:{port}"),
        }
    }

    /// The bare id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The resource name, `upstreams/{upstream}`.
    pub fn name(&self) -> String {
        format!("{COLLECTION}{}", self.0)
    }
}

/// Scheme, host and port of an id that has all three.
fn parts(id: &str) -> Option<(&str, &str, u16)> {
    let (scheme, rest) = id.split_once('-').filter(|(scheme, _)| matches!(*scheme, "http" | "https"))?;
    let (host, port) = rest.rsplit_once('-').filter(|(host, _)| !host.is_empty())?;
    let number = port.parse::<u16>().ok().filter(|number| *number > 0 && number.to_string() == port)?;
    Some((scheme, host, number))
}

/// Limits that an operator has set. What is absent comes from the live batches.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Configured {
    /// Requests per second.
    pub rate_per_s: Option<f64>,
    /// Requests at once after idleness.
    pub burst: Option<u32>,
    /// Requests in flight at once.
    pub in_flight_max: Option<u32>,
}

impl Configured {
    /// Of a batch's rate and burst, what it can have at most.
    pub fn binding(&self, rate_per_s: f64, burst: u32) -> (f64, u32) {
        (self.rate_per_s.unwrap_or(rate_per_s).min(rate_per_s), self.burst.unwrap_or(burst).min(burst))
    }

    /// Strong and quoted; another one for other limits.
    pub fn etag(&self, upstream: &UpstreamId) -> String {
        let hash = Sha256::new_with_prefix(upstream.as_str())
            .chain_update(format!("{:?} {:?} {:?}", self.rate_per_s, self.burst, self.in_flight_max))
            .finalize();
        // The number in front is the etag's version.
        format!("\"1-{}\"", text::hex(&hash[..12]))
    }
}

/// A change of the limits that an operator has set; of each nothing, or what it becomes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Change {
    /// Requests per second.
    pub rate_per_s: Option<Option<f64>>,
    /// Requests at once after idleness.
    pub burst: Option<Option<u32>>,
    /// Requests in flight at once.
    pub in_flight_max: Option<Option<u32>>,
}

impl Change {
    /// The limits after it.
    pub fn of(&self, before: Configured) -> Configured {
        Configured {
            rate_per_s: self.rate_per_s.unwrap_or(before.rate_per_s),
            burst: self.burst.unwrap_or(before.burst),
            in_flight_max: self.in_flight_max.unwrap_or(before.in_flight_max),
        }
    }
}

/// A hold by an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorHold {
    /// Since when.
    pub since: DateTime<Utc>,
    /// Until when; nothing: until somebody releases it.
    pub until: Option<DateTime<Utc>>,
    /// For people.
    pub reason: String,
}

/// What is durable of an upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamRecord {
    /// Its id.
    pub id: UpstreamId,
    /// Host name.
    pub host: String,
    /// Limits that an operator has set.
    pub configured: Configured,
    /// Requests per second, as last in force, adaptive pace left out.
    pub rate_per_s: f64,
    /// Burst, as last in force, adaptive pace left out.
    pub burst: u32,
    /// Its gate is held, as it asked.
    pub held: Option<AskedHold>,
    /// Holds by push-back in a row without a success between.
    pub push_backs: u32,
    /// Its breaker, if that is not closed.
    pub tripped: Option<Tripped>,
    /// Its pace, if that was lowered.
    pub slowed: Option<Slowed>,
    /// What an operator holds it by.
    pub operator: Option<OperatorHold>,
}

/// A hold that an upstream asked for, as the store holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedHold {
    /// When it began, if that is known.
    pub since: Option<DateTime<Utc>>,
    /// When it ends.
    pub until: DateTime<Utc>,
}

impl AskedHold {
    /// What remains of it. However the clock was set meanwhile, that is no more than there was.
    pub fn left(&self, now: DateTime<Utc>) -> Option<Duration> {
        let all = self.since.map_or(TimeDelta::MAX, |since| self.until - since);
        (self.until - now).min(all).to_std().ok()
    }
}

/// A breaker that is not closed, as the store holds it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tripped {
    /// Since when.
    pub since: DateTime<Utc>,
    /// When the next probe is due.
    pub probe_at: DateTime<Utc>,
    /// The wait that led there; the next one is twice as long.
    pub wait: Duration,
}

/// A lowered pace, as the store holds it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slowed {
    /// The share of the limit that it began to grow at.
    pub share: f64,
    /// When that was, or will be.
    pub from: DateTime<Utc>,
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
    /// When its gate opens by itself; in an outage, when the next probe is due.
    pub held_until: Option<DateTime<Utc>>,
    /// Since when the cause holds.
    pub since: DateTime<Utc>,
}

/// Why items wait for an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PressureCause {
    /// The permitted rate is used up, or as many requests are in flight as may be.
    RateLimited,
    /// Its gate is held, or its pace lowered, because it asked for less.
    PushedBack,
    /// Its gate is held: its breaker tripped.
    Outage,
    /// Its gate is held by an operator.
    Operator,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_says_scheme_host_and_port() {
        for (scheme, host, port, id, url) in [
            ("https", "api.example.com", 443, "api.example.com", "https://api.example.com"),
            ("https", "a-b.example", 8443, "https-a-b.example-8443", "https://a-b.example:8443"),
            ("http", "127.0.0.1", 8080, "http-127.0.0.1-8080", "http://127.0.0.1:8080"),
            ("http", "api.example.com", 80, "http-api.example.com-80", "http://api.example.com"),
            ("http", "[::1]", 9000, "http-__1-9000", "http://[::1]:9000"),
            ("https", "[2001:db8::7]", 443, "2001_db8__7", "https://[2001:db8::7]"),
            ("https", "a_b.example", 443, "a_b.example", "https://a_b.example"),
            // Each of these looks like another one's.
            ("https", "http-x-80", 443, "https-http-x-80-443", "https://http-x-80"),
            ("http", "x", 80, "http-x-80", "http://x"),
            ("https", "http-x-080", 443, "http-x-080", "https://http-x-080"),
        ] {
            let made = UpstreamId::of(scheme, host, port);
            assert_eq!((made.as_str(), made.url().as_str()), (id, url));
            assert_eq!(made.origin(), (scheme.to_owned(), host.to_owned(), port));
            assert_eq!(UpstreamId::from_name(&made.name()), Some(made));
        }
    }

    #[test]
    fn a_name_that_is_written_otherwise_is_none() {
        let long = "x".repeat(ID_BYTES_MAX + 1);
        for id in
            ["", "API.example.com", "https-api.example.com-443", "a b", "a/b", "[::1]", "ä.example", &long]
        {
            assert_eq!(UpstreamId::from_name(&format!("upstreams/{id}")), None, "{id}");
        }
        assert_eq!(UpstreamId::from_name("batches/api.example.com"), None);
    }

    #[test]
    fn an_etag_is_of_the_limits_and_of_the_upstream() {
        let of = |host| UpstreamId::of("https", host, 443);
        let set = Configured { rate_per_s: Some(2.0), ..Configured::default() };
        let burst = Configured { burst: Some(2), ..Configured::default() };
        let etags = [
            Configured::default().etag(&of("a.example")),
            set.etag(&of("a.example")),
            burst.etag(&of("a.example")),
            set.etag(&of("b.example")),
        ];
        assert!(etags.iter().all(|etag| etag.starts_with("\"1-") && etag.ends_with('"')));
        assert_eq!(std::collections::HashSet::from(etags).len(), 4);
        assert_eq!((set.binding(5.0, 20), burst.binding(0.5, 20)), ((2.0, 20), (0.5, 2)));
        assert_eq!(set.binding(0.5, 1), (0.5, 1), "a batch's own ceiling stays");
        let unset = Change { rate_per_s: Some(None), burst: Some(Some(7)), in_flight_max: None };
        assert_eq!(unset.of(set), Configured { burst: Some(7), ..Configured::default() });
    }

    #[test]
    fn a_hold_lasts_no_longer_than_it_was_to_however_the_clock_is_set() {
        let at = |seconds| DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds);
        let held = AskedHold { since: Some(at(100)), until: at(160) };
        for (now, left) in [(100, Some(60)), (130, Some(30)), (160, Some(0)), (161, None), (-5_000, Some(60))]
        {
            assert_eq!(held.left(at(now)), left.map(Duration::from_secs), "{now}");
        }
        let of_old = AskedHold { since: None, ..held };
        assert_eq!(of_old.left(at(10)), Some(Duration::from_secs(150)));
    }

    proptest! {
        #[test]
        fn no_two_origins_have_one_id(
            a in ("https?", "(https?-)?[a-z]{1,3}([.-][a-z0-9]{1,3}){0,2}(-443|-80)?", 1u16..),
            b in ("https?", "(https?-)?[a-z]{1,3}([.-][a-z0-9]{1,3}){0,2}(-443|-80)?", prop::sample::select(vec![80u16, 443])),
        ) {
            let [of_a, of_b] = [&a, &b].map(|(scheme, host, port)| UpstreamId::of(scheme, host, *port));
            prop_assert_eq!(a == b, of_a == of_b);
            prop_assert_eq!(of_a.origin(), a);
            prop_assert_eq!(of_b.origin(), b);
        }
    }
}
