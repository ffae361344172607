//! hauld: see `hauld --help`.

fn main() -> std::process::ExitCode {
    haul_server::app::main()
}
