//! Upkeep: deletes what has expired, a little at a time, and ends what drains without anybody seeing to it.

use std::{sync::Arc, time::Duration};

use super::Engine;
use crate::clock;

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(1);
/// Rounds between two looks for what has expired, when there was nothing.
const PURGE_ROUNDS: u32 = 60;

pub(super) async fn run(engine: Arc<Engine>) {
    let mut rounds_to_purge = 1;
    loop {
        tokio::select! {
            () = engine.draining.cancelled() => return,
            () = tokio::time::sleep(ROUND) => {}
        }
        match engine.store.settle(clock::now()).await {
            Ok(batches) => engine.take_up_all(batches),
            Err(error) => tracing::warn!(error = %error, "draining batches could not be looked at"),
        }
        rounds_to_purge -= 1;
        if rounds_to_purge == 0 {
            rounds_to_purge = match engine.store.purge(clock::now()).await {
                Ok(0) => PURGE_ROUNDS,
                Ok(_) => 1,
                Err(error) => {
                    tracing::warn!(error = %error, "expired rows could not be deleted");
                    PURGE_ROUNDS
                }
            };
        }
    }
}
