//! Damaged inputs, for tests that a decoder neither panics nor invents. The same seed damages in the same way.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

/// Runs a check with one source of damage after the other: `rounds` of them, or as many as fit into
/// `HAUL_FUZZ_SECONDS`. A check that panics is told with its seed, which makes a regression case of it.
#[allow(clippy::print_stderr, reason = "how much was done is the result of a run by time")]
pub(crate) fn run(name: &str, rounds: u64, check: impl Fn(&mut Damage)) {
    let began = Instant::now();
    let seconds = std::env::var("HAUL_FUZZ_SECONDS").ok().map(|text| text.parse().unwrap());
    let time = seconds.map(Duration::from_secs);
    let goes_on = |seed| time.map_or(seed < rounds, |time| began.elapsed() < time);
    let mut seed = 0;
    while goes_on(seed) {
        let mut damage = Damage { random: StdRng::seed_from_u64(seed) };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(&mut damage))) {
            eprintln!("{name}: seed {seed}");
            resume_unwind(panic);
        }
        seed += 1;
    }
    eprintln!("fuzz {name}: {seed} executions in {:.1} s", began.elapsed().as_secs_f64());
}

/// A source of damage.
pub(crate) struct Damage {
    random: StdRng,
}

impl Damage {
    /// True so many times in a hundred.
    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    /// One of these.
    pub(crate) fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// Up to, and without, `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }

    /// Cuts, flips, overwrites, inserts, repeats, swaps: one to four times.
    pub(crate) fn bytes(&mut self, whole: &[u8]) -> Vec<u8> {
        const SPLINTERS: [&[u8]; 14] = [
            b"\0",
            b"\xFF\xFF\xFF\xFF",
            b"\xEF\xBB\xBF",
            b"\xFE\xFF",
            b"\n",
            b"\r",
            b"\"",
            b",",
            b"{",
            b"[[[[[[[[",
            b"null",
            b"1e999",
            b"<html>",
            b"-",
        ];
        let mut bytes = whole.to_vec();
        for _ in 0..=self.below(4) {
            if bytes.is_empty() {
                break;
            }
            // Half of the damage goes where headers are.
            let near = if self.chance(50) { bytes.len().min(4_096) } else { bytes.len() };
            let at = self.below(near);
            let end = at + self.below((bytes.len() - at).min(200)) + 1;
            match self.below(7) {
                0 => bytes.truncate(at),
                1 => bytes[at] ^= 1 << self.below(8),
                2 => bytes[at] = self.random.random(),
                3 => drop(bytes.splice(at..at, self.one(&SPLINTERS).iter().copied())),
                4 => drop(bytes.drain(at..end)),
                5 => {
                    let part = bytes[at..end].to_vec();
                    drop(bytes.splice(at..at, part));
                }
                _ => {
                    let to = self.below(bytes.len());
                    bytes.swap(at, to);
                }
            }
        }
        bytes
    }

    /// Changes one to four places of a tree: types, nulls, sizes, order, what is there at all.
    pub(crate) fn json(&mut self, tree: &mut Value) {
        for _ in 0..=self.below(4) {
            self.node(tree);
        }
    }

    fn node(&mut self, node: &mut Value) {
        let goes_down = self.chance(85);
        match node {
            Value::Object(members) if goes_down && !members.is_empty() => {
                let at = self.below(members.len());
                let child = members.values_mut().nth(at);
                self.node(child.expect("it is one of them"));
            }
            Value::Array(entries) if goes_down && !entries.is_empty() => {
                let at = self.below(entries.len());
                self.node(&mut entries[at]);
            }
            Value::Object(members) if !members.is_empty() && self.chance(70) => {
                let at = self.below(members.len());
                let key = members.keys().nth(at).expect("it is one of them").clone();
                let value = members.remove(&key).expect("it is there");
                // Gone, or under another name, or over another one.
                if self.chance(50) {
                    let other = members.keys().next().cloned().unwrap_or_default();
                    members.insert(if self.chance(50) { other } else { format!("{key}x") }, value);
                }
            }
            Value::Array(entries) if !entries.is_empty() && self.chance(80) => self.entries(entries),
            node => *node = self.value(),
        }
    }

    fn entries(&mut self, entries: &mut Vec<Value>) {
        let [at, other] = [self.below(entries.len()), self.below(entries.len())];
        match self.below(7) {
            0 => entries.truncate(at),
            1 => drop(entries.remove(at)),
            2 => entries.insert(other, entries[at].clone()),
            3 => entries.swap(at, other),
            4 => entries.reverse(),
            5 => entries[at] = self.value(),
            _ => entries.extend(vec![entries[at].clone(); 300]),
        }
    }

    fn value(&mut self) -> Value {
        match self.below(18) {
            0..=3 => Value::Null,
            4 => json!(true),
            5 => json!(0),
            6 => json!(-1),
            7 => json!(1.5),
            8 => json!(1e300),
            9 => json!(-1e-300),
            10 => json!(i64::MAX),
            11 => json!(u64::MAX),
            12 => json!(i64::MIN),
            13 => json!(""),
            14 => json!("1771891200"),
            15 => json!([]),
            16 => json!({}),
            _ => (0..self.below(100)).fold(Value::Null, |inner, _| json!([inner])),
        }
    }
}
