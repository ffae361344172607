use std::collections::{HashMap, HashSet};
use std::io::Cursor;

use calamine::{Data, Reader, Xls};
use sha2::{Digest, Sha256};

use super::*;

fn served() -> Vec<u8> {
    list_xls(SERVED_SEED, SERVED_DATE, None).unwrap()
}

fn read_back() -> Vec<Vec<Data>> {
    let mut workbook: Xls<_> = Xls::new(Cursor::new(served())).unwrap();
    workbook.worksheet_range("Sheet1").unwrap().rows().map(<[Data]>::to_vec).collect()
}

#[test]
fn the_list_that_is_served_is_the_same_to_the_byte_as_ever() {
    assert_eq!(
        format!("{:x}", Sha256::digest(served())),
        "127b5033dcbc367364fbf9dcdf3dec264ff086d9268c4541d62412011046e24d"
    );
}

#[test]
fn a_list_depends_on_its_seed() {
    assert_ne!(generate(1, 100), generate(2, 100));
    assert_eq!(generate(2, 100), generate(2, 100));
}

#[test]
fn the_file_reads_back_row_by_row_with_the_exchanges_types() {
    let read = read_back();
    let rows = generate(SERVED_SEED, ISSUES);
    assert_eq!(read.len(), rows.len() + 1);
    assert_eq!(read[0][1], Data::String("コード".to_owned()));
    for (cells, row) in read[1..].iter().zip(&rows) {
        assert_eq!(cells.len(), 10);
        assert_eq!(cells[0], Data::Float(20_261_031.0));
        match row.code.parse() {
            Ok(number) => assert_eq!(cells[1], Data::Float(number)),
            Err(_) => assert_eq!(cells[1], Data::String(row.code.clone())),
        }
        assert_eq!(cells[2], Data::String(row.name.clone()));
        assert_eq!(cells[3], Data::String(row.segment.name().to_owned()));
        match row.industry {
            Some(industry) => {
                let ((code_33, name_33), (code_17, name_17)) = (industry.of_33(), industry.of_17());
                assert_eq!(
                    cells[4..8],
                    [
                        Data::Float(f64::from(code_33)),
                        Data::String(name_33.to_owned()),
                        Data::Float(f64::from(code_17)),
                        Data::String(name_17.to_owned()),
                    ]
                );
            }
            None => assert!(cells[4..8].iter().all(|cell| *cell == Data::String("-".to_owned()))),
        }
        match row.scale {
            Some(scale) => assert_eq!(cells[8], Data::Float(f64::from(scale.code_and_name().0))),
            None => assert!(cells[8..].iter().all(|cell| *cell == Data::String("-".to_owned()))),
        }
    }
}

#[test]
fn counts_are_those_of_a_real_list() {
    let rows = generate(SERVED_SEED, ISSUES);
    let mut by_segment: HashMap<&str, usize> = HashMap::new();
    for row in &rows {
        *by_segment.entry(row.segment.name()).or_default() += 1;
    }
    assert_eq!(rows.len(), ISSUES);
    assert_eq!(by_segment["プライム（内国株式）"], 1_599);
    assert_eq!(by_segment["スタンダード（内国株式）"], 1_562);
    assert_eq!(by_segment["グロース（内国株式）"], 608);
    assert_eq!(by_segment["ETF・ETN"], 431);
    assert_eq!(by_segment["PRO Market"], 163);
    assert_eq!(by_segment["出資証券"], 2);
    let lettered = rows.iter().filter(|row| row.code.ends_with('A')).count();
    assert!((320..345).contains(&lettered), "{lettered}");
    assert_eq!(rows.iter().filter(|row| row.code.len() == 5).count(), 6);
}

#[test]
fn codes_are_sorted_and_codes_and_names_are_unique() {
    for issues in [1, 2, 10, 137, ISSUES] {
        let rows = generate(5, issues);
        assert_eq!(rows.len(), issues);
        assert!(rows.windows(2).all(|pair| pair[0].code < pair[1].code));
        assert_eq!(rows.iter().map(|row| &row.name).collect::<HashSet<_>>().len(), issues);
    }
    assert_eq!(generate(SERVED_SEED, ISSUES)[0].code, "1301");
}
