//! The limit of an address, and what 429 tells.

use haul_sim::{RateLimit, RetryAfter, SimConfig};

use crate::Bench;

/// One token an hour: the burst passes, and nothing after it.
fn slow(burst: u32) -> SimConfig {
    SimConfig { limit: Some(RateLimit { rate_per_s: 1.0 / 3600.0, burst }), ..SimConfig::default() }
}

#[tokio::test]
async fn above_the_burst_the_edge_answers() {
    let bench = Bench::new(slow(3)).await;
    for _ in 0..3 {
        assert_eq!(bench.chart("1301").await.unwrap().status(), 200);
    }
    let refused = bench.chart("1301").await.unwrap();
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["content-type"], "text/html");
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(refused.text().await.unwrap(), "Edge: Too Many Requests");
    let log = bench.log();
    assert_eq!(log[3]["fault"], "rate_limited");
    // The list and health are not the edge's business.
    assert_eq!(bench.client.get(bench.sim.list_url()).send().await.unwrap().status(), 200);
}

/// A refused request is no try of its symbol: the fault that was due comes with the next one that is let through.
#[tokio::test]
async fn a_refused_request_uses_up_no_fault() {
    let limited = Bench::new(SimConfig { faults: 1.0, ..slow(1) }).await;
    let free = Bench::new(SimConfig { faults: 1.0, ..SimConfig::default() }).await;
    for _ in 0..3 {
        let _ = limited.chart("6501").await;
    }
    assert!(limited.log()[1..].iter().all(|line| line["fault"] == "rate_limited"));
    let _ = free.chart("6501").await;
    assert_eq!(limited.log()[0]["fault"], free.log()[0]["fault"]);
}

#[tokio::test]
async fn retry_after_in_every_form() {
    let headers = async |retry_after: RetryAfter| {
        let bench = Bench::new(SimConfig { retry_after, ..slow(1) }).await;
        let mut headers = Vec::new();
        for _ in 0..4 {
            let response = bench.chart("1301").await.unwrap();
            if response.status() == 429 {
                headers.push(
                    response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned()),
                );
            }
        }
        headers
    };
    assert_eq!(headers(RetryAfter::None).await, [None, None, None]);
    assert!(headers(RetryAfter::Seconds(9)).await.iter().all(|value| value.as_deref() == Some("9")));
    let dates = headers(RetryAfter::Date(30)).await;
    assert!(
        dates.iter().all(|value| httpdate::parse_http_date(value.as_ref().unwrap()).is_ok()),
        "{dates:?}"
    );
    let by_turns = headers(RetryAfter::Alternate(30)).await;
    assert_eq!(by_turns[0].as_deref(), Some("30"));
    assert!(httpdate::parse_http_date(by_turns[1].as_ref().unwrap()).is_ok());
    assert_eq!(by_turns[2].as_deref(), Some("30"));
}
