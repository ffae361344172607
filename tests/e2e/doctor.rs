//! `hauld doctor` as a process: what it says, what it sends, and that it changes nothing.

use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde_json::Value;
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::world::{
    Server, Upstream, eventually,
    program::{self, Said},
    spec::{codes, paced, prices},
};

mod upstream;

/// A folder of a test: a data folder, a spec.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        std::fs::set_permissions(folder.path().join("data"), PermissionsExt::from_mode(0o700)).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.path("data")
    }

    fn database(&self) -> PathBuf {
        self.path("data/haul.db")
    }

    /// A spec that takes the list from one address and prices from another.
    fn spec(&self, list: &str, upstream: &str) -> String {
        let text = format!(
            "{{asOf: {{timeZone: Asia/Tokyo}}, jpxListing: {{uri: \"{list}\"}}, yahooChart: {{baseUrl: \"{upstream}\"}}}}"
        );
        self.write("spec.yaml", &text)
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    async fn migrate(&self) {
        let said = program::run("hauld", [Path::new("migrate"), Path::new("--data-dir"), &self.data()]).await;
        assert_eq!(said.status, 0, "{}", said.err);
    }

    async fn run(&self, sql: &'static str) {
        run(&self.database(), sql).await;
    }

    /// Runs the doctor on the data folder, with a free port.
    async fn doctor(&self, args: &[&str]) -> Said {
        doctor(&self.data(), args, &[]).await
    }

    /// Everything below it: size and time of the last change.
    fn everything(&self) -> BTreeMap<PathBuf, (u64, SystemTime)> {
        let (mut found, mut open) = (BTreeMap::new(), vec![self.folder.path().to_owned()]);
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let metadata = std::fs::metadata(&path).unwrap();
                if metadata.is_dir() {
                    open.push(path.clone());
                }
                found.insert(path, (metadata.len(), metadata.modified().unwrap()));
            }
        }
        found
    }
}

async fn doctor(data: &Path, args: &[&str], variables: &[(&str, &str)]) -> Said {
    let mut command = program::command("hauld");
    command.args(["doctor", "--data-dir"]).arg(data).args(args);
    if !args.contains(&"--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    program::said(command.envs(variables.iter().copied())).await
}

async fn run(database: &Path, sql: &'static str) {
    let options = SqliteConnectOptions::new().filename(database).create_if_missing(true);
    let mut conn = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
}

/// The line of a check, without its indent.
#[track_caller]
fn line<'a>(said: &'a Said, name: &str) -> &'a str {
    let is_it = |line: &&str| line.trim_start().split("  ").next() == Some(name);
    said.out.lines().filter(|line| line.starts_with("  ")).find(is_it).unwrap_or_else(|| {
        panic!("no line {name:?} in:\n{}{}", said.out, said.err);
    })
}

#[track_caller]
fn assert_line(said: &Said, name: &str, words: &[&str]) {
    let line = line(said, name);
    assert!(words.iter().all(|word| line.contains(word)), "{line}\nhas not all of {words:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_wrong_it_says_so_and_sends_two_requests() {
    let (place, upstream) = (Place::new(), Upstream::healthy().await);
    place.migrate().await;
    let spec = place.spec(&upstream.list_url(), &upstream.url());
    let said = place.doctor(&["--spec", &spec]).await;
    assert_eq!(said.status, 0, "{}", said.out);
    for (name, words) in [
        ("file", &["ok", "none"][..]),
        ("data_dir", &["ok", "set by --data-dir", "folder of the store"]),
        ("port", &["ok", "any free port of 127.0.0.1"]),
        ("spec", &["ok", "would be taken"]),
        ("data", &["ok", "can be written"]),
        ("lock", &["ok", "no hauld holds"]),
        ("schema", &["ok", "up to date"]),
        ("journal", &["ok", "WAL"]),
        ("pages", &["ok", "quick_check"]),
        ("batches", &["ok", "none is live"]),
        ("system", &["ok", "UTC"]),
        ("zone", &["ok", "Asia/Tokyo", "zones as of 20"]),
        ("skew", &["ok", "127.0.0.1"]),
        ("reply", &["ok", "HTTP 200"]),
        ("content", &["4,433 issues", "2026-10-31"]),
        ("name", &["ok", "1 address"]),
        ("chart", &["bar", "127.0.0.1", "haul/"]),
    ] {
        assert_line(&said, name, words);
    }
    assert!(said.out.lines().last().unwrap().starts_with("ready: 0 failed"), "{}", said.out);
    let endpoints: Vec<String> = upstream.arrivals().into_iter().map(|arrival| arrival.endpoint).collect();
    assert_eq!(endpoints, ["list", "chart"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_changes_nothing() {
    let upstream = Upstream::healthy().await;
    let place = Place::new();
    let spec = place.spec(&upstream.list_url(), &upstream.url());
    // Nothing there yet, a store that was closed in good order.
    for step in 0..2 {
        if step == 1 {
            place.migrate().await;
        }
        let before = place.everything();
        let said = place.doctor(&["--spec", &spec]).await;
        assert_eq!(said.status, 0, "{}", said.out);
        assert_eq!(place.everything(), before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_a_crash_left_is_read_with_its_journal_and_left_as_it_is() {
    let place = Place::new();
    let upstream = Upstream::healthy().await;
    let data = place.path("");
    let folder = tempfile::tempdir_in(data).unwrap();
    let mut server = Server::start_in(folder, []).await;
    let name = server.start_batch(prices(50, &upstream, paced(1.0, 1))).await;
    server.batch_processed(&name, 1).await;
    server.kill().await;
    assert!(server.data_dir().join("haul.db-wal").metadata().unwrap().len() > 0);
    let before = place.everything();
    let said = doctor(&server.data_dir(), &["--offline"], &[]).await;
    assert_eq!(said.status, 0, "{}", said.out);
    assert_line(&said, "batches", &["ok", "1 RUNNING"]);
    assert_line(&said, "lock", &["ok", "no hauld holds"]);
    assert_eq!(place.everything(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_not_there_yet_is_made_by_the_server_and_not_by_the_doctor() {
    let place = Place::new();
    let said = doctor(&place.path("a/b/c"), &["--offline"], &[]).await;
    assert_eq!(said.status, 0, "{}", said.out);
    assert_line(&said, "data", &["ok", "not there yet; hauld serve makes it"]);
    assert_line(&said, "port", &["ok", "any free port of 127.0.0.1"]);
    assert!(!place.path("a").exists());

    let data = place.path("a/b/c");
    let mut server = program::command("hauld");
    server.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&data);
    let mut server = server.kill_on_drop(true).spawn().unwrap();
    eventually("the server has made its store", || async { data.join("haul.db").exists().then_some(()) })
        .await;
    server.kill().await.unwrap();
    assert_eq!(std::fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    let said = doctor(&data, &["--offline"], &[]).await;
    assert!(!said.out.contains("by every account"), "{}", said.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_is_named_with_the_way_out() {
    let place = Place::new();
    place.write("file", "");
    for folder in [place.path("file"), place.path("file/data"), PathBuf::from("/proc/haul")] {
        let said = doctor(&folder, &["--offline"], &[]).await;
        assert_eq!(said.status, 2, "{}", said.out);
        let failed: Vec<&str> = said.out.lines().filter(|line| line.contains("  FAIL  ")).collect();
        assert!(!failed.is_empty() && failed.iter().all(|line| line.contains("--data-dir")), "{}", said.out);
        assert_line(&said, "all", &["the folders come first"]);
        assert!(said.out.lines().last().unwrap().starts_with("not ready: "), "{}", said.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_others_read_is_a_warning() {
    let place = Place::new();
    for (mode, word) in [(0o755, "can be read by every account"), (0o777, "can be written by every account")]
    {
        std::fs::set_permissions(place.data(), PermissionsExt::from_mode(mode)).unwrap();
        let said = place.doctor(&["--offline"]).await;
        assert_eq!(said.status, 0, "{}", said.out);
        assert_line(&said, "access", &["warn", word, "chmod 700"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_root_that_is_not_there_is_named() {
    let place = Place::new();
    let root = place.path("roots");
    let said = place.doctor(&["--offline", "--file-root", root.to_str().unwrap()]).await;
    assert_eq!(said.status, 2);
    assert_line(&said, "file root", &["FAIL", root.to_str().unwrap(), "file_roots"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_store_is_told_from_one() {
    for (bytes, sql, words) in [
        (Some("<html>this is no database"), None, &["FAIL", "is no SQLite database", "--store"][..]),
        (Some(""), None, &["ok", "is empty"]),
        (None, Some("CREATE TABLE moz_places (id)"), &["FAIL", "of another program", "--store"]),
    ] {
        let place = Place::new();
        if let Some(bytes) = bytes {
            std::fs::write(place.database(), bytes).unwrap();
        }
        if let Some(sql) = sql {
            place.run(sql).await;
        }
        let said = place.doctor(&["--offline"]).await;
        let store = said.out.split("\nstore\n").nth(1).unwrap().lines().next().unwrap();
        assert!(words.iter().all(|word| store.contains(word)), "{store}");
        assert_eq!(said.status, if words[0] == "ok" { 0 } else { 2 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schemas_version_is_compared() {
    let of_the_future =
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9001, 'of the future', TRUE, x'00', 1)";
    let another = "UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1";
    for (sql, words) in
        [(of_the_future, ["9001", "newer hauld"]), (another, ["version 1", "the build that made it"])]
    {
        let place = Place::new();
        place.migrate().await;
        place.run(sql).await;
        let said = place.doctor(&["--offline"]).await;
        assert_eq!(said.status, 2);
        assert_line(&said, "schema", &["FAIL", words[0], words[1]]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_page_is_found() {
    let place = Place::new();
    place.migrate().await;
    let options = SqliteConnectOptions::new().filename(place.database()).read_only(true).immutable(true);
    let mut conn = SqliteConnection::connect_with(&options).await.unwrap();
    let roots = "SELECT rootpage FROM sqlite_schema WHERE name IN ('_sqlx_migrations', 'batch_executions', 'upstreams')";
    let roots: Vec<i64> = sqlx::query_scalar(roots).fetch_all(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    assert_eq!(roots.len(), 3);
    let file = std::fs::read(place.database()).unwrap();
    let page_bytes = usize::from(u16::from_be_bytes([file[16], file[17]]));
    for root in roots {
        let mut damaged = file.clone();
        damaged[(root as usize - 1) * page_bytes..][..page_bytes].fill(0xff);
        std::fs::write(place.database(), damaged).unwrap();
        let said = place.doctor(&["--offline"]).await;
        assert_eq!(said.status, 2, "page {root}: {}", said.out);
        let store = said.out.split("\nstore\n").nth(1).unwrap().split("\nclock\n").next().unwrap();
        assert!(store.contains("FAIL") && store.contains("copy"), "page {root}: {store}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_is_no_hindrance_and_its_batches_are_told() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(50, &upstream, paced(0.5, 1))).await;
    server.batch_processed(&name, 1).await;
    server.haul(&["pause", &name, "--reason", "lunch", "--wait"]).await;
    let said = doctor(&server.data_dir(), &["--offline", "--listen", &server.address()], &[]).await;
    assert_eq!(said.status, 0, "{}", said.out);
    assert_line(&said, "lock", &["ok", &server.address(), "it is running"]);
    assert_line(&said, "port", &["ok", "the server that holds the store"]);
    assert_line(&said, "batches", &["1 PAUSED"]);
    assert_line(&said, "paused", &["warn", &name, "USER_PAUSE: lunch", "haul resume"]);
    server.client().await.list_batches(1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_said() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = place.doctor(&["--offline", "--listen", &address]).await;
    assert_eq!(said.status, 2);
    assert_line(&said, "port", &["FAIL", &address, "port 0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_is_wrong_is_one_line_with_key_value_and_place() {
    let place = Place::new();
    let file = place.write("haul.toml", "running_batches = \"many\"\n");
    let said = place.doctor(&["--config", &file]).await;
    assert_eq!(said.status, 2);
    assert_line(&said, "settings", &["FAIL", "running_batches", "\"many\"", "a whole number", &file]);
    assert_line(&said, "running_batches", &["running_batches  -   "]);
    let file = place.write("haul.toml", "lisen = 1\n");
    let said = place.doctor(&["--config", &file]).await;
    assert_line(&said, "settings", &["FAIL", "lisen is no setting", "listen", &file]);
    let said = doctor(&place.data(), &[], &[("HAUL_TIME_ZONE", "Mars/Base")]).await;
    assert_eq!(said.status, 2);
    assert_line(&said, "settings", &["FAIL", "time_zone", "Mars/Base", "HAUL_TIME_ZONE"]);
    assert_eq!(said.out.matches("FAIL").count(), 1, "{}", said.out);
    let said = place.doctor(&["--config", "/nowhere/haul.toml"]).await;
    assert_line(&said, "settings", &["FAIL", "/nowhere/haul.toml"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_setting_says_where_it_was_made_and_no_password_shows() {
    let place = Place::new();
    let file = place.write("haul.toml", "time_zone = \"Asia/Tokyo\"\n");
    let variables = [
        ("HAUL_LIST_URI", "https://user:secret@lists.example/x.xls"),
        ("HAUL_LISEN", "1"),
        ("HAUL_SERVER", "127.0.0.1:1"),
    ];
    let said = doctor(&place.data(), &["--offline", "--config", &file], &variables).await;
    assert_eq!(said.status, 0, "{}", said.out);
    assert_line(&said, "file", &["ok", &file]);
    assert_line(&said, "time_zone", &["ok", "Asia/Tokyo", &file]);
    assert_line(&said, "list_uri", &["ok", "https://***@lists.example/x.xls", "HAUL_LIST_URI"]);
    assert_line(&said, "HAUL_LISEN", &["warn", "no setting has that name"]);
    assert!(!said.out.contains("secret") && !said.out.contains("HAUL_SERVER"), "{}", said.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_is_checked_as_a_start_checks_it() {
    let place = Place::new();
    let upstream = Upstream::healthy().await;
    let spec = place.write(
        "spec.yaml",
        &format!("{{inlineItems: {{items: [{{key: \"1301\"}}]}}, yahooChart: {{baseUrl: \"{}\", interval: 1d}}, fetch: {{workers: 0, burst: 0}}}}", upstream.url()),
    );
    let said = place.doctor(&["--spec", &spec]).await;
    assert_eq!(said.status, 2, "{}", said.out);
    assert!(said.out.contains("spec.fetch.workers: 0 is not"), "{}", said.out);
    assert!(said.out.contains("spec.fetch.burst: 0 is not"), "{}", said.out);
    assert!(upstream.arrivals().is_empty());
    let said = place.doctor(&["--spec", "/nowhere.yaml", "--offline"]).await;
    assert_eq!(said.status, 2);
    assert_line(&said, "spec", &["FAIL", "/nowhere.yaml"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_items_of_a_spec_need_no_list() {
    let place = Place::new();
    let upstream = Upstream::healthy().await;
    let charts = format!("yahooChart: {{baseUrl: \"{}\"}}", upstream.url());
    let codes = codes(2);
    let keys = place.write("keys.txt", &codes[1]);
    let inline = place
        .write("inline.yaml", &format!("{{inlineItems: {{items: [{{key: \"{}\"}}]}}, {charts}}}", codes[0]));
    let file = place.write("file.yaml", &format!("{{file: {{uri: \"file://{keys}\"}}, {charts}}}"));
    let root = place.path("");
    let said = place.doctor(&["--spec", &inline]).await;
    assert_line(&said, "items", &["ok", "1 item is in the spec"]);
    let said = place.doctor(&["--spec", &file, "--file-root", root.to_str().unwrap()]).await;
    assert_eq!(said.status, 0, "{}", said.out);
    assert!(said.out.contains(&format!("its first key is {:?}", codes[1])), "{}", said.out);
    let asked: Vec<String> = upstream.charts().iter().map(|arrival| arrival.key().to_owned()).collect();
    assert_eq!(asked, codes);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_has_every_check_and_says_whether_all_is_well() {
    let place = Place::new();
    let upstream = Upstream::healthy().await;
    let spec = place.spec(&upstream.list_url(), &upstream.url());
    let said = place.doctor(&["--spec", &spec, "-o", "json"]).await;
    let document: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(document["ok"], true, "{}", said.out);
    let mut groups: Vec<&str> =
        document["checks"].as_array().unwrap().iter().map(|check| check["group"].as_str().unwrap()).collect();
    groups.dedup();
    assert_eq!(groups, ["configuration", "folders", "store", "clock", "list", "upstream"]);

    let said = place.doctor(&["--offline", "-o", "json", "--file-root", "/nowhere/at/all"]).await;
    let document: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((document["ok"].as_bool(), said.status), (Some(false), 2));
    let checks = document["checks"].as_array().unwrap();
    let failed = checks.iter().find(|check| check["status"] == "FAIL").unwrap();
    assert_eq!(failed["name"], "file root");
    assert!(failed["message"].as_str().unwrap().contains("/nowhere/at/all"));
    assert!(failed["fix"].as_str().unwrap().contains("file_roots"));
    assert!(checks.iter().any(|check| check["group"] == "list" && check["status"] == "SKIPPED"));
}
