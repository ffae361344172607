//! The programs under test: those beside this one, no older than what they are made of.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::SystemTime,
};

use tokio::process::Command;

use super::LONG;

/// A program of this build.
pub(crate) fn path(name: &str) -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let program = this.parent().and_then(Path::parent).unwrap().join(name);
    assert!(
        program.is_file() && is_fresh(&program),
        "{} is missing or older than its sources: run `cargo build --workspace --bins` first",
        program.display()
    );
    program
}

/// What a program is made of stands in the file that cargo writes beside it: `program: source source …`.
fn is_fresh(program: &Path) -> bool {
    let Ok(made_of) = std::fs::read_to_string(program.with_extension("d")) else { return false };
    let sources = made_of.split_once(": ").map_or("", |(_, sources)| sources);
    let built = changed(program);
    // A space in a path is written as `\ `.
    let sources = sources.trim_end().replace("\\ ", "\0");
    sources.split(' ').all(|source| changed(Path::new(&source.replace('\0', " "))) <= built)
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

/// A command that knows nothing of the settings of whoever runs the tests.
pub(crate) fn command(name: &str) -> Command {
    let mut command = Command::new(path(name));
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("HAUL_") {
            command.env_remove(variable);
        }
    }
    // The upstreams of these tests are on this machine.
    command.env("HAUL_ALLOW_TARGETS", r#"["127.0.0.1"]"#);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// What a program that ends by itself said.
pub(crate) struct Said {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a program to its end.
pub(crate) async fn run<A: AsRef<OsStr>>(name: &str, args: impl IntoIterator<Item = A>) -> Said {
    said(command(name).args(args)).await
}

/// Runs a command to its end.
pub(crate) async fn said(command: &mut Command) -> Said {
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output();
    let Output { status, stdout, stderr } =
        tokio::time::timeout(LONG, output).await.expect("the program ends").expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { status: status.code().expect("it was not killed"), out: text(stdout), err: text(stderr) }
}
