//! The list as it is downloaded.

use std::io::Cursor;

use calamine::{Data, Reader, Xls};
use haul_sim::SimConfig;

use crate::Bench;

/// The codes of the list served.
pub(crate) async fn codes(bench: &Bench) -> Vec<String> {
    let bytes = bench.client.get(bench.sim.list_url()).send().await.unwrap().bytes().await.unwrap();
    let mut workbook: Xls<_> = Xls::new(Cursor::new(bytes)).unwrap();
    let code = |row: &[Data]| match &row[1] {
        Data::Float(number) => number.to_string(),
        Data::String(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    workbook.worksheet_range("Sheet1").unwrap().rows().skip(1).map(code).collect()
}

#[tokio::test]
async fn the_first_rows_of_the_whole_list() {
    let (short, whole) = (
        Bench::new(SimConfig { items: Some(25), ..SimConfig::default() }).await,
        Bench::new(SimConfig::default()).await,
    );
    let (short_codes, whole_codes) = (codes(&short).await, codes(&whole).await);
    assert_eq!(short_codes.len(), 25);
    assert!(whole_codes.len() > 4_400);
    assert_eq!(short_codes[..], whole_codes[..25]);
    let beyond = &whole_codes[30];
    assert_eq!(short.chart(beyond).await.unwrap().status(), 404);
    assert_eq!(whole.chart(beyond).await.unwrap().status(), 200);
}

#[tokio::test]
async fn every_code_has_a_chart() {
    let bench = Bench::new(SimConfig { items: Some(120), ..SimConfig::default() }).await;
    for code in codes(&bench).await {
        assert_eq!(bench.chart(&code).await.unwrap().status(), 200, "{code}");
    }
}

#[tokio::test]
async fn head_tells_the_length() {
    let bench = Bench::new(SimConfig::default()).await;
    let head = bench.client.head(bench.sim.list_url()).send().await.unwrap();
    let length: usize = head.headers()["content-length"].to_str().unwrap().parse().unwrap();
    let body = bench.client.get(bench.sim.list_url()).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(length, body.len());
}

#[tokio::test]
async fn it_is_of_the_day_that_it_is_told() {
    let list_date = chrono::NaiveDate::from_ymd_opt(2026, 6, 30).unwrap().into();
    for items in [None, Some(30)] {
        let bench = Bench::new(SimConfig { list_date, items, ..SimConfig::default() }).await;
        let bytes = bench.client.get(bench.sim.list_url()).send().await.unwrap().bytes().await.unwrap();
        let mut workbook: Xls<_> = Xls::new(Cursor::new(bytes)).unwrap();
        let range = workbook.worksheet_range("Sheet1").unwrap();
        assert!(range.rows().skip(1).all(|row| row[0] == Data::Float(20_260_630.0)));
        assert_eq!(range.height() - 1, items.unwrap_or(4_433));
    }
}
