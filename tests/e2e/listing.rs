//! The exchange's list as a source.

use std::{collections::HashSet, net::SocketAddr};

use haul_proto::v1::{
    AsOf, FailureClass, Item, JpxListing, as_of::Moment, batch::State, batch_spec::Source, item,
    jpx_listing::Segment,
};
use prost_types::value::Kind;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
};

use crate::world::{
    Server, Upstream, eventually,
    spec::{batch, fast, issues, listing, paced},
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
