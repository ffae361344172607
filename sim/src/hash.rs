//! Seeded chance without state: a number is a hash of what it is about, so it does not depend on the order of asking.
//!
//! The mixing function is the finaliser of `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number
//! generators", 2014).

/// A hash to draw from, or to go on hashing with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hash(u64);

impl Hash {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(mix(seed ^ 0x6a09_e667_f3bc_c908))
    }

    /// The hash of this and a number.
    pub(crate) const fn with(self, n: u64) -> Self {
        Self(mix(self.0.rotate_left(5) ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// The hash of this and a word.
    pub(crate) fn with_text(self, text: &str) -> Self {
        let fnv = text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        self.with(fnv).with(text.len() as u64)
    }

    /// Uniform in [0, 1).
    pub(crate) fn unit(self) -> f64 {
        (self.0 >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in [-1, 1).
    pub(crate) fn signed(self) -> f64 {
        self.unit().mul_add(2.0, -1.0)
    }

    /// Uniform in 0..n.
    pub(crate) fn below(self, n: u64) -> u64 {
        ((u128::from(self.0) * u128::from(n)) >> 64) as u64
    }
}

const fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// A sequence of hashes, for what is made once and in one order.
#[derive(Debug, Clone)]
pub(crate) struct Dice {
    hash: Hash,
    rolled: u64,
}

impl Dice {
    pub(crate) fn new(hash: Hash) -> Self {
        Self { hash, rolled: 0 }
    }

    pub(crate) fn roll(&mut self) -> Hash {
        self.rolled += 1;
        self.hash.with(self.rolled)
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll().below(from.len() as u64) as usize]
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.roll().below(i as u64 + 1) as usize;
            items.swap(i, j);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_even_and_depend_on_everything_hashed() {
        let n = 40_000u32;
        let mean = (0..n).map(|i| Hash::new(7).with(u64::from(i)).unit()).sum::<f64>() / f64::from(n);
        assert!((mean - 0.5).abs() < 0.01, "mean {mean}");
        assert_ne!(Hash::new(1).with_text("1301"), Hash::new(2).with_text("1301"));
        assert_ne!(Hash::new(1).with_text("1301"), Hash::new(1).with_text("1302"));
        assert_ne!(Hash::new(1).with(1).with(2), Hash::new(1).with(2).with(1));
    }
}
