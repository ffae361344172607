//! A simulator of the upstreams that haul fetches from: the chart endpoint of a quote provider and the listed-issues
//! file of the exchange, with their ways of failing.
//!
//! It promises that what it serves is a pure function of the seed: the same bar whatever window is asked for, the same
//! fault for the same request of the same symbol whatever the order of arrival. It never serves a price, a name or a
//! dividend of a real issue: everything but the layout is invented.
//!
//! ```no_run
//! # async fn example() -> Result<(), haul_sim::SimError> {
//! use haul_sim::{RateLimit, SimConfig, start};
//!
//! let sim = start(SimConfig {
//!     items: Some(50),
//!     faults: 0.1,
//!     limit: Some(RateLimit { rate_per_s: 20.0, burst: 5 }),
//!     ..SimConfig::default()
//! })
//! .await?;
//! let chart = format!("{}/v8/finance/chart/1301.T?range=1mo&interval=1d", sim.base_url());
//! // … fetch it, then
//! sim.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! How a request travels:
//!
//! ```text
//! accept loop ─ connection ─ service ─ chart::plan (what the answer would be)
//!                                   └─ gate::admit (its fate: edge, limit, outage, fault; one lock, one log line)
//!                                   └─ answer      (the body, or the broken connection)
//! ```

mod answer;
mod body;
mod calendar;
mod chart;
mod clock;
mod config;
mod edge;
mod error;
mod fault;
pub mod form;
mod gate;
mod hash;
mod limiter;
mod list;
mod log;
mod market;
mod retry_after;
mod server;
mod service;
mod session;
mod xls;

pub use config::{DenyStatus, Outage, OutageKind, RateLimit, Refuse, RetryAfter, SimConfig};
pub use error::SimError;
pub use list::{ListDate, SERVED_DATE, SERVED_SEED, list_xls};
pub use server::{Sim, start};
