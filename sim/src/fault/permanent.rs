//! Symbols that fail for good.

use crate::hash::Hash;

/// How a symbol fails, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Permanent {
    /// 404, no data found.
    NotFound,
    /// 200 with an empty chart of no exchange and no currency.
    Delisted,
    /// 422.
    Unprocessable,
}

impl Permanent {
    /// How a symbol fails, if it is among the share that does.
    pub(crate) fn of(seed: u64, share: f64, key: &str) -> Option<Self> {
        let hash = Hash::new(seed).with_text("permanent").with_text(key);
        (hash.unit() < share).then(|| match hash.with(1).below(12) {
            0..7 => Self::NotFound,
            7..11 => Self::Delisted,
            _ => Self::Unprocessable,
        })
    }

    pub(crate) fn status(self) -> u16 {
        match self {
            Self::NotFound => 404,
            Self::Delisted => 200,
            Self::Unprocessable => 422,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_answers_200_and_a_few_422() {
        let kinds: Vec<_> = (0..6_000).filter_map(|i| Permanent::of(1, 0.5, &i.to_string())).collect();
        let count = |kind| kinds.iter().filter(|found| **found == kind).count();
        assert!((2_850..3_150).contains(&kinds.len()), "{}", kinds.len());
        assert!(count(Permanent::Delisted).abs_diff(kinds.len() / 3) < 120);
        assert!(count(Permanent::Unprocessable) > 0 && count(Permanent::Unprocessable) < kinds.len() / 8);
        assert_eq!(Permanent::of(1, 0.0, "1301"), None);
        assert!((0..100).all(|i| Permanent::of(i, 1.0, "1301").is_some()));
    }
}
