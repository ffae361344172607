//! What a caller may set on a [`Client`](crate::Client). The defaults are the contract's.

use std::time::Duration;

/// Bounds of connecting, of repeats and of reconnects.
///
/// ```
/// use std::time::Duration;
/// use haul_client::ClientOptions;
///
/// let options = ClientOptions { connect_timeout: Duration::from_secs(1), ..ClientOptions::default() };
/// assert_eq!(options.retry_attempts, 4);
/// ```
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Longest wait for a connection. Default 5 s.
    pub connect_timeout: Duration,
    /// How often a live watch asks whether the connection still is one; nothing is sent while no watch is. Default 30 s;
    /// some proxies answer faster pings with `too_many_pings`.
    pub keepalive_interval: Duration,
    /// Longest wait for the answer to that; past it, the connection counts as broken. Default 10 s.
    pub keepalive_timeout: Duration,
    /// Calls of one repeatable RPC, the first included. Default 4.
    pub retry_attempts: u32,
    /// Shortest wait before a repeat or a reconnect. Default 200 ms.
    pub backoff_min: Duration,
    /// Longest wait before a repeat of a call, unless the server asks for more. Default 5 s.
    pub retry_backoff_max: Duration,
    /// Longest wait before a watch reconnects, unless the server asks for more. Default 10 s.
    pub backoff_max: Duration,
    /// A watch that lasted this long starts over with the shortest wait. Default 30 s.
    pub healthy_after: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
            retry_attempts: 4,
            backoff_min: Duration::from_millis(200),
            retry_backoff_max: Duration::from_secs(5),
            backoff_max: Duration::from_secs(10),
            healthy_after: Duration::from_secs(30),
        }
    }
}
