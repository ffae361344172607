//! Spec files, and what is said of those that are none.

use std::{fs, path::Path};

use haul_client::cli::spec::{self, SpecError};
use haul_proto::v1::{
    BatchSpec,
    as_of::Moment,
    batch_spec::{Connector, Source},
    file_source, jpx_listing,
};

fn good(text: &str) -> BatchSpec {
    spec::parse(text, "spec.yaml").unwrap_or_else(|error| panic!("{error}"))
}

fn bad(text: &str) -> String {
    spec::parse(text, "spec.yaml").unwrap_err().to_string()
}

const NIGHTLY: &str = r#"
displayName: Every night   # for people
labels: {team: research, year: 2026}
asOf: {date: 2026-02-28, timeZone: Asia/Tokyo}
jpxListing:
  segments: [PRIME, SEGMENT_STANDARD, 3]
  includeCodes: [1301, "0130", 130A]
yahoo_chart:
  range: 1y
  events: [EVENT_SPLITS]
  symbolSuffix: ""
fetch:
  workers: 10
  attemptTimeout: 30s
  requestsPerSecond: 5
  max_body_bytes: "16777216"
  burst:
"#;

#[test]
fn yaml_with_all_its_liberties() {
    let spec = good(NIGHTLY);
    assert_eq!(spec.labels["year"], "2026");
    let as_of = spec.as_of.unwrap();
    assert_eq!(as_of.moment, Some(Moment::Date("2026-02-28".to_owned())));
    let Some(Source::JpxListing(listing)) = spec.source else {
        panic!("{:?}", spec.source);
    };
    assert_eq!(listing.include_codes, ["1301", "0130", "130A"]);
    let segments: Vec<_> = listing.segments().collect();
    assert_eq!(
        segments,
        [jpx_listing::Segment::Prime, jpx_listing::Segment::Standard, jpx_listing::Segment::Growth]
    );
    let Some(Connector::YahooChart(chart)) = spec.connector else {
        panic!("{:?}", spec.connector);
    };
    assert_eq!(chart.symbol_suffix.as_deref(), Some(""));
    let fetch = spec.fetch.unwrap();
    assert_eq!(fetch.workers, Some(10));
    assert_eq!(fetch.requests_per_second, Some(5.0));
    assert_eq!(fetch.max_body_bytes, Some(16 << 20));
    assert_eq!(fetch.burst, None);
    assert_eq!(fetch.attempt_timeout.unwrap().seconds, 30);
}

#[test]
fn json_is_read_as_json() {
    let spec = good(
        "{\n\t\"displayName\": \"\\ud83d\\ude80\", \"file\": {\"uri\": \"file:keys.csv\", \"format\": \"CSV\"}\n}",
    );
    assert_eq!(spec.display_name, "\u{1f680}");
    let Some(Source::File(file)) = spec.source else {
        panic!("{:?}", spec.source);
    };
    assert_eq!(file.format(), file_source::Format::Csv);
}

#[test]
fn items_carry_columns_of_any_shape() {
    let spec = good(
        "inlineItems: {items: [{key: 1301, columns: {name: Kyokuyo, sizes: [1, 2.5], ok: true, no: null}}]}",
    );
    let Some(Source::InlineItems(inline)) = spec.source else {
        panic!("{:?}", spec.source);
    };
    assert_eq!(inline.items[0].key, "1301");
    assert_eq!(inline.items[0].columns.as_ref().unwrap().fields.len(), 4);
}

#[test]
fn anchors_and_merges() {
    let spec = good("fetch: {<<: &slow {workers: 1}, burst: 2}");
    let fetch = spec.fetch.unwrap();
    assert_eq!((fetch.workers, fetch.burst), (Some(1), Some(2)));
}

#[test]
fn everything_wrong_is_said_at_once() {
    let text = "\
displayName: x
fetch:
  wrokers: 10
  attempt_timout: 30s
  speed: fast
jpxListing: {segments: [PRIM, Prime]}
";
    assert_eq!(
        bad(text),
        "\
spec.yaml:3: spec.fetch.wrokers: unknown field; did you mean \"workers\"?
spec.yaml:4: spec.fetch.attempt_timout: unknown field; did you mean \"attempt_timeout\"?
spec.yaml:5: spec.fetch.speed: unknown field; known are workers, attemptTimeout, maxAttempts, initialBackoff, \
backoffMultiplier, maxBackoff, requestsPerSecond, burst, adaptivePace, maxBodyBytes, commitGroupSize, commitGroupInterval, \
rules, userAgent, itemDeadline, keepBodies, probeItems
spec.yaml:6: spec.jpxListing.segments[0]: unknown value \"PRIM\"; did you mean \"PRIME\"?
spec.yaml:6: spec.jpxListing.segments[1]: unknown value \"Prime\"; did you mean \"PRIME\"?"
    );
}

#[test]
fn wrong_types_name_what_was_expected() {
    for (text, problem) in [
        ("fetch: {workers: many}", "spec.fetch.workers: expected a whole number, got \"many\""),
        ("fetch: {workers: 1.5}", "spec.fetch.workers: expected a whole number, got 1.5"),
        (
            "fetch: {workers: 3000000000}",
            "spec.fetch.workers: expected a whole number from -2147483648 to 2147483647, got 3000000000",
        ),
        ("fetch: {requestsPerSecond: fast}", "spec.fetch.requestsPerSecond: expected a number, got \"fast\""),
        (
            "fetch: {attemptTimeout: 30}",
            "spec.fetch.attemptTimeout: expected a duration in seconds such as \"30s\" or \"0.5s\", got 30",
        ),
        (
            "fetch: {attemptTimeout: 5m}",
            "spec.fetch.attemptTimeout: expected a duration in seconds such as \"30s\" or \"0.5s\", got \"5m\"",
        ),
        (
            "asOf: {time: 2026-02-28}",
            "spec.asOf.time: expected an instant such as \"2026-02-28T15:00:00+09:00\", got \"2026-02-28\"",
        ),
        ("fetch: 10", "spec.fetch: expected a group of fields, got 10"),
        ("fetch: [workers]", "spec.fetch: expected a group of fields, got a list"),
        (
            "jpxListing: {segments: PRIME}",
            "spec.jpxListing.segments: expected a list, got \"PRIME\"; put it in [brackets]",
        ),
        ("labels: {a: [1]}", "spec.labels.a: expected text, got a list"),
        ("labels: {a: yes, b: true}", "spec.labels.b: expected text, got true; put it in quotes"),
        (
            "inlineItems: {items: [{key: 1301.0}]}",
            "spec.inlineItems.items[0].key: expected text, got 1301.0; put it in quotes",
        ),
        (
            "inlineItems: {items: [{key: 0x10}]}",
            "spec.inlineItems.items[0].key: expected text, got 16; put it in quotes",
        ),
        (
            "jpxListing: {segments: [99]}",
            "spec.jpxListing.segments[0]: unknown value 99; known are PRIME, STANDARD, GROWTH, PRO_MARKET, ETF_ETN, \
             REIT, EQUITY_CONTRIBUTION, FIRST_SECTION, SECOND_SECTION, MOTHERS, JASDAQ_STANDARD, JASDAQ_GROWTH",
        ),
        (
            "yahooChart: {range: 1y, relativeWindow: {days: 5}}",
            "spec.yahooChart.relativeWindow: excludes \"range\"; give one of the two",
        ),
        (
            "inlineItems: {}\nfile: {uri: \"file:x\"}",
            "spec.file: excludes \"inlineItems\"; give one of the two",
        ),
        (
            "displayName: a\ndisplay_name: b",
            "spec.display_name: given twice, as \"displayName\" and \"display_name\"",
        ),
        ("just text", "spec: expected a group of fields, got \"just text\""),
        ("# nothing", "spec: the file is empty"),
    ] {
        let said = bad(text);
        let (place, rest) = said.split_once(": ").unwrap();
        assert_eq!(rest, problem, "{text}");
        assert!(place.starts_with("spec.yaml"), "{place}");
    }
}

#[test]
fn syntax_errors_have_a_place() {
    for (text, origin, problem) in [
        (
            "fetch:\n  workers: [1\n",
            "spec.yaml",
            "spec.yaml: did not find expected ',' or ']' at line 3 column 1, while parsing a flow sequence at line 2 column 12",
        ),
        ("{\n  \"fetch\": }", "spec.json", "spec.json: expected value at line 2 column 12"),
    ] {
        assert_eq!(spec::parse(text, origin).unwrap_err().to_string(), problem);
    }
}

#[test]
fn nothing_is_given_twice() {
    let problem = "spec.yaml: duplicate entry with key \"fetch\"";
    assert_eq!(bad("fetch: {workers: 1}\nfetch: {workers: 2}"), problem);
    assert_eq!(bad("{\"fetch\": {}, \"fetch\": {}}"), problem);
}

#[test]
fn files_are_read_up_to_their_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nightly.yaml");
    fs::write(&path, NIGHTLY).unwrap();
    assert_eq!(spec::read(&path).unwrap(), good(NIGHTLY));

    fs::write(&path, vec![b'#'; (4 << 20) + 1]).unwrap();
    assert!(matches!(spec::read(&path), Err(SpecError::TooLarge { .. })));
    fs::write(&path, b"displayName: \xff").unwrap();
    assert!(matches!(spec::read(&path), Err(SpecError::Syntax { .. })));
    let missing = spec::read(Path::new("no-such.yaml")).unwrap_err();
    assert_eq!(missing.to_string(), "cannot read no-such.yaml");
}
