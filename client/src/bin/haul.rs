//! The `haul` command.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    haul_client::cli::command::main().await
}
