//! The `haul` command as a shell sees it: output, errors, exit status.

use std::process::Stdio;

use haul_proto::v1::{
    Batch, Item, Plan, Progress, Report, StreamResultsResponse, Upstream, batch::State,
    watch_progress_response::Event,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
    sync::oneshot,
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    program::haul,
    scripted::{Scripted, Step},
};

fn batch(state: State, failed_items: i64) -> Batch {
    Batch {
        name: "batches/nightly".to_owned(),
        state: state.into(),
        progress: Some(Progress { failed_items, ..Progress::default() }),
        ..Batch::default()
    }
}

#[tokio::test]
async fn start_prints_the_name() {
    let server = Scripted::start().await;
    server.batches([Ok(batch(State::Running, 0))]);
    let spec = "jpxListing: {segments: [PRIME]}\nyahooChart: {}\n";
    let (status, out, err) = haul(&server.url(), &["start", "-f", "-", "--id", "nightly"], spec).await;
    assert_eq!((status, out.as_str(), err.as_str()), (0, "batches/nightly\n", ""));
    assert_eq!(server.started()[0].batch_id, "nightly");
}

#[tokio::test]
async fn a_plan_is_asked_for_with_what_a_start_takes_and_starts_nothing() {
    let server = Scripted::start().await;
    server.batches([Ok(Batch::default())]);
    server.plan(Plan { total_items: 3, warnings: vec!["too fast".to_owned()], ..Plan::default() });
    let spec = "jpxListing: {}\nyahooChart: {}\n";
    let (status, out, err) = haul(&server.url(), &["plan", "-f", "-", "--id", "nightly"], spec).await;
    assert_eq!((status, err.as_str()), (0, ""), "a warning is no failure");
    assert!(out.contains("Items     3\n") && out.ends_with("\nWarnings\n  - too fast\n"), "{out}");
    let asked = &server.started()[0];
    assert!(asked.validate_only && asked.spec.is_some());
    assert_eq!((asked.batch_id.as_str(), asked.request_id.as_str()), ("nightly", ""));
}

#[tokio::test]
async fn redecode_names_the_parent_and_prints_the_child() {
    let server = Scripted::start().await;
    server.batches([Ok(batch(State::Running, 0))]);
    let line = ["redecode", "weekly", "--id", "nightly"];
    let (status, out, err) = haul(&server.url(), &line, "").await;
    assert_eq!((status, out.as_str(), err.as_str()), (0, "batches/nightly\n", ""));
    let request = server.redecoded().remove(0);
    assert_eq!((request.name.as_str(), request.batch_id.as_str()), ("batches/weekly", "nightly"));
    assert!(!request.request_id.is_empty(), "so that the call may be repeated");

    server.stream([Step::Send(Event::Terminal(batch(State::Completed, 2)))]);
    let (status, ..) = haul(&server.url(), &["redecode", "weekly", "--watch"], "").await;
    assert_eq!(status, 3);
}

#[tokio::test]
async fn a_retry_is_planned_or_made() {
    let server = Scripted::start().await;
    server.batches([Ok(batch(State::Running, 0))]);
    server.plan(Plan { total_items: 3, ..Plan::default() });
    let (status, out, err) = haul(&server.url(), &["retry", "weekly", "--plan"], "").await;
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(out.contains("Items     3\n"), "{out}");
    let (status, out, err) = haul(&server.url(), &["retry", "weekly"], "").await;
    assert_eq!((status, out.as_str(), err.as_str()), (0, "batches/nightly\n", ""));
    let planned: Vec<bool> = server.retried().into_iter().map(|request| request.validate_only).collect();
    assert_eq!(planned, [true, false]);
}

#[tokio::test]
async fn batches_that_match_a_filter_are_watched_in_lines() {
    let steps = || {
        [
            Step::Send(Event::Snapshot(Batch { revision: 1, ..batch(State::Running, 0) })),
            Step::Send(Event::Terminal(Batch { revision: 2, ..batch(State::Completed, 2) })),
            Step::Send(Event::Removed("batches/weekly".to_owned())),
            Step::Fail(Status::invalid_argument("it has an end for this test")),
        ]
    };
    let server = Scripted::start().await;
    server.stream(steps());
    let line = ["watch", "--filter", "labels.team:research"];
    let (status, out, err) = haul(&server.url(), &line, "").await;
    assert_eq!((status, err.as_str()), (2, "haul: it has an end for this test\n"));
    let without_time: Vec<&str> = out.lines().map(|line| &line["HH:MM:SS ".len()..]).collect();
    assert_eq!(
        without_time,
        [
            "nightly RUNNING 0/0 0.00% 0 items/min",
            "nightly COMPLETED 0/0 0.00%, 2 failed",
            "weekly matches no more",
        ]
    );
    server.stream(steps());
    let (_, out, _) = haul(&server.url(), &[&line[..], &["-o", "json"]].concat(), "").await;
    let events: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events[1]["terminal"]["state"], "STATE_COMPLETED");
    assert_eq!(events[2], serde_json::json!({"removed": "batches/weekly"}));
    let (status, ..) = haul(&server.url(), &["watch"], "").await;
    assert_eq!(status, 2, "a batch or a filter is needed");
}

#[tokio::test]
async fn a_watched_batch_gives_its_exit_status() {
    for (state, failed_items, expected) in
        [(State::Completed, 0, 0), (State::Completed, 2, 3), (State::Stopped, 0, 4)]
    {
        let server = Scripted::start().await;
        server.stream([Step::Send(Event::Terminal(batch(state, failed_items)))]);
        server.report(Report { name: "batches/nightly".to_owned(), r#final: true, ..Report::default() });
        let (status, out, err) = haul(&server.url(), &["-o", "json", "watch", "nightly"], "").await;
        assert_eq!(status, expected, "{err}");
        let document: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(document["batch"]["state"], format!("STATE_{state:?}").to_uppercase());
        assert_eq!(document["report"]["final"], true);
        assert!(err.contains(&format!("{state:?}").to_uppercase()), "{err}");
    }
}

/// The command on a terminal, which `script` gives it.
fn on_a_terminal(server: &Scripted, line: &str) -> Command {
    let mut script = Command::new("script");
    script.args(["-qec", &format!("{} {line}", env!("CARGO_BIN_EXE_haul")), "/dev/null"]);
    script.env("HAUL_SERVER", server.url()).stdin(Stdio::piped()).stdout(Stdio::piped());
    script
}

/// Colours, as a terminal is told them.
const COLOUR: &str = "\x1b[36m";

#[tokio::test]
async fn progress_is_a_bar_on_a_terminal_and_in_colour_unless_it_is_not_wanted() {
    for (no_colour, coloured) in [(None, true), (Some("1"), false)] {
        let server = Scripted::start().await;
        let running = Batch {
            progress: Some(Progress {
                percentage: 50.0,
                total_items: 2,
                processed_items: 1,
                ..Progress::default()
            }),
            ..batch(State::Running, 0)
        };
        let (drawn, is_drawn) = oneshot::channel();
        let end = Step::Send(Event::Terminal(batch(State::Completed, 0)));
        server.stream([Step::Send(Event::Snapshot(running)), Step::Until(is_drawn), end]);
        let mut haul = on_a_terminal(&server, "watch nightly");
        haul.env("TERM", "xterm").env_remove("NO_COLOR").envs(no_colour.map(|value| ("NO_COLOR", value)));
        let mut terminal = haul.spawn().unwrap().stdout.unwrap();
        let (mut shown, mut drawn, mut bytes) = (String::new(), Some(drawn), [0; 4_096]);
        while let length @ 1.. = terminal.read(&mut bytes).await.unwrap() {
            shown.push_str(&String::from_utf8_lossy(&bytes[..length]));
            if shown.contains("1/2 50.00%") {
                drawn.take().map(|drawn| drawn.send(()));
            }
        }
        assert!(shown.contains("1/2 50.00%"), "{shown:?}");
        assert_eq!(shown.contains(COLOUR), coloured, "{shown:?}");
    }
}

#[tokio::test]
async fn a_delete_is_asked_about_where_there_is_something_to_delete() {
    const QUESTION: &str = "Delete batches/nightly with its items and kept bodies? [y/N]";
    let ended = || {
        let end_time = Some(prost_types::Timestamp::default());
        Ok(Batch { end_time, etag: "\"7\"".to_owned(), ..batch(State::Completed, 0) })
    };
    let refused = |code, reason| {
        let details = ErrorDetails::with_error_info(reason, "haul.v1", []);
        Err(Status::with_error_details(code, "no", details))
    };
    for (answers, line, typed, expected, asked) in [
        (vec![ended()], "delete nightly", "y\n", (0, "batches/nightly  deleted"), true),
        (vec![ended()], "delete nightly", "n\n", (1, "haul: batches/nightly was not deleted"), true),
        (vec![ended()], "delete nightly --yes", "", (0, "batches/nightly  deleted"), false),
        (
            vec![Ok(batch(State::Running, 0)), refused(Code::FailedPrecondition, "BATCH_NOT_TERMINAL")],
            "delete nightly",
            "",
            (1, "(BATCH_NOT_TERMINAL; "),
            false,
        ),
        (
            vec![refused(Code::NotFound, "BATCH_NOT_FOUND")],
            "delete nightly",
            "",
            (1, "(BATCH_NOT_FOUND; "),
            false,
        ),
        (
            vec![refused(Code::NotFound, "BATCH_PURGED")],
            "delete nightly --allow-missing",
            "",
            (0, "batches/nightly  was not there"),
            false,
        ),
    ] {
        let server = Scripted::start().await;
        server.batches(answers);
        let mut haul = on_a_terminal(&server, line).spawn().unwrap();
        // A command that asks nothing may be gone already.
        let _ = haul.stdin.take().unwrap().write_all(typed.as_bytes()).await;
        let said = haul.wait_with_output().await.unwrap();
        let (status, shown) = (said.status.code().unwrap(), String::from_utf8(said.stdout).unwrap());
        assert_eq!(status, expected.0, "{line}: {shown}");
        assert!(shown.contains(expected.1), "{line}: {shown}");
        assert_eq!(shown.contains(QUESTION), asked, "{line}: {shown}");
        let deletes = server.calls().iter().filter(|call| call.rpc == "DeleteBatch").count();
        let is_sent = shown.contains("  deleted") || shown.contains("NOT_TERMINAL");
        assert_eq!(deletes > 0, is_sent, "{line}: {shown}");
    }
}

#[tokio::test]
async fn a_pause_can_be_waited_for() {
    // Three are in flight, as this server has it.
    for (active_workers, said) in [
        (3, "3 items in flight"),
        (2, "2 items in flight; 1 item to be recorded"),
        (0, "3 items to be recorded"),
    ] {
        let server = Scripted::start().await;
        let progress = Some(Progress { active_workers, ..Progress::default() });
        server.batches([Ok(Batch { progress, ..batch(State::Pausing, 0) })]);
        let (status, out, _) = haul(&server.url(), &["pause", "nightly"], "").await;
        assert_eq!((status, out), (0, format!("batches/nightly  PAUSING; {said}\n")));
    }

    let server = Scripted::start().await;
    server.batches([Ok(batch(State::Pausing, 0))]);
    let at = |revision, state| Step::Send(Event::Update(Batch { revision, ..batch(state, 0) }));
    server.stream([at(1, State::Pausing), at(2, State::Paused), Step::Hang]);
    let (status, out, _) = haul(&server.url(), &["pause", "nightly", "--wait"], "").await;
    assert_eq!((status, out.as_str()), (0, "batches/nightly  PAUSED\n"));
}

#[tokio::test]
async fn refusals_and_wrong_specs() {
    let server = Scripted::start().await;
    let details = ErrorDetails::with_error_info("BATCH_NOT_FOUND", "haul.v1", []);
    let status = Status::with_error_details(Code::NotFound, "no batch batches/nightly", details);
    server.batches([Err(status)]);
    let (status, out, err) = haul(&server.url(), &["get", "nightly"], "").await;
    assert_eq!(
        (status, out.as_str(), err.as_str()),
        (
            1,
            "",
            "haul: no batch batches/nightly\n  `haul list` shows the batches there are\n  \
             (BATCH_NOT_FOUND; see: haul explain BATCH_NOT_FOUND)\n"
        )
    );

    let (status, _, err) = haul(&server.url(), &["start", "-f", "-"], "fetch: {wrokers: 1}").await;
    assert_eq!(status, 2);
    assert_eq!(err, "haul: standard input:1: spec.fetch.wrokers: unknown field; did you mean \"workers\"?\n");
    let (status, ..) = haul(&server.url(), &["get"], "").await;
    assert_eq!(status, 2);
}

#[tokio::test]
async fn a_list_has_a_limit_of_one_at_least() {
    for line in ["list --limit 0", "items nightly --limit 0", "attempts nightly --limit 0"] {
        let (status, out, err) = haul("", &line.split(' ').collect::<Vec<_>>(), "").await;
        assert_eq!((status, out.as_str()), (2, ""), "{line}");
        assert!(err.contains("'0' for '--limit <N>': it must be at least 1"), "{line}: {err}");
    }
}

#[tokio::test]
async fn an_unreachable_server() {
    let (status, out, err) = haul("http://127.0.0.1:1", &["list"], "").await;
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.starts_with("haul: cannot reach http://127.0.0.1:1: Connection refused"), "{err}");
    assert!(err.contains("start a server with `hauld serve`"), "{err}");
}

#[tokio::test]
async fn a_cursor_file_is_tried_before_the_first_line_and_named_in_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir(path("folder.at")).unwrap();
    std::fs::create_dir(path("taken.at.new")).unwrap();
    std::fs::write(path("list.csv"), "code\n7203\n".repeat(1_000)).unwrap();
    std::fs::write(path("bytes.at"), [0xff; 8]).unwrap();
    let server = Scripted::start().await;
    for (name, why) in [
        ("none/nightly.at", "No such file or directory"),
        ("folder.at", "Is a directory"),
        ("taken.at", "Is a directory"),
        ("list.csv", "larger than a cursor"),
        ("bytes.at", "UTF-8"),
    ] {
        let file = path(name);
        let (status, out, err) =
            haul(&server.url(), &["results", "nightly", "--cursor-file", &file], "").await;
        assert_eq!((status, out.as_str()), (2, ""), "{name}");
        assert!(err.contains(&format!("the cursor file {file}: ")) && err.contains(why), "{name}: {err}");
    }
    assert_eq!(server.cursors(), [""; 0], "nothing was asked for");

    let chunk = |cursor: &str| {
        let items = vec![Item::default()];
        Ok(StreamResultsResponse { items, cursor: cursor.to_owned(), complete: false })
    };
    let file = path("nightly.at");
    let line = ["results", "nightly", "--cursor-file", &file];
    server.results([chunk("a"), chunk("b")]);
    assert_eq!(haul(&server.url(), &line, "").await.0, 0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "b\n");
    assert!(!folder.path().join("nightly.at.new").exists());
    let details = ErrorDetails::with_error_info("INVALID_CURSOR", "haul.v1", []);
    let status =
        Status::with_error_details(Code::InvalidArgument, "after_cursor: it is of another batch", details);
    server.results([Err(status)]);
    let (status, _, err) = haul(&server.url(), &line, "").await;
    assert_eq!((status, server.cursors().as_slice()), (2, &[String::new(), "b".to_owned()][..]));
    assert!(err.starts_with(&format!("haul: {file}: after_cursor: it is of another batch\n")), "{err}");
    assert!(err.ends_with("(INVALID_CURSOR; see: haul explain INVALID_CURSOR)\n"), "{err}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "b\n", "it stays as it was");
}

#[tokio::test]
async fn a_connection_is_said_to_be_lost_once_and_to_be_back_once() {
    let away = || Status::unavailable("the server is away");
    let chunk = |complete| {
        let items = vec![Item::default()];
        Ok(StreamResultsResponse { items, cursor: "far".to_owned(), complete })
    };
    for line in [
        &["results", "nightly", "--follow"][..],
        &["watch", "--filter", "state = RUNNING"],
        &["watch", "nightly"],
    ] {
        let server = Scripted::start().await;
        server.results([chunk(false), Err(away())]);
        server.no_results(away());
        server.no_results(away());
        server.results([chunk(true)]);
        server.stream([Step::Send(Event::Snapshot(batch(State::Running, 0))), Step::Fail(away())]);
        server.no_stream(away());
        server.no_stream(away());
        let end = Step::Send(Event::Terminal(Batch { revision: 2, ..batch(State::Completed, 0) }));
        server.stream([end, Step::Fail(Status::invalid_argument("an end, for this test"))]);
        let (_, out, err) = haul(&server.url(), line, "").await;
        assert_eq!(
            err.matches("connection lost (the server is away), reconnecting").count(),
            1,
            "{line:?}: {err}"
        );
        assert_eq!(err.matches("connected again").count(), 1, "{line:?}: {err}");
        assert!(!out.contains("connect"), "{line:?}: {out}");
    }
}

#[tokio::test]
async fn limits_are_set_and_unset_by_name_and_a_hold_has_its_time() {
    let server = Scripted::start().await;
    server.upstream(Upstream::default());
    let url = server.url();
    let run = async |line: &str| {
        let arguments: Vec<&str> = line.split(' ').collect();
        haul(&url, &arguments, "").await
    };
    let (status, ..) =
        run("upstreams set http://h.example:8080/x --rate 0.5 --unset burst,max-in-flight").await;
    assert_eq!(status, 0);
    let [set] = &server.updated()[..] else { panic!("one call") };
    let upstream = set.upstream.clone().unwrap();
    assert_eq!(upstream.name, "upstreams/http-h.example-8080");
    assert_eq!((upstream.configured_requests_per_second, upstream.configured_burst), (Some(0.5), None));
    assert_eq!(
        set.update_mask.clone().unwrap().paths,
        ["configured_requests_per_second", "configured_burst", "configured_max_in_flight"]
    );
    assert!(!set.allow_missing);

    assert_eq!(run("upstreams hold h.example --for 1m30s --reason lunch").await.0, 0);
    assert_eq!(run("upstreams hold h.example").await.0, 0);
    let [timed, endless] = &server.held()[..] else { panic!("two calls") };
    assert_eq!((timed.name.as_str(), timed.reason.as_str()), ("upstreams/h.example", "lunch"));
    let spans = [timed, endless].map(|hold| hold.duration.map(|duration| duration.seconds));
    assert_eq!(spans, [Some(90), None]);

    for (line, says) in [
        ("upstreams hold h.example --for 10", "such as 90s, 10m"),
        ("upstreams set h.example", "--rate"),
        ("upstreams set h.example --unset workers", "workers"),
    ] {
        let (status, out, err) = run(line).await;
        assert!(status == 2 && out.is_empty() && err.contains(says), "{line}: {status} {err}");
    }
}

#[tokio::test]
async fn missing_keys_are_forgotten_by_name_or_all_of_them() {
    let server = Scripted::start().await;
    let url = server.url();
    let run = async |line: &str| {
        let arguments: Vec<&str> = line.split(' ').collect();
        haul(&url, &arguments, "").await
    };
    assert_eq!(run("missing clear stock_prices 1301 130A").await.1, "2 keys forgotten\n");
    assert_eq!(run("missing clear datasets/responses --all").await.0, 0);
    let asked: Vec<_> =
        server.cleared().into_iter().map(|asked| (asked.parent, asked.keys.join(" "), asked.all)).collect();
    let expected = [("datasets/stock_prices", "1301 130A", false), ("datasets/responses", "", true)];
    assert_eq!(asked, expected.map(|(parent, keys, all)| (parent.to_owned(), keys.to_owned(), all)));
    for line in ["missing clear stock_prices", "missing clear stock_prices 1301 --all", "missing list"] {
        let (status, out, err) = run(line).await;
        assert!(status == 2 && out.is_empty() && !err.is_empty(), "{line}: {status} {err}");
    }
    assert_eq!(server.cleared().len(), 2);
}
