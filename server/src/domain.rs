//! The ground floor: what words mean. Pure values and pure functions; no runtime, no database, no clock.

pub mod backoff;
pub mod batch;
pub mod dataset;
pub mod datum;
pub mod etag;
pub mod failure;
pub mod filter;
pub mod id;
pub mod item;
pub mod listing;
pub mod outlook;
pub mod overlap;
pub mod plan;
pub mod progress;
pub mod report;
pub mod request;
pub mod rule;
pub mod skip;
pub mod spec;
pub mod text;
pub mod upstream;
pub mod window;
