//! Damaged lists: whatever comes, the reader answers in a bounded time, and no code is one that the file has not.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use super::{parse, tests};
use crate::damage;

/// Longer than reading a small file takes on a busy machine.
const READ_MAX: Duration = Duration::from_secs(5);

fn read(file: &[u8], shown: impl Fn(&[u8]) -> HashSet<String>) {
    let began = Instant::now();
    let list = parse(file);
    assert!(began.elapsed() < READ_MAX, "it took {:?}", began.elapsed());
    let Ok(list) = list else { return };
    let shown = shown(file);
    let mut codes = HashSet::new();
    for issue in &list.issues {
        assert!(shown.contains(&issue.code), "{} is not in the file", issue.code);
        assert!(codes.insert(&issue.code), "{} is there twice", issue.code);
    }
}

/// The words of a text, whatever its encoding: codes are ASCII, so that any but UTF-16 shows them as they are.
fn words(file: &[u8]) -> HashSet<String> {
    let without_nulls: Vec<u8> = file.iter().copied().filter(|byte| *byte != 0).collect();
    let text = String::from_utf8_lossy(&without_nulls);
    text.split(|c: char| !c.is_ascii_alphanumeric()).map(str::to_owned).collect()
}

#[test]
fn a_damaged_text_is_an_error_or_holds_its_own_codes() {
    let text = tests::japanese(tests::TWO_ROWS);
    let files = [
        text.clone().into_bytes(),
        format!("\u{feff}{text}").into_bytes(),
        encoding_rs::SHIFT_JIS.encode(&text).0.into_owned(),
        text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        tests::japanese(&tests::TWO_ROWS.repeat(40)).into_bytes(),
    ];
    damage::run("list, CSV", 2_000, |damage| {
        let file = damage.one(&files).clone();
        let file = damage.bytes(&file);
        read(&file, words);
    });
}

#[cfg(feature = "sheets")]
mod sheets {
    use std::{
        collections::HashSet,
        io::Cursor,
        panic::{self, AssertUnwindSafe},
    };

    use calamine::{Reader, open_workbook_auto_from_rs};

    use super::{
        damage, parse, read,
        tests::{self, workbook::zip},
        words,
    };
    use crate::damage::Damage;

    /// All cells of all sheets, as whoever opens the file sees them.
    fn cells(file: &[u8]) -> HashSet<String> {
        let open = || {
            let mut workbook = open_workbook_auto_from_rs(Cursor::new(file)).unwrap();
            let sheets = workbook.worksheets();
            sheets
                .iter()
                .flat_map(|(_, sheet)| sheet.cells().map(|(.., cell)| cell.to_string()))
                .collect::<Vec<_>>()
        };
        let shown = panic::catch_unwind(AssertUnwindSafe(open)).unwrap_or_default();
        shown.iter().map(|cell| cell.trim().trim_end_matches(".0").to_owned()).collect()
    }

    fn fuzz(name: &str, damaged: impl Fn(&mut Damage) -> Vec<u8>, shown: fn(&[u8]) -> HashSet<String>) {
        // What the library trips over is caught and answered; its words would only fill the screen.
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if panic.location().is_none_or(|place| !place.file().contains("calamine")) {
                hook(panic);
            }
        }));
        damage::run(name, 500, |damage| read(&damaged(damage), shown));
    }

    #[test]
    fn a_damaged_xls_is_an_error_or_holds_its_own_codes() {
        let whole = tests::xls();
        assert!(parse(&whole).is_ok());
        fuzz("list, .xls", |damage| damage.bytes(&whole), cells);
    }

    #[test]
    fn a_damaged_xlsx_is_an_error_or_holds_its_own_codes() {
        let parts = tests::small_xlsx();
        assert!(parse(&zip(&parts)).is_ok());
        let damaged = |damage: &mut Damage| {
            // Most damage is found by the archive's checksums; what is damaged before comes through to the reader.
            let mut parts = parts.clone();
            let at = damage.below(parts.len());
            parts[at].1 = damage.bytes(&parts[at].1);
            let file = zip(&parts);
            if damage.chance(20) { damage.bytes(&file) } else { file }
        };
        // Nothing is compressed in it.
        fuzz("list, .xlsx", damaged, words);
    }
}
