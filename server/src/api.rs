//! The gRPC door: messages in, domain, messages out. Handlers convert, call, convert.

mod attempt;
mod batch;
mod dataset;
mod delete;
mod delivery;
mod edge;
mod item;
mod mask;
mod page;
mod plan;
mod read;
mod report;
mod results;
mod retry;
mod service;
mod spec;
mod status;
mod time;
mod transport;
mod upload;
mod upstream;
mod watch;

pub use edge::Edge;
pub use service::Service;
pub use spec::{Defaults, check as check_spec};
pub use transport::{BadOrigin, Doors, Limits, Origins, services};
