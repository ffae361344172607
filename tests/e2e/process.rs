//! `hauld serve` and `hauld migrate` as processes: where they refuse to start, and what they say.

use std::{collections::HashSet, ffi::OsStr, path::Path, time::Duration};

use haul_proto::v1::Batch;
use haul_sim::SimConfig;
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::net::TcpListener;

use crate::world::{
    LONG, Server, Upstream,
    database::Database,
    program::{self, Said},
    spec::{at_once, fast, millis, paced, prices},
};

async fn hauld<const N: usize>(command: &str, data_dir: &Path, args: [&str; N]) -> Said {
    let data_dir = [OsStr::new("--data-dir"), data_dir.as_os_str()];
    program::run("hauld", [OsStr::new(command)].into_iter().chain(data_dir).chain(args.map(OsStr::new))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_a_data_folder_says_where_the_first_is() {
    let server = Server::start([]).await;
    for command in ["serve", "migrate"] {
        let said = hauld(command, &server.data_dir(), []).await;
        assert_eq!(said.status, 2, "{}", said.err);
        assert!(said.err.contains(&server.address()), "{}", said.err);
        assert!(said.err.contains("--data-dir"), "{}", said.err);
    }
    server.client().await.list_batches(1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let said = hauld("serve", folder.path(), ["--listen", &address]).await;
    assert_eq!(said.status, 2);
    assert!(said.err.contains(&address) && said.err.contains("--listen"), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_others_reach_is_refused_unless_it_is_meant() {
    let folder = tempfile::tempdir().unwrap();
    let said = hauld("serve", folder.path(), ["--listen", "0.0.0.0:0"]).await;
    assert_eq!(said.status, 2);
    assert!(said.err.contains("--insecure-listen"), "{}", said.err);

    let mut meant = program::command("hauld");
    let port_file = folder.path().join("port");
    let mut process = meant
        .args(["serve", "--listen", "0.0.0.0:0", "--insecure-listen", "--data-dir"])
        .arg(folder.path())
        .arg("--port-file")
        .arg(&port_file)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    crate::world::eventually("it listens", || async { port_file.exists().then_some(()) }).await;
    process.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_that_cannot_be_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let said = hauld("serve", &file.join("data"), []).await;
    assert_eq!(said.status, 2);
    assert!(said.err.contains(file.to_str().unwrap()) && said.err.contains("--data-dir"), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_are_wrong_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("haul.toml");
    std::fs::write(&config, "lisen = \"127.0.0.1:0\"\n").unwrap();
    let said = hauld("serve", folder.path(), ["--config", config.to_str().unwrap()]).await;
    assert_eq!(said.status, 2);
    assert!(said.err.contains("lisen"), "{}", said.err);
    let said = hauld("serve", folder.path(), ["--store", "postgres://host/db"]).await;
    assert_eq!(said.status, 2);
    assert!(said.err.contains("postgres://host/db"), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn migrate_makes_the_store_and_may_be_repeated() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let said = hauld("migrate", folder.path(), []).await;
        assert_eq!(said.status, 0, "{}", said.err);
        assert!(said.out.contains("schema version"), "{}", said.out);
    }
    assert!(folder.path().join("haul.db").is_file());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_a_newer_hauld_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(hauld("migrate", folder.path(), []).await.status, 0);
    let options = SqliteConnectOptions::new().filename(folder.path().join("haul.db"));
    let mut newer = SqliteConnection::connect_with(&options).await.unwrap();
    let sql = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
               VALUES (9001, 'of the future', TRUE, x'00', 1)";
    sqlx::query(sql).execute(&mut newer).await.unwrap();
    newer.close().await.unwrap();
    for command in ["serve", "migrate"] {
        let said = hauld(command, folder.path(), []).await;
        assert_eq!(said.status, 2, "{}", said.err);
        assert!(said.err.contains("9001"), "{}", said.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_line_of_a_fetch_has_its_fields() {
    let (mut server, upstream) = tokio::join!(
        Server::start([]),
        Upstream::start(SimConfig { faults: 0.3, permanent: 0.1, ..SimConfig::default() })
    );
    let mut fetch = fast();
    fetch.attempt_timeout = Some(millis(1_000));
    let name = server.start_batch(prices(60, &upstream, fetch)).await;
    server.batch_ended(&name).await;
    server.signal("TERM").await;
    assert!(server.exit(LONG).await.success());

    let log = server.log();
    assert!(log.iter().all(|line| line["timestamp"].is_string() && line["level"].is_string()));
    let fetches: Vec<_> = log.iter().filter(|line| line["action"] == "data_fetch").collect();
    let id = name.strip_prefix("batches/").unwrap();
    for line in &fetches {
        assert_eq!(line["batch_id"], id, "{line}");
        assert!(line["worker_id"].is_u64() && line["item_key"].is_string(), "{line}");
        assert!(line["duration_ms"].is_i64() && line["records_count"].is_u64(), "{line}");
        assert!(line["retry_count"].is_u64(), "{line}");
        assert!(line["error"].is_string() != (line["status"] == "success"), "{line}");
    }
    let statuses: HashSet<&str> = fetches.iter().filter_map(|line| line["status"].as_str()).collect();
    assert_eq!(statuses, HashSet::from(["success", "retry", "failed"]));
    let succeeded = fetches.iter().filter(|line| line["status"] == "success");
    let records: i64 = succeeded.map(|line| line["records_count"].as_i64().unwrap()).sum();
    let stored = "SELECT sum(records_count) FROM batch_executions";
    assert_eq!(records, Database::of(&server).await.number(stored).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_looks_for_a_batch_in_the_log_finds_all_that_was_done_to_it() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(20, &upstream, paced(5.0, 1))).await;
    for args in [["pause", &name], ["resume", &name], ["stop", &name]] {
        assert_eq!(server.haul(&args).await.status, 0);
    }
    server.batch_ended(&name).await;
    let id = name.strip_prefix("batches/").unwrap();
    let log = server.log();
    let others: Vec<_> =
        log.iter().filter(|line| line.get("batch_id").is_some_and(|found| found != id)).collect();
    assert!(others.is_empty(), "lines of the only batch under another name: {others:?}");
    let found = |message: &str| log.iter().any(|line| line.to_string().to_lowercase().contains(message));
    assert!(["start", "pause", "resume", "stop"].into_iter().all(found));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_does_not_wait_for_an_upstream_that_never_answers() {
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::slow(300_000));
    let mut fetch = at_once();
    fetch.attempt_timeout = Some(millis(600_000));
    let name = server.start_batch(prices(30, &upstream, fetch)).await;
    let busy = |batch: &Batch| batch.progress.as_ref().unwrap().in_flight_items == 10;
    server.batch_when(&name, "has items in flight", busy).await;
    server.signal("TERM").await;
    assert!(server.exit(Duration::from_secs(15)).await.success());

    let database = Database::of(&server).await;
    assert_eq!(database.number("SELECT count(*) FROM batch_slices WHERE status = 'LEASED'").await, 0);
    let charged = "SELECT count(*) FROM batch_execution_details WHERE attempts > 0";
    assert_eq!(database.number(charged).await, 0, "nobody is charged for the server's leaving");
}
