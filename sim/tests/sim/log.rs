//! The request log.

use std::time::Duration;

use haul_sim::{SimConfig, SimError, start};
use serde_json::json;

use crate::{Bench, read_log};

#[tokio::test]
async fn a_line_for_each_request_with_all_its_fields() {
    let bench = Bench::new(SimConfig::default()).await;
    let base = bench.sim.base_url();
    let get = async |path: &str| {
        let request = bench.client.get(format!("{base}{path}")).header("user-agent", "tester/1 \"quoted\"");
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(get("/v7/finance/chart/%31301.T?period1=1700000000&period2=1702000000").await, 200);
    assert_eq!(get("/healthz").await, 200);
    assert_eq!(get("/v8/finance/chart/%5EN225").await, 404);
    assert_eq!(get("/nothing").await, 404);
    assert_eq!(bench.client.get(bench.sim.list_url()).send().await.unwrap().status(), 200);

    let log = bench.log();
    let mut first = log[0].clone();
    assert!(first["at_us"].as_u64().unwrap() > 1_700_000_000_000_000);
    first["at_us"] = json!(0);
    assert_eq!(
        first,
        json!({
            "seq": 1, "at_us": 0, "peer": "127.0.0.1", "method": "GET", "path": "/v7/finance/chart/%31301.T",
            "query": "period1=1700000000&period2=1702000000", "key": "1301", "endpoint": "chart", "status": 200,
            "fault": null, "permanent": false, "user_agent": "tester/1 \"quoted\"",
        })
    );
    assert_eq!((&log[1]["key"], &log[1]["status"]), (&json!("^N225"), &json!(404)));
    assert_eq!((&log[2]["endpoint"], log[2].get("key")), (&json!("other"), None));
    assert_eq!((&log[3]["endpoint"], log[3].get("key")), (&json!("list"), None));
    assert_eq!(log.len(), 4, "health is not logged");
}

#[tokio::test]
async fn numbers_have_no_gaps_and_times_do_not_fall() {
    let config = SimConfig { latency_jitter: Duration::from_millis(3), ..SimConfig::default() };
    let bench = Bench::new(config).await;
    let requests = (0..200).map(|i| {
        let code = (2000 + i).to_string();
        let bench = &bench;
        async move { bench.chart(&code).await.unwrap().status() }
    });
    futures::future::join_all(requests).await;
    let log = bench.log();
    assert_eq!(log.len(), 200);
    for (i, pair) in log.windows(2).enumerate() {
        assert_eq!(pair[0]["seq"], i as u64 + 1);
        assert!(pair[0]["at_us"].as_u64() <= pair[1]["at_us"].as_u64());
    }
}

#[tokio::test]
async fn a_second_run_appends() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("requests.jsonl");
    for _ in 0..2 {
        let sim = start(SimConfig { log: Some(log.clone()), ..SimConfig::default() }).await.unwrap();
        let status = reqwest::get(format!("{}/x", sim.base_url())).await.unwrap().status();
        assert_eq!(status, 404);
        sim.shutdown().await;
    }
    assert_eq!(read_log(&log).len(), 2);
}

#[tokio::test]
async fn a_log_that_cannot_be_written_is_refused() {
    let log = Some("/nowhere/at/all.jsonl".into());
    let error = start(SimConfig { log, ..SimConfig::default() }).await.unwrap_err();
    assert!(matches!(error, SimError::Log { .. }));
    assert!(error.to_string().contains("/nowhere/at/all.jsonl"));
}
