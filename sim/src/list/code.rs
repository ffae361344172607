//! Codes in the exchange's ranges, and which segment has which.

use super::class::{SEGMENTS, Segment};
use crate::hash::{Dice, Hash};

/// Numbers of lettered codes given out so far: 130A to 476A, with gaps.
const LETTERED: std::ops::Range<u32> = 130..477;
/// The first codes, whatever the seed, so that examples and tests can name one.
const FIRST: u32 = 1301;

/// Prime companies for each preferred share.
const PRIME_TO_PREFERRED: usize = 260;

/// As many issues of each segment as its share of the list, each with a code; sorted by code as the file is.
pub(super) fn codes(hash: Hash, issues: usize) -> Vec<(String, Segment)> {
    let mut dice = Dice::new(hash);
    let total: usize = SEGMENTS.iter().map(|(_, count)| count).sum();
    let mut numbers = Numbers::new(&mut dice);
    let mut listed = Vec::with_capacity(issues);
    for (segment, of_total) in SEGMENTS.into_iter().rev() {
        // Prime comes last and takes what rounding left.
        let left = issues - listed.len();
        let count = if segment == Segment::Prime { left } else { (of_total * issues / total).min(left) };
        listed.extend(of_segment(&mut numbers, segment, count).into_iter().map(|code| (code, segment)));
    }
    listed.sort_by(|(one, _), (other, _)| one.cmp(other));
    listed
}

/// Codes of a segment: lettered ones, plain ones, and in Prime a few preferred shares, which have their company's code
/// and a fifth digit.
fn of_segment(numbers: &mut Numbers, segment: Segment, count: usize) -> Vec<String> {
    let preferred = if segment == Segment::Prime { count / PRIME_TO_PREFERRED } else { 0 };
    let lettered = (f64::from(lettered_of_1000(segment)) / 1000.0 * count as f64).round() as usize;
    let mut codes: Vec<String> = (0..lettered).map_while(|_| numbers.lettered()).collect();
    let companies: Vec<String> = (codes.len() + preferred..count)
        .map_while(|_| numbers.plain(segment))
        .map(|number| number.to_string())
        .collect();
    let spread = companies.len() / (preferred + 1);
    codes.extend((1..=preferred).map(|n| format!("{}5", companies[n * spread])));
    codes.extend(companies);
    codes
}

/// Lettered codes among a thousand of a segment.
fn lettered_of_1000(segment: Segment) -> u32 {
    match segment {
        Segment::Prime => 6,
        Segment::Standard => 17,
        Segment::Growth => 197,
        Segment::Etf => 195,
        Segment::Pro => 555,
        Segment::Reit => 16,
        _ => 0,
    }
}

/// Codes not given out yet.
struct Numbers {
    lettered: Vec<u32>,
    funds: Vec<u32>,
    trusts: Vec<u32>,
    others: Vec<u32>,
}

impl Numbers {
    fn new(dice: &mut Dice) -> Self {
        let is_fund = |n: &u32| matches!(n, 1305..=1699 | 2010..=2099 | 2510..=2659);
        let is_trust = |n: &u32| matches!(n, 3226..=3499 | 8951..=8989);
        let mut shuffled = |numbers: Vec<u32>| {
            let mut numbers = numbers;
            dice.shuffle(&mut numbers);
            numbers
        };
        let mut others = shuffled((1302..=9999).filter(|n| !is_fund(n) && !is_trust(n)).collect());
        others.insert(0, FIRST);
        Self {
            lettered: shuffled(LETTERED.collect()),
            funds: shuffled((1305..=2659).filter(is_fund).collect()),
            trusts: shuffled((3226..=8989).filter(is_trust).collect()),
            others,
        }
    }

    fn lettered(&mut self) -> Option<String> {
        self.lettered.pop().map(|number| format!("{number}A"))
    }

    fn plain(&mut self, segment: Segment) -> Option<u32> {
        match segment {
            Segment::Etf => self.funds.pop(),
            Segment::Reit => self.trusts.pop(),
            Segment::Prime if self.others.first() == Some(&FIRST) => Some(self.others.swap_remove(0)),
            _ => self.others.pop(),
        }
    }
}
