//! Logs, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::config::LogFormat;

/// What is logged, out of a level or directives.
pub fn filter(log: &str) -> Result<EnvFilter, String> {
    let refused = |why: &str| {
        format!("log {log:?} is neither a level (error, warn, info, debug, trace, off) nor a filter: {why}")
    };
    // A misspelt level would be the name of a target that logs nothing, and everything else be silent.
    let is_bare = |part: &&str| part.chars().all(|c| c.is_ascii_alphanumeric());
    if let Some(word) =
        log.split(',').map(str::trim).filter(is_bare).find(|word| word.parse::<LevelFilter>().is_err())
    {
        return Err(refused(&format!("there is no level {word:?}")));
    }
    EnvFilter::try_new(log).map_err(|error| refused(&error.to_string()))
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
