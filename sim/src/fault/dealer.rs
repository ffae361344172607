//! Deals out the faults that pass.

use std::collections::HashMap;

use super::{Fault, PASSING};
use crate::hash::Hash;

/// No symbol fails in passing more often than this, so that every client that retries gets through.
const FAULTS_PER_KEY_MAX: u32 = 2;

/// Counts requests by symbol.
#[derive(Debug)]
pub(crate) struct Dealer {
    hash: Hash,
    share: f64,
    keys: HashMap<String, Dealt>,
}

#[derive(Debug, Default)]
struct Dealt {
    requests: u64,
    faults: u32,
}

impl Dealer {
    pub(crate) fn new(seed: u64, share: f64) -> Self {
        Self { hash: Hash::new(seed).with_text("faults"), share, keys: HashMap::new() }
    }

    /// The fate of the next request for a symbol.
    pub(crate) fn deal(&mut self, key: &str) -> Option<Fault> {
        if self.share <= 0.0 {
            return None;
        }
        let hash = self.hash.with_text(key);
        if !self.keys.contains_key(key) {
            self.keys.insert(key.to_owned(), Dealt::default());
        }
        let dealt = self.keys.get_mut(key)?;
        let draw = hash.with(dealt.requests);
        dealt.requests += 1;
        if dealt.faults >= FAULTS_PER_KEY_MAX || draw.unit() >= self.share {
            return None;
        }
        dealt.faults += 1;
        Some(PASSING[draw.with(1).below(PASSING.len() as u64) as usize])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_symbol_fails_at_most_twice() {
        let mut dealer = Dealer::new(1, 1.0);
        let faults = (0..10).filter(|_| dealer.deal("1301").is_some()).count();
        assert_eq!(faults, 2);
    }

    #[test]
    fn the_order_of_symbols_changes_nothing() {
        let (mut one, mut other) = (Dealer::new(9, 0.5), Dealer::new(9, 0.5));
        let keys = ["1301", "130A", "9997"];
        let by_key: Vec<Vec<_>> = keys.iter().map(|key| (0..5).map(|_| one.deal(key)).collect()).collect();
        let mut in_turn = vec![Vec::new(); keys.len()];
        for _ in 0..5 {
            for (i, key) in keys.iter().enumerate().rev() {
                in_turn[i].push(other.deal(key));
            }
        }
        assert_eq!(by_key, in_turn);
        assert_ne!(Dealer::new(10, 1.0).deal("1301"), None);
    }

    #[test]
    fn the_share_is_kept_and_every_kind_comes() {
        let mut dealer = Dealer::new(3, 0.25);
        let faults: Vec<_> = (0..4_000).filter_map(|i| dealer.deal(&i.to_string())).collect();
        assert!((900..1_100).contains(&faults.len()), "{}", faults.len());
        assert_eq!(faults.iter().collect::<HashSet<_>>().len(), PASSING.len());
    }
}
