//! Upstreams, files and callers that nobody reckons with.

use std::{
    collections::HashSet,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use haul_proto::v1::{JpxListing, batch::State, batch_spec::Source, item};
use haul_sim::{ListDate, list_xls};
use sqlx::types::chrono::NaiveDate;
use tokio::net::TcpListener;

use crate::world::{
    LONG, Server, Upstream, Watching,
    canned::Canned,
    database::Database,
    eventually, now_us, program,
    spec::{batch, codes, fast, file, inline, paced, prices},
    watching::{watch, watch_from},
};

fn list_at(uri: String) -> Source {
    Source::JpxListing(JpxListing { uri, ..JpxListing::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_does_not_wait_for_a_list_that_never_comes() {
    let (mut server, mute) = tokio::join!(Server::start([]), Canned::silent());
    server.start_batch(batch(list_at(format!("{}/list.xls", mute.url())), &mute.url(), fast())).await;
    eventually("the list is asked for", || async { (mute.requests() > 0).then_some(()) }).await;
    server.signal("TERM").await;
    assert!(server.exit(Duration::from_secs(15)).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_back_for_no_time_at_all_is_no_leave_to_go_on() {
    held_a_minute("0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_back_until_a_date_in_the_past_is_no_leave_to_go_on() {
    held_a_minute("Sun, 06 Nov 1994 08:49:37 GMT").await;
}

async fn held_a_minute(retry_after: &str) {
    let answer = format!("429 Too Many Requests\r\nretry-after: {retry_after}");
    let (server, upstream) = tokio::join!(Server::start([]), Canned::saying(&answer));
    let mut fetch = fast();
    fetch.workers = Some(1);
    let name = server.start_batch(batch(inline(codes(5)), &upstream.url(), fetch)).await;
    let refused = server.batch_in(&name, State::Paused).await;
    assert_eq!(refused.pause_reason, "RATE_LIMITED");
    let held_until = Database::of(&server).await.number("SELECT held_until_at / 1000 FROM upstreams").await;
    let seconds = held_until - (now_us() / 1_000_000) as i64;
    assert!((50..=61).contains(&seconds), "{seconds} s");
    // The heartbeats are the clock by which the silence is told.
    Watching::open(&server, watch(&name)).await.unwrap().quiet_seconds(3).await;
    assert!(upstream.requests() <= 2, "{} requests", upstream.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_is_killed_leaves_no_batch_behind_that_nobody_works_on() {
    const CALLERS: u32 = 20;
    let (server, upstream) = tokio::join!(Server::start([]), Canned::saying("404 Not Found"));
    let spec = server.folder().join("spec.json");
    let text = format!(
        r#"{{"inlineItems": {{"items": [{{"key": "1301"}}]}}, "yahooChart": {{"baseUrl": "{}"}}}}"#,
        upstream.url()
    );
    std::fs::write(&spec, text).unwrap();
    let args = ["start", "-f", spec.to_str().unwrap()];
    let began = Instant::now();
    assert_eq!(server.haul(&args).await.status, 0);
    let whole = began.elapsed();
    for caller in 1..=CALLERS {
        let mut process = program::command("haul")
            .args(["--server", &server.address()])
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Not a wait for something: it is killed at each stage of a start, from the first to the last.
        tokio::time::sleep(whole * caller / (CALLERS - 2)).await;
        process.kill().await.unwrap();
    }
    // Behind whatever was on its way.
    assert_eq!(server.haul(&args).await.status, 0);
    let database = Database::of(&server).await;
    eventually("all that was started ends", || async {
        let open = "SELECT count(*) FROM batch_executions WHERE ended_at IS NULL";
        (database.number(open).await == 0).then_some(())
    })
    .await;
    let completed = "SELECT count(*) FROM batch_executions WHERE status = 'COMPLETED' AND failed_count = 1";
    let all = database.number("SELECT count(*) FROM batch_executions").await;
    assert!(all >= 2);
    assert_eq!(database.number(completed).await, all);
    database.assert_recount().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_lists_at_two_addresses_are_two_lists() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(["--file-root", folder.path().to_str().unwrap()]).await;
    let list = |name: &str, seed, date: &str, issues| {
        let date: NaiveDate = date.parse().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, list_xls(seed, ListDate::from(date), Some(issues)).unwrap()).unwrap();
        format!("file://{}", path.display())
    };
    // The newer one first: the older one must not be answered with it.
    let newer = list("newer.xls", 2, "2024-02-15", 40);
    let older = list("older.xls", 1, "2024-01-31", 20);
    let mut seen: Vec<HashSet<String>> = Vec::new();
    for (uri, date) in [(&newer, "2024-02-15"), (&older, "2024-01-31"), (&newer, "2024-02-15")] {
        let upstream = Canned::saying("404 Not Found").await;
        let name = server.start_batch(batch(list_at(uri.clone()), &upstream.url(), fast())).await;
        let ended = server.batch_ended(&name).await;
        let Some(Source::JpxListing(shown)) = ended.spec.unwrap().source else { panic!("it is the list") };
        assert_eq!((&shown.uri, shown.list_date.as_str()), (uri, date));
        let items = server.items(&name).await;
        seen.push(items.into_iter().map(|item| item.spec.unwrap().key).collect());
    }
    assert_eq!(seen[0], seen[2]);
    assert!(seen[1].len() < seen[0].len(), "{} and {} issues", seen[1].len(), seen[0].len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_sent_is_not_counted_as_sent() {
    let server = Server::start([]).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let name = server.start_batch(batch(inline(codes(3)), &format!("http://{closed}"), fast())).await;
    let paused = server.batch_in(&name, State::Paused).await;
    assert_eq!(paused.pause_reason, "UPSTREAM_UNREACHABLE");
    for item in server.items(&name).await {
        assert_eq!((item.state(), item.attempt_count), (item::State::Pending, 0));
        assert_eq!(item.error.unwrap().reason, "CONNECT_FAILED");
    }
    assert_eq!(server.client().await.get_report(&name).await.unwrap().requests_sent, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_is_refused_by_whatever_name_it_knows_the_store() {
    let server = Server::start([]).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link.db");
    std::os::unix::fs::symlink(server.data_dir().join("haul.db"), &link).unwrap();
    let folder = elsewhere.path().join("folder");
    std::os::unix::fs::symlink(server.data_dir(), &folder).unwrap();
    for store in [link, folder.join("haul.db")] {
        let store = format!("sqlite:{}", store.display());
        let said = program::run("hauld", ["serve", "--store", &store, "--listen", "127.0.0.1:0"]).await;
        assert_eq!(said.status, 2, "{store}: {}", said.err);
        assert!(said.err.contains(&server.address()), "{store}: {}", said.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_no_regular_file_fails_the_batch_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let made = program_of_the_system("mkfifo", &pipe).await;
    assert!(made, "mkfifo");
    let directory = folder.path().join("directory");
    std::fs::create_dir(&directory).unwrap();
    let server = Server::start(["--file-root", folder.path().to_str().unwrap()]).await;
    for path in [&pipe, &directory] {
        for source in [list_at(format!("file://{}", path.display())), file(path)] {
            let name = server.start_batch(batch(source, "http://127.0.0.1:9", fast())).await;
            let ended = server.batch_ended(&name).await;
            assert_eq!((ended.state(), ended.end_reason.as_str()), (State::Failed, "SOURCE_UNREADABLE"));
            assert!(ended.end_message.contains(path.to_str().unwrap()), "{}", ended.end_message);
        }
    }
}

async fn program_of_the_system(name: &str, path: &Path) -> bool {
    let status = tokio::process::Command::new(name).arg(path).status();
    tokio::time::timeout(LONG, status).await.unwrap().unwrap().success()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_claims_to_know_the_future_is_told_the_end() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(40, &upstream, paced(20.0, 5))).await;
    let mut watching = Watching::open(&server, watch_from(&name, 1_000_000_000)).await.unwrap();
    let last = watching.rest().await.pop().unwrap();
    assert_eq!((last.state(), last.progress.unwrap().succeeded_items), (State::Completed, 40));
    let mut late = Watching::open(&server, watch_from(&name, 1_000_000_000)).await.unwrap();
    assert_eq!(late.rest().await.pop().unwrap().state(), State::Completed);
}
