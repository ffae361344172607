//! A file of keys by http: read in parts, killed in the middle, exchanged, forbidden.

use std::{fmt::Write, ops::Range};

use haul_proto::v1::{Batch, FileSource, batch::State, batch_spec::Source};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tonic::Code;

use crate::world::{
    Server, Upstream,
    canned::Canned,
    database::Database,
    shelf::{Shelf, Shown},
    spec::{batch, codes, fast, paced, remote, starting},
    status::{fields, refused},
};

/// What is asked for at once.
const PART: usize = 4 << 20;

/// A Shift\_JIS file of a header and as many records of 1 KB; a byte of its characters is a backslash.
fn records(count: usize) -> Vec<u8> {
    let mut file = b"\x95\x5c,key\r\n".to_vec();
    for n in 0..count {
        let line = format!(",K{n:06}\r\n");
        file.extend_from_slice(b"\"");
        file.extend_from_slice(&b"\x94\x5c".repeat(500));
        file.extend_from_slice(b",\n\"");
        file.extend_from_slice(line.as_bytes());
    }
    file
}

fn lines(keys: Range<usize>) -> String {
    keys.fold(String::new(), |mut text, n| {
        writeln!(text, "K{n:06}").unwrap();
        text
    })
}

fn shift_jis(uri: String) -> Source {
    Source::File(FileSource { uri, encoding: "shift_jis".to_owned(), ..FileSource::default() })
}

fn total(batch: &Batch) -> i64 {
    batch.progress.as_ref().unwrap().total_items
}

fn is_partial(batch: &Batch) -> bool {
    batch.progress.as_ref().unwrap().total_is_partial
}

/// Asserts that each key is there once, at its place.
async fn assert_dense(server: &Server, keys: i64) {
    let database = Database::of(server).await;
    let dense = "SELECT count(*) FROM batch_execution_details WHERE item_key = printf('K%06d', item_index)";
    assert_eq!(database.number(dense).await, keys);
    assert_eq!(database.number("SELECT count(*) FROM batch_execution_details").await, keys);
}

async fn stopped(server: &Server, name: &str) {
    server.client().await.stop(name, "").await.unwrap();
    server.batch_ended(name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_in_parts_that_is_killed_again_and_again_goes_on_and_each_key_is_there_once() {
    const KEYS: i64 = 20_000;
    let shelf = Shelf::of(Shown::in_parts(records(KEYS as usize), "1")).await;
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    // The file's host is asked twice a second, so that there is time to kill between two parts.
    let source = shift_jis(shelf.url("keys.csv?token=secret"));
    let name = server.start_batch(batch(source, &upstream.url(), paced(2.0, 1))).await;
    for share in [1, 5, 7] {
        let read =
            server.batch_when(&name, "is read further", |batch| total(batch) > KEYS * share / 10).await;
        assert!(is_partial(&read), "it was killed too late");
        server.kill().await;
        server.start_again().await;
    }
    let read = server.batch_when(&name, "is read", |batch| !is_partial(batch)).await;
    assert_eq!(total(&read), KEYS);
    assert_dense(&server, KEYS).await;
    let kept = "SELECT count(*) FROM batch_execution_details
                 WHERE json_extract(columns, '$.表') = replace(hex(zeroblob(250)), '0', '能') || ',' || char(10)";
    assert_eq!(Database::of(&server).await.number(kept).await, KEYS, "and its columns with it");
    for part in shelf.asked() {
        assert!(part.len() <= PART, "{part:?}");
    }
    stopped(&server, &name).await;
    let log = server.log();
    assert!(log.iter().all(|line| !line.to_string().contains("secret")), "the log tells no token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_exchanged_between_two_parts_ends_the_batch() {
    let file = records(2 * PART / 1_000);
    for killed in [false, true] {
        let shelf = Shelf::of(Shown::in_parts(file.clone(), "1")).await;
        let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
        let source = shift_jis(shelf.url("keys.csv?token=secret"));
        let name = server.start_batch(batch(source, &upstream.url(), paced(0.5, 1))).await;
        server.batch_when(&name, "has read the first part", |batch| total(batch) > 0).await;
        shelf.show(Shown::in_parts(file.clone(), "2"));
        if killed {
            server.kill().await;
            server.start_again().await;
        }
        let ended = server.batch_ended(&name).await;
        assert_eq!((ended.state(), ended.end_reason.as_str()), (State::Failed, "SOURCE_UNREADABLE"));
        let said = &ended.end_message;
        assert!(said.starts_with(&shelf.url("keys.csv?…: the file changed while it was read")), "{said}");
        assert!(said.contains("its ETag was \"1\" and is \"2\""), "{said}");
        assert!(!said.contains("secret"), "{said}");
        assert!(is_partial(&ended));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_gives_no_parts_and_no_names_is_asked_for_all_again_and_its_file_compared() {
    const KEYS: usize = 100_000;
    for changed in [false, true] {
        let shelf = Shelf::of(Shown::whole(lines(0..KEYS))).await;
        let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
        let spec = batch(remote(shelf.url("keys")), &upstream.url(), paced(0.5, 1));
        let name = server.start_batch(spec).await;
        let read = server.batch_when(&name, "has read a page", |batch| total(batch) > KEYS as i64 / 10).await;
        server.kill().await;
        assert!(is_partial(&read), "it was killed too late");
        if changed {
            shelf.show(Shown::whole(lines(1..KEYS + 1)));
        }
        server.start_again().await;
        if changed {
            let ended = server.batch_ended(&name).await;
            assert_eq!((ended.state(), ended.end_reason.as_str()), (State::Failed, "SOURCE_UNREADABLE"));
            assert!(ended.end_message.contains("its SHA-256 was"), "{}", ended.end_message);
        } else {
            let read = server.batch_when(&name, "is read", |batch| !is_partial(batch)).await;
            assert_eq!(total(&read), KEYS as i64);
            assert_dense(&server, KEYS as i64).await;
            stopped(&server, &name).await;
        }
        assert_eq!(shelf.requests(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_away_for_a_time_is_waited_for_and_a_plan_counts_it_without_starting() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let [one, two]: [String; 2] = codes(2).try_into().unwrap();
    let shown =
        Shown::in_parts([&one, &two, &one].map(|key| format!("{{\"key\":\"{key}\"}}\n")).concat(), "1");
    let shelf = Shelf::of(shown.clone()).await;
    let spec = batch(remote(shelf.url("keys.ndjson?x=.csv")), &upstream.url(), fast());

    let mut request = starting(spec.clone());
    request.validate_only = true;
    let plan = server.stub().start_batch(request.clone()).await.unwrap().into_inner().plan.unwrap();
    assert_eq!((plan.total_items, plan.duplicate_items, plan.total_is_partial), (2, 1, false));
    shelf.show(Shown::in_parts(format!("{{\"key\":\"{one}\"}}"), "2"));
    let plan = server.stub().start_batch(request).await.unwrap().into_inner().plan.unwrap();
    assert_eq!(plan.total_items, 1, "what was corrected is read anew");

    shelf.show(Shown { failures: vec!["503 Service Unavailable", "500 Internal Server Error"], ..shown });
    let ended = server.batch_ended(&server.start_batch(spec).await).await;
    assert_eq!((ended.state(), ended.progress.unwrap().succeeded_items), (State::Completed, 2));
    assert_eq!(shelf.requests(), 5);
}

/// Answers with a body that never ends.
async fn endless(listener: TcpListener) {
    async fn pour(mut connection: TcpStream) {
        let _ = connection.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await;
        let lines = b"7203\n".repeat(10_000);
        while connection.write_all(&lines).await.is_ok() {}
    }
    let mut connections = JoinSet::new();
    loop {
        connections.spawn(pour(listener.accept().await.unwrap().0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_or_leads_elsewhere_or_never_ends_is_unreadable() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let inside = Canned::saying("200 OK").await;
    let redirect = format!("302 Found\r\nlocation: {}/keys", inside.url());
    let (gone, asleep, elsewhere) = tokio::join!(
        Canned::saying("404 Not Found"),
        Canned::saying("402 Payment Required"),
        Canned::saying(&redirect)
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let _endless = JoinSet::from_iter([endless(listener)]);
    for (base, expected) in [
        (gone.url(), "HTTP 404"),
        (asleep.url(), "HTTP 402"),
        (elsewhere.url(), "HTTP 302: redirects are not followed"),
        (address, "body is larger than 67108864 bytes"),
    ] {
        let uri = format!("{base}/keys?token=secret");
        let name = server.start_batch(batch(remote(uri), &upstream.url(), fast())).await;
        let ended = server.batch_ended(&name).await;
        assert_eq!((ended.state(), ended.end_reason.as_str()), (State::Failed, "SOURCE_UNREADABLE"));
        let said = &ended.end_message;
        assert!(said.starts_with(&format!("{base}/keys?…: {expected}")), "{said}");
    }
    assert_eq!(inside.requests(), 0, "a redirect leads nowhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_none_or_leads_inside_or_holds_a_password_is_refused_at_the_start() {
    // In place of what these tests allow.
    let server = Server::start(["--allow-target", "192.0.2.1"]).await;
    for (uri, reason, said) in [
        ("http://127.0.0.1:8080/keys.csv", "TARGET_FORBIDDEN", "--allow-target"),
        ("http://0xa9fea9fe/keys.csv", "TARGET_FORBIDDEN", "--allow-target"),
        ("https://user:word@host/keys.csv", "INVALID_FIELD", "leave it out"),
        ("ftp://host/keys.csv", "INVALID_FIELD", "http, https or file"),
        ("keys.csv", "INVALID_FIELD", "http, https or file"),
        ("", "INVALID_FIELD", "http, https or file"),
    ] {
        let answer = server.stub().start_batch(starting(batch(remote(uri), "", fast()))).await;
        let details = refused(answer, Code::InvalidArgument, reason);
        assert_eq!(fields(&details), ["spec.file.uri"]);
        let description = &details.bad_request().unwrap().field_violations[0].description;
        assert!(description.contains(said) && !description.contains("word@"), "{description}");
    }
}
