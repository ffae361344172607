//! hauld: bulk fetches from rate-limited APIs as a service. ARCHITECTURE.md has the map.

pub mod domain;
pub mod store;
