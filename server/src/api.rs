//! The gRPC door: messages in, domain, messages out. Handlers convert, call, convert.

mod batch;
mod delete;
mod item;
mod mask;
mod page;
mod plan;
mod read;
mod report;
mod retry;
mod service;
mod spec;
mod status;
mod time;
mod watch;

pub use service::Service;
pub use spec::{Defaults, check as check_spec};
