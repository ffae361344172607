//! Client of haul, a control plane for bulk fetches from rate-limited APIs.
//!
//! ```no_run
//! use futures::TryStreamExt;
//! use haul_client::{Client, Error, StartBatch, WatchEvent, WatchOptions, YahooChart};
//!
//! # async fn demo() -> Result<(), Error> {
//! let client = Client::connect("http://127.0.0.1:50051").await?;
//! let batch = client
//!     .start(
//!         StartBatch::yahoo_chart(YahooChart::range("1y"))
//!             .items(["7203", "6758", "285A"])
//!             .as_of_date("2026-01-30")
//!             .time_zone("Asia/Tokyo"),
//!     )
//!     .await?;
//!
//! let mut events = batch.watch(WatchOptions::default());
//! while let Some(event) = events.try_next().await? {
//!     match event {
//!         WatchEvent::Snapshot(batch) | WatchEvent::Update(batch) => {
//!             println!("{:.0} %", batch.progress.unwrap_or_default().percentage);
//!         }
//!         WatchEvent::Reconnecting { error, .. } => eprintln!("{error}; the batch goes on"),
//!         WatchEvent::Reconnected => eprintln!("connected again"),
//!         WatchEvent::Terminal(batch) => println!("{}", batch.end_reason),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Client`] takes care of what every caller needs:
//!
//! * **Deadlines.** Each call has one, and tells the server.
//! * **Repeats.** What the contract allows to be repeated is, up to three times, while the server is unavailable: after
//!   0.2 s, doubled each time to at most 5 s, give or take a fifth, or when the server says. A start carries an id, so it
//!   never makes two batches. While most calls fail nothing is repeated. [`ClientOptions`] has the figures.
//! * **Watching** through restarts of the server and broken connections. A watch ends with the batch's end, or with an
//!   error that another connection would not mend.
//! * **Pages.** Lists come as streams.
//! * **Starts that make nothing.** Where another batch of the same overlap key is live and the policy is to skip, a start
//!   is [`Error::Skipped`], with that batch: what comes back as a [`BatchHandle`] was made.
//! * **Errors.** What a server refuses comes as [`Error::Refused`] with a stable [`reason`](Error::reason), the fields at
//!   fault, and the message's variables. What becomes of an *item* is data, and never an error.
//!
//! Messages are the contract's own, in [`v1`]. [`StartBatch`] and [`BatchHandle`] are the short way for the common
//! things; each RPC has a method on [`Client`] that takes whatever the contract has.
//!
//! Feature `cli` (on by default) adds the `haul` command and [`cli`], what it shares with the server's own binary.

mod backoff;
mod batch;
mod channel;
#[cfg(feature = "cli")]
pub mod cli;
mod client;
mod dataset;
mod error;
mod name;
mod option;
mod page;
mod results;
mod retry;
mod start;
mod upload;
mod upstream;
mod watch;

pub use batch::BatchHandle;
pub use channel::DEFAULT_PORT;
pub use client::Client;
pub use error::{BoxError, Error, Refusal, Violation};
pub use haul_proto::v1;
pub use name::{batch_name, dataset_name, upstream_name};
pub use option::ClientOptions;
pub use results::{ResultsEvent, ResultsOptions};
pub use start::{StartBatch, YahooChart};
pub use upload::UploadOptions;
pub use watch::{MatchEvent, WatchEvent, WatchOptions};
