//! The exchange's list as a source.

use std::{
    collections::HashSet,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use haul_proto::v1::{
    AsOf, BatchSpec, FailureClass, Item, JpxListing, as_of::Moment, batch::State, batch_spec::Source, item,
    jpx_listing::Segment,
};
use prost_types::value::Kind;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
};

use crate::world::{
    Server, Upstream,
    database::Database,
    eventually,
    program::{self, Said},
    spec::{batch, fast, issues, list_file, listing, paced},
};

fn key(item: &Item) -> &str {
    &item.spec.as_ref().unwrap().key
}

fn column(item: &Item, name: &str) -> String {
    let fields = &item.spec.as_ref().unwrap().columns.as_ref().unwrap().fields;
    match fields[name].kind.clone().unwrap() {
        Kind::StringValue(text) => text,
        other => panic!("{name} is {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_list_becomes_items_in_its_order_with_its_columns() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let source = Source::JpxListing(listing(&upstream));
    let name = server.start_batch(batch(source, &upstream.url(), paced(0.5, 1))).await;
    let read =
        server.batch_when(&name, "is read", |batch| !batch.progress.as_ref().unwrap().total_is_partial).await;
    let items = server.items(&name).await;
    let issues = issues();
    assert_eq!(read.progress.unwrap().total_items as usize, issues.len());
    assert!(items.iter().map(key).eq(issues.iter().map(|issue| issue.code.as_str())));
    assert!(items.iter().zip(&issues).all(|(item, issue)| column(item, "market") == issue.market));

    let Some(Source::JpxListing(shown)) = read.spec.unwrap().source else { panic!("it is the list") };
    assert_eq!((shown.list_date.as_str(), shown.list_sha256.len()), ("2026-10-31", 32));
    let lists = upstream.arrivals().iter().filter(|arrival| arrival.endpoint == "list").count();
    assert_eq!(lists, 1, "the list is fetched once");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_segments_asked_for_are_taken() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let source = Source::JpxListing(JpxListing {
        segments: vec![Segment::Growth.into(), Segment::Reit.into()],
        ..listing(&upstream)
    });
    let name = server.start_batch(batch(source, &upstream.url(), paced(0.5, 1))).await;
    server.batch_when(&name, "is read", |batch| !batch.progress.as_ref().unwrap().total_is_partial).await;
    let items = server.items(&name).await;
    let segments: HashSet<String> = items.iter().map(|item| column(item, "segment")).collect();
    assert_eq!(segments, HashSet::from(["GROWTH".to_owned(), "REIT".to_owned()]));
    let expected = issues()
        .iter()
        .filter(|issue| issue.market.starts_with("グロース") || issue.market.starts_with("REIT"))
        .count();
    assert_eq!(items.len(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_are_included_and_excluded_and_one_that_is_not_listed_shows_as_a_hole() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let codes: Vec<String> = issues().into_iter().take(4).map(|issue| issue.code).collect();
    let source = Source::JpxListing(JpxListing {
        include_codes: codes.iter().cloned().chain(["0001".to_owned()]).collect(),
        exclude_codes: vec![codes[1].clone()],
        ..listing(&upstream)
    });
    let name = server.start_batch(batch(source, &upstream.url(), fast())).await;
    let ended = server.batch_ended(&name).await;
    assert_eq!(ended.state(), State::Completed);
    let progress = ended.progress.unwrap();
    assert_eq!((progress.total_items, progress.succeeded_items, progress.failed_items), (4, 3, 1));

    let items = server.items(&name).await;
    let mut keys: Vec<&str> = items.iter().map(key).collect();
    keys.sort_unstable();
    let mut expected = vec!["0001", &codes[0], &codes[2], &codes[3]];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    let hole = items.iter().find(|item| key(item) == "0001").unwrap();
    assert_eq!((hole.state(), hole.attempt_count), (item::State::Failed, 0));
    let error = hole.error.as_ref().unwrap();
    assert_eq!((error.failure_class(), error.reason.as_str()), (FailureClass::Permanent, "CODE_NOT_LISTED"));
    assert!(upstream.charts().iter().all(|chart| chart.key() != "0001"), "it is not asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_a_web_page_fails_the_batch_with_a_sentence() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/data_j.xls", listener.local_addr().unwrap());
    let _page = JoinSet::from_iter([serve_page(listener)]);
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let source = Source::JpxListing(JpxListing { uri: uri.clone(), ..JpxListing::default() });
    let name = server.start_batch(batch(source, &upstream.url(), fast())).await;
    let ended = server.batch_ended(&name).await;
    assert_eq!((ended.state(), ended.end_reason.as_str()), (State::Failed, "SOURCE_UNREADABLE"));
    assert!(ended.end_message.contains(&uri), "{}", ended.end_message);
    assert!(upstream.charts().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_not_there_fails_the_batch() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let uri = format!("{}/nothing.xls", upstream.url());
    let source = Source::JpxListing(JpxListing { uri, ..JpxListing::default() });
    let name = server.start_batch(batch(source, &upstream.url(), fast())).await;
    let ended = server.batch_ended(&name).await;
    assert_eq!((ended.state(), ended.end_reason.as_str()), (State::Failed, "SOURCE_UNREADABLE"));
    assert!(ended.end_message.contains("404"), "{}", ended.end_message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_past_date_never_reads_a_list_that_did_not_exist_then() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let mut spec = batch(Source::JpxListing(listing(&upstream)), &upstream.url(), fast());
    spec.as_of = Some(AsOf { moment: Some(Moment::Date("2020-06-01".to_owned())), ..AsOf::default() });
    let name = server.start_batch(spec).await;
    let ended = server.batch_ended(&name).await;
    assert_eq!((ended.state(), ended.end_reason.as_str()), (State::Failed, "SOURCE_UNREADABLE"));
    assert!(ended.end_message.contains("2020-06-01"), "{}", ended.end_message);
    assert!(upstream.arrivals().is_empty());
}

/// The first of June 2020.
fn long_ago(mut spec: BatchSpec) -> BatchSpec {
    spec.as_of = Some(AsOf { moment: Some(Moment::Date("2020-06-01".to_owned())), ..AsOf::default() });
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn a_past_date_takes_the_earliest_list_that_there_is_only_where_that_is_allowed() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let some = JpxListing {
        include_codes: issues().into_iter().take(3).map(|issue| issue.code).collect(),
        ..listing(&upstream)
    };
    let spec = |list: &JpxListing| batch(Source::JpxListing(list.clone()), &upstream.url(), fast());
    let current = server.start_batch(spec(&some)).await;
    assert_eq!(server.batch_ended(&current).await.state(), State::Completed);

    let refused = server.start_batch(long_ago(spec(&some))).await;
    let refused = server.batch_ended(&refused).await;
    assert_eq!((refused.state(), refused.end_reason.as_str()), (State::Failed, "SOURCE_UNREADABLE"));
    for word in ["2020-06-01", "2026-10-31", "allow_later_list", "hauld list import"] {
        assert!(refused.end_message.contains(word), "{word}: {}", refused.end_message);
    }

    let allowing = JpxListing { allow_later_list: true, ..some };
    let allowed = server.start_batch(long_ago(spec(&allowing))).await;
    let allowed = server.batch_ended(&allowed).await;
    assert_eq!((allowed.state(), allowed.progress.unwrap().total_items), (State::Completed, 3));
    let Some(Source::JpxListing(shown)) = allowed.spec.unwrap().source else { panic!("it is the list") };
    assert_eq!((shown.list_date.as_str(), shown.allow_later_list), ("2026-10-31", true));
    let lists = upstream.arrivals().iter().filter(|arrival| arrival.endpoint == "list").count();
    assert_eq!(lists, 1, "a past date fetches nothing");
}

async fn hauld_list(data_dir: &Path, args: &[&str]) -> Said {
    let data_dir = data_dir.to_str().unwrap();
    program::run("hauld", ["list"].iter().chain(args).chain(&["--data-dir", data_dir])).await
}

const PRIME: &str = "プライム（内国株式）";
const GROWTH: &str = "グロース（内国株式）";

#[tokio::test(flavor = "multi_thread")]
async fn archived_lists_are_imported_and_a_past_date_reads_the_one_of_its_time() {
    let upstream = Upstream::healthy().await;
    let codes: Vec<String> = issues().into_iter().take(3).map(|issue| issue.code).collect();
    let [one, two, three] = [0, 1, 2].map(|at| codes[at].as_str());
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let april =
        list_file(&folder.path().join("april.csv"), "20200430", &[(one, "一", PRIME), (two, "二", PRIME)]);
    let may = list_file(
        &folder.path().join("may.csv"),
        "20200529",
        &[(one, "一", PRIME), (two, "弐", GROWTH), (three, "三", PRIME)],
    );
    let page = folder.path().join("page.csv");
    std::fs::write(&page, "<!DOCTYPE html><title>moved</title>").unwrap();
    let uri = upstream.list_url();

    let refused = hauld_list(&data, &["import", &april, page.to_str().unwrap(), "--uri", &uri]).await;
    assert_eq!(refused.status, 2);
    assert!(
        refused.err.contains("page.csv is no spreadsheet or CSV: it begins with \"<!DOCTYPE html>"),
        "{}",
        refused.err
    );
    let none = hauld_list(&data, &["versions"]).await;
    assert!(none.status == 0 && none.out.starts_with("no list: there is no store at"), "{}", none.err);
    assert!(!data.exists(), "a look makes nothing");
    let bad_uri = hauld_list(&data, &["import", &april, "--uri", "ftp://x"]).await;
    assert!(bad_uri.status == 2 && bad_uri.err.contains("ftp://x"), "{}", bad_uri.err);

    let imported = hauld_list(&data, &["import", &may, &april, "--uri", &uri]).await;
    assert_eq!(imported.status, 0, "{}", imported.err);
    assert!(imported.out.contains("may.csv: the list of 2020-05-29, 3 issues, stored"), "{}", imported.out);
    let again = hauld_list(&data, &["import", &april, "--uri", &uri]).await;
    assert!(again.out.contains("2020-04-30, 2 issues, was there already"), "{}", again.out);
    let versions = hauld_list(&data, &["versions"]).await.out;
    let begins: Vec<&str> = versions.lines().map(|line| line.split("  ").next().unwrap()).collect();
    assert_eq!(begins, [uri.as_str(), "LIST DATE", "2020-04-30", "2020-05-29", "", "2 lists"]);

    let server = Server::start_in(folder, []).await;
    let held = hauld_list(&data, &["import", &april, "--uri", &uri]).await;
    assert!(held.status == 2 && held.err.contains(&server.address()), "{}", held.err);
    let beside = hauld_list(&data, &["versions"]).await;
    assert_eq!((beside.status, beside.out), (0, versions), "{}", beside.err);
    for (date, list_date, total) in [("2020-05-28", "2020-04-30", 2), ("2020-06-01", "2020-05-29", 3)] {
        let mut spec = batch(Source::JpxListing(listing(&upstream)), &upstream.url(), fast());
        spec.as_of = Some(AsOf { moment: Some(Moment::Date(date.to_owned())), ..AsOf::default() });
        let name = server.start_batch(spec).await;
        let ended = server.batch_ended(&name).await;
        assert_eq!(ended.progress.unwrap().total_items, total, "{date}");
        let Some(Source::JpxListing(shown)) = ended.spec.unwrap().source else { panic!("it is the list") };
        assert_eq!(shown.list_date, list_date);
    }
    let changes: Vec<(String, String, Option<String>, Option<String>)> = sqlx::query_as(
        "SELECT change, code, old_value, new_value FROM listing_changes WHERE is_next ORDER BY change",
    )
    .fetch_all(&Database::of(&server).await.0)
    .await
    .unwrap();
    let some = |text: &str| Some(text.to_owned());
    let expected = [
        ("MOVED".to_owned(), two.to_owned(), some(PRIME), some(GROWTH)),
        ("NEW".to_owned(), three.to_owned(), None, some("三")),
        ("RENAMED".to_owned(), two.to_owned(), some("二"), some("弐")),
    ];
    assert_eq!(changes, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn published_lists_of_seven_years_are_taken_and_an_english_or_a_cut_one_is_not() {
    let Some(lists) = published() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut files: Vec<String> = std::fs::read_dir(&lists)
        .unwrap()
        .map(|file| file.unwrap().path().to_str().unwrap().to_owned())
        .filter(|path| path.contains("_data_j."))
        .collect();
    files.sort();
    files.reverse();
    let mut import = vec!["import"];
    import.extend(files.iter().map(String::as_str));
    let imported = hauld_list(&data, &import).await;
    assert_eq!(imported.status, 0, "{}", imported.err);
    let count = files.len();
    assert!(imported.out.ends_with(&format!("\n{count} of {count} lists stored\n")), "{}", imported.out);

    let english = lists.join("2025-10-31_data_e.csv");
    let english = english.to_str().unwrap();
    let refused = hauld_list(&data, &["import", english]).await;
    for words in ["2025-10-31", "100 % of that one's codes", "names they share differ", "--uri", "--force"] {
        assert!(refused.status == 2 && refused.err.contains(words), "{words}: {}", refused.err);
    }
    let own = hauld_list(&data, &["import", english, "--uri", "https://example.com/data_e.csv"]).await;
    assert_eq!(own.status, 0, "{}", own.err);

    let whole = std::fs::read_to_string(lists.join("2023-10-31_data_j.csv")).unwrap();
    let half: Vec<&str> = whole.lines().take(whole.lines().count() / 2).collect();
    let cut = folder.path().join("cut.csv");
    std::fs::write(&cut, half.join("\n")).unwrap();
    let cut = cut.to_str().unwrap();
    let refused = hauld_list(&data, &["import", cut]).await;
    assert!(refused.status == 2 && refused.err.contains("nothing is stored"), "{}", refused.err);
    let forced = hauld_list(&data, &["import", cut, "--force"]).await;
    assert!(forced.out.ends_with("1 of 1 list stored\n"), "{}{}", forced.out, forced.err);
}

/// Where the lists are that the exchange has published, if they are here.
#[allow(clippy::print_stderr, reason = "a test that is left out says so")]
fn published() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let lists = std::env::var_os("HAUL_SHARED_DATA").map_or_else(default, PathBuf::from).join("jpx");
    if !lists.is_dir() {
        eprintln!("SKIPPED: no lists at {}", lists.display());
        return None;
    }
    Some(lists)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_published_lists_of_autumn_2023_differ_as_they_are_known_to() {
    let Some(lists) = published() else { return };
    let folder = tempfile::tempdir().unwrap();
    let files = ["2023-09-29_data_j.csv", "2023-10-31_data_j.csv"].map(|name| lists.join(name));
    let [september, october] = files.each_ref().map(|file| file.to_str().unwrap());
    let imported = hauld_list(folder.path(), &["import", september, october]).await;
    assert_eq!(imported.status, 0, "{}", imported.err);
    let store = Database::at(&folder.path().join("haul.db")).await;
    let changes: Vec<(String, i64)> = sqlx::query_as(
        "SELECT change, count(*) FROM listing_changes
         WHERE from_list_date = '2023-09-29' AND to_list_date = '2023-10-31' GROUP BY 1 ORDER BY 1",
    )
    .fetch_all(&store.0)
    .await
    .unwrap();
    let changes: Vec<(&str, i64)> = changes.iter().map(|(change, count)| (change.as_str(), *count)).collect();
    assert_eq!(changes, [("GONE", 9), ("MOVED", 179), ("NEW", 23), ("RENAMED", 16)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_whose_host_is_down_is_waited_for() {
    let server = Server::start([]).await;
    let address = free_address().await;
    let source = Source::JpxListing(JpxListing {
        uri: format!("http://{address}/markets/statistics-equities/misc/tvdivq0000001vg2-att/data_j.xls"),
        include_codes: issues().into_iter().take(5).map(|issue| issue.code).collect(),
        ..JpxListing::default()
    });
    let name = server.start_batch(batch(source, &format!("http://{address}"), fast())).await;
    eventually("the server has found the host down", || async {
        server.log().iter().find(|line| line["action"] == "source_read" && line["status"] == "retry").cloned()
    })
    .await;
    let waiting = server.client().await.get_batch(&name).await.unwrap();
    assert_eq!(waiting.state(), State::Running);
    assert!(waiting.progress.unwrap().total_is_partial);

    let _upstream = Upstream::at(address).await;
    let ended = server.batch_ended(&name).await;
    assert_eq!((ended.state(), ended.progress.unwrap().succeeded_items), (State::Completed, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_list_is_waited_for_is_paused_resumed_and_stopped_like_any_other() {
    let server = Server::start([]).await;
    let address = free_address().await;
    let source =
        Source::JpxListing(JpxListing { uri: format!("http://{address}/list.xls"), ..JpxListing::default() });
    let name = server.start_batch(batch(source, &format!("http://{address}"), fast())).await;
    let client = server.client().await;
    let retries = || server.log().iter().filter(|line| line["action"] == "source_read").count();
    eventually("the host is found down", || async { (retries() > 0).then_some(()) }).await;
    client.pause(&name, "").await.unwrap();
    server.batch_in(&name, State::Paused).await;
    let before = retries();
    client.resume(&name, "").await.unwrap();
    eventually("the list is asked for again", || async { (retries() > before).then_some(()) }).await;
    client.stop(&name, "").await.unwrap();
    let ended = server.batch_ended(&name).await;
    assert_eq!((ended.state(), ended.progress.unwrap().total_items), (State::Stopped, 0));
}

/// An address at which nobody listens, for now.
async fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Answers everybody with a page.
async fn serve_page(listener: TcpListener) {
    const PAGE: &str = "<!DOCTYPE html><html><title>We will be right back</title></html>";
    loop {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut request = [0; 4_096];
        let _ = connection.read(&mut request).await;
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n", PAGE.len());
        let _ = connection.write_all(format!("{head}connection: close\r\n\r\n{PAGE}").as_bytes()).await;
    }
}
