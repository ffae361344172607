//! The `haul` command as a process, in surroundings that are the same everywhere.

use std::process::{Output, Stdio};

use tokio::{io::AsyncWriteExt, process::Command};

/// Runs it with a server's address and standard input: its exit status, output and errors.
pub(crate) async fn haul(server: &str, arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_haul"))
        .args(arguments)
        .envs([("HAUL_SERVER", server), ("COLUMNS", "80"), ("TZ", "UTC")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that reads no input may be gone already.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let Output { status, stdout, stderr } = child.wait_with_output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// The commands that the first page of the help lists.
pub(crate) async fn commands() -> Vec<String> {
    let (_, first_page, _) = haul("", &["--help"], "").await;
    let listed = first_page.lines().filter_map(|line| {
        let (name, about) = line.strip_prefix("  ")?.split_once(' ')?;
        (about.starts_with(' ') && name.starts_with(|c: char| c.is_ascii_lowercase()) && name != "haul")
            .then(|| name.to_owned())
    });
    let commands: Vec<String> = listed.collect();
    assert!(commands.len() > 10, "{commands:?}");
    commands
}
