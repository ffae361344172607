//! Upkeep: deletes what has expired, a little at a time.

use std::{sync::Arc, time::Duration};

use super::Engine;
use crate::clock;

/// Between two looks when there was nothing to delete.
const IDLE: Duration = Duration::from_secs(60);
/// Between two bites when there was.
const BUSY: Duration = Duration::from_millis(200);

pub(super) async fn run(engine: Arc<Engine>) {
    let mut wait = BUSY;
    loop {
        tokio::select! {
            () = engine.draining.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = match engine.store.purge(clock::now()).await {
            Ok(0) => IDLE,
            Ok(_) => BUSY,
            Err(error) => {
                tracing::warn!(error = %error, "expired rows could not be deleted");
                IDLE
            }
        };
    }
}
