//! The refusals of the provider's edge: they look at the address and at the agent, seldom at what is asked for.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::config::{DenyStatus, OutageKind, Refuse, RetryAfter};

/// How agents begin that HTTP libraries send unless told otherwise.
const LIBRARIES: [&str; 14] = [
    "aiohttp/",
    "apache-httpclient/",
    "axios/",
    "curl/",
    "go-http-client/",
    "guzzlehttp/",
    "java/",
    "libcurl/",
    "libwww-perl/",
    "okhttp/",
    "python-",
    "reqwest/",
    "ruby",
    "wget/",
];

/// Whether this is the agent of a library, or none.
pub(crate) fn is_library(user_agent: &str) -> bool {
    let lower = user_agent.trim().to_ascii_lowercase();
    lower.is_empty() || LIBRARIES.iter().any(|library| lower.starts_with(library))
}

/// What the edge says to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    TooMany(RetryAfter),
    Down(OutageKind),
    Denied(DenyStatus),
}

/// Refuses as it is told, and remembers each address as far as that takes.
#[derive(Debug)]
pub(crate) struct Edge {
    refuse: Option<Refuse>,
    told_us: u64,
    visitors: HashMap<IpAddr, Visitor>,
}

/// One address: what it sent in the window, or until when it is refused.
#[derive(Debug, Default)]
struct Visitor {
    arrivals_us: VecDeque<u64>,
    refused_until_us: u64,
}

impl Edge {
    /// Nobody has been here before, whatever came earlier. `told_us` is the time now.
    pub(crate) fn new(refuse: Option<Refuse>, told_us: u64) -> Self {
        Self { refuse, told_us, visitors: HashMap::new() }
    }

    /// Whether a request arriving now, for the chart of `key` if it is one, is refused, and how. `now_us` never goes
    /// backwards.
    pub(crate) fn refuses(&mut self, peer: IpAddr, key: Option<&str>, now_us: u64) -> Option<Refused> {
        match self.refuse.as_ref()? {
            Refuse::All { retry_after } => Some(Refused::TooMany(*retry_after)),
            Refuse::Down(kind) => Some(Refused::Down(*kind)),
            Refuse::Deny { status, keys, lasts } => {
                let meant = keys.is_empty() || key.is_some_and(|key| keys.iter().any(|denied| denied == key));
                let since = Duration::from_micros(now_us.saturating_sub(self.told_us));
                let lasts = lasts.is_none_or(|lasts| since < lasts);
                (meant && lasts).then_some(Refused::Denied(*status))
            }
            &Refuse::After { requests, window, hold, retry_after } => {
                let visitor = self.visitors.entry(peer).or_default();
                let (window_us, hold_us) = (window.as_micros() as u64, hold.as_micros() as u64);
                visitor
                    .is_refused(requests, window_us, hold_us, now_us)
                    .then_some(Refused::TooMany(retry_after))
            }
        }
    }
}

impl Visitor {
    fn is_refused(&mut self, requests: u32, window_us: u64, hold_us: u64, now_us: u64) -> bool {
        if now_us < self.refused_until_us {
            return true;
        }
        while self.arrivals_us.front().is_some_and(|at_us| at_us.saturating_add(window_us) <= now_us) {
            self.arrivals_us.pop_front();
        }
        if self.arrivals_us.len() >= requests as usize {
            self.arrivals_us.clear();
            self.refused_until_us = now_us.saturating_add(hold_us);
            return true;
        }
        self.arrivals_us.push_back(now_us);
        false
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const SECOND_US: u64 = 1_000_000;

    /// Three in ten seconds, then refused for twenty.
    fn edge() -> Edge {
        let (window, hold) = (Duration::from_secs(10), Duration::from_secs(20));
        Edge::new(Some(Refuse::After { requests: 3, window, hold, retry_after: RetryAfter::None }), 0)
    }

    #[test]
    fn an_address_above_its_window_is_refused_for_the_whole_hold_however_slowly_it_asks() {
        let mut edge = edge();
        let mut refused = |at_s: u64| edge.refuses(PEER, None, at_s * SECOND_US).is_some();
        let seen: Vec<bool> = [100, 101, 102, 103, 110, 122].map(&mut refused).into();
        assert_eq!(seen, [false, false, false, true, true, true]);
        let anew: Vec<bool> = [123, 124, 125, 126].map(&mut refused).into();
        assert_eq!(
            anew,
            [false, false, false, true],
            "the hold ends 20 s after it began, and a window begins"
        );
    }

    #[test]
    fn the_window_rolls() {
        let mut edge = edge();
        let seen: Vec<bool> =
            [0, 4, 8, 10, 14, 17].map(|at_s| edge.refuses(PEER, None, at_s * SECOND_US).is_some()).into();
        assert_eq!(seen, [false, false, false, false, false, true]);
    }

    #[test]
    fn addresses_are_refused_each_for_itself() {
        let mut edge = edge();
        for _ in 0..4 {
            edge.refuses(PEER, None, SECOND_US);
        }
        assert!(edge.refuses(PEER, None, SECOND_US).is_some());
        assert!(edge.refuses(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), None, SECOND_US).is_none());
    }

    #[test]
    fn who_is_denied_is_so_for_these_symbols_and_for_this_long() {
        let deny = |keys: &[&str], lasts_s: Option<u64>| {
            let keys = keys.iter().map(|&key| key.to_owned()).collect();
            let lasts = lasts_s.map(Duration::from_secs);
            Edge::new(Some(Refuse::Deny { status: DenyStatus::Forbidden, keys, lasts }), 7 * SECOND_US)
        };
        for (mut edge, key, at_s, denied) in [
            (deny(&[], None), Some("1301"), 8, true),
            (deny(&[], None), None, 1_000, true),
            (deny(&["1332"], None), Some("1301"), 8, false),
            (deny(&["1332"], None), Some("1332"), 8, true),
            (deny(&["1332"], None), None, 8, false),
            (deny(&[], Some(3)), Some("1301"), 9, true),
            (deny(&[], Some(3)), Some("1301"), 10, false),
        ] {
            let refused = edge.refuses(PEER, key, at_s * SECOND_US);
            assert_eq!(refused == Some(Refused::Denied(DenyStatus::Forbidden)), denied, "{key:?} at {at_s}");
        }
    }

    #[test]
    fn agents_of_libraries_are_told_from_those_of_programs() {
        for library in [
            "",
            " ",
            "curl/8.5.0",
            "python-requests/2.32.3",
            "Java/21.0.1",
            "Go-http-client/1.1",
            "reqwest/0.12",
            "Wget/1.21",
        ] {
            assert!(is_library(library), "{library:?}");
        }
        for program in ["haul/0.1", "Mozilla/5.0 (X11; Linux x86_64)", "my-curl/1", "JavaScripty/1"] {
            assert!(!is_library(program), "{program:?}");
        }
    }
}
