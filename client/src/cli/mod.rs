//! The `haul` command, and what the server's own binary shares with it: spec files, canonical JSON, tables, the live
//! progress display, the report for people, and exit statuses.
//!
//! What a command was asked for goes to standard output; progress and errors go to standard error.

pub mod clock;
pub mod command;
mod connection;
pub mod exit;
pub mod items;
pub mod json;
pub mod label;
pub mod number;
pub mod output;
pub mod progress;
pub(crate) mod queue;
pub mod report;
pub mod spec;
pub mod time;
