//! The command line.

mod list;
mod serve;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Exit status of a setting that cannot be used, as clap's own.
const UNUSABLE: u8 = 2;

/// Simulates the upstreams that haul fetches from: a quote provider's chart endpoint and the exchange's list of issues.
///
/// All prices, companies and failures are invented and follow from the seed.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Serve>),
    List(list::List),
}

/// Why a command ended: one sentence naming the flag, its value and the way out.
#[derive(Debug, thiserror::Error)]
#[error("{flag} {value}: {problem}")]
struct Unusable {
    flag: &'static str,
    value: String,
    problem: String,
}

pub(crate) async fn run(cli: Cli) -> ExitCode {
    let ended = match cli.command {
        Command::Serve(serve) => serve.run().await,
        Command::List(list) => list.run(),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(unusable) => {
            // Nothing is left to do if standard error is closed.
            let _ = writeln!(std::io::stderr(), "error: {unusable}");
            ExitCode::from(UNUSABLE)
        }
    }
}
