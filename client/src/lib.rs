//! Client of haul, a control plane for bulk fetches from rate-limited APIs.
//!
//! [`Client`] speaks the contract of `haul-proto` and takes care of what every caller needs: a deadline on each call,
//! repeats where the contract allows them, paging, and a watch that survives restarts of the server. What a server
//! refuses comes back as [`Error::Refused`] with a stable `reason`; decide by it, never by the text.
//!
//! ```no_run
//! use futures::TryStreamExt;
//! use haul_client::{Client, WatchEvent, WatchOptions};
//!
//! # async fn demo() -> Result<(), haul_client::Error> {
//! let client = Client::connect("http://127.0.0.1:50051").await?;
//! let mut events = client.watch("nightly-2026-02-28", WatchOptions::default());
//! while let Some(event) = events.try_next().await? {
//!     if let WatchEvent::Terminal(batch) = event {
//!         println!("{} ended: {}", batch.name, batch.end_reason);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Feature `cli` (on by default) adds the `haul` command and [`cli`], what it shares with the server's own binary.

mod backoff;
mod channel;
#[cfg(feature = "cli")]
pub mod cli;
mod client;
mod error;
mod name;
mod option;
mod page;
mod retry;
mod upload;
mod watch;

pub use channel::DEFAULT_PORT;
pub use client::Client;
pub use error::{BoxError, Error, Refusal};
pub use haul_proto::v1;
pub use name::batch_name;
pub use option::ClientOptions;
pub use upload::UploadOptions;
pub use watch::{WatchEvent, WatchOptions};
