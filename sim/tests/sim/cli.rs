//! The program.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_haul-sim");

fn run(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).output().unwrap()
}

#[tokio::test]
async fn serves_until_it_is_told_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let port_file = folder.path().join("sim.port");
    let mut program = Command::new(PROGRAM)
        .args(["serve", "--items", "10", "--rate", "50", "--burst", "5", "--retry-after", "date:2"])
        .args([
            "--outage",
            "1h+5s:503",
            "--latency",
            "1ms",
            "--jitter",
            "1ms",
            "--refuse",
            "after:40/40m/15m,9",
        ])
        .args(["--refuse-libraries", "--list-date", "2026-06-30", "--port-file"])
        .arg(&port_file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(program.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port: u16 = std::fs::read_to_string(&port_file).unwrap().trim().parse().unwrap();
    assert!(line.starts_with(&format!("listening on http://127.0.0.1:{port}, list at http://")), "{line}");
    let health = reqwest::get(format!("http://127.0.0.1:{port}/healthz")).await.unwrap();
    assert_eq!(health.status(), 200);
    assert!(Command::new("kill").args(["-TERM", &program.id().to_string()]).status().unwrap().success());
    assert!(program.wait().unwrap().success());
}

#[test]
fn bad_flags_are_named_with_a_way_out() {
    for (args, says) in [
        (["serve", "--rate", "0"], ["--rate", "above 0"]),
        (["serve", "--rate", "-5"], ["--rate", "above 0"]),
        (["serve", "--faults", "1.5"], ["--faults", "from 0 to 1"]),
        (["serve", "--permanent", "-0.1"], ["--permanent", "from 0 to 1"]),
        (["serve", "--latency", "20"], ["--latency", "such as 20ms"]),
        (["serve", "--outage", "now"], ["--outage", "10s+5s:503"]),
        (["serve", "--refuse", "some"], ["--refuse", "after:40/40m/15m"]),
        (["serve", "--log", "/nowhere/x.jsonl"], ["--log /nowhere/x.jsonl", "choose a file"]),
        (["serve", "--port-file", "/nowhere/port"], ["--port-file /nowhere/port", "choose a file"]),
    ] {
        let output = run(&args);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert!(says.iter().all(|part| error.contains(part)), "{args:?}: {error}");
    }
}

#[test]
fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let output = run(&["serve", "--listen", &addr]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains(&format!("--listen {addr}")) && error.contains("port 0"), "{error}");
}

#[test]
fn a_list_is_the_same_to_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str, seed: &str| {
        let out = folder.path().join(name);
        let out = out.to_str().unwrap();
        let output = run(&["list", "--out", out, "--seed", seed, "--date", "2026-09-30", "--issues", "300"]);
        assert!(output.status.success(), "{output:?}");
        std::fs::read(out).unwrap()
    };
    assert!(make("one.xls", "3") == make("two.xls", "3"));
    assert!(make("one.xls", "3") != make("other.xls", "4"));
}
