//! Market segments by their names of all years, in both languages.

use crate::domain::listing::Segment;

/// The segment of a name, domestic or foreign; nothing for a name that is not known.
pub(super) fn of_market(market: &str) -> Option<Segment> {
    let name = folded(market);
    let name = name.strip_prefix("tokyo").unwrap_or(&name);
    if let Some(sub) = name.strip_prefix("jasdaq") {
        return if sub.contains("スタンダード") || sub.contains("standard") {
            Some(Segment::JasdaqStandard)
        } else if sub.contains("グロース") || sub.contains("growth") {
            Some(Segment::JasdaqGrowth)
        } else {
            None
        };
    }
    match without_origin(name)? {
        "プライム" | "primemarket" | "prime" => Some(Segment::Prime),
        "スタンダード" | "standardmarket" | "standard" => Some(Segment::Standard),
        "グロース" | "growthmarket" | "growth" => Some(Segment::Growth),
        "promarket" => Some(Segment::ProMarket),
        "etf・etn" | "etfs/etns" => Some(Segment::EtfEtn),
        "出資証券" | "equitycontributionsecurities" => Some(Segment::EquityContribution),
        "市場第一部" | "firstsection" | "1stsection" => Some(Segment::FirstSection),
        "市場第二部" | "secondsection" | "2ndsection" => Some(Segment::SecondSection),
        "マザーズ" | "mothers" => Some(Segment::Mothers),
        // The full name lists the kinds of funds and grows with them.
        name if name.starts_with("reit") => Some(Segment::Reit),
        _ => None,
    }
}

/// The name without its bracket on where the issuer is from; nothing if the bracket says something else.
fn without_origin(name: &str) -> Option<&str> {
    const ORIGINS: [&str; 4] = ["内国", "外国", "domestic", "foreign"];
    match name.split_once('(') {
        None => Some(name),
        Some((base, bracket)) => ORIGINS.iter().any(|origin| bracket.starts_with(origin)).then_some(base),
    }
}

/// A text for comparison: full-width letters, digits and signs as half-width ones, no blanks, lower case. The list mixes
/// widths within one name: `JASDAQ(スタンダード・内国株）`.
pub(super) fn folded(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| match c {
            '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(c) - 0xFEE0).unwrap_or(c),
            '･' => '・',
            c => c,
        })
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_years_in_both_languages_are_known() {
        for (market, segment) in [
            ("プライム（内国株式）", Segment::Prime),
            ("プライム（外国株式）", Segment::Prime),
            ("Prime Market (Domestic)", Segment::Prime),
            ("Prime Market(Foreign)", Segment::Prime),
            ("スタンダード(内国株式)", Segment::Standard),
            ("Standard Market(Domestic)", Segment::Standard),
            ("グロース（外国株式）", Segment::Growth),
            ("Growth Market (Foreign)", Segment::Growth),
            ("PRO Market", Segment::ProMarket),
            ("TOKYO PRO Market", Segment::ProMarket),
            ("ETF・ETN", Segment::EtfEtn),
            ("ＥＴＦ･ＥＴＮ", Segment::EtfEtn),
            ("ETFs/ ETNs", Segment::EtfEtn),
            ("REIT・ベンチャーファンド・カントリーファンド・インフラファンド", Segment::Reit),
            ("REIT, Venture Funds, Country Funds and Infrastructure Funds", Segment::Reit),
            ("出資証券", Segment::EquityContribution),
            ("Equity Contribution Securities", Segment::EquityContribution),
            ("市場第一部（内国株）", Segment::FirstSection),
            ("First Section (Foreign)", Segment::FirstSection),
            ("市場第二部（外国株）", Segment::SecondSection),
            ("マザーズ（内国株）", Segment::Mothers),
            ("JASDAQ(スタンダード・内国株）", Segment::JasdaqStandard),
            ("JASDAQ(グロース・内国株）", Segment::JasdaqGrowth),
            ("JASDAQ(Growth)(Domestic)", Segment::JasdaqGrowth),
        ] {
            assert_eq!(of_market(market), Some(segment), "{market}");
        }
    }

    #[test]
    fn other_names_are_not_guessed() {
        for market in ["", "プレミアム（内国株式）", "プライム（試験）", "JASDAQ", "PRO Market 2", "Nasdaq"]
        {
            assert_eq!(of_market(market), None, "{market}");
        }
    }
}
