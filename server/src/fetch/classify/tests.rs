use std::{fs, path::PathBuf};

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::domain::{request::FileHead, rule::FailureRule};

fn response(status: u16, retry_after: Option<&str>, body: impl Into<bytes::Bytes>) -> Response {
    Response {
        status,
        content_type: String::new(),
        retry_after: retry_after.map(str::to_owned),
        date: None,
        body: body.into(),
        digest: None,
        bytes_received: 0,
        latency: Duration::ZERO,
        file: FileHead::default(),
    }
}

/// Class, reason, and what it does to the upstream's gate.
pub(crate) fn told(failure: &Failure) -> String {
    let effect = match verdict(Some(failure)) {
        Verdict::PushBack { retry_after: Some(wait) } => format!("gate held {} s", wait.as_secs()),
        Verdict::PushBack { retry_after: None } => "gate held".to_owned(),
        Verdict::Failing => "counts against the breaker".to_owned(),
        Verdict::Refusing if failure.held_back => "lives, item held back".to_owned(),
        Verdict::Refusing | Verdict::Alive => "lives".to_owned(),
    };
    format!("{} {}, {effect}", failure.class.as_str(), failure.reason)
}

fn of_fault(fault: &Fault, status: u16, retry_after: Option<&str>) -> String {
    let failure = reply(fault, &response(status, retry_after, ""), DateTime::UNIX_EPOCH);
    assert_eq!(failure.http_status, Some(status));
    told(&failure)
}

#[test]
fn what_is_refused_where_each_item_has_its_own_upstream_is_its_own() {
    let of_its_item = |status| {
        let failure = reply(&Fault::Status, &response(status, None, ""), DateTime::UNIX_EPOCH);
        told(&of_its_item(failure))
    };
    assert_eq!(of_its_item(401), "PERMANENT HTTP_STATUS, lives");
    assert_eq!(of_its_item(403), of_its_item(401));
    assert_eq!(of_its_item(404), "PERMANENT NOT_FOUND, lives");
    assert_eq!(of_its_item(500), of_fault(&Fault::Status, 500, None));
}

#[test]
fn every_status_has_its_class_reason_and_effect() {
    const COUNTS: &str = "TEMPORARY HTTP_STATUS, counts against the breaker";
    const PERMANENT: &str = "PERMANENT HTTP_STATUS, lives";
    const NOT_FOUND: &str = "PERMANENT NOT_FOUND, lives";
    const REFUSED: &str = "SYSTEM CREDENTIALS_REFUSED, lives, item held back";
    for (status, retry_after, expected) in [
        (204, None, PERMANENT),
        (301, None, PERMANENT),
        (302, Some("5"), PERMANENT),
        (304, None, PERMANENT),
        (400, None, PERMANENT),
        (401, None, REFUSED),
        (402, None, PERMANENT),
        (403, None, REFUSED),
        (403, Some("60"), REFUSED),
        (404, None, NOT_FOUND),
        (405, None, PERMANENT),
        (407, None, PERMANENT),
        (408, None, COUNTS),
        (409, None, PERMANENT),
        (410, None, NOT_FOUND),
        (413, None, PERMANENT),
        (415, None, PERMANENT),
        (418, None, PERMANENT),
        (422, None, PERMANENT),
        (425, None, COUNTS),
        (428, None, PERMANENT),
        (429, None, "TEMPORARY RATE_LIMITED, gate held"),
        (429, Some("7"), "TEMPORARY RATE_LIMITED, gate held 7 s"),
        (431, None, PERMANENT),
        (451, None, PERMANENT),
        (500, None, COUNTS),
        (501, None, COUNTS),
        (502, Some("7"), COUNTS),
        (503, None, COUNTS),
        (503, Some("0"), COUNTS),
        (503, Some("7"), "TEMPORARY RATE_LIMITED, gate held 7 s"),
        (504, None, COUNTS),
        (520, None, COUNTS),
        (529, None, COUNTS),
        (599, None, COUNTS),
    ] {
        assert_eq!(of_fault(&Fault::Status, status, retry_after), expected, "{status} {retry_after:?}");
    }
}

#[test]
fn a_body_decides_only_where_the_status_does_not() {
    let text = || "x".to_owned();
    let of_another = || Fault::SymbolMismatch { asked: text(), got: text() };
    let of_length = || Fault::GranularityMismatch { asked: text(), got: text() };
    for (fault, at_200, at_404) in [
        (Fault::NotFound(text()), "PERMANENT NOT_FOUND", "PERMANENT NOT_FOUND"),
        (Fault::Refused(text()), "PERMANENT REFUSED", "PERMANENT REFUSED"),
        (Fault::HtmlPage, "TEMPORARY HTML_PAGE", "TEMPORARY HTML_PAGE"),
        (Fault::Garbage(text()), "TEMPORARY GARBAGE_BODY", "TEMPORARY GARBAGE_BODY"),
        (Fault::Undecodable(text()), "PERMANENT UNDECODABLE", "PERMANENT UNDECODABLE"),
        (of_length(), "PERMANENT GRANULARITY_MISMATCH", "PERMANENT GRANULARITY_MISMATCH"),
        (of_another(), "PERMANENT SYMBOL_MISMATCH", "PERMANENT SYMBOL_MISMATCH"),
    ] {
        for (status, expected) in [(200, at_200), (404, at_404)] {
            let effect = if expected.starts_with('T') { "counts against the breaker" } else { "lives" };
            assert_eq!(of_fault(&fault, status, None), format!("{expected}, {effect}"), "{fault:?} {status}");
        }
        let refused = "SYSTEM CREDENTIALS_REFUSED, lives, item held back";
        assert_eq!(of_fault(&fault, 401, None), refused, "{fault:?}");
        assert_eq!(of_fault(&fault, 429, None), "TEMPORARY RATE_LIMITED, gate held", "{fault:?}");
        let in_trouble = of_fault(&fault, 502, None);
        let counts =
            in_trouble.starts_with("TEMPORARY") && in_trouble.ends_with("counts against the breaker");
        assert!(counts, "{fault:?}: {in_trouble}");
    }
    assert_eq!(verdict(None), Verdict::Alive);
    assert_eq!(told(&own_refusal()), "PERMANENT HTTP_STATUS, lives");
}

#[test]
fn every_missing_reply_has_its_class_reason_and_effect() {
    let said = || "x".to_owned();
    let permanent = |reason| Some((FailureClass::Permanent, reason));
    let temporary = |reason| Some((FailureClass::Temporary, reason));
    for (error, failure, effect) in [
        (FetchError::Held { until: DateTime::UNIX_EPOCH }, None, None),
        (FetchError::Withdrawn, None, None),
        (FetchError::Unsendable(said()), permanent("UNSENDABLE"), None),
        (FetchError::Forbidden(said()), permanent("TARGET_FORBIDDEN"), None),
        (FetchError::Dns(said()), temporary("DNS_FAILURE"), Some(Verdict::Failing)),
        (FetchError::Connect(said()), temporary("CONNECT_FAILED"), Some(Verdict::Failing)),
        (FetchError::Broken(said()), temporary("CONNECTION_BROKEN"), Some(Verdict::Failing)),
        (FetchError::Truncated(said()), temporary("TRUNCATED_BODY"), Some(Verdict::Failing)),
        (FetchError::Timeout(Duration::from_secs(30)), temporary("ATTEMPT_TIMEOUT"), Some(Verdict::Failing)),
        (FetchError::BodyTooLarge(16 << 20), permanent("BODY_TOO_LARGE"), Some(Verdict::Alive)),
    ] {
        let found = transport(&error);
        let found = found.as_ref().map(|failure| (failure.class, failure.reason.as_str()));
        assert_eq!((found, silence(&error)), (failure, effect), "{error}");
    }
}

/// Faults in the words of the connector.
#[test]
fn every_failure_of_a_request_is_as_its_page_shows_it() {
    let said = |text: &str| text.to_owned();
    let transport = |error: FetchError| transport(&error).unwrap();
    let reply = |fault: Fault, status| reply(&fault, &response(status, None, ""), DateTime::UNIX_EPOCH);
    let words = "Bad Request: 1m data not available for startTime=1 and endTime=2";
    let quota = [FailureRule { body_regex: said("quota exceeded"), ..rule() }];
    let ruled = response(200, None, r#"{"error": "daily quota exceeded"}"#);
    for failure in [
        transport(FetchError::Dns(said("prices.example: Name or service not known"))),
        transport(FetchError::Connect(said("tcp connect error: Connection refused (os error 111)"))),
        transport(FetchError::Broken(said("connection closed before message completed"))),
        transport(FetchError::Truncated(said("end of file before message length reached"))),
        transport(FetchError::Timeout(Duration::from_secs(30))),
        transport(FetchError::BodyTooLarge(16 << 20)),
        transport(FetchError::Unsendable(said("URL has more than 8192 bytes"))),
        reply(Fault::Status, 503),
        reply(Fault::Status, 429),
        reply(Fault::Status, 401),
        reply(Fault::HtmlPage, 200),
        reply(Fault::Garbage(said("the body is empty")), 200),
        reply(Fault::NotFound(said("9999.T has no data, symbol may be delisted")), 200),
        reply(Fault::Refused(said(words)), 422),
        reply(Fault::Undecodable(said("timestamp has 3 entries, close has 2")), 200),
        reply(Fault::GranularityMismatch { asked: said("1d"), got: said("1mo") }, 200),
        reply(Fault::SymbolMismatch { asked: said("7203.T"), got: said("TM") }, 200),
        read_with(&quota, &ruled).unwrap(),
    ] {
        let status = failure.http_status.map(|status| format!("http_status: {status}\n")).unwrap_or_default();
        let (class, reason, message) = (failure.class.as_str(), &failure.reason, &failure.message);
        let shown = format!("failure_class: {class}\nreason: {reason}\n{status}message: {message}\n");
        crate::example::documented(reason, &shown);
    }
}

#[test]
fn a_time_to_wait_is_read_in_seconds_and_as_a_date_and_is_at_most_a_day() {
    let now = "2026-11-21T00:00:00Z".parse().unwrap();
    for (header, seconds) in [
        (None, None),
        (Some("7"), Some(7)),
        (Some(" 7 "), Some(7)),
        (Some("86400"), Some(86_400)),
        (Some("86401"), Some(86_400)),
        (Some("99999999999999999999999"), Some(86_400)),
        (Some("Sat, 21 Nov 2026 00:01:00 GMT"), Some(60)),
        (Some("Saturday, 21-Nov-26 00:01:00 GMT"), Some(60)),
        (Some("Sun, 21 Nov 2027 00:00:00 GMT"), Some(86_400)),
        (Some("Fri, 20 Nov 2026 00:01:00 GMT"), None),
        (Some("0"), None),
        (Some("-1"), None),
        (Some("1.5"), None),
        (Some("soon"), None),
        (Some(""), None),
    ] {
        let failure = reply(&Fault::HtmlPage, &response(429, header, ""), now);
        assert_eq!(failure.retry_after.map(|wait| wait.as_secs()), seconds, "{header:?}");
        assert!(failure.push_back, "{header:?}");
    }
}

fn rule() -> FailureRule {
    FailureRule {
        statuses: Vec::new(),
        body_regex: String::new(),
        json_pointer: String::new(),
        class: FailureClass::Permanent,
        reason: "RULE_MATCHED".to_owned(),
        holds_gate: false,
        retry_after: None,
    }
}

/// What rules make of a reply that decodes where its status is 200.
fn read_with(rules: &[FailureRule], response: &Response) -> Option<Failure> {
    let decode = || if response.status == 200 { Ok(()) } else { Err(Fault::Status) };
    read(&Rules::new(rules).unwrap(), response, DateTime::UNIX_EPOCH, decode).err()
}

#[test]
fn a_rule_is_met_by_status_and_body_together_and_goes_before_what_is_built_in() {
    let of = |statuses: &[&str], body_regex: &str, json_pointer: &str| FailureRule {
        statuses: statuses.iter().map(|&text| text.to_owned()).collect(),
        body_regex: body_regex.to_owned(),
        json_pointer: json_pointer.to_owned(),
        ..rule()
    };
    let late = format!("{}quota", "x".repeat(64 * 1024 - 4));
    let just = format!("{}quota", "x".repeat(64 * 1024 - 5));
    for (rule, status, body, is_met) in [
        (of(&["404"], "", ""), 404, "", true),
        (of(&["404"], "", ""), 403, "", false),
        (of(&["404", "5xx"], "", ""), 503, "", true),
        (of(&["401-403"], "", ""), 401, "", true),
        (of(&["401-403"], "", ""), 404, "", false),
        (of(&["200"], "quota", ""), 200, "daily quota exceeded", true),
        (of(&["200"], "quota", ""), 200, "fine", false),
        (of(&["500"], "quota", ""), 200, "quota", false),
        (of(&[], "(?i)QUOTA", ""), 299, "Quota", true),
        (of(&[], "^quota$", ""), 200, "the quota", false),
        (of(&[], "quota", ""), 200, &just, true),
        (of(&[], "quota", ""), 200, &late, false),
        (of(&[], "^17$", "/error/code"), 200, r#"{"error": {"code": 17}}"#, true),
        (of(&[], "^17$", "/error/code"), 200, r#"{"error": {"code": "17"}}"#, true),
        (of(&[], "17", "/error/code"), 200, r#"{"code": 17, "error": 17}"#, false),
        (of(&[], "17", "/error/code"), 200, r#"{"error": {"code": 17}"#, false),
        (of(&[], "17", "/error/code"), 200, "17", false),
        (of(&[], "", ""), 200, "", true),
        (of(&[], "b", "/list/1"), 200, r#"{"list": ["a", "b"]}"#, true),
        (of(&[], "b", "/list/01"), 200, r#"{"list": ["a", "b"]}"#, false),
        (of(&[], "b", "/list/2"), 200, r#"{"list": ["a", "b"]}"#, false),
        (of(&[], "b", "/list/-"), 200, r#"{"list": ["a", "b"]}"#, false),
        (of(&[], "\"a\":1", "/in"), 200, r#"{"in": {"a": 1}}"#, true),
        (of(&[], "^null$", "/error"), 200, r#"{"error": null}"#, true),
        (of(&[], "x", "/a~1b/~0c"), 200, r#"{"a/b": {"~c": "x"}}"#, true),
        (of(&[], "x", "/"), 200, r#"{"": "x"}"#, true),
    ] {
        let failure = read_with(std::slice::from_ref(&rule), &response(status, None, body.to_owned()));
        let reason = failure.as_ref().map(|failure| failure.reason.as_str());
        assert_eq!(reason == Some("RULE_MATCHED"), is_met, "{rule:?}: {status} {reason:?}");
    }
    let broken = response(200, None, vec![0xFF, b'q', 0xFE]);
    assert!(read_with(&[of(&[], "q", "")], &broken).is_some(), "bodies need not be text");
    let refused = read_with(&[of(&["403"], "", "")], &response(403, None, "")).unwrap();
    assert_eq!(told(&refused), "PERMANENT RULE_MATCHED, lives");
    let limited = read_with(&[of(&["429"], "", "")], &response(429, Some("9"), "")).unwrap();
    assert_eq!((told(&limited).as_str(), limited.retry_after), ("PERMANENT RULE_MATCHED, lives", None));
}

#[test]
fn a_rule_says_class_reason_and_effect_and_the_replys_own_time_wins() {
    use FailureClass::{Permanent, System, Temporary};
    for (class, holds_gate, own_s, header, expected) in [
        (Permanent, false, None, Some("9"), "PERMANENT QUOTA, lives"),
        (System, false, None, None, "SYSTEM QUOTA, lives"),
        (Temporary, false, None, None, "TEMPORARY QUOTA, counts against the breaker"),
        (Temporary, true, None, None, "TEMPORARY QUOTA, gate held"),
        (Temporary, true, Some(30), None, "TEMPORARY QUOTA, gate held 30 s"),
        (Temporary, true, Some(30), Some("9"), "TEMPORARY QUOTA, gate held 9 s"),
        (Temporary, true, Some(30), Some("90000"), "TEMPORARY QUOTA, gate held 86400 s"),
    ] {
        let retry_after = own_s.map(Duration::from_secs);
        let rule = FailureRule { class, holds_gate, retry_after, reason: "QUOTA".to_owned(), ..rule() };
        let failure = read_with(&[rule], &response(200, header, "")).unwrap();
        assert_eq!(told(&failure), expected);
        assert!(!failure.held_back, "{expected}");
    }
}

#[allow(clippy::print_stderr, reason = "a test that is left out says so")]
fn observed(folder: &str) -> Vec<Value> {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let data = std::env::var_os("HAUL_SHARED_DATA").map_or_else(default, PathBuf::from);
    let file = data.join(folder).join("observed_errors.jsonl");
    let Ok(lines) = fs::read_to_string(&file) else {
        eprintln!("SKIPPED: no recordings at {}", file.display());
        return Vec::new();
    };
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What is built in, and what two rules of somebody who knows this upstream make of it. Those of the chart endpoint are
/// in the connector's tests, which decode them.
const OBSERVED: &str = "\
enqueued_token_limit: no reply
unparseable_line: no reply
documented_validation_codes: no reply
missing_required_parameter: PERMANENT HTTP_STATUS, lives; PERMANENT HTTP_STATUS, lives
file_not_visible_yet: PERMANENT HTTP_STATUS, lives; TEMPORARY NOT_THERE_YET, counts against the breaker
not_jsonl: PERMANENT HTTP_STATUS, lives; PERMANENT HTTP_STATUS, lives
malformed_rows_accepted_at_upload: success; success
completed_without_output_file: success; PERMANENT NO_OUTPUT, lives
expired_row: no reply
tpm_rate_limit: TEMPORARY RATE_LIMITED, gate held; TEMPORARY RATE_LIMITED, gate held
rate_limit_headers: no reply
";

#[test]
fn every_error_that_a_provider_was_seen_to_send_is_what_its_line_says() {
    let observed = observed("openai_batch");
    if observed.is_empty() {
        return;
    }
    let rules = [
        FailureRule {
            statuses: vec!["400".to_owned()],
            body_regex: "^Cannot find file".to_owned(),
            json_pointer: "/error/message".to_owned(),
            class: FailureClass::Temporary,
            reason: "NOT_THERE_YET".to_owned(),
            ..rule()
        },
        FailureRule {
            body_regex: "^null$".to_owned(),
            json_pointer: "/output_file_id".to_owned(),
            reason: "NO_OUTPUT".to_owned(),
            ..rule()
        },
    ];
    let line = |entry: &Value| {
        let Some(status) = entry["status"].as_u64() else { return "no reply".to_owned() };
        let reply = response(status as u16, None, entry["object"].to_string());
        let said = |rules: &[FailureRule]| {
            read_with(rules, &reply).map_or("success".to_owned(), |failure| told(&failure))
        };
        format!("{}; {}", said(&[]), said(&rules))
    };
    let lines =
        observed.iter().map(|entry| format!("{}: {}\n", entry["case"].as_str().unwrap(), line(entry)));
    assert_eq!(lines.collect::<String>(), OBSERVED);
}

fn any_rule() -> impl Strategy<Value = FailureRule> {
    let statuses = prop::collection::vec(
        prop_oneof![Just("200"), Just("2xx"), Just("4xx"), Just("400-499"), Just("503")],
        0..3,
    );
    let pattern = prop_oneof![Just(""), Just("a+"), Just("(?s).*b"), Just("^$"), Just("[^a]"), Just("\\d")];
    let pointer = prop_oneof![Just(""), Just("/a"), Just("/a/0"), Just("/0/a/b"), Just("/~0")];
    (statuses, pattern, pointer).prop_map(|(statuses, pattern, pointer)| FailureRule {
        statuses: statuses.into_iter().map(str::to_owned).collect(),
        body_regex: pattern.to_owned(),
        json_pointer: if pattern.is_empty() { String::new() } else { pointer.to_owned() },
        ..rule()
    })
}

fn any_body() -> impl Strategy<Value = Vec<u8>> {
    let json = "[\\[\\]{}\",:ab01~ ]{0,40}".prop_map(String::into_bytes);
    let nested = (0usize..300).prop_map(|depth| "[".repeat(depth).into_bytes());
    let value = prop_oneof![
        Just(r#"{"a": [1, "ab"], "~": "b"}"#.as_bytes().to_vec()),
        Just(r#"[{"a": {"b": "aa"}}]"#.as_bytes().to_vec()),
    ];
    prop_oneof![prop::collection::vec(any::<u8>(), 0..200), json, nested, value]
}

proptest! {
    #[test]
    fn a_wait_never_exceeds_a_day(text in "\\PC*") {
        let wait = retry_after(&response(429, Some(&text), ""), DateTime::UNIX_EPOCH);
        prop_assert!(wait.is_none_or(|wait| wait <= RETRY_AFTER_MAX));
    }

    /// Whatever the reply: the first rule that it meets alone is the one that counts among all.
    #[test]
    fn the_first_rule_that_is_met_wins(
        rules in prop::collection::vec(any_rule(), 0..6),
        status in prop_oneof![Just(200u16), Just(404), Just(429), Just(503), 100u16..600],
        body in any_body(),
    ) {
        let rules: Vec<FailureRule> = rules
            .into_iter()
            .enumerate()
            .map(|(place, rule)| FailureRule { reason: format!("RULE_{place}"), ..rule })
            .collect();
        let reply = response(status, None, body);
        let alone = |rule: &FailureRule| {
            let failure = read_with(std::slice::from_ref(rule), &reply)?;
            (failure.reason == rule.reason).then_some(failure.reason)
        };
        let expected = rules.iter().find_map(alone);
        let found = read_with(&rules, &reply).map(|failure| failure.reason).filter(|reason| reason.starts_with("RULE_"));
        prop_assert_eq!(found, expected);
    }

    /// No pattern and no pointer does harm: it is taken or refused.
    #[test]
    fn rules_never_panic(pattern in "\\PC{0,40}", pointer in "/?\\PC{0,20}", body in any_body()) {
        let rule = FailureRule { body_regex: pattern, json_pointer: pointer, ..rule() };
        if let Ok(rules) = Rules::new(&[rule]) {
            let _ = read(&rules, &response(200, None, body), DateTime::UNIX_EPOCH, || Ok::<(), Fault>(()));
        }
    }
}
