use std::io::Cursor;

use calamine::{Data, Reader, Xls};
use proptest::prelude::*;

use super::*;

fn read_back(file: Vec<u8>, sheet: &str) -> Vec<Vec<Data>> {
    let mut workbook: Xls<_> = Xls::new(Cursor::new(file)).unwrap();
    assert_eq!(workbook.sheet_names(), [sheet]);
    workbook.worksheet_range(sheet).unwrap().rows().map(<[Data]>::to_vec).collect()
}

fn expected(row: &[Cell<'_>; COLUMNS]) -> Vec<Data> {
    row.iter()
        .map(|cell| match cell {
            Cell::Number(number) => Data::Float(*number),
            Cell::Text(text) => Data::String((*text).to_owned()),
        })
        .collect()
}

/// Texts of every length near the end of a record, narrow and wide.
#[test]
fn texts_survive_wherever_a_record_ends() {
    let texts: Vec<String> = (0..2_000)
        .map(|i| {
            let length = 1 + (i * 7) % 60;
            if i % 3 == 0 {
                format!("{i}{}", "n".repeat(length))
            } else {
                format!("{i}{}", "表".repeat(length))
            }
        })
        .collect();
    let rows: Vec<_> = texts.iter().map(|text| [Cell::Text(text); COLUMNS]).collect();
    let sheet = Sheet { name: "シート", rows };
    let read = read_back(sheet.to_xls().unwrap(), "シート");
    assert_eq!(read, sheet.rows.iter().map(expected).collect::<Vec<_>>());
}

#[test]
fn one_text_may_be_longer_than_several_records() {
    let long = "長い".repeat(10_000);
    let sheet = Sheet { name: "Sheet1", rows: vec![[Cell::Text(&long); COLUMNS]] };
    assert_eq!(read_back(sheet.to_xls().unwrap(), "Sheet1"), [expected(&sheet.rows[0])]);
}

#[test]
fn more_rows_than_the_format_numbers_are_refused() {
    let sheet = Sheet { name: "Sheet1", rows: vec![[Cell::Number(0.0); COLUMNS]; ROWS_MAX + 1] };
    assert!(sheet.to_xls().unwrap_err().to_string().contains("65537 rows"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_texts_and_numbers_come_back(
        texts in proptest::collection::vec("[ -~ぁ-ん亜-熙𠮷]{1,300}", 1..120),
        number in -1e9f64..1e9,
    ) {
        let mut rows: Vec<_> = texts.iter().map(|text| [Cell::Text(text); COLUMNS]).collect();
        for row in &mut rows {
            row[3] = Cell::Number(number);
        }
        let sheet = Sheet { name: "Sheet1", rows };
        let read = read_back(sheet.to_xls().unwrap(), "Sheet1");
        prop_assert!(read == sheet.rows.iter().map(expected).collect::<Vec<_>>());
    }
}
