//! The `haul` command: its line, its commands and its exit status.
//!
//! A command takes its arguments, a connected client and the place to print to; what goes wrong is said once, here.

mod attempts;
mod completions;
mod control;
mod cursor_file;
mod delete;
mod explain;
mod failure;
mod help;
mod missing;
mod plan;
mod read;
mod redecode;
mod results;
mod retry;
mod start;
mod started;
mod upload;
mod upstreams;
mod watch;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use self::failure::Failure;
use crate::{
    Client,
    cli::output::{Format, Output},
};

/// Starts, watches and steers batches on a haul server.
#[derive(Debug, Parser)]
#[command(
    name = "haul",
    version,
    after_help = "Exit status: 0 all items succeeded or were skipped; 1 the call was refused or the server is \
                  unreachable; 2 wrong usage or spec; 3 some items failed; 4 the batch failed or was stopped.",
    after_long_help = "\
Examples:
  haul plan -f nightly.yaml              see what it would do
  haul start -f nightly.yaml --watch     start a batch and follow it to its end
  haul list                              the newest batches
  haul pause nightly --reason lunch      send no further request
  haul report nightly -o json            what it came to, for programs
  haul retry nightly --watch             fetch again what did not succeed
  haul redecode nightly --watch          rebuild its records, without a request
  haul upload nightly keys.txt           send an open batch its items
  haul upstreams                         what each upstream may be asked
  haul missing list stock_prices         keys that are known not to exist

Exit status:
  0  all items succeeded or were skipped
  1  the call was refused, or the server is unreachable
  2  wrong usage, or something is wrong with the spec file
  3  some items failed
  4  the batch failed or was stopped"
)]
struct Line {
    /// Address of the server.
    #[arg(
        long,
        global = true,
        env = "HAUL_SERVER",
        hide_env_values = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:50051",
        display_order = 100
    )]
    server: String,
    /// How to print: table for people, json or yaml for programs.
    ///
    /// A table may change between releases. The others are the contract's canonical JSON, one document, and the same as
    /// YAML. Progress and errors always go to standard error.
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        hide_possible_values = true,
        default_value_t,
        display_order = 101
    )]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Start(start::Start),
    Plan(plan::Plan),
    Watch(watch::Watch),
    Pause(control::Pause),
    Resume(control::Resume),
    Stop(control::Stop),
    Get(read::Get),
    List(read::List),
    Items(read::Items),
    Attempts(attempts::Attempts),
    Results(results::Results),
    Report(read::Report),
    Redecode(redecode::Redecode),
    Retry(retry::Retry),
    Delete(delete::Delete),
    Upload(upload::Upload),
    Upstreams(upstreams::Upstreams),
    Missing(missing::Missing),
    Completions(completions::Completions),
    Explain(explain::Explain),
}

/// What a command works with.
struct Context {
    server: String,
    output: Output,
}

impl Context {
    async fn connect(&self) -> Result<Client, Failure> {
        Ok(Client::connect(&self.server).await?)
    }
}

/// Runs the command that the process was started with.
pub async fn main() -> ExitCode {
    let line = match Line::from_arg_matches(&help::grouped(Line::command()).get_matches()) {
        Ok(line) => line,
        Err(error) => error.exit(),
    };
    let mut out = io::stdout().lock();
    let status = match Box::pin(run(line, &mut out)).await {
        Ok(status) => status,
        Err(failure) => {
            failure.write(&mut io::stderr().lock());
            failure.status()
        }
    };
    ExitCode::from(status)
}

async fn run(line: Line, out: &mut impl Write) -> Result<u8, Failure> {
    let context = Context { server: line.server, output: Output::new(line.output) };
    let status = match line.command {
        Command::Start(start) => Box::pin(start.run(&context, out)).await,
        Command::Plan(plan) => Box::pin(plan.run(&context, out)).await,
        Command::Watch(watch) => watch.run(&context, out).await,
        Command::Pause(pause) => pause.run(&context, out).await,
        Command::Resume(resume) => resume.run(&context, out).await,
        Command::Stop(stop) => stop.run(&context, out).await,
        Command::Get(get) => get.run(&context, out).await,
        Command::List(list) => list.run(&context, out).await,
        Command::Items(items) => items.run(&context, out).await,
        Command::Attempts(attempts) => attempts.run(&context, out).await,
        Command::Results(results) => Box::pin(results.run(&context, out)).await,
        Command::Report(report) => report.run(&context, out).await,
        Command::Delete(delete) => delete.run(&context, out).await,
        Command::Retry(retry) => Box::pin(retry.run(&context, out)).await,
        Command::Redecode(redecode) => Box::pin(redecode.run(&context, out)).await,
        Command::Upload(upload) => Box::pin(upload.run(&context, out)).await,
        Command::Upstreams(upstreams) => upstreams.run(&context, out).await,
        Command::Missing(missing) => missing.run(&context, out).await,
        Command::Completions(completions) => {
            completions.run(help::grouped(Line::command()), context.output.format(), out)
        }
        Command::Explain(explain) => explain.run(&context.output, out),
    }?;
    out.flush()?;
    Ok(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        help::grouped(Line::command()).debug_assert();
    }

    #[test]
    fn each_command_is_in_a_group_of_the_help() {
        assert_eq!(help::ungrouped(&Line::command()), Vec::<String>::new());
    }
}
