//! The list of a seed.

use std::collections::HashSet;

use super::class::{Industry, Scale, Segment};
use super::{Row, code, name};
use crate::hash::{Dice, Hash};

/// A list of about `issues` rows, in the order of codes; fewer where the codes of a segment run out.
pub(crate) fn generate(seed: u64, issues: usize) -> Vec<Row> {
    let hash = Hash::new(seed).with_text("list");
    let mut dice = Dice::new(hash.with_text("names"));
    let mut taken = HashSet::new();
    let mut rows: Vec<Row> = Vec::new();
    for (code, segment) in code::codes(hash.with_text("codes"), issues) {
        let company = code
            .strip_suffix('5')
            .filter(|of| of.len() == 4)
            .and_then(|of| rows.iter().find(|row| row.code == of));
        let row = if let Some(company) = company {
            Row {
                code,
                name: format!("{}第１回社債型種類株式", company.name),
                scale: None,
                ..company.clone()
            }
        } else {
            let industry = segment.has_industry().then(|| Industry::drawn(dice.roll().unit()));
            let name = fresh(&mut dice, segment, industry, &mut taken);
            Row { code, name, segment, industry, scale: None }
        };
        rows.push(row);
    }
    give_scales(&mut dice, &mut rows);
    rows
}

/// Draws until the name is new; a number at its end where the parts are worn out.
fn fresh(
    dice: &mut Dice,
    segment: Segment,
    industry: Option<Industry>,
    taken: &mut HashSet<String>,
) -> String {
    for _ in 0..50 {
        let name = name::invented(dice, segment, industry);
        if taken.insert(name.clone()) {
            return name;
        }
    }
    let name = format!("{}{}", name::invented(dice, segment, industry), taken.len());
    taken.insert(name.clone());
    name
}

/// The index's size classes: nearly all of Prime, and a few of Standard.
fn give_scales(dice: &mut Dice, rows: &mut [Row]) {
    let mut of_segment = |wanted: Segment| {
        let mut found: Vec<usize> =
            (0..rows.len()).filter(|i| rows[*i].segment == wanted && rows[*i].code.len() == 4).collect();
        dice.shuffle(&mut found);
        found
    };
    let (prime, standard) = (of_segment(Segment::Prime), of_segment(Segment::Standard));
    let shares = [
        (Scale::Core30, 19),
        (Scale::Large70, 44),
        (Scale::Mid400, 248),
        (Scale::Small1, 308),
        (Scale::Small2, 351),
    ];
    let mut left = prime.as_slice();
    for (scale, of_1000) in shares {
        let (these, others) = left.split_at(prime.len() * of_1000 / 1000);
        for i in these {
            rows[*i].scale = Some(scale);
        }
        left = others;
    }
    for i in &standard[..standard.len() / 16] {
        rows[*i].scale = Some(Scale::Small2);
    }
}
