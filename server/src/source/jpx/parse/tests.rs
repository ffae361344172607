//! Lists made up here, as CSV; spreadsheets are in `recorded`.

#[cfg(feature = "sheets")]
pub(super) mod workbook;

use chrono::NaiveDate;

use super::{ParseError, parse};
use crate::domain::listing::Segment;

const JAPANESE: &str =
    "日付,コード,銘柄名,市場・商品区分,33業種コード,33業種区分,17業種コード,17業種区分,規模コード,規模区分";
const ENGLISH: &str = "Effective Date,Local Code,Name (English),Section/Products,33 Sector(Code),33 Sector(name),\
    17 Sector(Code),17 Sector(name),Size Code (New Index Series),Size (New Index Series)";
pub(super) const TWO_ROWS: &str = "20260131,1301,極洋,プライム（内国株式）,50,水産・農林業,1,食品 ,7,TOPIX Small 2\n\
    20260131,130A,ＡＢＣ　ホールディングス,グロース（内国株式）,-,-,-,-,-,-\n";

pub(super) fn japanese(rows: &str) -> String {
    format!("{JAPANESE}\n{rows}")
}

fn fault(file: impl AsRef<[u8]>) -> String {
    parse(file.as_ref()).unwrap_err().to_string()
}

#[test]
fn a_row_is_read_by_its_headings() {
    let list = parse(japanese(TWO_ROWS).as_bytes()).unwrap();
    assert_eq!(list.version.list_date, NaiveDate::from_ymd_opt(2026, 1, 31).unwrap());
    let [first, second] = &list.issues[..] else { panic!("{:?}", list.issues) };
    assert_eq!((first.code.as_str(), first.name.as_str()), ("1301", "極洋"));
    assert_eq!((first.segment, first.market.as_str()), (Some(Segment::Prime), "プライム（内国株式）"));
    assert_eq!((first.industry33_code.as_str(), first.industry33.as_str()), ("50", "水産・農林業"));
    assert_eq!((first.industry17_code.as_str(), first.industry17.as_str()), ("1", "食品"));
    assert_eq!((first.scale_code.as_str(), first.scale.as_str()), ("7", "TOPIX Small 2"));
    assert_eq!((second.code.as_str(), second.name.as_str()), ("130A", "ＡＢＣ　ホールディングス"));
    assert_eq!((second.industry33_code.as_str(), second.scale.as_str()), ("", ""));
}

#[test]
fn encodings_line_ends_and_columns_order_do_not_matter() {
    let text = japanese(TWO_ROWS);
    let issues = parse(text.as_bytes()).unwrap().issues;
    let shift_jis = encoding_rs::SHIFT_JIS.encode(&text).0.into_owned();
    let utf_16: Vec<u8> =
        [0xFEFF].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let mixed: String = text
        .lines()
        .map(|line| line.split(',').rev().chain(["more"]).collect::<Vec<_>>().join(",") + "\n")
        .collect();
    let no_final_newline = text.trim_end().to_owned();
    for (case, file) in [
        ("BOM", [b"\xEF\xBB\xBF", text.as_bytes()].concat()),
        ("CRLF", text.replace('\n', "\r\n").into_bytes()),
        ("Shift_JIS", shift_jis),
        ("UTF-16", utf_16),
        ("columns in another order and one more", mixed.into_bytes()),
        ("no final newline", no_final_newline.into_bytes()),
        (
            "no final newline, CRLF, BOM",
            format!("\u{feff}{}", text.trim_end().replace('\n', "\r\n")).into_bytes(),
        ),
        ("Shift_JIS with CRLF", encoding_rs::SHIFT_JIS.encode(&text.replace('\n', "\r\n")).0.into_owned()),
        ("blank rows", format!("\n{text}\n\n").into_bytes()),
        ("blanks around the cells", text.replace(',', " , ").into_bytes()),
        (
            "numbers as floats",
            text.replace("1301", "1301.0")
                .replace("20260131", "20260131.0")
                .replace(",50,", ",50.0,")
                .into_bytes(),
        ),
        (
            "all cells in quotes",
            format!("\"{}\"", text.trim_end().replace(',', "\",\"").replace('\n', "\"\n\"")).into_bytes(),
        ),
        ("full-width headings", text.replace("33業種", "３３ 業種").into_bytes()),
    ] {
        assert_eq!(parse(&file).map(|list| list.issues).as_ref(), Ok(&issues), "{case}");
    }
}

#[test]
fn english_lists_are_lists() {
    let rows = "20251031,1301,\"KYOKUYO CO.,LTD.\",Prime Market (Domestic),50,\"Fishery, Agriculture and Forestry\",1,\
        FOODS,6,TOPIX Small 1\n";
    let list = parse(format!("{ENGLISH}\n{rows}").as_bytes()).unwrap();
    assert_eq!(
        (list.issues[0].name.as_str(), list.issues[0].segment),
        ("KYOKUYO CO.,LTD.", Some(Segment::Prime))
    );
}

#[test]
fn a_row_told_twice_is_one_and_a_code_told_in_two_ways_spoils_the_list() {
    let first = TWO_ROWS.lines().next().unwrap();
    let list = parse(japanese(&format!("{TWO_ROWS}{first}\n")).as_bytes()).unwrap();
    assert_eq!(list.issues, parse(japanese(TWO_ROWS).as_bytes()).unwrap().issues);
    assert_eq!(
        fault(japanese(&format!("{TWO_ROWS}20260131,1301,別,ETF・ETN,-,-,-,-,-,-\n"))),
        "has \"1301\" in row 4, column \"コード\": row 2 has something else of this code"
    );
}

#[test]
fn the_hash_is_of_the_bytes() {
    let list = parse(japanese(TWO_ROWS).as_bytes()).unwrap();
    assert_eq!(list.version.sha256.len(), 64);
    let other = parse(japanese(&format!("{TWO_ROWS}\n")).as_bytes()).unwrap();
    assert_ne!(list.version.sha256, other.version.sha256);
    assert_eq!(list.issues, other.issues);
}

#[test]
fn what_is_no_list_is_said_in_plain_words() {
    assert_eq!(
        fault("<!DOCTYPE html><html>"),
        "is no spreadsheet or CSV: it begins with \"<!DOCTYPE html><html>\""
    );
    assert!(fault("\r\n {\"error\": 1}").contains("begins with \"{\\\"error\\\": 1}\""));
    assert!(fault("%PDF-1.4\n").contains("begins with \"%PDF-1.4\""));
    assert!(
        fault([0x89, 0x50, 0x4E, 0x47, 0xFF, 0xFF, 0, 0])
            .contains("is no spreadsheet or CSV: it begins with")
    );
    // The headings come first: what stands above them may be anything.
    assert!(
        fault(format!("東証上場銘柄一覧,,,,,,,,,\n{}", japanese(TWO_ROWS)))
            .contains("its first row is \"東証上場銘柄一覧\"")
    );
    assert!(fault("key,name\n1,2\n").contains("its first row is \"key\", \"name\""));
    for empty in ["", "\u{feff}", "\r\n\r\n", JAPANESE] {
        assert!(matches!(parse(empty.as_bytes()), Err(ParseError::Empty(_))), "{empty:?}");
    }
    let missing = fault(japanese(TWO_ROWS).replace("規模区分", "規模"));
    assert!(
        missing.starts_with("has no column 規模区分 / Size (New Index Series); its headings are \"日付\""),
        "{missing}"
    );
}

#[test]
fn a_bad_cell_is_named_by_row_column_and_value() {
    let row = |date: &str, code: &str| japanese(&format!("{TWO_ROWS}{date},{code},x,ETF・ETN,-,-,-,-,-,-\n"));
    assert_eq!(
        fault(row("20260131", "1301.5")),
        "has \"1301.5\" in row 4, column \"コード\": it is no security code"
    );
    assert_eq!(fault(row("2026", "1305")), "has \"2026\" in row 4, column \"日付\": it is no date");
    assert_eq!(
        fault(row("20260228", "1305")),
        "has \"20260228\" in row 4, column \"日付\": the rows above are of 2026-01-31"
    );
    for no_code in ["-", "１３０１", "130a", "13010A", "013"] {
        assert!(
            fault(row("20260131", no_code)).contains("in row 4, column \"コード\": it is no security code"),
            "{no_code}"
        );
    }
    for code in ["25935", "131A", "0050", "1305.0"] {
        assert!(parse(row("20260131", code).as_bytes()).is_ok(), "{code}");
    }
    let cut = fault(japanese(&TWO_ROWS[..TWO_ROWS.len() - 9]));
    assert!(cut.starts_with("has a broken row 3: it has 6 cells where the headings are 10"), "{cut}");
}

#[test]
fn sizes_have_bounds() {
    let row = |code: usize, name: &str| format!("20260131,{code:05},{name},ETF・ETN,-,-,-,-,-,-\n");
    assert!(fault(japanese(&row(1, &"あ".repeat(1_001)))).contains("more than 1000 characters"));
    assert!(parse(japanese(&row(1, &"あ".repeat(1_000))).as_bytes()).is_ok());
    let full: String = (0..100_000).map(|code| row(code, "x")).collect();
    assert_eq!(parse(japanese(&full).as_bytes()).unwrap().issues.len(), 100_000);
    assert!(fault(japanese(&(full + &row(1, "x")))).contains("more than 100000 rows"));
    assert!(fault(vec![b'x'; super::FILE_BYTES_MAX + 1]).contains("is too large"));
}

#[test]
#[cfg(feature = "sheets")]
fn a_workbook_of_the_newer_kind_is_read_too() {
    use workbook::{number, text, xlsx};
    let rest = |row, from: char| (from..='J').map(move |column| text(column, row, "-"));
    let headings =
        ('A'..='J').zip(JAPANESE.split(',')).map(|(column, heading)| text(column, 3, heading)).collect();
    let row = |row: usize, date: f64, code: String| {
        let mut cells =
            vec![number('A', row, date), code, text('C', row, " 極洋 "), text('D', row, "PRO Market")];
        cells.extend(rest(row, 'E'));
        (row, cells)
    };
    let rows = |date| {
        vec![(3, headings), row(4, 20_260_131.0, number('B', 4, 1301.0)), row(6, date, text('B', 6, "130A"))]
    };
    let whole = xlsx(&rows.clone()(20_260_131.0));
    let list = parse(&whole).unwrap();
    let found: Vec<_> =
        list.issues.iter().map(|issue| (issue.code.as_str(), issue.name.as_str(), issue.segment)).collect();
    assert_eq!(
        found,
        [("1301", "極洋", Some(Segment::ProMarket)), ("130A", "極洋", Some(Segment::ProMarket))]
    );
    // The row's number is the sheet's.
    assert!(fault(xlsx(&rows(20_260_228.0))).starts_with("has \"20260228\" in row 6"));
    assert!(matches!(parse(&xlsx(&[])), Err(ParseError::Empty(_))));
    let far =
        xlsx(&[(1, vec![text('A', 1, "x")]), (1_048_576, vec!["<c r=\"XFD1048576\"><v>1</v></c>".into()])]);
    assert!(parse(&far).is_err());
    for cut in (0..whole.len()).step_by(97) {
        assert!(parse(&whole[..cut]).is_err());
    }
}

/// Packed into a thousandth of what it is; the second says that it is small, the third that nobody knows.
#[test]
#[cfg(feature = "sheets")]
fn a_workbook_that_grows_beyond_all_bounds_when_it_is_unpacked_is_refused() {
    use std::io::{Cursor, Write};
    let size = super::UNPACKED_BYTES_MAX as usize + 0x1235;
    let mut files = small_xlsx();
    files.push(("xl/sharedStrings.xml".to_owned(), vec![b' '; size]));
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in &files {
        writer.start_file(name.as_str(), zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    let honest = writer.finish().unwrap().into_inner();
    assert!(honest.len() < 1 << 20, "{}", honest.len());
    let places = |archive: &[u8], bytes: &[u8]| -> Vec<usize> {
        (0..archive.len()).filter(|at| archive[*at..].starts_with(bytes)).collect()
    };
    let mut lying = honest.clone();
    for at in places(&honest, &u32::try_from(size).unwrap().to_le_bytes()) {
        lying[at..at + 4].copy_from_slice(&1_000_u32.to_le_bytes());
    }
    // Bit 3 of the flags: sizes come behind the data.
    let mut silent = lying.clone();
    for (signature, flags_at) in [(b"PK\x03\x04", 6), (b"PK\x01\x02", 8)] {
        for at in places(&lying, signature) {
            silent[at + flags_at] |= 8;
        }
    }
    for (file, said) in [
        (honest, "bytes unpacked, more than 134217728"),
        (lying, "larger than its declared uncompressed size"),
        (silent, "larger than its declared uncompressed size"),
    ] {
        let fault = fault(file);
        assert!(fault.contains(said), "{said}: {fault}");
    }
}

#[cfg(feature = "sheets")]
fn sheet_row(row: usize, line: &str) -> workbook::Row {
    (row, ('A'..='J').zip(line.split(',')).map(|(column, cell)| workbook::text(column, row, cell)).collect())
}

/// The two rows as the files of an .xlsx.
#[cfg(feature = "sheets")]
pub(super) fn small_xlsx() -> Vec<(String, Vec<u8>)> {
    let rows: Vec<_> = (1..)
        .zip([JAPANESE].into_iter().chain(TWO_ROWS.lines()))
        .map(|(row, line)| sheet_row(row, line))
        .collect();
    workbook::parts_of(&[&rows])
}

#[test]
#[cfg(feature = "sheets")]
fn of_several_sheets_the_first_is_read() {
    use workbook::{parts_of, zip};
    let list = [sheet_row(1, JAPANESE), sheet_row(2, TWO_ROWS.lines().next().unwrap())];
    let notes = [sheet_row(1, "a,b,c"), sheet_row(2, "1,2,3")];
    assert_eq!(parse(&zip(&parts_of(&[&list, &notes]))).unwrap().issues[0].code, "1301");
    let behind = fault(zip(&parts_of(&[&notes, &list])));
    assert!(behind.contains("its first row is \"a\", \"b\", \"c\""), "{behind}");
}

/// A list of sixty issues as an .xls, by the simulator's own writer.
#[cfg(feature = "sheets")]
pub(super) fn xls() -> Vec<u8> {
    let date = NaiveDate::from_ymd_opt(2026, 1, 31).unwrap();
    haul_sim::list_xls(7, date.into(), Some(60)).unwrap()
}

#[test]
#[cfg(feature = "sheets")]
fn a_sheet_that_was_cut_is_refused_or_whole() {
    let whole = xls();
    let issues = parse(&whole).unwrap().issues;
    assert!(issues.len() >= 60 && issues.iter().any(|issue| issue.code.ends_with('A')), "{issues:?}");
    for end in (0..whole.len()).step_by(7) {
        if let Ok(list) = parse(&whole[..end]) {
            assert_eq!(list.issues, issues, "cut at {end} of {}", whole.len());
        }
    }
}

#[test]
#[cfg(feature = "sheets")]
fn a_sheet_with_a_password_is_said_to_have_one() {
    // The record after the workbook's beginning becomes the one that says so.
    let mut locked = xls();
    let begin = locked.windows(4).position(|bytes| bytes == b"\x09\x08\x10\x00").unwrap();
    locked[begin + 20..begin + 22].copy_from_slice(b"\x2F\x00");
    assert!(fault(&locked).contains("password"), "{}", fault(&locked));
    // The newer kind is wrapped into a container of the older one.
    let mut wrapped = xls();
    let name = |name: &str| -> Vec<u8> { name.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let at = wrapped.windows(16).position(|bytes| bytes == name("Workbook")).unwrap();
    wrapped[at..at + 32].copy_from_slice(&name("EncryptedPackage"));
    assert!(fault(&wrapped).contains("password"), "{}", fault(&wrapped));
}

#[test]
#[cfg(not(feature = "sheets"))]
fn without_the_feature_a_sheet_is_refused_with_a_way_out() {
    for head in [&b"PK\x03\x04"[..], b"\xD0\xCF\x11\xE0"] {
        assert!(fault(head).contains("built without the feature"));
    }
}
