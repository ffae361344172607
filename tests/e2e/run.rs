//! The command lines: `haul` against a server, and `hauld run` by itself.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use haul_sim::SimConfig;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::world::{
    Server, Upstream, eventually,
    program::{self, Said},
    spec::codes,
};

/// A spec as people write it.
fn spec(folder: &Path, upstream: &Upstream, items: usize) -> PathBuf {
    let items: Vec<Value> = codes(items).into_iter().map(|key| json!({ "key": key })).collect();
    written(
        folder,
        &json!({
            "displayName": "Prices",
            "inlineItems": { "items": items },
            "yahooChart": { "baseUrl": upstream.url(), "range": "1mo" },
            "fetch": { "requestsPerSecond": 500, "burst": 100, "initialBackoff": "0.05s", "attemptTimeout": "2s" },
        }),
    )
}

fn written(folder: &Path, spec: &Value) -> PathBuf {
    let path = folder.join("spec.json");
    std::fs::write(&path, spec.to_string()).unwrap();
    path
}

async fn run(data_dir: &Path, spec: &Path, more: &[&str]) -> Said {
    let mut command = program::command("hauld");
    program::said(command.arg("run").arg(spec).arg("--data-dir").arg(data_dir).args(more)).await
}

fn document(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {}", said.out))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_by_itself_ends_with_its_report_and_zero() {
    let upstream = Upstream::healthy().await;
    let folder = tempfile::tempdir().unwrap();
    let spec = spec(folder.path(), &upstream, 20);
    let said = run(&folder.path().join("data"), &spec, &["--id", "first-run"]).await;
    assert_eq!(said.status, 0, "{}", said.err);
    assert!(said.out.contains("first-run") && said.out.contains("20"), "{}", said.out);

    let said = run(&folder.path().join("data"), &spec, &["-o", "json"]).await;
    assert_eq!(said.status, 0, "{}", said.err);
    let end = document(&said);
    assert_eq!(end["batch"]["state"], "STATE_COMPLETED");
    assert_eq!(end["report"]["progress"]["succeededItems"], "20");
    assert_eq!(end["report"]["requestsSent"], "20");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_failed_items_ends_with_three() {
    let upstream = Upstream::start(SimConfig { permanent: 0.3, ..SimConfig::default() }).await;
    let folder = tempfile::tempdir().unwrap();
    let spec = spec(folder.path(), &upstream, 30);
    let said = run(&folder.path().join("data"), &spec, &["-o", "json"]).await;
    assert_eq!(said.status, 3, "{}", said.err);
    let dead = upstream.charts().iter().filter(|chart| chart.permanent).count();
    assert!(dead > 0);
    assert_eq!(document(&said)["report"]["progress"]["failedItems"], dead.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_source_is_unreadable_ends_with_four() {
    let upstream = Upstream::healthy().await;
    let folder = tempfile::tempdir().unwrap();
    let spec = written(
        folder.path(),
        &json!({
            "jpxListing": { "uri": format!("{}/nothing.xls", upstream.url()) },
            "yahooChart": { "baseUrl": upstream.url() },
        }),
    );
    let said = run(&folder.path().join("data"), &spec, &[]).await;
    assert_eq!(said.status, 4, "{}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_beside_a_server_is_that_servers_client() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let spec = spec(server.folder(), &upstream, 10);
    let said = run(&server.data_dir(), &spec, &["--id", "beside", "-o", "json"]).await;
    assert_eq!(said.status, 0, "{}", said.err);
    assert_eq!(document(&said)["batch"]["name"], "batches/beside");
    let batch = server.client().await.get_batch("beside").await.unwrap();
    assert_eq!(batch.progress.unwrap().succeeded_items, 10);

    let said = run(&server.data_dir(), &spec, &["--id", "beside"]).await;
    assert_eq!(said.status, 1, "a name is given once: {}", said.err);
    assert!(said.err.contains("beside"), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_interrupted_says_so_and_is_gone_on_with_by_the_next_hauld() {
    let upstream = Upstream::slow(200).await;
    // A folder that a server has made and left.
    let mut server = Server::start([]).await;
    server.kill().await;
    let spec = spec(server.folder(), &upstream, 200);
    let mut process = program::command("hauld")
        .arg("run")
        .arg(&spec)
        .args(["--id", "cut-short", "--data-dir"])
        .arg(server.data_dir())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("it is under way", || async { (upstream.charts().len() > 20).then_some(()) }).await;
    let pid = process.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().await.unwrap().success());
    let status = tokio::time::timeout(Duration::from_secs(15), process.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(128 + 15));

    server.start_again().await;
    let ended = server.batch_ended("cut-short").await;
    assert_eq!(ended.progress.unwrap().succeeded_items, 200);
    assert_eq!(upstream.charts().len(), 200, "what was in flight ended and was recorded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_with_an_unknown_field_is_wrong_usage_and_names_the_right_one() {
    let folder = tempfile::tempdir().unwrap();
    let spec = written(
        folder.path(),
        &json!({
            "inlineItems": { "items": [{ "key": "1301" }] },
            "yahooChart": { "baseUrl": "http://127.0.0.1:9" },
            "fetch": { "wrokers": 3 },
        }),
    );
    let said = run(&folder.path().join("data"), &spec, &[]).await;
    assert_eq!(said.status, 2);
    assert!(said.err.contains("wrokers") && said.err.contains("workers"), "{}", said.err);

    let said = run(&folder.path().join("data"), &folder.path().join("no-such.yaml"), &[]).await;
    assert_eq!(said.status, 2);
    assert!(said.err.contains("no-such.yaml"), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_the_server_refuses_ends_with_two_and_every_field_at_fault() {
    let folder = tempfile::tempdir().unwrap();
    let spec = written(
        folder.path(),
        &json!({
            "inlineItems": { "items": [{ "key": "1301" }] },
            "yahooChart": { "baseUrl": "http://127.0.0.1:9", "interval": "7d" },
            "fetch": { "workers": 0 },
        }),
    );
    let said = run(&folder.path().join("data"), &spec, &[]).await;
    assert_eq!(said.status, 2, "{}", said.err);
    assert!(said.err.contains("workers") && said.err.contains("interval"), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_haul_says_what_to_do() {
    let said = program::run("haul", ["--server", "http://127.0.0.1:9", "list"]).await;
    assert_eq!(said.status, 1);
    assert!(said.err.contains("http://127.0.0.1:9") && said.err.contains("hauld serve"), "{}", said.err);
    assert!(said.out.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_started_followed_and_read_on_the_command_line() {
    let upstream = Upstream::start(SimConfig { permanent: 0.2, ..SimConfig::default() }).await;
    let server = Server::start([]).await;
    let spec = spec(server.folder(), &upstream, 30);
    let said = server.haul(&["start", "-f", spec.to_str().unwrap(), "--id", "by-hand", "--watch"]).await;
    let dead = upstream.charts().iter().filter(|chart| chart.permanent).count();
    assert!(dead > 0);
    assert_eq!(said.status, 3, "{}", said.err);
    assert!(said.out.starts_with("batches/by-hand\n"), "{}", said.out);
    assert!(said.out.contains("NOT_FOUND"), "the report names the reasons: {}", said.out);
    assert!(!said.err.is_empty(), "progress goes to standard error");

    let said = server.haul(&["items", "by-hand", "-o", "json"]).await;
    assert_eq!(said.status, 0, "{}", said.err);
    let items = document(&said)["items"].as_array().unwrap().clone();
    assert_eq!(items.len(), 30);
    let failed = items.iter().filter(|item| item["state"] == "STATE_FAILED").count();
    assert_eq!(failed, dead);

    let report = document(&server.haul(&["report", "by-hand", "-o", "json"]).await);
    assert_eq!((&report["final"], &report["requestsSent"]), (&json!(true), &json!("30")));
    let batch = document(&server.haul(&["get", "batches/by-hand", "-o", "json"]).await);
    assert_eq!(batch["state"], "STATE_COMPLETED");
    let said = server.haul(&["watch", "by-hand"]).await;
    assert_eq!(said.status, 3, "{}", said.err);

    let said = server.haul(&["start", "-f", spec.to_str().unwrap(), "--id", "by-hand"]).await;
    assert_eq!(said.status, 1);
    assert!(said.err.contains("--id"), "{}", said.err);
    let said = server.haul(&["get", "nothing"]).await;
    assert_eq!(said.status, 1);
    assert!(said.err.contains("haul list"), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_cut_says_so() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let spec = spec(server.folder(), &upstream, 1);
    for id in ["batch-a", "batch-b", "batch-c"] {
        assert_eq!(server.haul(&["start", "-f", spec.to_str().unwrap(), "--id", id]).await.status, 0);
    }
    let said = server.haul(&["list", "--limit", "2", "-o", "json"]).await;
    assert_eq!(said.status, 0);
    let batches = document(&said)["batches"].as_array().unwrap().clone();
    let names: Vec<&str> = batches.iter().filter_map(|batch| batch["name"].as_str()).collect();
    assert_eq!(names, ["batches/batch-c", "batches/batch-b"]);
    assert!(said.err.contains("--limit"), "{}", said.err);
    let said = server.haul(&["list", "--limit", "3"]).await;
    assert!(said.err.is_empty() && said.out.contains("batch-a"), "{}{}", said.out, said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_steered_on_the_command_line() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::slow(300));
    let spec = spec(server.folder(), &upstream, 200);
    assert_eq!(server.haul(&["start", "-f", spec.to_str().unwrap(), "--id", "steered"]).await.status, 0);
    let state = |said: Said| document(&said)["state"].as_str().unwrap().to_owned();
    let said = server.haul(&["pause", "steered", "--reason", "lunch", "--wait", "-o", "json"]).await;
    assert_eq!(said.status, 0, "{}", said.err);
    assert_eq!(state(said), "STATE_PAUSED");
    assert_eq!(state(server.haul(&["resume", "steered", "-o", "json"]).await), "STATE_RUNNING");
    assert_eq!(state(server.haul(&["stop", "steered", "--wait", "-o", "json"]).await), "STATE_STOPPED");
    let said = server.haul(&["watch", "steered"]).await;
    assert_eq!(said.status, 4, "a batch that was stopped did not succeed: {}", said.err);
    let said = server.haul(&["pause", "steered"]).await;
    assert_eq!(said.status, 1);
    assert!(said.err.contains("haul get"), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_needs_nothing_and_tells_what_came_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let (first, second) = (first.to_str().unwrap(), second.to_str().unwrap());
    let said =
        program::run("hauld", ["demo", "--items", "30", "--faults", "0", "--data-dir", first, "-o", "json"])
            .await;
    assert_eq!(said.status, 0, "{}", said.err);
    let result = document(&said);
    let figures = [
        "state",
        "total",
        "succeeded",
        "failed",
        "skipped",
        "canceled",
        "records",
        "requests",
        "elapsed_s",
        "store",
    ];
    let missing: Vec<&str> = figures.into_iter().filter(|name| result.get(name).is_none()).collect();
    assert!(missing.is_empty(), "{missing:?} of {result}");
    assert_eq!(
        (&result["total"], &result["succeeded"], &result["requests"]),
        (&json!(30), &json!(30), &json!(31))
    );
    assert!(said.err.contains("simulat"), "it says what is simulated: {}", said.err);

    let said = program::run(
        "hauld",
        ["demo", "--items", "60", "--faults", "1", "--data-dir", second, "-o", "json", "--seed", "3"],
    )
    .await;
    assert_eq!(said.status, 0, "some codes fail for good, as they were meant to: {}", said.err);
    let result = document(&said);
    assert!(result["failed"].as_i64().unwrap() > 0, "{result}");
    assert_eq!(result["succeeded"].as_i64().unwrap() + result["failed"].as_i64().unwrap(), 60);
}
