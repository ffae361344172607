//! Decides what becomes of each request, in the order of arrival, and writes it down.
//!
//! Everything happens under one lock: the arrival's time and number, the limiter, the fault and the log line. So the log
//! is the truth about the order, and its times are those the limiter counted with.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{DenyStatus, Outage, OutageKind, Refuse, RetryAfter, SimConfig};
use crate::edge::{self, Edge, Refused};
use crate::error::SimError;
use crate::fault::{Dealer, Fault, Permanent};
use crate::hash::Hash;
use crate::limiter::Limiter;
use crate::log::{Endpoint, Line, Log};

/// A request as it arrives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival<'a> {
    pub(crate) peer: IpAddr,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) user_agent: &'a str,
    pub(crate) endpoint: Endpoint,
    /// Charts: the symbol without its `.T`.
    pub(crate) key: Option<&'a str>,
    /// Charts: whether the symbol is on the list.
    pub(crate) listed: bool,
    /// The status it would be answered with.
    pub(crate) status: u16,
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) verdict: Verdict,
    /// Wait before the answer.
    pub(crate) delay: Duration,
    /// For 429.
    pub(crate) retry_after: Option<String>,
}

/// Answered, or how not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Answer,
    Permanent(Permanent),
    Fault(Fault),
    Outage(OutageKind),
}

/// The one place where requests are judged.
#[derive(Debug)]
pub(crate) struct Gate {
    clock: Clock,
    seed: u64,
    permanent: f64,
    retry_after: RetryAfter,
    latency: Duration,
    latency_jitter: Duration,
    outages: Vec<Outage>,
    refuse_libraries: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    seq: u64,
    turns_429: u64,
    edge: Edge,
    limiter: Option<Limiter>,
    dealer: Dealer,
    log: Log,
}

impl Gate {
    pub(crate) fn new(config: &SimConfig, clock: Clock) -> Result<Self, SimError> {
        let state = State {
            seq: 0,
            turns_429: 0,
            edge: Edge::new(config.refuse.clone(), clock.started_us()),
            limiter: config.limit.map(Limiter::new),
            dealer: Dealer::new(config.seed, config.faults),
            log: Log::open(config.log.as_deref())?,
        };
        Ok(Self {
            clock,
            seed: config.seed,
            permanent: config.permanent,
            retry_after: config.retry_after,
            latency: config.latency,
            latency_jitter: config.latency_jitter,
            outages: config.outages.clone(),
            refuse_libraries: config.refuse_libraries,
            state: Mutex::new(state),
        })
    }

    /// From the next request on the edge refuses like this, or lets everything through.
    pub(crate) fn refuse(&self, refuse: Option<Refuse>) {
        self.lock().edge = Edge::new(refuse, self.clock.now_us());
    }

    /// Judges a request and logs it.
    pub(crate) fn admit(&self, arrival: &Arrival<'_>) -> Fate {
        let mut state = self.lock();
        let at_us = self.clock.now_us();
        state.seq += 1;
        let seq = state.seq;
        let (verdict, retry_after) = self.judge(&mut state, arrival, at_us);
        let status = status(verdict, arrival.status);
        let retry_after = if status == 429 {
            state.turns_429 += 1;
            retry_after.header(state.turns_429 - 1, at_us)
        } else {
            None
        };
        state.log.write(&Line {
            seq,
            at_us,
            peer: arrival.peer,
            method: arrival.method,
            path: arrival.path,
            query: arrival.query,
            key: arrival.key,
            endpoint: arrival.endpoint,
            status,
            fault: match verdict {
                Verdict::Answer | Verdict::Permanent(_) => None,
                Verdict::Fault(fault) => Some(fault),
                Verdict::Outage(_) => Some(Fault::Outage),
            },
            permanent: matches!(verdict, Verdict::Permanent(_)),
            user_agent: arrival.user_agent,
        });
        Fate { verdict, delay: self.delay(seq), retry_after }
    }

    /// What becomes of it, and what it says if that is a 429.
    fn judge(&self, state: &mut State, arrival: &Arrival<'_>, at_us: u64) -> (Verdict, RetryAfter) {
        if arrival.endpoint.is_behind_edge() {
            match state.edge.refuses(arrival.peer, arrival.key, at_us) {
                Some(Refused::TooMany(retry_after)) => return (Verdict::Fault(Fault::Refused), retry_after),
                Some(Refused::Denied(status)) => {
                    let fault = match status {
                        DenyStatus::Unauthorized => Fault::Unauthorized,
                        DenyStatus::Forbidden => Fault::Forbidden,
                    };
                    return (Verdict::Fault(fault), RetryAfter::None);
                }
                Some(Refused::Down(kind)) => return (Verdict::Outage(kind), RetryAfter::None),
                None => {}
            }
            if self.refuse_libraries && edge::is_library(arrival.user_agent) {
                return (Verdict::Fault(Fault::Agent), RetryAfter::None);
            }
        }
        (self.judge_chart(state, arrival, at_us), self.retry_after)
    }

    /// The limit stands before everything, as it does at the provider's edge; it and the faults are for charts only.
    fn judge_chart(&self, state: &mut State, arrival: &Arrival<'_>, at_us: u64) -> Verdict {
        let Some(key) = arrival.key else { return Verdict::Answer };
        if state.limiter.as_mut().is_some_and(|limiter| !limiter.admits(arrival.peer, at_us)) {
            return Verdict::Fault(Fault::RateLimited);
        }
        if let Some(kind) = self.outage(at_us) {
            return Verdict::Outage(kind);
        }
        if let Some(permanent) = Permanent::of(self.seed, self.permanent, key).filter(|_| arrival.listed) {
            return Verdict::Permanent(permanent);
        }
        state.dealer.deal(key).map_or(Verdict::Answer, Verdict::Fault)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outage(&self, at_us: u64) -> Option<OutageKind> {
        let since_start = Duration::from_micros(at_us - self.clock.started_us());
        let now_out = |outage: &&Outage| {
            outage.start_after <= since_start
                && since_start < outage.start_after.saturating_add(outage.duration)
        };
        self.outages.iter().find(now_out).map(|outage| outage.kind)
    }

    fn delay(&self, seq: u64) -> Duration {
        let draw = Hash::new(self.seed).with_text("latency").with(seq).unit();
        self.latency.saturating_add(self.latency_jitter.mul_f64(draw))
    }
}

/// The status sent; 0 for none.
fn status(verdict: Verdict, planned: u16) -> u16 {
    match verdict {
        Verdict::Answer | Verdict::Fault(Fault::Truncated) => planned,
        Verdict::Permanent(permanent) => permanent.status(),
        Verdict::Fault(Fault::RateLimited | Fault::Refused | Fault::Agent | Fault::Http429) => 429,
        Verdict::Fault(Fault::Unauthorized) => 401,
        Verdict::Fault(Fault::Forbidden) => 403,
        Verdict::Fault(Fault::Http500) => 500,
        Verdict::Fault(Fault::Http502) => 502,
        Verdict::Fault(Fault::Http503) | Verdict::Outage(OutageKind::Status503) => 503,
        Verdict::Fault(Fault::Garbage | Fault::HtmlPage) | Verdict::Outage(OutageKind::HtmlPage) => 200,
        Verdict::Fault(Fault::Stall | Fault::Reset | Fault::Outage) | Verdict::Outage(OutageKind::Reset) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_begins_and_ends_to_the_microsecond() {
        let outage = |start_s, kind| Outage {
            start_after: Duration::from_secs(start_s),
            duration: Duration::from_secs(5),
            kind,
        };
        let outages = vec![outage(10, OutageKind::Status503), outage(12, OutageKind::Reset)];
        let clock = Clock::start();
        let gate = Gate::new(&SimConfig { outages, ..SimConfig::default() }, clock).unwrap();
        let at = |after_us: u64| gate.outage(clock.started_us() + after_us);
        assert_eq!(at(9_999_999), None);
        assert_eq!(at(10_000_000), Some(OutageKind::Status503));
        assert_eq!(at(14_999_999), Some(OutageKind::Status503), "the first of two holds");
        assert_eq!(at(15_000_000), Some(OutageKind::Reset));
        assert_eq!(at(17_000_000), None);
    }

    #[test]
    fn delays_stay_within_latency_and_jitter_and_repeat() {
        let (latency, latency_jitter) = (Duration::from_millis(20), Duration::from_millis(10));
        let config = SimConfig { latency, latency_jitter, ..SimConfig::default() };
        let delays = || {
            let gate = Gate::new(&config, Clock::start()).unwrap();
            (1..500).map(|seq| gate.delay(seq)).collect::<Vec<_>>()
        };
        assert_eq!(delays(), delays());
        assert!(delays().iter().all(|delay| (latency..latency + latency_jitter).contains(delay)));
        assert!(delays().iter().any(|delay| *delay < latency + latency_jitter.mul_f64(0.05)));
        assert!(delays().iter().any(|delay| *delay > latency + latency_jitter.mul_f64(0.95)));
    }
}
