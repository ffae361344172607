//! What is asked of a server.

use std::{io::Cursor, path::Path};

use calamine::{Data, Reader, Xls};
use haul_proto::v1::{
    BatchSpec, FetchPolicy, FileSource, InlineItems, ItemSpec, JpxListing, StartBatchRequest, YahooChart,
    batch_spec::{Connector, Source},
    yahoo_chart::Window,
};
use haul_sim::{SERVED_DATE, SERVED_SEED, list_xls};
use prost_types::Duration;

use super::Upstream;

/// A line of the exchange's list.
pub(crate) struct Issue {
    pub(crate) code: String,
    pub(crate) market: String,
}

/// The list that the simulator serves, read without any of the server's code.
pub(crate) fn issues() -> Vec<Issue> {
    let file = list_xls(SERVED_SEED, SERVED_DATE, None).unwrap();
    let mut workbook: Xls<_> = Xls::new(Cursor::new(file)).unwrap();
    let sheet = workbook.worksheet_range_at(0).unwrap().unwrap();
    let text = |cell: &Data| match cell {
        Data::Float(number) => format!("{number}"),
        other => other.to_string(),
    };
    sheet.rows().skip(1).map(|row| Issue { code: text(&row[1]), market: text(&row[3]) }).collect()
}

/// The first codes of the list.
pub(crate) fn codes(count: usize) -> Vec<String> {
    let issues = issues();
    assert!(count <= issues.len());
    issues.into_iter().take(count).map(|issue| issue.code).collect()
}

/// These items.
pub(crate) fn inline(keys: impl IntoIterator<Item = String>) -> Source {
    let items = keys.into_iter().map(|key| ItemSpec { key, columns: None }).collect();
    Source::InlineItems(InlineItems { items, item_count: 0 })
}

/// The whole list of that upstream.
pub(crate) fn listing(upstream: &Upstream) -> JpxListing {
    JpxListing { uri: upstream.list_url(), ..JpxListing::default() }
}

/// A file of keys.
pub(crate) fn file(path: &Path) -> Source {
    Source::File(FileSource { uri: format!("file://{}", path.display()), ..FileSource::default() })
}

/// A file of keys by http.
pub(crate) fn remote(uri: impl Into<String>) -> Source {
    Source::File(FileSource { uri: uri.into(), ..FileSource::default() })
}

/// As fast as it goes.
pub(crate) fn fast() -> FetchPolicy {
    FetchPolicy {
        workers: Some(10),
        requests_per_second: Some(5_000.0),
        burst: Some(1_000),
        initial_backoff: Some(millis(50)),
        max_backoff: Some(millis(200)),
        ..FetchPolicy::default()
    }
}

/// As fast as it goes from the first item on: none waits for the answers of the first ones.
pub(crate) fn at_once() -> FetchPolicy {
    FetchPolicy { probe_items: Some(10_000), ..fast() }
}

/// At a rate, with a burst.
pub(crate) fn paced(requests_per_second: f64, burst: i32) -> FetchPolicy {
    FetchPolicy { requests_per_second: Some(requests_per_second), burst: Some(burst), ..fast() }
}

pub(crate) fn millis(millis: i64) -> Duration {
    Duration { seconds: millis / 1_000, nanos: (millis % 1_000 * 1_000_000) as i32 }
}

/// A month of prices of these items.
pub(crate) fn batch(source: Source, upstream: &str, fetch: FetchPolicy) -> BatchSpec {
    let chart = YahooChart {
        base_url: upstream.to_owned(),
        window: Some(Window::Range("1mo".to_owned())),
        ..YahooChart::default()
    };
    BatchSpec {
        source: Some(source),
        connector: Some(Connector::YahooChart(chart)),
        fetch: Some(fetch),
        ..BatchSpec::default()
    }
}

/// A month of prices of the list's first codes.
pub(crate) fn prices(count: usize, upstream: &Upstream, fetch: FetchPolicy) -> BatchSpec {
    batch(inline(codes(count)), &upstream.url(), fetch)
}

/// The request that starts it.
pub(crate) fn starting(spec: BatchSpec) -> StartBatchRequest {
    StartBatchRequest { spec: Some(spec), ..StartBatchRequest::default() }
}

/// Writes a list in the exchange's layout: codes, names, markets. Answers with the file's name.
pub(crate) fn list_file(path: &Path, date: &str, issues: &[(&str, &str, &str)]) -> String {
    const HEADINGS: &str = "日付,コード,銘柄名,市場・商品区分,33業種コード,33業種区分,17業種コード,17業種区分,規模コード,規模区分";
    let row =
        |(code, name, market): &(&str, &str, &str)| format!("{date},{code},{name},{market},-,-,-,-,-,-");
    let rows: Vec<String> = issues.iter().map(row).collect();
    std::fs::write(path, format!("{HEADINGS}\n{}\n", rows.join("\n"))).unwrap();
    path.to_str().unwrap().to_owned()
}
