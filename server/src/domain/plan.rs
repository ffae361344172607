//! What a batch would do, counted without doing it.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use super::{
    failure::Failure,
    item::{NewItem, Subject},
    request::Request,
};

/// Items that are read for a plan. Of a longer source every figure is a lower bound.
pub const ITEMS_MAX: i64 = 1_000_000;
/// Keys that are named of those that come again.
pub const DUPLICATE_KEYS_MAX: usize = 20;
/// Requests that are shown.
pub const REQUESTS_MAX: usize = 5;
/// Batches in the way that are named.
pub const CONFLICTS_MAX: usize = 100;
/// Warnings that are given.
pub const WARNINGS_MAX: usize = 20;
/// Keys that a warning names.
const WARNED_KEYS_MAX: usize = 5;
const DAY_S: f64 = 86_400.0;

/// Counts what a source yields. Its memory is a few bytes per item: of keys it keeps hashes, so that a plan of a
/// million items takes one for a repeat by mistake once in tens of millions of times.
#[derive(Debug, Default)]
pub struct Tally {
    /// Items, each key once.
    pub items: i64,
    /// Items whose key came before.
    pub duplicates: i64,
    /// Such keys, at most [`DUPLICATE_KEYS_MAX`].
    pub duplicate_keys: Vec<String>,
    /// Items that are left out by rule.
    pub skipped: i64,
    /// Requests, one per item that makes one.
    pub requests: i64,
    /// Key and request of the first ones, at most [`REQUESTS_MAX`].
    pub first_requests: Vec<(String, Request)>,
    /// Items that would fail without a request, by reason.
    refused: BTreeMap<String, Refused>,
    seen: HashSet<u64>,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Refused {
    items: i64,
    keys: Vec<String>,
    message: String,
}

impl Tally {
    /// Takes the next item. `request` makes the request of an item, or says why there is none.
    pub fn add(&mut self, item: NewItem, request: impl FnOnce(Subject<'_>) -> Result<Request, Failure>) {
        let NewItem { key, columns, failure, skip_reason } = item;
        if !self.seen.insert(self.hasher.hash_one(&key)) {
            self.duplicates += 1;
            if self.duplicate_keys.len() < DUPLICATE_KEYS_MAX && !self.duplicate_keys.contains(&key) {
                self.duplicate_keys.push(key);
            }
            return;
        }
        self.items += 1;
        if skip_reason.is_some() {
            self.skipped += 1;
            return;
        }
        let subject = Subject { key: &key, columns: columns.as_deref() };
        match failure.map_or_else(|| request(subject), Err) {
            Ok(request) => {
                self.requests += 1;
                if self.first_requests.len() < REQUESTS_MAX {
                    self.first_requests.push((key, request));
                }
            }
            Err(failure) => {
                let refused = self.refused.entry(failure.reason).or_default();
                refused.items += 1;
                if refused.keys.len() < WARNED_KEYS_MAX {
                    refused.keys.push(key);
                    refused.message = failure.message;
                }
            }
        }
    }

    /// It needs no request for any item after all.
    pub fn send_nothing(&mut self) {
        self.requests = 0;
        self.first_requests.clear();
        self.refused.clear();
    }

    /// What looks wrong about it, in words. `floor` is the shortest time that its requests can take.
    pub fn warnings(&self, floor: Duration) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.items == 0 {
            warnings.push("the source yields no item: the batch would be over at once".to_owned());
        }
        for (reason, Refused { items, keys, message }) in &self.refused {
            let more = if *items > keys.len() as i64 { " …" } else { "" };
            let (items, keys) = (count(*items, "item"), keys.join(" "));
            warnings.push(format!(
                "{items} would fail without a request, PERMANENT / {reason}: {keys}{more} (the last one named: {message})"
            ));
        }
        let days = floor.as_secs_f64() / DAY_S;
        if days > 1.0 {
            let requests = count(self.requests, "request");
            warnings.push(format!(
                "it takes at least {days:.1} days for {requests}. It may be paused and resumed at any time, and goes on \
                 by itself when the server is started again"
            ));
        }
        warnings
    }
}

/// `1 item`, `2 items`.
fn count(number: i64, of: &str) -> String {
    if number == 1 { format!("1 {of}") } else { format!("{number} {of}s") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::failure::FailureClass;

    fn failure(reason: &str) -> Failure {
        Failure::new(FailureClass::Permanent, reason, &format!("of {reason}"))
    }

    /// A key with a blank makes no request.
    fn request(item: Subject<'_>) -> Result<Request, Failure> {
        let key = item.key;
        if key.contains(' ') {
            return Err(failure("INVALID_KEY"));
        }
        Ok(Request::get(format!("http://host/{key}"), "*/*"))
    }

    fn tally(items: impl IntoIterator<Item = NewItem>) -> Tally {
        let mut tally = Tally::default();
        items.into_iter().for_each(|item| tally.add(item, request));
        tally
    }

    #[test]
    fn the_first_of_a_key_counts_and_the_repeats_are_named_once() {
        let tally = tally(["a", "b", "a", "a", "b", "c"].map(NewItem::keyed));
        assert_eq!((tally.items, tally.duplicates, tally.requests), (3, 3, 3));
        assert_eq!(tally.duplicate_keys, ["a", "b"]);
        let keys: Vec<&str> = tally.first_requests.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["a", "b", "c"]);
        assert_eq!(tally.first_requests[2].1.url, "http://host/c");
    }

    #[test]
    fn what_looks_wrong_is_said_and_nothing_else() {
        let hour = Duration::from_secs(3_600);
        let unlisted =
            |key: &str| NewItem { failure: Some(failure("CODE_NOT_LISTED")), ..NewItem::keyed(key) };
        let many = (0..7).map(|n| unlisted(&format!("n{n}")));
        for (items, floor, warned) in [
            (vec![NewItem::keyed("a")], 24 * hour, vec![]),
            (vec![NewItem::keyed("a")], 36 * hour, vec!["it takes at least 1.5 days for 1 request."]),
            (vec![], Duration::ZERO, vec!["the source yields no item"]),
            (
                vec![unlisted("x"), NewItem::keyed("a b"), NewItem::keyed("a")],
                hour,
                vec![
                    "1 item would fail without a request, PERMANENT / CODE_NOT_LISTED: x (the last one named: of CODE_NOT",
                    "1 item would fail without a request, PERMANENT / INVALID_KEY: a b (",
                ],
            ),
            (
                many.collect(),
                hour,
                vec!["7 items would fail without a request, PERMANENT / CODE_NOT_LISTED: n0 n1 n2 n3 n4 … ("],
            ),
        ] {
            let warnings = tally(items).warnings(floor);
            assert_eq!(warnings.len(), warned.len(), "{warnings:?}");
            for (warning, begin) in warnings.iter().zip(warned) {
                assert!(warning.starts_with(begin), "{warning}");
            }
        }
    }

    proptest! {
        #[test]
        fn figures_add_up_whatever_comes(keys in prop::collection::vec("[a-c ]{1,3}", 0..200)) {
            let tally = tally(keys.iter().map(NewItem::keyed));
            let distinct: HashSet<&String> = keys.iter().collect();
            prop_assert_eq!(tally.items, distinct.len() as i64);
            prop_assert_eq!(tally.items + tally.duplicates, keys.len() as i64);
            let refused: i64 = tally.refused.values().map(|refused| refused.items).sum();
            prop_assert_eq!(tally.requests + refused, tally.items);
            prop_assert_eq!(tally.requests, distinct.iter().filter(|key| !key.contains(' ')).count() as i64);
            prop_assert!(tally.first_requests.len() as i64 == tally.requests.min(REQUESTS_MAX as i64));
            prop_assert!(tally.duplicate_keys.len() <= DUPLICATE_KEYS_MAX);
        }
    }
}
