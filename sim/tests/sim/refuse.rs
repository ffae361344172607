//! Refusals of the edge, told at the start and while it runs.

use std::time::Duration;

use haul_sim::{DenyStatus, OutageKind, Refuse, RetryAfter, SimConfig};
use reqwest::{Response, StatusCode};

use crate::Bench;

const ALL: Refuse = Refuse::All { retry_after: RetryAfter::None };

fn refusing(refuse: Refuse) -> SimConfig {
    SimConfig { refuse: Some(refuse), ..SimConfig::default() }
}

async fn tell(bench: &Bench, how: &str) -> (StatusCode, String) {
    let url = format!("{}/_sim/refuse?how={how}", bench.sim.base_url());
    let response = bench.client.post(url).send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

async fn statuses(bench: &Bench, requests: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..requests {
        statuses.push(bench.chart("1301").await.unwrap().status().as_u16());
    }
    statuses
}

fn content_type(response: &Response) -> String {
    response.headers()["content-type"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn whoever_is_refused_altogether_gets_429_in_both_forms_and_no_retry_after() {
    let bench = Bench::new(refusing(ALL)).await;
    let mut seen = Vec::new();
    for code in 1300..1340 {
        let response = bench.chart(&code.to_string()).await.unwrap();
        assert_eq!(response.status(), 429);
        assert!(!response.headers().contains_key("retry-after"));
        seen.push((content_type(&response), response.text().await.unwrap()));
    }
    seen.sort();
    seen.dedup();
    let forms = [("text/html", "Edge: Too Many Requests"), ("text/plain", "Too Many Requests\r\n")];
    assert_eq!(seen, forms.map(|(kind, body)| (kind.to_owned(), body.to_owned())));
    let head = bench.client.head(bench.sim.base_url()).send().await.unwrap();
    assert_eq!(head.status(), 429, "it does not matter what is asked for");
    assert!(bench.log().iter().all(|line| line["fault"] == "refused" && line["status"] == 429));
    for other_host in [bench.sim.list_url(), bench.sim.base_url()] {
        assert_ne!(bench.client.get(other_host).send().await.unwrap().status(), 429);
    }
}

#[tokio::test]
async fn a_refusal_names_a_time_if_it_is_told_to() {
    let bench = Bench::new(refusing(Refuse::All { retry_after: RetryAfter::Seconds(7) })).await;
    assert_eq!(bench.chart("1301").await.unwrap().headers()["retry-after"], "7");
}

#[tokio::test]
async fn above_its_window_an_address_stays_refused_and_then_begins_anew() {
    let hold = Duration::from_millis(300);
    let window = Duration::from_hours(1);
    let after = Refuse::After { requests: 4, window, hold, retry_after: RetryAfter::None };
    let bench = Bench::new(refusing(after)).await;
    assert_eq!(statuses(&bench, 6).await, [200, 200, 200, 200, 429, 429]);
    while bench.chart("1301").await.unwrap().status() == 429 {}
    let log = bench.log();
    let at_us = |line: &serde_json::Value| line["at_us"].as_u64().unwrap();
    let lasted_us = at_us(log.last().unwrap()) - at_us(&log[4]);
    assert!(lasted_us >= 300_000, "{lasted_us}");
    assert_eq!(statuses(&bench, 4).await, [200, 200, 200, 429]);
}

#[tokio::test]
async fn down_in_every_way() {
    for (kind, status) in
        [(OutageKind::Status503, Some(503)), (OutageKind::HtmlPage, Some(200)), (OutageKind::Reset, None)]
    {
        let bench = Bench::new(refusing(Refuse::Down(kind))).await;
        let answer = bench.chart("1301").await.ok();
        assert_eq!(answer.as_ref().map(|answer| answer.status().as_u16()), status, "{kind:?}");
        if let Some(answer) = answer {
            assert_eq!(content_type(&answer), "text/html");
            assert!(answer.text().await.unwrap().contains("Will be right back"));
        }
        assert_eq!(bench.log()[0]["fault"], "outage");
    }
}

#[tokio::test]
async fn who_is_denied_gets_401_or_403_for_what_is_meant_alone() {
    let deny = |status, keys: &[&str]| {
        let keys = keys.iter().map(|&key| key.to_owned()).collect();
        refusing(Refuse::Deny { status, keys, lasts: None })
    };
    let bench = Bench::new(deny(DenyStatus::Unauthorized, &[])).await;
    let answer = bench.chart("1301").await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), content_type(&answer).as_str()),
        (401, "application/json;charset=utf-8")
    );
    assert!(answer.text().await.unwrap().contains("Unauthorized"));
    let bench = Bench::new(deny(DenyStatus::Forbidden, &["1332"])).await;
    for (key, status) in [("1301", 200), ("1332", 403)] {
        assert_eq!(bench.chart(key).await.unwrap().status(), status, "{key}");
    }
    assert_eq!(bench.log()[1]["fault"], "forbidden");
}

#[tokio::test]
async fn a_refusal_begins_and_is_lifted_while_the_simulator_runs() {
    let bench = Bench::new(SimConfig::default()).await;
    for (how, status) in [
        ("all", 429),
        ("none", 200),
        ("down:503", 503),
        ("after:0/1s/1h,5", 429),
        ("deny:401", 401),
        ("none", 200),
    ] {
        assert_eq!(tell(&bench, how).await, (StatusCode::OK, format!("{how}\n")));
        assert_eq!(statuses(&bench, 1).await, [status], "{how}");
    }
    bench.sim.refuse(Some(ALL));
    assert_eq!(statuses(&bench, 1).await, [429]);
    bench.sim.refuse(None);
    assert_eq!(statuses(&bench, 1).await, [200]);
    assert_eq!(bench.log().len(), 8, "what it is told is not logged");
}

#[tokio::test]
async fn what_it_cannot_be_told_changes_nothing_and_is_answered_with_a_way_out() {
    let bench = Bench::new(refusing(ALL)).await;
    for how in ["", "some", "after:4", "down:404"] {
        let (status, text) = tell(&bench, how).await;
        assert_eq!(status, 400);
        assert!(text.contains(&format!("how {how:?}")) && text.contains("none to lift it"), "{text}");
    }
    assert_eq!(statuses(&bench, 1).await, [429]);
}

#[tokio::test]
async fn agents_of_libraries_are_refused_where_that_is_the_policy() {
    let strict = Bench::new(SimConfig { refuse_libraries: true, ..SimConfig::default() }).await;
    let open = Bench::new(SimConfig::default()).await;
    let status = async |bench: &Bench, agent: &str| {
        let url = format!("{}/v8/finance/chart/1301.T", bench.sim.base_url());
        bench.client.get(url).header("user-agent", agent).send().await.unwrap().status().as_u16()
    };
    for library in ["curl/8.5.0", "python-requests/2.32", "Java/21", "Go-http-client/1.1", "reqwest/0.12", ""]
    {
        assert_eq!(status(&strict, library).await, 429, "{library:?}");
        assert_eq!(status(&open, library).await, 200, "{library:?}");
    }
    for program in ["haul/0.1", "Mozilla/5.0 (X11; Linux x86_64)"] {
        assert_eq!(status(&strict, program).await, 200, "{program:?}");
    }
    assert_eq!(strict.log().iter().filter(|line| line["fault"] == "agent").count(), 6);
}
