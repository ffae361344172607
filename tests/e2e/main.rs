//! haul end to end: `hauld` and `haul` as real processes, the real client over real sockets, against the simulator.
//!
//! What each test claims it reads from where a user would: the replies, the simulator's log of arrivals, the tables.
//! It needs the programs that a `cargo build --workspace --bins` leaves beside it.

#![allow(clippy::unwrap_used, reason = "a test may panic, and so may its world")]
#![allow(clippy::disallowed_methods, reason = "a test compares with the wall clock")]

mod client;
mod control;
mod crash;
mod data_doc;
mod delete;
mod discovery;
mod doctor;
mod drain;
mod fault;
mod http_fetch;
mod limit;
mod listing;
mod luck;
mod oddity;
mod outage;
mod overlap;
mod plan;
mod process;
mod query;
mod queue;
mod rate;
mod read;
mod redecode;
mod refusal;
mod remote_file;
mod replay;
mod results;
mod retry;
mod run;
mod start;
mod target;
mod transport;
mod upload;
mod watch;
mod world;
