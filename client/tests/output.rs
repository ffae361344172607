//! What commands print, as a person and as a program sees it.

use chrono::{DateTime, FixedOffset};
use haul_client::cli::output::{Format, Output};
use haul_proto::v1::{
    Attempt, Batch, BatchItems, BatchSpec, Conflict, FailurePolicy, FetchPolicy, Item, ItemError, ItemResult,
    ItemSpec, JpxListing, OverlapPolicy, Plan, PlannedRequest, Progress, UpstreamPlan, attempt, batch,
    batch_spec::Source, conflict, item,
};
use prost_types::Timestamp;

fn now() -> DateTime<FixedOffset> {
    DateTime::parse_from_rfc3339("2026-02-28T12:00:00+09:00").unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    Timestamp { seconds: now().timestamp() - seconds, nanos: 0 }
}

fn nightly() -> Batch {
    Batch {
        name: "batches/nightly".to_owned(),
        state: batch::State::Paused.into(),
        pause_reason: "USER_PAUSE".to_owned(),
        pause_message: "lunch".to_owned(),
        revision: 1234,
        spec: Some(BatchSpec {
            display_name: "Every night".to_owned(),
            source: Some(Source::JpxListing(JpxListing {
                list_date: "2026-01-31".to_owned(),
                ..JpxListing::default()
            })),
            ..BatchSpec::default()
        }),
        progress: Some(Progress {
            total_items: 4430,
            processed_items: 1234,
            succeeded_items: 1231,
            failed_items: 3,
            pending_items: 3196,
            percentage: 27.85,
            records_written: 302_000,
            ..Progress::default()
        }),
        create_time: Some(ago(90)),
        start_time: Some(ago(83)),
        ..Batch::default()
    }
}

fn printed(format: Format, print: impl Fn(&Output, &mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    print(&Output::fixed(format, 80, now()), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn one_batch() {
    assert_eq!(
        printed(Format::Table, |output, out| output.batch(&nightly(), out).unwrap()),
        "\
Name      batches/nightly
Title     Every night
State     PAUSED, USER_PAUSE (lunch)
Source    JPX listing of 2026-01-31
Progress  1,234 of 4,430 final, 27.85%
Final     1,231 succeeded, 3 failed
Open      3,196 pending
Records   302,000 written
Created   2026-02-28 11:58:30 +09:00
Started   2026-02-28 11:58:37 +09:00
Revision  1,234
"
    );
}

#[test]
fn what_was_canceled_is_no_progress_and_what_is_over_is_not_at_work() {
    let stopped = Progress {
        total_items: 300,
        processed_items: 285,
        succeeded_items: 30,
        canceled_items: 255,
        in_flight_items: 15,
        active_workers: 10,
        percentage: 10.0,
        ..Progress::default()
    };
    let batch = Batch { progress: Some(stopped), ..nightly() };
    let text = printed(Format::Table, |output, out| output.batch(&batch, out).unwrap());
    for line in [
        "Progress  30 of 300 with an outcome, 10.00%",
        "Final     30 succeeded, 255 canceled",
        "Open      10 in flight, 5 to be recorded",
    ] {
        assert!(text.lines().any(|told| told == line), "{line} in\n{text}");
    }
}

#[test]
fn a_batch_shows_what_it_waits_for() {
    let spec = BatchSpec {
        overlap_key: "nightly".to_owned(),
        overlap_policy: OverlapPolicy::BufferOne.into(),
        priority: -5,
        not_before: Some(ago(-60)),
        ..BatchSpec::default()
    };
    let batch = Batch {
        name: "batches/next".to_owned(),
        state: batch::State::Queued.into(),
        spec: Some(spec),
        ..Batch::default()
    };
    let text = printed(Format::Table, |output, out| output.batch(&batch, out).unwrap());
    for line in
        ["Overlap     nightly, BUFFER_ONE", "Priority    -5", "Not before  2026-02-28 12:01:00 +09:00"]
    {
        assert!(text.lines().any(|told| told == line), "{line} in\n{text}");
    }
}

#[test]
fn a_child_shows_what_it_was_made_from() {
    let items = BatchItems { name: "batches/weekly".to_owned(), ..BatchItems::default() };
    let spec = BatchSpec { source: Some(Source::BatchItems(items)), ..BatchSpec::default() };
    let child = Batch { spec: Some(spec), ..nightly() };
    let text = printed(Format::Table, |output, out| output.batch(&child, out).unwrap());
    assert!(text.contains("\nSource    kept bodies of batches/weekly\n"), "{text}");
}

#[test]
fn many_batches_fit_80_columns() {
    let other = Batch {
        name: "batches/01890a5d-ac96-774b-bcce-b302099a8057".to_owned(),
        state: batch::State::Completed.into(),
        progress: Some(Progress { total_items: 1_234_567, percentage: 100.0, ..Progress::default() }),
        create_time: Some(ago(200_000)),
        ..Batch::default()
    };
    let text = printed(Format::Table, |output, out| {
        output.batches(&[nightly(), other.clone()], out).unwrap();
    });
    assert_eq!(
        text,
        "\
BATCH                                 STATE         DONE      ITEMS  FAILED  AGE
nightly                               PAUSED      27.85%      4,430       3   1m
01890a5d-ac96-774b-bcce-b302099a8057  COMPLETED  100.00%  1,234,567       0   2d
"
    );
}

#[test]
fn items() {
    let item = |index, key: &str, state: item::State| Item {
        index,
        spec: Some(ItemSpec { key: key.to_owned(), columns: None }),
        state: state.into(),
        ..Item::default()
    };
    let done = Item {
        attempt_count: 1,
        records_written: 245,
        result: Some(ItemResult { http_status: 200, size_bytes: 25_600, ..ItemResult::default() }),
        ..item(0, "1301", item::State::Succeeded)
    };
    let failed = Item {
        attempt_count: 4,
        error: Some(ItemError {
            reason: "HTTP_STATUS".to_owned(),
            http_status: 500,
            message: "the upstream\n says: come back later, please".to_owned(),
            ..ItemError::default()
        }),
        ..item(1, "1332", item::State::Failed)
    };
    let open = item(2, "1333", item::State::Pending);
    let skipped = Item { skip_reason: "NO_KEPT_BODY".to_owned(), ..item(3, "1334", item::State::Skipped) };
    assert_eq!(
        printed(Format::Table, |output, out| output
            .items(&[done.clone(), failed.clone(), open.clone(), skipped.clone()], out)
            .unwrap()),
        "\
INDEX  KEY   STATE      ATTEMPTS  RECORDS  OUTCOME          MESSAGE
    0  1301  SUCCEEDED         1      245  200 25.0 KiB
    1  1332  FAILED            4        0  HTTP_STATUS 500  the upstream says...
    2  1333  PENDING           0        0
    3  1334  SKIPPED           0        0  NO_KEPT_BODY
"
    );
}

#[test]
fn attempts() {
    let attempt = |number, outcome: attempt::Outcome| Attempt {
        item_index: 1,
        item_key: "1332".to_owned(),
        number,
        outcome: outcome.into(),
        ..Attempt::default()
    };
    let second = |seconds, nanos| Some(Timestamp { seconds, nanos });
    let failed = Attempt {
        charged: true,
        http_status: 500,
        start_time: second(7, 900_000_000),
        end_time: second(9, 150_000_000),
        error: Some(ItemError {
            reason: "HTTP_STATUS".to_owned(),
            http_status: 500,
            message: "the upstream says: come back later, please".to_owned(),
            ..ItemError::default()
        }),
        ..attempt(1, attempt::Outcome::Failed)
    };
    let worked = Attempt { charged: true, http_status: 200, ..attempt(3, attempt::Outcome::Succeeded) };
    let attempts = [failed, attempt(2, attempt::Outcome::Released), worked];
    assert_eq!(
        printed(Format::Table, |output, out| output.attempts(&attempts, out).unwrap()),
        "\
INDEX  KEY   NO  OUTCOME    CHARGED      TOOK  RESULT           MESSAGE
    1  1332   1  FAILED     yes      1,250 ms  HTTP_STATUS 500  the upstream...
    1  1332   2  RELEASED   no
    1  1332   3  SUCCEEDED  yes                200
"
    );
}

#[test]
fn documents_are_canonical() {
    let batch = Batch { name: "batches/nightly".to_owned(), revision: 7, ..Batch::default() };
    assert_eq!(
        printed(Format::Json, |output, out| output.batches(std::slice::from_ref(&batch), out).unwrap()),
        "{\n  \"batches\": [\n    {\n      \"name\": \"batches/nightly\",\n      \"revision\": \"7\"\n    }\n  ]\n}\n"
    );
    assert_eq!(
        printed(Format::Yaml, |output, out| output.batch(&batch, out).unwrap()),
        "name: batches/nightly\nrevision: '7'\n"
    );
}

#[test]
fn a_plan() {
    let floor = Some(prost_types::Duration { seconds: 354_559, nanos: 1 });
    let plan = Plan {
        total_items: 4_435,
        total_is_partial: true,
        skipped_items: 0,
        duplicate_items: 3,
        sample_duplicate_keys: vec!["1301".to_owned()],
        requests: 4_433,
        floor_duration: floor,
        upstreams: vec![UpstreamPlan {
            upstream: "upstreams/query1.finance.yahoo.com".to_owned(),
            requests: 4_433,
            requests_per_second: 0.0125,
            burst: 1,
            floor_duration: floor,
        }],
        first_requests: vec![PlannedRequest {
            item_key: "1301".to_owned(),
            method: "GET".to_owned(),
            url: "https://host/1301.T".to_owned(),
            headers: [("User-Agent".to_owned(), "me".to_owned())].into(),
        }],
        conflicts: [
            ("live", conflict::Kind::Canceled),
            ("ending", conflict::Kind::QueuedBehind),
            ("buffered", conflict::Kind::Canceled),
            ("other", conflict::Kind::SharedUpstream),
        ]
        .map(|(id, kind)| Conflict {
            batch: format!("batches/{id}"),
            kind: kind.into(),
            ..Conflict::default()
        })
        .into(),
        warnings: vec!["it takes days".to_owned()],
    };
    assert_eq!(
        printed(Format::Table, |output, out| output.plan(&nightly(), &plan, out).unwrap()),
        "\
A plan: nothing was started, and no item was asked for.

Title     Every night
Source    JPX listing of 2026-01-31
Items     4,435 or more; 3 repeats of a key left out: 1301 ...
Requests  4,433
Shortest  4d 2h or more (354,560 s)

UPSTREAM                  REQUESTS  PER SECOND  BURST  SHORTEST
query1.finance.yahoo.com     4,433      0.0125      1     4d 2h

First requests
  1301  GET https://host/1301.T
  User-Agent: me

Live batches of its overlap key: it would wait for them
  ending

Live batches of its overlap key: they would be stopped
  live buffered

Live batches that share the rate
  other

Warnings
  - it takes days
"
    );
    let text = printed(Format::Json, |output, out| output.plan(&nightly(), &plan, out).unwrap());
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["plan"]["floorDuration"], "354559.000000001s");
    assert_eq!(document["batch"]["spec"]["displayName"], "Every night");
}

#[test]
fn a_plan_shows_what_decides_when_and_how_the_batch_runs() {
    let spec = BatchSpec {
        overlap_key: "nightly".to_owned(),
        overlap_policy: OverlapPolicy::BufferOne.into(),
        priority: 7,
        not_before: Some(ago(-60)),
        max_duration: Some(prost_types::Duration { seconds: 7_200, nanos: 0 }),
        failure: Some(FailurePolicy {
            max_failed_items: Some(10),
            max_failed_ratio: Some(0.05),
            min_processed_items: Some(100),
        }),
        fetch: Some(FetchPolicy {
            workers: Some(10),
            max_attempts: Some(4),
            attempt_timeout: Some(prost_types::Duration { seconds: 3, nanos: 0 }),
            ..FetchPolicy::default()
        }),
        ..BatchSpec::default()
    };
    let batch = Batch { spec: Some(spec), ..Batch::default() };
    let planned = |requests| {
        let plan = Plan { requests, ..Plan::default() };
        printed(Format::Table, |output, out| output.plan(&batch, &plan, out).unwrap())
    };
    assert_eq!(
        planned(3),
        "\
A plan: nothing was started, and no item was asked for.

Overlap     nightly, BUFFER_ONE
Priority    7
Not before  2026-02-28 12:01:00 +09:00
Gives up    after 2h 00m, above 10 failed items, above 5.00% failed of 100 or
            more
Items       0
Requests    3
Workers     10; at most 4 attempts an item, 3s each
Shortest    0s
"
    );
    assert!(!planned(0).contains("attempts"), "what sends nothing has none");
}
