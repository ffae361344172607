//! `haul-sim`: simulates the upstreams that haul fetches from. See `haul-sim --help`.

mod cli;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    cli::run(cli::Cli::parse()).await
}
