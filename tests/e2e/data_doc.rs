//! docs/data.md against a real store: its queries run and say what is so, its tables have the columns that it explains.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use haul_proto::v1::{
    AsOf, BatchSpec, HttpFetch, as_of::Moment, batch::State, batch_spec::Connector, batch_spec::Source,
    yahoo_chart::Window,
};
use haul_sim::SimConfig;
use sqlx::{AssertSqlSafe, Row, sqlite::SqliteRow};

use crate::world::{
    Server, Upstream,
    database::Database,
    program,
    spec::{batch, fast, inline, list_file, listing},
};

const DOC: &str = include_str!("../../docs/data.md");

/// The SQL of the block below a text that begins so, without its limit.
fn block(text: &str) -> String {
    let after =
        DOC.split_once(&format!("\n{text}")).unwrap_or_else(|| panic!("no text begins with {text:?}")).1;
    let sql = after.split_once("```sql\n").unwrap().1.split_once("\n```").unwrap().0;
    sql.replace(" LIMIT 5", "")
}

async fn rows(store: &Database, sql: &str) -> Vec<SqliteRow> {
    sqlx::query(AssertSqlSafe(sql.to_owned()))
        .fetch_all(&store.0)
        .await
        .unwrap_or_else(|error| panic!("{error}: {sql}"))
}

/// A server that is done with a year of sixty issues, some of which fail, and with two older lists.
async fn filled() -> (Server, Upstream) {
    let upstream =
        Upstream::start(SimConfig { items: Some(60), permanent: 0.1, ..SimConfig::default() }).await;
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let [standard, fund] = ["スタンダード（内国株式）", "ETF・ETN"];
    let september = list_file(
        &folder.path().join("september.csv"),
        "20230929",
        &[("0001", "甲", standard), ("0002", "乙", fund), ("0003", "丙", fund)],
    );
    let october = list_file(
        &folder.path().join("october.csv"),
        "20231031",
        &[("0001", "甲", "プライム（内国株式）"), ("0003", "丁", fund), ("0004", "戊", "PRO Market")],
    );
    let uri = upstream.list_url();
    let dir = data_dir.to_str().unwrap();
    let imported =
        program::run("hauld", ["list", "import", &september, &october, "--uri", &uri, "--data-dir", dir])
            .await;
    assert_eq!(imported.status, 0, "{}", imported.err);

    let server = Server::start_in(folder, []).await;
    // The same things on two days, which the upstream is told of.
    for day in ["2026-11-19", "2026-11-20"] {
        let things = server.start_batch(things(&upstream, day)).await;
        assert_eq!(server.batch_ended(&things).await.progress.unwrap().succeeded_items, 3);
    }
    let name = server
        .start_batch(a_year(batch(Source::JpxListing(listing(&upstream)), &upstream.url(), fast())))
        .await;
    let ended = server.batch_ended(&name).await;
    let progress = ended.progress.as_ref().unwrap();
    assert_eq!(ended.state(), State::Completed);
    assert!(progress.failed_items > 0 && progress.succeeded_items > 30, "{progress:?}");
    (server, upstream)
}

fn things(upstream: &Upstream, day: &str) -> BatchSpec {
    let url_template = format!("{}/api/things/{{{{ item.key }}}}?day={{{{ as_of_date }}}}", upstream.url());
    let moment = Some(Moment::Date(day.to_owned()));
    BatchSpec {
        as_of: Some(AsOf { moment, ..AsOf::default() }),
        source: Some(inline(["first", "second", "third"].map(str::to_owned))),
        connector: Some(Connector::HttpFetch(HttpFetch { url_template, ..HttpFetch::default() })),
        fetch: Some(fast()),
        ..BatchSpec::default()
    }
}

fn a_year(mut spec: BatchSpec) -> BatchSpec {
    let Some(Connector::YahooChart(chart)) = &mut spec.connector else { panic!("it fetches charts") };
    chart.window = Some(Window::Range("1y".to_owned()));
    spec
}

/// A daily bar.
struct Bar {
    day: String,
    close: f64,
    adj_close: f64,
}

/// All bars by code, by day.
async fn bars(store: &Database) -> BTreeMap<String, Vec<Bar>> {
    let found: Vec<(String, String, f64, f64)> = sqlx::query_as(
        "SELECT code, session_date, close, adj_close FROM stock_prices
         WHERE interval = '1d' AND provisional = 0 ORDER BY session_date",
    )
    .fetch_all(&store.0)
    .await
    .unwrap();
    let mut bars: BTreeMap<String, Vec<Bar>> = BTreeMap::new();
    for (code, day, close, adj_close) in found {
        bars.entry(code).or_default().push(Bar { day, close, adj_close });
    }
    bars
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queries_of_the_documentation_run_and_say_what_is_so() {
    let (server, _upstream) = filled().await;
    let store = Database::of(&server).await;
    for sql in DOC.split("```sql\n").skip(1).map(|rest| rest.split_once("\n```").unwrap().0) {
        assert!(!rows(&store, sql).await.is_empty(), "nothing comes of {sql}");
    }
    let bars = bars(&store).await;
    let listed: Vec<String> =
        sqlx::query_scalar("SELECT code FROM listed_issues WHERE list_date = '2026-10-31' ORDER BY row_no")
            .fetch_all(&store.0)
            .await
            .unwrap();
    assert!(bars.len() > 30 && listed.len() > bars.len());

    let latest: Vec<(String, Option<f64>)> = rows(&store, &block("Latest close"))
        .await
        .iter()
        .map(|row| (row.get("code"), row.get("close")))
        .collect();
    let expected =
        listed.iter().map(|code| (code.clone(), bars.get(code).map(|bars| bars.last().unwrap().close)));
    assert_eq!(latest, expected.collect::<Vec<_>>());

    let without: Vec<String> =
        rows(&store, &block("Codes of that list")).await.iter().map(|row| row.get("code")).collect();
    let expected: Vec<&String> = listed.iter().filter(|code| !bars.contains_key(*code)).collect();
    assert_eq!(without.iter().collect::<Vec<_>>(), expected);

    assert_returns(&store, &bars).await;
    assert_holes(&store, &bars).await;

    let changes: Vec<(String, String, Option<String>, Option<String>)> =
        rows(&store, &block("Between two days"))
            .await
            .iter()
            .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)))
            .collect();
    let expected = [
        ("GONE", "0002", Some("乙"), None),
        ("MOVED", "0001", Some("スタンダード（内国株式）"), Some("プライム（内国株式）")),
        ("NEW", "0004", None, Some("戊")),
        ("RENAMED", "0003", Some("丙"), Some("丁")),
    ];
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let expected =
        expected.map(|(change, code, old, new)| (change.into(), code.into(), owned(old), owned(new)));
    assert_eq!(changes, expected);

    // From October 2023 to the list of today every code has come and gone.
    let counted: BTreeMap<(String, String), i64> = rows(&store, &block("What changed from each list"))
        .await
        .iter()
        .map(|row| ((row.get("to_list_date"), row.get("change")), row.get("issues")))
        .collect();
    let of = |date: &str, change: &str| counted.get(&(date.to_owned(), change.to_owned())).copied();
    assert_eq!(["GONE", "MOVED", "NEW", "RENAMED"].map(|change| of("2023-10-31", change)), [Some(1); 4]);
    assert_eq!((of("2026-10-31", "GONE"), of("2026-10-31", "NEW")), (Some(3), Some(listed.len() as i64)));
}

async fn assert_returns(store: &Database, bars: &BTreeMap<String, Vec<Bar>>) {
    let paid: Vec<(String, String, f64)> =
        sqlx::query_as("SELECT code, date, amount FROM stock_events WHERE kind = 'DIVIDEND'")
            .fetch_all(&store.0)
            .await
            .unwrap();
    let found = rows(store, &block("Total return")).await;
    assert!(found.iter().map(|row| row.get::<String, _>("code")).eq(bars.keys().cloned()));
    let mut paying = 0;
    for row in found {
        let code: String = row.get("code");
        let (first, last) = (&bars[&code][0], bars[&code].last().unwrap());
        let dividends: f64 = paid
            .iter()
            .filter(|(of, date, _)| *of == code && *date > first.day && *date <= last.day)
            .map(|(.., amount)| amount)
            .sum();
        paying += usize::from(dividends > 0.0);
        for (column, factor) in [
            ("price", last.close / first.close),
            ("with_dividends", (last.close + dividends) / first.close),
            ("reinvested", last.adj_close / first.adj_close),
        ] {
            let percent: f64 = row.get(column);
            assert!((percent - (factor - 1.0) * 100.0).abs() < 0.006, "{code} {column}: {percent}, {factor}");
        }
    }
    assert!(paying > 10, "{paying} issues paid a dividend");
}

async fn assert_holes(store: &Database, bars: &BTreeMap<String, Vec<Bar>>) {
    let mut traded: HashMap<&str, usize> = HashMap::new();
    for bar in bars.values().flatten() {
        *traded.entry(&bar.day).or_default() += 1;
    }
    let sessions: BTreeSet<&str> =
        traded.into_iter().filter(|(_, issues)| issues * 2 > bars.len()).map(|(day, _)| day).collect();
    let mut expected: Vec<(usize, &str)> = Vec::new();
    for (code, bars) in bars {
        let days: BTreeSet<&str> = bars.iter().map(|bar| bar.day.as_str()).collect();
        let holes =
            sessions.iter().filter(|day| **day > bars[0].day.as_str() && !days.contains(*day)).count();
        expected.extend((holes > 0).then_some((holes, code.as_str())));
    }
    expected.sort_by(|(a_holes, a), (b_holes, b)| b_holes.cmp(a_holes).then(a.cmp(b)));
    let found = rows(store, &block("Sessions that are missing")).await;
    let found: Vec<(usize, String)> =
        found.iter().map(|row| (row.get::<i64, _>("holes") as usize, row.get("code"))).collect();
    assert!(
        found.iter().map(|(holes, code)| (*holes, code.as_str())).eq(expected.iter().copied()),
        "{found:?}\n{expected:?}"
    );
    assert!(!found.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_column_of_every_table_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    assert_eq!(program::run("hauld", ["migrate", "--data-dir", dir]).await.status, 0);
    let store = Database::at(&folder.path().join("haul.db")).await;
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_xinfo(m.name) c
         WHERE (m.type = 'table' AND m.name NOT LIKE 'sqlite%' AND m.name NOT LIKE '\\_sqlx%' ESCAPE '\\')
           OR m.name = 'listing_changes'",
    )
    .fetch_all(&store.0)
    .await
    .unwrap();
    assert!(columns.len() > 150, "{}", columns.len());
    let sections: Vec<&str> = DOC.split("\n### ").chain(DOC.split("\n**")).collect();
    let section = |table: &str| {
        let of_table = |section: &&&str| {
            let heading = section.lines().next().unwrap_or_default();
            heading.split([',', ' ', '*', ':']).any(|word| word == table)
        };
        sections.iter().find(of_table).unwrap_or_else(|| panic!("no section on {table}"))
    };
    let missing: Vec<String> = columns
        .iter()
        .filter(|(table, column)| {
            let text = section(table);
            let end = text.find("\n## ").unwrap_or(text.len());
            !text[..end].contains(&format!("`{column}`"))
        })
        .map(|(table, column)| format!("{table}.{column}"))
        .collect();
    assert!(missing.is_empty(), "docs/data.md does not explain {}", missing.join(", "));
}
