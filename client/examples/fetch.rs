//! Starts a batch on a haul server and watches it to its end:
//!
//! ```console
//! $ cargo run -p haul-client --example fetch -- 7203 6758
//! ```
//!
//! `HAUL_SERVER` is the server, `HAUL_BASE_URL` a simulator in place of the provider.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "that is what it is for")]

use std::env;

use futures::TryStreamExt;
use haul_client::{Client, Error, StartBatch, WatchEvent, WatchOptions, YahooChart};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let server = env::var("HAUL_SERVER").unwrap_or_else(|_| "127.0.0.1:50051".to_owned());
    let base_url = env::var("HAUL_BASE_URL").unwrap_or_default();

    let client = Client::connect(&server).await?;
    let start = StartBatch::yahoo_chart(YahooChart::range("1mo").base_url(base_url))
        .items(env::args().skip(1))
        .time_zone("Asia/Tokyo");
    let batch = match client.start(start).await {
        Ok(batch) => batch,
        Err(error) if error.reason() == Some("INVALID_FIELD") => {
            for violation in error.violations() {
                eprintln!("{}: {}", violation.field, violation.description);
            }
            return Ok(());
        }
        Err(error) => return Err(error),
    };

    let mut events = batch.watch(WatchOptions::default());
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Snapshot(batch) | WatchEvent::Update(batch) => {
                println!("{} {:.0} %", batch.name, batch.progress.unwrap_or_default().percentage);
            }
            WatchEvent::Reconnecting { error, .. } => eprintln!("{error}; the batch goes on"),
            WatchEvent::Reconnected => eprintln!("connected again"),
            WatchEvent::Terminal(batch) => {
                let progress = batch.progress.unwrap_or_default();
                println!(
                    "{}: {} succeeded, {} failed",
                    batch.end_reason, progress.succeeded_items, progress.failed_items
                );
            }
        }
    }
    Ok(())
}
