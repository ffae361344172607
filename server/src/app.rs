//! The composition root: commands of `hauld`, and what they are put together from.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use haul_client::cli::exit;

mod demo;
mod doctor;
mod folder;
mod list;
mod migrate;
mod node;
mod offline;
mod run;
mod serve;

pub use node::{Node, NodeError};

/// Bulk fetches from rate-limited APIs as a service.
#[derive(Debug, Parser)]
#[command(name = "hauld", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Run(run::Run),
    Demo(demo::Demo),
    Doctor(doctor::Doctor),
    Migrate(migrate::Migrate),
    List(list::List),
}

/// Why a command ended without its result: what to say, and the exit status.
#[derive(Debug)]
struct Failure {
    message: String,
    status: u8,
}

impl Failure {
    /// Usage, configuration, spec or data folder.
    fn usage(error: impl ToString) -> Self {
        Self { message: error.to_string(), status: exit::USAGE }
    }
}

impl From<haul_client::Error> for Failure {
    fn from(error: haul_client::Error) -> Self {
        Self { message: error.to_string(), status: exit::of_error(&error) }
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        Self::usage(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        // Nobody reads on: the work is done all the same.
        let status = if error.kind() == io::ErrorKind::BrokenPipe { 0 } else { exit::CALL };
        Self { message: error.to_string(), status }
    }
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Failure::usage(format!("no runtime: {error}"))),
    };
    let status = runtime.block_on(async {
        match cli.command {
            Command::Serve(serve) => Box::pin(serve.run()).await,
            Command::Run(run) => Box::pin(run.run()).await,
            Command::Demo(demo) => Box::pin(demo.run()).await,
            Command::Doctor(doctor) => Box::pin(doctor.run()).await,
            Command::Migrate(migrate) => Box::pin(migrate.run()).await,
            Command::List(list) => Box::pin(list.run()).await,
        }
    });
    // Whatever still blocks a thread does not keep the process.
    runtime.shutdown_background();
    match status {
        Ok(status) => ExitCode::from(status),
        Err(failure) => fail(&failure),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    if failure.status != 0 {
        // Lost with standard error.
        let _ = writeln!(io::stderr(), "hauld: {}", failure.message);
    }
    ExitCode::from(failure.status)
}
