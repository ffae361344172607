//! Every command's help and what it typically prints, as files in `snapshots`: what changes there is what people see.
//!
//! After a change that is meant: `INSTA_UPDATE=always cargo test -p haul-client --test client snapshot`, and read the difference.

use std::fmt::Write;

use haul_proto::v1::{
    AsOf, Attempt, Batch, BatchSpec, Breaker, Conflict, FailureClass, FailureGroup, FetchPolicy, Item,
    ItemError, ItemResult, ItemSpec, JpxListing, MissingKey, Plan, PlannedRequest, Progress, Report,
    StreamResultsResponse, Upstream, UpstreamPlan, YahooChart, as_of::Moment, attempt, batch::State,
    batch_spec, breaker, conflict::Kind, item, upstream::HoldCause, watch_progress_response::Event,
};
use prost_types::{Duration, Timestamp};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    program::{commands, haul},
    scripted::{Scripted, Step},
};

const WIDTH_MAX: usize = 80;

/// A command as it was typed, and all that came of it.
async fn session(server: &str, arguments: &[&str], input: &str) -> String {
    let (status, out, err) = haul(server, arguments, input).await;
    let mut session = format!("$ haul {}\n{out}", arguments.join(" "));
    if !err.is_empty() {
        session.push_str("--- standard error\n");
        err.lines().for_each(|line| writeln!(session, "{}", without_time(line)).unwrap());
    }
    write!(session, "--- exit status {status}").unwrap();
    session
}

/// A line of progress begins with the time of day.
fn without_time(line: &str) -> String {
    match line.split_once(' ') {
        Some((time, rest)) if time.len() == 8 && time.split(':').count() == 3 => format!("HH:MM:SS {rest}"),
        _ => line.to_owned(),
    }
}

fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

#[tokio::test]
async fn help() {
    let commands = commands().await;
    let mut pages = vec![("haul".to_owned(), vec!["--help"]), ("haul-short".to_owned(), vec!["-h"])];
    pages.extend(commands.iter().map(|name| (format!("haul-{name}"), vec![name.as_str(), "--help"])));
    for what in ["get", "set", "hold", "release"] {
        pages.push((format!("haul-upstreams-{what}"), vec!["upstreams", what, "--help"]));
    }
    for what in ["list", "clear"] {
        pages.push((format!("haul-missing-{what}"), vec!["missing", what, "--help"]));
    }
    for (name, arguments) in pages {
        let (status, out, err) = haul("", &arguments, "").await;
        assert_eq!((status, err.as_str()), (0, ""), "{name}");
        let too_wide: Vec<&str> = out.lines().filter(|line| line.chars().count() > WIDTH_MAX).collect();
        assert!(too_wide.is_empty(), "{name}: {too_wide:#?}");
        settings().bind(|| insta::assert_snapshot!(format!("help-{name}"), out));
    }
}

#[tokio::test]
async fn output() {
    let spec = "jpxListing: {segments: [PRIME]}\nyahooChart: {range: 1y}\n";
    for (name, arguments) in [
        ("plan", "plan -f -"),
        ("start", "start -f - --id nightly"),
        ("start-and-watch", "start -f - --id nightly --watch"),
        ("redecode", "redecode weekly --id nightly"),
        ("retry", "retry weekly --id nightly"),
        ("retry-plan", "retry weekly --plan"),
        ("delete", "delete nightly"),
        ("pause", "pause nightly --reason lunch"),
        ("resume", "resume nightly"),
        ("stop", "stop nightly --wait"),
        ("list", "list --limit 1"),
        ("get", "get nightly"),
        ("watch", "watch nightly"),
        ("report", "report nightly"),
        ("items", "items nightly"),
        ("attempts", "attempts nightly"),
        ("results", "results nightly"),
        ("upstreams", "upstreams --limit 1"),
        ("upstreams-get", "upstreams get api.example.com"),
        ("upstreams-hold", "upstreams hold api.example.com --for 1m --reason lunch"),
        ("missing-list", "missing list stock_prices"),
        ("missing-clear", "missing clear stock_prices 1301 130A"),
    ] {
        for format in ["table", "json", "yaml"] {
            let state = match name {
                "plan" | "start" | "redecode" | "retry" | "retry-plan" | "resume" => State::Running,
                "pause" => State::Pausing,
                "list" | "get" => State::Paused,
                _ => State::Completed,
            };
            let server = Scripted::start().await;
            server.batches([Ok(batch(state))]);
            server.plan(plan());
            server.report(report());
            server.upstream(upstream());
            server.missing_pages([missing_keys()]);
            server.item_pages([items()]);
            server.attempts(attempts());
            let mut items = items();
            items.retain(|item| item.state() != item::State::Pending);
            let chunk = StreamResultsResponse { items, cursor: "far".to_owned(), complete: true };
            server.results([Ok(chunk)]);
            server.list_pages([vec![batch(state), batch(state)]]);
            let end = if name == "stop" { State::Stopped } else { State::Completed };
            server.stream([Step::Send(Event::Terminal(batch(end)))]);
            let mut arguments: Vec<&str> = arguments.split(' ').collect();
            if format != "table" {
                arguments.extend(["-o", format]);
            }
            let session = session(&server.url(), &arguments, spec).await;
            settings().bind(|| insta::assert_snapshot!(format!("output-{name}-{format}"), session));
        }
    }
}

#[tokio::test]
async fn errors() {
    let refusal = |code, reason, message: &str, violations: &[(&str, &str)]| {
        let mut details = ErrorDetails::with_error_info(reason, "haul.v1", []);
        for (field, description) in violations {
            details.add_bad_request_violation(*field, *description);
        }
        Status::with_error_details(code, message, details)
    };
    let wrong = [
        ("spec.fetch.max_attempts", "is 50; it may be 1 to 20"),
        ("spec.yahoo_chart.interval", "\"2d\" is no bar length; known are 1m, 1d"),
        ("batch_id", "\"x\" is too short"),
    ];
    let spec = "jpxListing: {}\nyahooChart:\n  interval: 2d\nfetch:\n  maxAttempts: 50\n";
    for (name, arguments, input, answer) in [
        (
            "no-such-batch",
            "get nightly",
            "",
            Some(refusal(Code::NotFound, "BATCH_NOT_FOUND", "no batch batches/nightly", &[])),
        ),
        (
            "what-the-server-finds-wrong-with-a-spec",
            "start -f - --id x",
            spec,
            Some(refusal(
                Code::InvalidArgument,
                "INVALID_FIELD",
                "3 fields of the request are wrong",
                &wrong,
            )),
        ),
        (
            "one-field-of-a-spec",
            "plan -f -",
            spec,
            Some(refusal(
                Code::InvalidArgument,
                "INVALID_FIELD",
                &format!("{}: {}", wrong[0].0, wrong[0].1),
                &wrong[..1],
            )),
        ),
        ("a-spec-that-is-none", "start -f -", "fetch: {wrokers: 1, burst: many}\n", None),
        ("no-such-command", "strat", "", None),
        ("no-such-format", "list -o xml", "", None),
    ] {
        let server = Scripted::start().await;
        server.refuse(answer);
        let session = session(&server.url(), &arguments.split(' ').collect::<Vec<_>>(), input).await;
        settings().bind(|| insta::assert_snapshot!(format!("error-{name}"), session));
    }
    let session = session("http://127.0.0.1:1", &["list"], "").await;
    settings().bind(|| insta::assert_snapshot!("error-no-server", session));
}

#[tokio::test]
async fn completions_are_made_for_every_shell_without_a_server() {
    for (shell, of_shell) in [
        ("bash", "complete -F _haul"),
        ("elvish", "set edit:completion:arg-completer[haul]"),
        ("fish", "complete -c haul"),
        ("powershell", "Register-ArgumentCompleter"),
        ("zsh", "#compdef haul"),
    ] {
        let (status, script, err) = haul("http://127.0.0.1:1", &["completions", shell], "").await;
        assert_eq!((status, err.as_str()), (0, ""), "{shell}");
        assert!(script.contains(of_shell), "{shell}: {script}");
        assert!(script.contains("redecode") && script.contains("request-id"), "{shell}: {script}");
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds: 1_772_236_800 + seconds, nanos: 0 }
}

fn lasting(seconds: i64) -> Duration {
    Duration { seconds, nanos: 0 }
}

fn batch(state: State) -> Batch {
    let ended = matches!(state, State::Completed | State::Stopped);
    let paused = matches!(state, State::Pausing | State::Paused);
    let end_reason = match state {
        State::Completed => "ALL_ITEMS_FINAL",
        State::Stopped => "USER_STOP",
        _ => "",
    };
    let text = |is: bool, text: &str| if is { text.to_owned() } else { String::new() };
    let mut spec = BatchSpec {
        display_name: "Every night".to_owned(),
        as_of: Some(AsOf {
            moment: Some(Moment::Date("2026-02-27".to_owned())),
            time_zone: "Asia/Tokyo".to_owned(),
            ..AsOf::default()
        }),
        source: Some(batch_spec::Source::JpxListing(JpxListing {
            list_date: "2026-01-31".to_owned(),
            ..JpxListing::default()
        })),
        connector: Some(batch_spec::Connector::YahooChart(YahooChart::default())),
        fetch: Some(FetchPolicy {
            workers: Some(10),
            attempt_timeout: Some(lasting(30)),
            requests_per_second: Some(2.5),
            ..FetchPolicy::default()
        }),
        ..BatchSpec::default()
    };
    spec.labels.insert("team".to_owned(), "research".to_owned());
    Batch {
        name: "batches/nightly".to_owned(),
        state: state.into(),
        pause_reason: text(paused, "USER_PAUSE"),
        pause_message: text(paused, "lunch"),
        end_reason: end_reason.to_owned(),
        spec: Some(spec),
        progress: Some(Progress {
            active_workers: if state == State::Pausing { 2 } else { 0 },
            ..progress(state == State::Completed)
        }),
        // Its age would be another one each day.
        create_time: None,
        start_time: Some(at(7)),
        end_time: ended.then(|| at(1_280)),
        revision: 1_234,
        ..Batch::default()
    }
}

fn progress(ended: bool) -> Progress {
    if ended {
        return Progress {
            total_items: 4_430,
            processed_items: 4_430,
            succeeded_items: 4_419,
            failed_items: 11,
            percentage: 100.0,
            records_written: 1_082_655,
            bytes_received: 58_823_900,
            ..Progress::default()
        };
    }
    Progress {
        total_items: 4_430,
        processed_items: 1_234,
        succeeded_items: 1_231,
        failed_items: 3,
        pending_items: 3_196,
        percentage: 27.85,
        records_written: 302_000,
        ..Progress::default()
    }
}

fn missing_keys() -> Vec<MissingKey> {
    let missing = |key: &str, http_status, batch: &str| MissingKey {
        key: key.to_owned(),
        reason: "NOT_FOUND".to_owned(),
        http_status,
        as_of: Some(at(0)),
        expire_time: Some(at(30 * 86_400)),
        batch: batch.to_owned(),
    };
    vec![missing("1301", 404, "batches/nightly"), missing("130A", 0, "batches/weekly")]
}

fn upstream() -> Upstream {
    Upstream {
        name: "upstreams/api.example.com".to_owned(),
        origin: "https://api.example.com".to_owned(),
        configured_requests_per_second: Some(2.5),
        configured_max_in_flight: Some(10),
        effective_burst: 20,
        in_flight_requests: 3,
        live_batches: 2,
        hold_cause: HoldCause::Operator.into(),
        held_since: Some(at(0)),
        hold_message: "lunch".to_owned(),
        breaker: Some(Breaker {
            state: breaker::State::Closed.into(),
            consecutive_push_backs: 1,
            ..Breaker::default()
        }),
        update_time: Some(at(0)),
        etag: "\"1-x\"".to_owned(),
        ..Upstream::default()
    }
}

fn plan() -> Plan {
    Plan {
        total_items: 4_433,
        requests: 4_433,
        floor_duration: Some(lasting(883)),
        upstreams: vec![UpstreamPlan {
            upstream: "upstreams/query1.finance.yahoo.com".to_owned(),
            requests: 4_433,
            requests_per_second: 5.0,
            burst: 20,
            floor_duration: Some(lasting(883)),
        }],
        first_requests: vec![PlannedRequest {
            item_key: "1301".to_owned(),
            method: "GET".to_owned(),
            url: "https://query1.finance.yahoo.com/v8/finance/chart/1301.T?interval=1d".to_owned(),
            headers: [("User-Agent".to_owned(), "haul/0.1.0".to_owned())].into(),
        }],
        conflicts: vec![Conflict {
            batch: "batches/other".to_owned(),
            kind: Kind::SharedUpstream.into(),
            ..Conflict::default()
        }],
        warnings: vec!["5 requests/s are more than this upstream is reported to bear".to_owned()],
        ..Plan::default()
    }
}

fn report() -> Report {
    let group = |reason: &str, http_status, keys: &[&str]| FailureGroup {
        failure_class: FailureClass::Permanent.into(),
        reason: reason.to_owned(),
        http_status,
        items: keys.len() as i64,
        sample_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
    };
    Report {
        name: "batches/nightly".to_owned(),
        revision: 1_234,
        r#final: true,
        progress: Some(progress(true)),
        failures: vec![
            group("NOT_FOUND", 404, &["2647", "3100", "3930", "7954", "8844", "9001"]),
            group("REFUSED", 422, &["5019", "8736", "1438", "6977", "8010"]),
        ],
        active_duration: Some(lasting(1_273)),
        paused_duration: Some(lasting(60)),
        floor_duration: Some(lasting(883)),
        requests_sent: 4_483,
        child_batches: vec!["batches/nightly-again".to_owned()],
        ..Report::default()
    }
}

fn attempts() -> Vec<Attempt> {
    let attempt = |number, outcome: attempt::Outcome| Attempt {
        item_index: 1,
        item_key: "1332".to_owned(),
        number,
        outcome: outcome.into(),
        request_count: 1,
        start_time: Some(at(8)),
        end_time: Some(at(9)),
        ..Attempt::default()
    };
    let error = ItemError {
        failure_class: FailureClass::Temporary.into(),
        reason: "HTTP_STATUS".to_owned(),
        http_status: 500,
        message: "the upstream says: come back later, please, when there is less to do".to_owned(),
        ..ItemError::default()
    };
    vec![
        Attempt {
            charged: true,
            http_status: 500,
            error: Some(error),
            ..attempt(1, attempt::Outcome::Failed)
        },
        Attempt { charged: true, http_status: 200, ..attempt(2, attempt::Outcome::Succeeded) },
    ]
}

fn items() -> Vec<Item> {
    let item = |index, key: &str, state: item::State| Item {
        index,
        spec: Some(ItemSpec { key: key.to_owned(), columns: None }),
        state: state.into(),
        ..Item::default()
    };
    vec![
        Item {
            attempt_count: 1,
            records_written: 245,
            result: Some(ItemResult { http_status: 200, size_bytes: 25_600, ..ItemResult::default() }),
            update_time: Some(at(9)),
            ..item(0, "1301", item::State::Succeeded)
        },
        Item {
            attempt_count: 4,
            error: Some(ItemError {
                failure_class: FailureClass::Temporary.into(),
                reason: "HTTP_STATUS".to_owned(),
                http_status: 500,
                message: "the upstream says: come back later, please, when there is less to do".to_owned(),
                ..ItemError::default()
            }),
            ..item(1, "1332", item::State::Failed)
        },
        item(2, "1333", item::State::Pending),
        Item { skip_reason: "NO_KEPT_BODY".to_owned(), ..item(3, "1334", item::State::Skipped) },
    ]
}
