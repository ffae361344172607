//! What a batch waits for as long as it is QUEUED, as the commands tell it.

use std::process::Stdio;

use haul_proto::v1::batch::State;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::world::{
    Server, Upstream,
    program::command,
    spec::{paced, prices},
};

fn line<'a>(out: &'a str, name: &str) -> Option<&'a str> {
    out.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_waits_for_its_time_or_a_slot_says_so_until_it_is_let_in() {
    let (server, upstream) = tokio::join!(Server::start(["--running-batches", "1"]), Upstream::healthy());
    let first = server.start_batch(prices(200, &upstream, paced(2.0, 1))).await;
    let file = server.folder().join("spec.yaml");
    let (path, url) = (file.to_str().unwrap(), upstream.url());
    let spec = format!("inlineItems: {{items: [{{key: '1301'}}]}}\nyahooChart: {{baseUrl: '{url}'}}\n");

    std::fs::write(&file, format!("{spec}notBefore: '2199-01-01T00:00:00Z'\n")).unwrap();
    let said = server.haul(&["start", "-f", path, "--id", "later"]).await;
    assert!(said.err.starts_with("haul: later: QUEUED until 2199-01-01 "), "{}", said.err);
    let said = server.haul(&["get", "later"]).await;
    let waits_for = line(&said.out, "Waiting").unwrap();
    assert!(waits_for.starts_with("until 2199-01-01") && waits_for.ends_with(" (notBefore)"), "{waits_for}");

    std::fs::write(&file, spec).unwrap();
    let address = server.address();
    let mut watched = command("haul")
        .args(["--server", &address, "start", "-f", path, "--id", "next", "--watch"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watched.stderr.take().unwrap()).lines();
    let slot = "for a running slot; 1 batch has one";
    while !lines.next_line().await.unwrap().expect("it is told").ends_with(&format!("waiting: {slot}")) {}
    let said = server.haul(&["get", "next"]).await;
    assert_eq!(line(&said.out, "Waiting"), Some(slot), "{}", said.out);

    server.haul(&["stop", &first]).await;
    while lines.next_line().await.unwrap().is_some() {}
    assert!(watched.wait().await.unwrap().success());
    let said = server.haul(&["get", "next"]).await;
    assert_eq!(line(&said.out, "Waiting"), None, "{}", said.out);
    server.batch_in("next", State::Completed).await;
}
