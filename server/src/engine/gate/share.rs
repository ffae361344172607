//! What a batch may expect of a gate, next to the others that wait there.

use std::time::Duration;

use tokio::time::Instant;

use super::{Lane, locked};
use crate::domain::outlook::Speed;

/// Who takes part: its weight, and what it permits itself.
type Part = (f64, f64);

impl Lane {
    /// Requests per second that the lane gets while the gate is open, and once a lowered pace has grown back: its share of
    /// the gate's rate, of which each lane that has requests waiting takes its part.
    pub fn speed(&self) -> Speed {
        // One lock after the other: `try_take` holds the gate's while it takes this one.
        let own = (self.terms.weight, locked(&self.own).rate_per_s());
        let state = self.gate.state();
        let now = self.gate.epoch.elapsed();
        let waits = |ticket: &usize| *ticket != self.ticket && state.turns.has_waiters(*ticket);
        let others: Vec<Part> = state
            .lanes
            .iter()
            .filter(|(ticket, _)| waits(ticket))
            .map(|(_, terms)| (terms.weight, terms.rate_per_s))
            .collect();
        // Where the gate is held, as when it opens.
        let opens = state.shut(self.gate.epoch, self.sender).map(|shut| shut.opens);
        let opens =
            now + opens.map(|opens| opens.saturating_duration_since(Instant::now())).unwrap_or_default();
        let full_in = if state.is_adaptive() {
            state.pace.whole_at().saturating_sub(opens)
        } else {
            Duration::default()
        };
        Speed {
            per_s: share(state.permitted(opens).0, own, &others),
            full_per_s: share(state.limit.0, own, &others),
            full_in,
        }
    }

    /// Requests that may be on the way at once.
    pub fn at_once(&self) -> Option<u32> {
        self.gate.state().configured.in_flight_max
    }

    /// A request need not wait now.
    pub fn has_permit(&self) -> bool {
        let now = self.gate.epoch.elapsed();
        let own = locked(&self.own).wait(now);
        let state = self.gate.state();
        state.shut(self.gate.epoch, self.sender).is_none()
            && own.is_zero()
            && state.bucket.wait(now).is_zero()
            && !state.is_full()
    }
}

/// What one gets of a rate that is dealt out by weight, where nobody takes more than it permits itself, and what is left
/// over goes to the rest.
fn share(rate_per_s: f64, own: Part, others: &[Part]) -> f64 {
    let (mut left, mut weight) = (rate_per_s, own.0 + others.iter().map(|(weight, _)| weight).sum::<f64>());
    let mut others = others.to_vec();
    // Whoever is content with least for its weight is served first.
    others.sort_by(|a, b| (a.1 / a.0).total_cmp(&(b.1 / b.0)));
    for (their_weight, their_max) in others {
        if their_max / their_weight >= left / weight || own.1 / own.0 <= their_max / their_weight {
            break;
        }
        left -= their_max;
        weight -= their_weight;
    }
    own.1.min(left * own.0 / weight)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_rate_is_dealt_out_by_weight_and_what_one_leaves_is_the_others() {
        for (case, own, others, got) in [
            ("alone", (1.0, 50.0), &[][..], 10.0),
            ("alone, and content with less", (1.0, 3.0), &[], 3.0),
            ("two alike", (1.0, 50.0), &[(1.0, 50.0)], 5.0),
            ("one of four times the weight", (1.0, 50.0), &[(4.0, 50.0)], 2.0),
            ("one that leaves some", (1.0, 50.0), &[(1.0, 2.0)], 8.0),
            (
                "two that leave some, one that does not",
                (1.0, 50.0),
                &[(1.0, 1.0), (1.0, 3.0), (1.0, 9.0)],
                3.0,
            ),
            ("content with less than its part", (4.0, 1.0), &[(1.0, 50.0)], 1.0),
        ] {
            assert!((share(10.0, own, others) - got).abs() < 1e-9, "{case}: {}", share(10.0, own, others));
        }
    }

    proptest! {
        #[test]
        fn all_shares_together_are_the_rate_or_what_all_are_content_with(
            parts in prop::collection::vec((0.03f64..32.0, 0.01f64..100.0), 1..8), rate in 0.01f64..200.0,
        ) {
            let got: f64 = (0..parts.len())
                .map(|one| {
                    let mut others = parts.clone();
                    let own = others.remove(one);
                    share(rate, own, &others)
                })
                .sum();
            let most: f64 = parts.iter().map(|(_, max)| max).sum();
            prop_assert!((got / rate.min(most) - 1.0).abs() < 1e-6, "{} of {}", got, rate.min(most));
        }
    }
}
