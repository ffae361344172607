//! Logs, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// What is logged, out of a level or directives.
pub fn filter(log: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(log).map_err(|error| {
        format!("log {log:?} is neither a level (error, warn, info, debug, trace) nor a filter: {error}")
    })
}

/// Begins to log. What was begun before in this process stays.
pub fn begin(log: &str, format: LogFormat) -> Result<(), String> {
    let filter = filter(log)?;
    let text = match format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let begun = if text {
        subscriber.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init()
    } else {
        subscriber.json().flatten_event(true).try_init()
    };
    // A second call in one process, as tests make it, finds the first one's.
    drop(begun);
    Ok(())
}
