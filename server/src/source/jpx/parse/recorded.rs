//! Published lists, read whole. The files are no part of the source: see `data` in the project's shared folder, or name
//! another place in `HAUL_SHARED_DATA`.

use std::{fs, path::PathBuf};

use super::parse;
use crate::domain::listing::{ListFile, ListedIssue, Segment};

#[allow(clippy::print_stderr, reason = "a test that is left out says so")]
fn file(name: &str) -> Option<Vec<u8>> {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("HAUL_SHARED_DATA").map_or_else(default, PathBuf::from).join("jpx");
    if !folder.is_dir() {
        eprintln!("SKIPPED: no lists at {}", folder.display());
        return None;
    }
    if !cfg!(feature = "sheets") && name.contains(".xls") {
        eprintln!("SKIPPED: {name} without the feature \"sheets\"");
        return None;
    }
    Some(fs::read(folder.join(name)).unwrap())
}

fn count(list: &ListFile, of: impl Fn(&ListedIssue) -> bool) -> usize {
    list.issues.iter().filter(|issue| of(issue)).count()
}

fn is_foreign(issue: &ListedIssue) -> bool {
    issue.market.contains("外国") || issue.market.contains("Foreign")
}

/// Codes with a letter, codes of five characters.
fn odd_codes(list: &ListFile) -> (usize, usize) {
    let lettered = count(list, |issue| issue.code.bytes().any(|byte| byte.is_ascii_uppercase()));
    (lettered, count(list, |issue| issue.code.len() == 5))
}

#[test]
fn every_published_list_has_its_rows_segments_and_codes() {
    use Segment::{EquityContribution, EtfEtn, Growth, Prime, ProMarket, Reit, Standard};
    const SEGMENTS: [Segment; 7] = [Prime, Standard, Growth, EtfEtn, ProMarket, Reit, EquityContribution];
    // Rows; domestic issues by segment; foreign ones; codes with a letter; codes of five characters.
    for (name, rows, segments, foreign, codes) in [
        ("2022-05-31_data_j.xls", 4_183, [1_837, 1_458, 467, 290, 55, 68, 2], 6, (0, 1)),
        ("2023-09-29_data_j.csv", 4_295, [1_831, 1_440, 547, 324, 80, 65, 2], 6, (0, 1)),
        ("2023-10-31_data_j.csv", 4_309, [1_658, 1_617, 551, 330, 82, 63, 2], 6, (0, 1)),
        ("2023-11-30_data_j.csv", 4_322, [1_659, 1_617, 552, 336, 87, 63, 2], 6, (0, 2)),
        ("2024-06-28_data_j.csv", 4_371, [1_645, 1_601, 586, 358, 110, 63, 2], 6, (77, 2)),
        ("2025-05-30_data_j.xls", 4_409, [1_630, 1_572, 612, 385, 141, 62, 2], 5, (213, 4)),
        ("2025-10-31_data_j.csv", 4_417, [1_616, 1_562, 608, 404, 157, 63, 2], 5, (278, 5)),
        ("2025-10-31_data_e.csv", 4_417, [1_616, 1_562, 608, 404, 157, 63, 2], 5, (278, 5)),
        ("2026-01-31_data_j.xls", 4_435, [1_599, 1_564, 608, 431, 163, 63, 2], 5, (332, 6)),
    ] {
        let Some(bytes) = file(name) else { continue };
        let list = parse(&bytes).unwrap_or_else(|error| panic!("{name} {error}"));
        assert_eq!(list.version.list_date.to_string(), name[..10], "{name}");
        assert_eq!(list.issues.len(), rows, "{name}");
        let found = SEGMENTS
            .map(|segment| count(&list, |issue| issue.segment == Some(segment) && !is_foreign(issue)));
        assert_eq!(found, segments, "{name}");
        assert_eq!(count(&list, is_foreign), foreign, "{name}");
        assert_eq!(odd_codes(&list), codes, "{name}");
        assert_eq!(count(&list, |issue| issue.segment.is_none() || issue.name.is_empty()), 0, "{name}");
    }
}

#[test]
fn the_segments_before_2022_are_known() {
    let Some(bytes) = file("2019-09-30_data_j.xls") else { return };
    let list = parse(&bytes).unwrap();
    let of = |segment| {
        let abroad = count(&list, |issue| issue.segment == Some(segment) && is_foreign(issue));
        (count(&list, |issue| issue.segment == Some(segment)) - abroad, abroad)
    };
    assert_eq!((list.issues.len(), odd_codes(&list)), (4_005, (0, 1)));
    assert_eq!((list.version.list_date.to_string().as_str(), count(&list, is_foreign)), ("2019-09-30", 5));
    assert_eq!(count(&list, |issue| issue.segment.is_none() || issue.name.is_empty()), 0);
    for (segment, expected) in [
        (Segment::FirstSection, (2_150, 2)),
        (Segment::SecondSection, (484, 1)),
        (Segment::Mothers, (296, 1)),
        (Segment::JasdaqStandard, (672, 1)),
        (Segment::JasdaqGrowth, (36, 0)),
        (Segment::EtfEtn, (259, 0)),
        (Segment::ProMarket, (32, 0)),
        (Segment::Reit, (69, 0)),
        (Segment::EquityContribution, (2, 0)),
    ] {
        assert_eq!(of(segment), expected, "{segment:?}");
    }
}

#[test]
fn a_sheet_and_a_csv_of_one_list_give_the_same_cells() {
    let (Some(sheet), Some(text)) = (file("2025-05-30_data_j.xls"), file("2025-10-31_data_j.csv")) else {
        return;
    };
    let [sheet, text] = [sheet, text].map(|bytes| parse(&bytes).unwrap());
    let kyokuyo = |list: &ListFile| list.issues.iter().find(|issue| issue.code == "1301").cloned().unwrap();
    let [sheet, text] = [kyokuyo(&sheet), kyokuyo(&text)];
    assert_eq!((sheet.industry33_code.as_str(), sheet.industry33.as_str()), ("50", "水産・農林業"));
    assert_eq!((sheet.name, sheet.market, sheet.industry17), (text.name, text.market, text.industry17));
}

#[test]
#[cfg(feature = "sheets")]
fn a_damaged_sheet_is_an_error_and_never_a_panic() {
    let Some(whole) = file("2026-01-31_data_j.xls") else { return };
    let issues = parse(&whole).unwrap().issues;
    // Cut anywhere, and closely where the last rows are.
    let parts = (1..12).map(|part| whole.len() * part / 12);
    for end in parts.chain((1..40).map(|back| whole.len() - back * 173)) {
        if let Ok(list) = parse(&whole[..end]) {
            assert!(list.issues == issues, "{} rows of a file that was cut at {end}", list.issues.len());
        }
    }
    // A fixed sequence of flipped bytes, most of them where the structure is.
    let mut state = 1_u64;
    for round in 0..60 {
        let mut damaged = whole.clone();
        for _ in 0..=round % 8 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (state >> 33) as usize % if round % 2 == 0 { 4_096 } else { damaged.len() };
            damaged[at] ^= (state >> 20) as u8 | 1;
        }
        if let Ok(list) = parse(&damaged) {
            assert!(list.issues.len() <= 4_435, "round {round}");
        }
    }
    for head in [&b"PK\x03\x04"[..], &b"\xD0\xCF\x11\xE0"[..], &b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1"[..]] {
        assert!(parse(head).is_err());
        assert!(parse(&[head, &[0; 4_096]].concat()).is_err());
    }
}
