//! What the doctor asks an upstream, and what it says of one that does not answer as it should.

use std::time::Duration;

use haul_sim::{Outage, OutageKind, SimConfig};
use tokio::net::TcpListener;

use super::{Place, assert_line, doctor, run};
use crate::world::{
    Server, Upstream,
    canned::Canned,
    database::Database,
    eventually,
    shelf::{Shelf, Shown},
    spec::{batch, codes, fast, inline},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_place_of_the_list_is_shown() {
    let place = Place::new();
    let upstream = Upstream::healthy().await;
    let page =
        Canned::showing("200 OK\r\ncontent-type: text/html", "<!DOCTYPE html><title>Moved</title>").await;
    let spec = place.spec(&page.url(), &upstream.url());
    let said = place.doctor(&["--spec", &spec]).await;
    assert_eq!(said.status, 1, "{}", said.out);
    assert_line(&said, "reply", &["ok", "HTTP 200"]);
    assert_line(&said, "content", &["FAIL", "<!DOCTYPE html>", "list_uri"]);
    assert_eq!(page.requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_turns_away_is_asked_once_and_the_advice_is_to_wait() {
    for (head, words) in [
        ("429 Too Many Requests", ["RATE_LIMITED", "15 minutes"]),
        ("429 Too Many Requests\r\nretry-after: 120", ["asks to wait 120 s", "examples/tokyo-real.yaml"]),
        ("403 Forbidden", ["HTTP 403", "user_agent"]),
        ("302 Found\r\nlocation: /x", ["HTTP 302", "redirects are not followed"]),
        ("503 Service Unavailable", ["HTTP 503", "try again later"]),
        ("200 OK\r\ncontent-type: text/html", ["GARBAGE_BODY", "browser"]),
    ] {
        let place = Place::new();
        let (upstream, canned) = tokio::join!(Upstream::healthy(), Canned::saying(head));
        let spec = place.spec(&upstream.list_url(), &canned.url());
        let said = place.doctor(&["--spec", &spec]).await;
        assert_eq!(said.status, 1, "{}", said.out);
        assert_line(&said, "chart", &["FAIL", words[0], words[1]]);
        assert_eq!(canned.requests(), 1, "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_is_not_tried_again() {
    let place = Place::new();
    let outage =
        Outage { start_after: Duration::ZERO, duration: Duration::from_secs(600), kind: OutageKind::Reset };
    let upstream = Upstream::start(SimConfig { outages: vec![outage], ..SimConfig::default() }).await;
    let spec = place.spec(&upstream.list_url(), &upstream.url());
    let said = place.doctor(&["--spec", &spec]).await;
    assert_eq!(said.status, 1);
    assert_line(&said, "chart", &["FAIL", "CONNECTION_BROKEN"]);
    assert_eq!(upstream.charts().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_and_a_name_without_address_are_told_apart() {
    let place = Place::new();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let nobody = format!("http://{free}");
    let said = place.doctor(&["--spec", &place.spec(&format!("{nobody}/list"), &nobody)]).await;
    assert_eq!(said.status, 1);
    assert_line(&said, "reply", &["FAIL", "CONNECT_FAILED", "firewall"]);
    assert_line(&said, "chart", &["FAIL", "CONNECT_FAILED"]);
    let said =
        place.doctor(&["--spec", &place.spec(&format!("{nobody}/list"), "http://nowhere.invalid")]).await;
    assert_eq!(said.status, 1);
    assert_line(&said, "name", &["FAIL", "nowhere.invalid", "resolver"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_whose_gate_is_held_is_not_asked_until_it_is_over() {
    let place = Place::new();
    let (upstream, canned) = tokio::join!(Upstream::healthy(), Canned::saying("429 No\r\nretry-after: 3600"));
    let folder = tempfile::tempdir_in(place.path("")).unwrap();
    let mut server = Server::start_in(folder, []).await;
    let spec = batch(inline(codes(1)), &canned.url(), fast());
    server.start_batch(spec).await;
    let database = Database::of(&server).await;
    eventually("the gate is held", || async {
        (database.number("SELECT count(*) FROM upstreams WHERE held_until_at > 0").await == 1).then_some(())
    })
    .await;
    database.0.close().await;
    server.kill().await;
    let before = canned.requests();
    let spec = place.spec(&upstream.list_url(), &canned.url());
    let said = doctor(&server.data_dir(), &["--spec", &spec], &[]).await;
    assert_eq!(said.status, 1, "{}", said.out);
    assert_line(&said, "gate", &["warn", "127.0.0.1 is not asked until", "nothing is sent", "wait"]);
    assert!(said.out.lines().last().unwrap().starts_with("a run would wait: 0 failed"), "{}", said.out);
    assert_eq!(canned.requests(), before);

    run(
        &server.data_dir().join("haul.db"),
        "UPDATE upstreams SET held_until_at = 1, tripped_at = NULL, probe_at = NULL",
    )
    .await;
    let said = doctor(&server.data_dir(), &["--spec", &spec], &[]).await;
    assert_line(&said, "chart", &["FAIL", "RATE_LIMITED"]);
    assert_eq!(canned.requests(), before + 1);

    let trip = "UPDATE upstreams SET tripped_at = 1, probe_at = 4000000000000";
    run(&server.data_dir().join("haul.db"), trip).await;
    let said = doctor(&server.data_dir(), &["--spec", &spec], &[]).await;
    assert_line(&said, "gate", &["warn", "its breaker has tripped"]);
    assert_eq!(said.status, 1, "{}", said.out);
    assert_eq!(canned.requests(), before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_asked_for_less_when_asked_for_the_list_is_not_asked_for_a_chart() {
    let (place, canned) = (Place::new(), Canned::saying("429 Too Many Requests").await);
    let said = place.doctor(&["--spec", &place.spec(&canned.url(), &canned.url())]).await;
    assert_eq!(said.status, 1, "{}", said.out);
    assert_line(&said, "reply", &["FAIL", "RATE_LIMITED"]);
    assert_line(&said, "gate", &["warn", "nothing is sent"]);
    assert_eq!(canned.requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_is_seen_by_the_date_of_a_reply() {
    let place = Place::new();
    for (date, words) in [
        ("Mon, 02 Jan 2006 15:04:05 GMT", &["warn", "ahead of that of 127.0.0.1", "Retry-After"][..]),
        ("Mon, 02 Jan 2090 15:04:05 GMT", &["warn", "behind that of 127.0.0.1", "set the clock"]),
        ("yesterday", &["ok", "does not say"]),
    ] {
        let canned = Canned::saying(&format!("404 Not Found\r\ndate: {date}")).await;
        let said = place.doctor(&["--spec", &place.spec(&canned.url(), &canned.url())]).await;
        assert_line(&said, "skew", words);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_keys_by_http_is_asked_for_its_first_part_and_its_first_key_fetched() {
    let (place, upstream) = (Place::new(), Upstream::healthy().await);
    let key = codes(1).remove(0);
    let file = format!("key\n{key}\n{}", "7203\n".repeat(1 << 20));
    let shelf = Shelf::of(Shown::in_parts(file, "1")).await;
    let spec = |uri: &str| {
        let chart = format!("yahooChart: {{baseUrl: \"{}\"}}", upstream.url());
        place.write("spec.yaml", &format!("{{file: {{uri: \"{uri}\"}}, {chart}}}"))
    };
    let said = place.doctor(&["--spec", &spec(&shelf.url("keys.csv?token=secret"))]).await;
    let first = format!("/keys.csv?… can be read, its first key is {key:?}");
    assert!(said.out.contains(&first) && !said.out.contains("secret"), "{}", said.out);
    assert_line(&said, "chart", &["ok"]);
    assert_eq!((shelf.requests(), upstream.charts()[0].key()), (1, key.as_str()));
    assert_eq!(shelf.asked()[0], 0..4 << 20);

    let gone = Canned::saying("404 Not Found").await;
    let said = place.doctor(&["--spec", &spec(&gone.url())]).await;
    assert_eq!(said.status, 1, "{}", said.out);
    assert_line(&said, "reply", &["FAIL", "NOT_FOUND: HTTP 404"]);
    assert_eq!(gone.requests(), 1);
}
