//! A user's own classification of replies.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use haul_proto::v1::{
    BatchSpec, FailureClass, FailureRule,
    batch::{PauseCause, State},
    host_pressure::Cause,
    item,
};
use haul_sim::{DenyStatus, Refuse, SimConfig};
use prost_types::Duration as Span;
use tonic::Code;

use crate::world::{
    Server, Upstream,
    canned::{Canned, NOTHING},
    eventually,
    spec::{batch, codes, fast, inline, prices, starting},
    status::{fields, refused},
    watching::assert_adds_up,
};

fn ruled(mut spec: BatchSpec, rules: Vec<FailureRule>) -> BatchSpec {
    spec.fetch.as_mut().unwrap().rules = rules;
    spec
}

fn rule(class: FailureClass, reason: &str) -> FailureRule {
    FailureRule { failure_class: class.into(), reason: reason.to_owned(), ..FailureRule::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_is_said_with_200_holds_the_gate_and_charges_nobody() {
    // The 21st to the 23rd request are above the quota.
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    let upstream = Canned::choosing(move |_| {
        let nth = counter.fetch_add(1, Ordering::SeqCst);
        let (head, body) = match nth {
            20..23 => (
                "200 OK\r\ncontent-type: application/json",
                r#"{"error": {"message": "daily quota exceeded"}}"#,
            ),
            _ => NOTHING,
        };
        (head.to_owned(), body.to_owned())
    })
    .await;
    let server = Server::start([]).await;
    let quota = FailureRule {
        statuses: vec!["2xx".to_owned()],
        body_regex: "quota exceeded$".to_owned(),
        json_pointer: "/error/message".to_owned(),
        holds_gate: true,
        retry_after: Some(Span { seconds: 2, nanos: 0 }),
        ..rule(FailureClass::Temporary, "QUOTA")
    };
    let mut spec = ruled(batch(inline(codes(60)), &upstream.url(), fast()), vec![quota.clone()]);
    spec.fetch.as_mut().unwrap().workers = Some(3);
    let name = server.start_batch(spec).await;
    let held = server
        .batch_when(&name, "is held back", |batch| {
            let pressure = &batch.progress.as_ref().unwrap().host_pressure;
            pressure.iter().any(|pressure| pressure.cause() == Cause::PushedBack)
        })
        .await;
    assert_eq!(held.state(), State::Running);
    assert!((21..=23).contains(&seen.load(Ordering::SeqCst)), "nothing is sent while it is held");
    // The gate is held at once, the item's attempt is committed with its group.
    let waits = eventually("an item waits with its error", || async {
        server.items(&name).await.into_iter().find(|item| item.error.is_some())
    })
    .await;
    let error = waits.error.as_ref().unwrap();
    assert_eq!((error.reason.as_str(), error.http_status), ("QUOTA", 200));
    assert!(
        error.message.contains("quota exceeded") && error.message.contains("fetch.rules[0]"),
        "{error:?}"
    );
    let ended = server.batch_ended(&name).await;
    assert_eq!((ended.state(), ended.progress.as_ref().unwrap().succeeded_items), (State::Completed, 60));
    assert_adds_up(&ended);
    assert!(server.items(&name).await.iter().all(|item| item.attempt_count == 1), "nobody was charged");
    let echoed = ended.spec.unwrap().fetch.unwrap().rules;
    assert_eq!(echoed, [quota]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_goes_before_what_is_built_in() {
    let config = SimConfig {
        refuse: Some(Refuse::Deny { status: DenyStatus::Forbidden, keys: Vec::new(), lasts: None }),
        ..SimConfig::default()
    };
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::start(config));
    let status = |text: &str, rule: FailureRule| FailureRule { statuses: vec![text.to_owned()], ..rule };
    let own = vec![
        status("404", rule(FailureClass::System, "")),
        status("401-403", rule(FailureClass::Permanent, "NOT_FOR_US")),
        status("4xx", rule(FailureClass::System, "")),
    ];
    let name = server.start_batch(ruled(prices(20, &upstream, fast()), own)).await;
    let ended = server.batch_ended(&name).await;
    assert_eq!((ended.state(), ended.progress.unwrap().failed_items), (State::Completed, 20));
    for item in server.items(&name).await {
        let error = item.error.as_ref().unwrap();
        assert_eq!((error.failure_class(), error.reason.as_str()), (FailureClass::Permanent, "NOT_FOR_US"));
        assert_eq!((item.state(), item.attempt_count), (item::State::Failed, 1));
    }

    let repaired = vec![status("403", rule(FailureClass::System, "LICENCE_EXPIRED"))];
    let name = server.start_batch(ruled(prices(20, &upstream, fast()), repaired)).await;
    let paused = server.batch_in(&name, State::Paused).await;
    assert_eq!(
        (paused.pause_cause(), paused.pause_reason.as_str()),
        (PauseCause::SystemFailure, "LICENCE_EXPIRED")
    );
    assert_eq!(paused.progress.as_ref().unwrap().failed_items, 0);
    upstream.refuse(None);
    server.client().await.resume(&name, "").await.unwrap();
    assert_eq!(server.batch_ended(&name).await.progress.unwrap().succeeded_items, 20);
    assert!(server.items(&name).await.iter().all(|item| item.attempt_count == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_read_from_a_file_shown_again_and_checked() {
    let upstream = Canned::showing(NOTHING.0, NOTHING.1).await;
    let server = Server::start([]).await;
    let file = server.folder().join("spec.yaml");
    let text = format!(
        "inlineItems: {{items: [{{key: '1301'}}]}}
yahooChart: {{baseUrl: '{}', range: 1mo}}
fetch:
  rules:
    - {{statuses: [400, 5xx], bodyRegex: \"Data doesn't\", jsonPointer: /chart/error/description, failureClass: PERMANENT, reason: NO_DATA}}
",
        upstream.url()
    );
    std::fs::write(&file, &text).unwrap();
    let said = server.haul(&["start", "-f", file.to_str().unwrap(), "--id", "ruled", "--watch"]).await;
    assert_eq!(said.status, 3, "its one item failed: {} {}", said.out, said.err);
    let items = server.items("batches/ruled").await;
    assert_eq!(items[0].error.as_ref().unwrap().reason, "NO_DATA");
    let shown = server.haul(&["get", "ruled", "-o", "yaml"]).await;
    for line in
        ["- '400'", "- 5xx", "jsonPointer: /chart/error/description", "failureClass: FAILURE_CLASS_PERMANENT"]
    {
        assert!(shown.out.contains(line), "{line}: {}", shown.out);
    }
    std::fs::write(&file, text.replace("5xx", "6xx").replace("Data doesn't", "(")).unwrap();
    let said = server.haul(&["start", "-f", file.to_str().unwrap()]).await;
    for words in ["fetch.rules[0].statuses[1]", "\"6xx\"", "fetch.rules[0].bodyRegex", "unclosed group"] {
        assert!(said.err.contains(words), "{words}: {}", said.err);
    }
    let spec = ruled(prices_of_one(&upstream), vec![FailureRule::default()]);
    let details =
        refused(server.stub().start_batch(starting(spec)).await, Code::InvalidArgument, "INVALID_FIELD");
    assert_eq!(fields(&details), ["spec.fetch.rules[0]", "spec.fetch.rules[0].failure_class"]);
}

fn prices_of_one(upstream: &Canned) -> BatchSpec {
    batch(inline(codes(1)), &upstream.url(), fast())
}
