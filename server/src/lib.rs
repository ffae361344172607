//! hauld: bulk fetches from rate-limited APIs as a service. ARCHITECTURE.md has the map.

pub mod api;
pub mod app;
pub mod clock;
pub mod config;
pub mod connector;
pub mod control;
#[cfg(test)]
mod damage;
pub mod domain;
pub mod engine;
#[cfg(test)]
#[path = "../../tests/e2e/world/example.rs"]
mod example;
pub mod failpoint;
pub mod fetch;
pub mod progress;
pub mod shutdown;
pub mod source;
pub mod store;
pub mod telemetry;
