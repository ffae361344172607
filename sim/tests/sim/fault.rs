//! Every kind of failure at the client's end.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use haul_sim::{Outage, OutageKind, RetryAfter, SimConfig};

use crate::Bench;

const CODES: std::ops::Range<u32> = 2000..2240;

/// What a client makes of one request.
async fn seen(bench: &Bench, code: &str) -> String {
    let response = match bench.chart(code).await {
        Ok(response) => response,
        Err(error) => return format!("no answer (connect: {})", error.is_connect()),
    };
    let (status, content_type) =
        (response.status().as_u16(), response.headers()["content-type"].to_str().unwrap().to_owned());
    let retry_after = response.headers().contains_key("retry-after");
    let announced = response.content_length();
    match response.bytes().await {
        Err(_) => format!("{status} broken off, of {}", announced.is_some_and(|length| length > 0)),
        Ok(body) => {
            let json = serde_json::from_slice::<serde_json::Value>(&body).is_ok();
            format!("{status} {content_type} json: {json} retry-after: {retry_after}")
        }
    }
}

/// The log says what was done; the client has to have seen just that.
#[tokio::test]
async fn each_kind_as_the_client_sees_it() {
    let config = SimConfig {
        faults: 1.0,
        stall: Duration::from_millis(5),
        retry_after: RetryAfter::Seconds(3),
        ..SimConfig::default()
    };
    let bench = Bench::new(config).await;
    let mut by_fault: BTreeMap<String, HashSet<String>> = BTreeMap::new();
    for code in CODES {
        let seen = seen(&bench, &code.to_string()).await;
        let line = bench.log().pop().unwrap();
        // A pooled connection that is closed may make the client try again by itself; those lines are not its last.
        by_fault.entry(line["fault"].as_str().unwrap_or("none").to_owned()).or_default().insert(seen);
    }
    let kinds: HashSet<&str> = by_fault.keys().map(String::as_str).collect();
    for fault in [
        "http_429",
        "http_500",
        "http_502",
        "http_503",
        "stall",
        "truncated",
        "garbage",
        "html_page",
        "reset",
    ] {
        assert!(kinds.contains(fault), "{fault} did not come");
    }
    let all = |fault: &str, of: &[&str]| {
        assert!(
            by_fault[fault].iter().all(|seen| of.contains(&seen.as_str())),
            "{fault}: {:?}",
            by_fault[fault]
        );
    };
    all(
        "http_429",
        &["429 text/html json: false retry-after: true", "429 text/plain json: false retry-after: true"],
    );
    assert_eq!(by_fault["http_429"].len(), 2, "both forms");
    all("http_500", &["500 application/json;charset=utf-8 json: true retry-after: false"]);
    all("http_502", &["502 text/html json: false retry-after: false"]);
    all("http_503", &["503 text/html json: false retry-after: false"]);
    all("stall", &["no answer (connect: false)"]);
    all("reset", &["no answer (connect: false)"]);
    all("garbage", &["200 application/json json: false retry-after: false"]);
    all("html_page", &["200 text/html json: false retry-after: false"]);
    all("truncated", &["200 broken off, of true", "404 broken off, of true", "400 broken off, of true"]);
}

/// At most two faults in passing for each symbol, and the same ones for the same seed, in any order.
#[tokio::test]
async fn a_seed_repeats_itself_and_every_symbol_gets_through() {
    let faults = async |seed: u64, codes: Vec<u32>| {
        let config = SimConfig { seed, faults: 0.7, stall: Duration::from_millis(1), ..SimConfig::default() };
        let bench = Bench::new(config).await;
        for code in codes {
            for _ in 0..4 {
                let code = code.to_string();
                let _ = seen(&bench, &code).await;
            }
        }
        let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in bench.log() {
            by_key
                .entry(line["key"].as_str().unwrap().to_owned())
                .or_default()
                .push(line["fault"].to_string());
        }
        for faults in by_key.values_mut() {
            faults.truncate(4);
        }
        by_key
    };
    let forward = faults(5, (3000..3030).collect()).await;
    let backward = faults(5, (3000..3030).rev().collect()).await;
    assert_eq!(forward, backward);
    assert_ne!(forward, faults(6, (3000..3030).collect()).await);
    assert!(forward.values().all(|faults| faults.iter().filter(|fault| *fault != "null").count() <= 2));
}

#[tokio::test]
async fn some_codes_fail_for_good() {
    let bench =
        Bench::new(SimConfig { permanent: 1.0, faults: 1.0, items: Some(60), ..SimConfig::default() }).await;
    let codes = crate::list::codes(&bench).await;
    let mut seen = HashSet::new();
    for code in &codes {
        for _ in 0..2 {
            let response = bench.chart(code).await.unwrap();
            let status = response.status().as_u16();
            let body: serde_json::Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
            if status == 200 {
                let result = &body["chart"]["result"][0];
                assert_eq!(result["meta"]["exchangeName"], "YHD");
                assert!(result["meta"]["currency"].is_null() && result.get("timestamp").is_none());
            } else {
                assert!(body["chart"]["error"]["description"].is_string());
            }
            seen.insert(status);
        }
    }
    assert_eq!(seen, HashSet::from([200, 404, 422]));
    assert!(
        bench
            .log()
            .iter()
            .filter(|line| line["endpoint"] == "chart")
            .all(|line| line["permanent"] == true && line["fault"].is_null())
    );
}

#[tokio::test]
async fn outages_of_every_kind() {
    for (kind, expected) in [
        (OutageKind::Status503, "503 text/html json: false retry-after: false"),
        (OutageKind::HtmlPage, "200 text/html json: false retry-after: false"),
        (OutageKind::Reset, "no answer (connect: false)"),
    ] {
        let all_day = Outage { start_after: Duration::ZERO, duration: Duration::from_hours(24), kind };
        let bench = Bench::new(SimConfig { outages: vec![all_day], ..SimConfig::default() }).await;
        assert_eq!(seen(&bench, "1301").await, expected);
        assert_eq!(bench.log()[0]["fault"], "outage");
        // The list is on another host.
        assert_eq!(bench.client.get(bench.sim.list_url()).send().await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn an_outage_to_come_changes_nothing_yet() {
    let tomorrow = Duration::from_hours(24);
    let outage = Outage { start_after: tomorrow, duration: tomorrow, kind: OutageKind::Reset };
    let bench = Bench::new(SimConfig { outages: vec![outage], ..SimConfig::default() }).await;
    assert_eq!(bench.chart("1301").await.unwrap().status(), 200);
}
