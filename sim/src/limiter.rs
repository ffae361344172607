//! The limit per client address: a strict token bucket in its arrival-time form (GCRA, ITU-T I.371), exact to the
//! nanosecond and without a task that refills anything.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::config::RateLimit;

/// One bucket per address. A refused request takes no token.
#[derive(Debug)]
pub(crate) struct Limiter {
    interval_ns: u64,
    tolerance_ns: u64,
    due: HashMap<IpAddr, u64>,
}

impl Limiter {
    pub(crate) fn new(limit: RateLimit) -> Self {
        // The interval is rounded up: at most one token in 10^9 is lost, and none is given too many.
        let interval_ns = (1e9 / limit.rate_per_s).ceil() as u64;
        let tolerance_ns = interval_ns.saturating_mul(u64::from(limit.burst.saturating_sub(1)));
        Self { interval_ns, tolerance_ns, due: HashMap::new() }
    }

    /// Whether a request arriving now is within the limit. `now_us` never goes backwards.
    pub(crate) fn admits(&mut self, peer: IpAddr, now_us: u64) -> bool {
        let at_ns = now_us.saturating_mul(1000);
        let due_ns = self.due.entry(peer).or_insert(at_ns);
        if *due_ns > at_ns.saturating_add(self.tolerance_ns) {
            return false;
        }
        *due_ns = (*due_ns).max(at_ns).saturating_add(self.interval_ns);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const START_US: u64 = 1_790_000_000_000_000;

    fn limiter(rate_per_s: f64, burst: u32) -> Limiter {
        Limiter::new(RateLimit { rate_per_s, burst })
    }

    #[test]
    fn a_full_burst_passes_and_not_one_more() {
        let mut limiter = limiter(10.0, 3);
        let passed: Vec<bool> = (0..4).map(|_| limiter.admits(PEER, START_US)).collect();
        assert_eq!(passed, [true, true, true, false]);
    }

    #[test]
    fn a_token_comes_back_exactly_when_due() {
        let mut limiter = limiter(10.0, 1);
        assert!(limiter.admits(PEER, START_US));
        assert!(!limiter.admits(PEER, START_US + 99_999));
        assert!(limiter.admits(PEER, START_US + 100_000));
        assert!(!limiter.admits(PEER, START_US + 100_001));
    }

    #[test]
    fn a_long_rest_earns_no_more_than_the_burst() {
        let mut limiter = limiter(10.0, 2);
        assert!(limiter.admits(PEER, START_US));
        let later_us = START_US + 3_600_000_000;
        let passed: Vec<bool> = (0..3).map(|_| limiter.admits(PEER, later_us)).collect();
        assert_eq!(passed, [true, true, false]);
    }

    #[test]
    fn addresses_do_not_share_a_bucket() {
        let mut limiter = limiter(1.0, 1);
        assert!(limiter.admits(PEER, START_US));
        assert!(limiter.admits(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), START_US));
        assert!(!limiter.admits(PEER, START_US));
    }

    proptest! {
        #[test]
        fn no_span_of_time_lets_more_through_than_burst_plus_rate(
            rate in 1.0f64..500.0,
            burst in 1u32..20,
            gaps_us in proptest::collection::vec(0u64..50_000, 1..200),
        ) {
            let mut limiter = limiter(rate, burst);
            let mut at_us = START_US;
            let mut admitted_us = Vec::new();
            for gap_us in gaps_us {
                at_us += gap_us;
                if limiter.admits(PEER, at_us) {
                    admitted_us.push(at_us);
                }
            }
            for (i, from_us) in admitted_us.iter().enumerate() {
                for (j, to_us) in admitted_us.iter().enumerate().skip(i) {
                    let allowed = f64::from(burst) + (to_us - from_us) as f64 * rate / 1e6;
                    prop_assert!(((j - i + 1) as f64) <= allowed + 1e-6);
                }
            }
        }
    }
}
