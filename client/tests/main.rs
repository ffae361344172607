//! The client against a scripted server over real sockets, and the command as a process. A file of this folder is a module
//! of this one program.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod batch;
mod call;
#[cfg(feature = "cli")]
mod command;
#[cfg(feature = "cli")]
mod format;
#[cfg(feature = "cli")]
mod output;
#[cfg(feature = "cli")]
mod program;
mod results;
mod scripted;
#[cfg(feature = "cli")]
mod snapshot;
#[cfg(feature = "cli")]
mod spec;
mod watch;

#[test]
fn each_file_of_the_folder_is_part_of_this_program() {
    let named = include_str!("main.rs");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");
    for file in std::fs::read_dir(folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs");
        assert!(
            ["main", "snapshots"].contains(&module) || named.contains(&format!("\nmod {module};\n")),
            "{name}"
        );
    }
}
