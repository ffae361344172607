//! Requests from templates, and what replies become.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::domain::request::{Digest, FileHead};

fn spec(settings: &spec::HttpFetch) -> BatchSpec {
    let spec = json!({
        "display_name": "a night", "batch_type": "nightly", "labels": {"team": "data & more"},
        "as_of": {"time": "2026-11-20T15:30:00Z", "zone": "Asia/Tokyo"},
        "source": {"inline": {"item_count": 1}},
        "connector": {"http_fetch": settings},
        "fetch": {
            "workers": 1, "attempt_timeout_ms": 30_000, "attempts_max": 4, "initial_backoff_ms": 2_000,
            "backoff_multiplier": 2.0, "max_backoff_ms": 300_000, "rate_per_s": 5.0, "burst": 1,
            "body_bytes_max": 1 << 24, "commit_group_size": 10, "commit_group_interval_ms": 250,
            "user_agent": "test", "keep_bodies_ms": 0,
        },
    });
    serde_json::from_value(spec).unwrap()
}

fn settings(url_template: &str) -> spec::HttpFetch {
    spec::HttpFetch {
        method: Method::Get,
        url_template: url_template.to_owned(),
        headers: std::collections::BTreeMap::new(),
        accept_statuses: vec![Statuses::SUCCESS],
        placement: Placement::Store,
    }
}

fn connector(settings: &spec::HttpFetch) -> HttpFetch {
    HttpFetch::new(settings, &spec(settings))
}

const ITEM: Subject<'_> = Subject {
    key: "a b/ç&?#%+",
    columns: Some(
        r#"{"n":17,"x":1.5,"yes":true,"none":null,"list":["p","q r"],"url":"http://h.test/a?b=c","key":"another"}"#,
    ),
};

fn url(template: &str) -> Result<String, Failure> {
    connector(&settings(template)).request(ITEM).map(|request| request.url)
}

#[test]
fn values_are_percent_encoded_in_a_url_and_what_is_written_there_is_not() {
    for (template, expected) in [
        ("http://h.test/a?b=c d", Err("INVALID_URL")),
        ("http://h.test/a%20b?c=d&e=%2F", Ok("http://h.test/a%20b?c=d&e=%2F")),
        ("http://h.test/{{ item.key }}", Ok("http://h.test/a%20b%2F%C3%A7%26%3F%23%25%2B")),
        ("http://h.test/{{ item.n }}/{{ item.x }}/{{ item.yes }}", Ok("http://h.test/17/1.5/true")),
        ("http://h.test/{{ item['n'] + 1 }}", Ok("http://h.test/18")),
        ("{{ item.url | safe }}", Ok("http://h.test/a?b=c")),
        ("http://h.test/?u={{ item.url }}", Ok("http://h.test/?u=http%3A%2F%2Fh.test%2Fa%3Fb%3Dc")),
        // Encoded once, by whichever.
        (
            "http://h.test/?u={{ item.url | urlencode }}",
            Ok("http://h.test/?u=http%3A%2F%2Fh.test%2Fa%3Fb%3Dc"),
        ),
        ("http://h.test/{{ item.list | join(',') }}", Ok("http://h.test/p%2Cq%20r")),
        ("http://h.test/{{ item.none | default('0', true) }}", Ok("http://h.test/0")),
        ("http://h.test/{% for x in item.list %}{{ x }}/{% endfor %}", Ok("http://h.test/p/q%20r/")),
        ("http://h.test/{% if item.n > 9 %}many{% else %}few{% endif %}", Ok("http://h.test/many")),
        ("http://h.test/?t={{ as_of }}", Ok("http://h.test/?t=2026-11-20T15%3A30%3A00Z")),
        // It is the next day there.
        ("http://h.test/{{ as_of_date }}", Ok("http://h.test/2026-11-21")),
        ("http://h.test/{{ as_of_date | replace('-', '') }}", Ok("http://h.test/20261121")),
        (
            "http://h.test/{{ batch.batch_type }}/{{ batch.display_name }}/{{ batch.labels.team }}",
            Ok("http://h.test/nightly/a%20night/data%20%26%20more"),
        ),
        ("\n  http://h.test/{{ item.n }}  \n", Ok("http://h.test/17")),
        ("http://h.test/{{ item.missing }}", Err("TEMPLATE_FAILED")),
        ("http://h.test/{{ itme.key }}", Err("TEMPLATE_FAILED")),
        ("http://h.test/{{ item.missing.deeper }}", Err("TEMPLATE_FAILED")),
        ("http://h.test/{{ batch.labels.nobody }}", Err("TEMPLATE_FAILED")),
        ("http://h.test/{{ item.none }}", Err("TEMPLATE_FAILED")),
        ("http://h.test/{{ item.list }}", Err("TEMPLATE_FAILED")),
        ("http://h.test/{{ item }}", Err("TEMPLATE_FAILED")),
        ("http://h.test/{{ now() }}", Err("TEMPLATE_FAILED")),
        ("http://h.test/{{ 1 / 0 }}", Err("TEMPLATE_FAILED")),
        ("http://h.test/{{ '/' * 9000 }}", Err("TEMPLATE_FAILED")),
        ("http://h.test/{% for x in range(90000) %}{% endfor %}", Err("TEMPLATE_FAILED")),
        ("http://{{ item.url }}/", Err("INVALID_URL")),
        ("ftp://h.test/{{ item.n }}", Err("INVALID_URL")),
        ("http://h.test/{{ '..' }}/x", Err("INVALID_URL")),
        ("http://h.test/a/{{ '.' }}", Err("INVALID_URL")),
        ("http://h.test/{{ '%2e%2E' | safe }}/x", Err("INVALID_URL")),
        ("http://h.test/?up={{ '..' }}", Ok("http://h.test/?up=..")),
        ("http://me:word@h.test/", Err("INVALID_URL")),
    ] {
        let got = url(template);
        let got = got.as_deref().map_err(|failure| {
            assert_eq!(failure.class, FailureClass::Permanent);
            failure.reason.as_str()
        });
        assert_eq!(got, expected, "{template}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_its_way_out() {
    for (template, said) in [
        ("http://h.test/{{ item.missing }}", &["undefined", "item.missing", "url_template:1"][..]),
        ("http://h.test/{{ item.none }}", &["is null", "default", "item.none"]),
        ("http://h.test/{{ item.list }}", &["sequence", "join", "item.list"]),
        ("http://h.test/{{ '/' * 9000 }}", &["more than 8192 bytes", "url_template"]),
        ("http://h.test/{% for x in range(90000) %}{% endfor %}", &["more than 50000 steps"]),
        ("http://{{ item.url }}/", &["the filter safe"]),
    ] {
        let message = url(template).unwrap_err().message;
        assert!(said.iter().all(|said| message.contains(said)), "{template}: {message}");
    }
}

#[test]
fn headers_are_rendered_as_they_are_and_hold_no_line_of_their_own() {
    let headers = [
        ("x-key", "{{ item.n }}/{{ as_of_date }}"),
        ("authorization", "Basic a+b=="),
        ("x-url", " {{ item.url }} "),
    ];
    let with = |headers: &[(&str, &str)]| spec::HttpFetch {
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..settings("http://h.test/")
    };
    let request = connector(&with(&headers)).request(ITEM).unwrap();
    let sent: Vec<(&str, &str)> =
        request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        sent,
        [("authorization", "Basic a+b=="), ("x-key", "17/2026-11-21"), ("x-url", "http://h.test/a?b=c")]
    );
    for bad in ["{{ 'a\\r\\nx-evil: 1' }}", "{{ item.key }}", "{{ item.missing }}", "{{ 'x' * 9000 }}"] {
        let failure = connector(&with(&[("x-bad", bad)])).request(ITEM).unwrap_err();
        assert_eq!(failure.reason, "TEMPLATE_FAILED", "{bad}");
        assert!(failure.message.contains("headers[x-bad]"), "{}", failure.message);
    }
}

#[test]
fn a_template_that_does_not_compile_is_named() {
    for template in [
        "http://h.test/{{ item.key",
        "{% if %}",
        "{{ item.key | }}",
        "{% include 'x' %}",
        "{% macro m() %}{% endmacro %}",
    ] {
        let (name, problem) = HttpFetch::bad_template(&settings(template)).unwrap();
        assert_eq!(name, "url_template", "{template}");
        assert!(problem.contains("syntax error"), "{template}: {problem}");
        // One of another build is no panic.
        assert_eq!(url(template).unwrap_err().reason, "TEMPLATE_FAILED");
    }
    assert_eq!(HttpFetch::bad_template(&settings("http://h.test/{{ item.key }}")), None);
}

#[test]
fn the_origin_is_fixed_where_the_template_has_it() {
    for (template, origin) in [
        ("http://h.test/{{ item.key }}", Ok(Some("http://h.test:80"))),
        ("https://H.test:8443?k={{ item.key }}", Ok(Some("https://h.test:8443"))),
        ("https://h.test", Ok(Some("https://h.test:443"))),
        ("  https://h.test/x", Ok(Some("https://h.test:443"))),
        ("https://h.test#{{ item.key }}", Ok(Some("https://h.test:443"))),
        ("https://h.test/{# why #}x", Ok(Some("https://h.test:443"))),
        ("http://h.test:{{ item.port }}/", Ok(None)),
        ("https://{{ item.key }}.test/", Ok(None)),
        ("{{ item.url | safe }}", Ok(None)),
        ("{% if item.n %}http://a.test/{% else %}http://b.test/{% endif %}", Ok(None)),
        ("http{{ 's' }}://h.test/", Ok(None)),
        ("", Err(NoOrigin)),
        ("h.test/{{ item.key }}", Err(NoOrigin)),
        ("/{{ item.key }}", Err(NoOrigin)),
        ("ftp://{{ item.key }}/", Err(NoOrigin)),
        ("http:///x", Err(NoOrigin)),
        ("http://", Err(NoOrigin)),
    ] {
        let found = fixed_origin(template).map(|origin| origin.map(|origin| origin.to_string()));
        assert_eq!(found.as_ref().map(Option::as_deref), origin.as_ref().copied(), "{template}");
    }
}

fn response(status: u16, body: &[u8]) -> Response {
    Response {
        status,
        content_type: "text/plain".to_owned(),
        retry_after: None,
        date: None,
        body: body.to_vec().into(),
        digest: None,
        bytes_received: 0,
        latency: Duration::ZERO,
        file: FileHead::default(),
    }
}

fn decoded(settings: &spec::HttpFetch, response: &Response) -> Result<StoredResponse, Fault> {
    let connector = connector(settings);
    let request = connector.request(ITEM).unwrap();
    match connector.decode(ITEM, &request, response)? {
        Records::Response(response) => Ok(*response),
        Records::PriceHistory(history) => panic!("{history:?}"),
    }
}

#[test]
fn a_success_is_what_the_spec_accepts_but_for_429() {
    let accepting = |texts: &[&str]| spec::HttpFetch {
        accept_statuses: texts.iter().map(|text| Statuses::parse(text).unwrap()).collect(),
        ..settings("http://h.test/")
    };
    for (texts, accepted, refused) in [
        (&["2xx"][..], &[200, 204, 299][..], &[304, 404, 429, 500][..]),
        (&["200", "404"], &[200, 404], &[201, 410]),
        (&["200-499"], &[200, 301, 428, 430, 499], &[429, 500]),
    ] {
        let settings = accepting(texts);
        for status in accepted {
            assert_eq!(decoded(&settings, &response(*status, b"x")).unwrap().http_status, *status);
        }
        for status in refused {
            assert_eq!(
                decoded(&settings, &response(*status, b"x")),
                Err(Fault::Status),
                "{texts:?} {status}"
            );
        }
    }
}

#[test]
fn a_body_is_stored_up_to_its_bound_or_told_of() {
    let store = settings("http://h.test/");
    let discard = spec::HttpFetch { placement: Placement::Discard, ..store.clone() };
    let body = vec![7; STORED_BODY_BYTES_MAX as usize];
    let stored = decoded(&store, &response(200, &body)).unwrap();
    assert_eq!(zstd::bulk::decompress(&stored.zstd.unwrap(), body.len()).unwrap(), body);
    assert_eq!((stored.size_bytes, stored.sha256), (1 << 20, Digest::of(&body).sha256));
    let larger = response(200, &vec![7; STORED_BODY_BYTES_MAX as usize + 1]);
    assert_eq!(decoded(&store, &larger), Err(Fault::TooLarge(1 << 20)));
    let told = decoded(&discard, &larger).unwrap();
    assert_eq!((told.size_bytes, told.zstd), ((1 << 20) + 1, None));
    let digest = Digest { bytes: 1 << 31, sha256: [9; 32] };
    let read = Response { digest: Some(digest), ..response(200, b"") };
    let told = decoded(&discard, &read).unwrap();
    assert_eq!((told.size_bytes, told.sha256), (1 << 31, [9; 32]));
}

#[test]
fn a_body_is_collected_only_where_somebody_wants_it() {
    let store = settings("http://h.test/");
    let discard = spec::HttpFetch { placement: Placement::Discard, ..store.clone() };
    assert_eq!(connector(&store).request(ITEM).unwrap().reading, Reading::UpTo(1 << 20));
    assert_eq!(connector(&discard).request(ITEM).unwrap().reading, Reading::Digest);
    let mut keeping = spec(&discard);
    keeping.fetch.keep_bodies = Duration::from_secs(1);
    assert_eq!(HttpFetch::new(&discard, &keeping).request(ITEM).unwrap().reading, Reading::Whole);
}
