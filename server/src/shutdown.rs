//! The wish to end: SIGINT and SIGTERM.

use tokio::signal::unix::{SignalKind, signal};

/// Waits until somebody wishes the process to end. Answers with the signal's number.
pub async fn requested() -> i32 {
    let streams = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = streams else {
        // No handler can be had: the signals then end the process by themselves.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        _ = terminate.recv() => SignalKind::terminate().as_raw_value(),
    }
}
