//! The world of a test: an upstream, a server's process, what is asked of them, what is read of them.

pub(crate) mod bare;
pub(crate) mod canned;
pub(crate) mod database;
pub(crate) mod disk;
pub(crate) mod example;
pub(crate) mod hosts;
pub(crate) mod intruder;
pub(crate) mod program;
pub(crate) mod raw;
pub(crate) mod relay;
pub(crate) mod server;
pub(crate) mod shelf;
pub(crate) mod spec;
pub(crate) mod status;
pub(crate) mod upstream;
pub(crate) mod watching;

use std::{
    future::Future,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

pub(crate) use server::Server;
pub(crate) use upstream::Upstream;
pub(crate) use watching::Watching;

/// Longer than anything takes that works, on a busy machine too.
pub(crate) const LONG: Duration = Duration::from_mins(1);

const POLL: Duration = Duration::from_millis(10);

/// Looks until there is something to be seen.
pub(crate) async fn eventually<T, F, Fut>(what: &str, mut look: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + LONG;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {LONG:?}: {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// The wall clock, as the simulator's log has it.
pub(crate) fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}
