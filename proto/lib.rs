//! The contract of haul: messages, client and server stubs generated from `proto/haul/v1`, and the descriptor set
//! that reflection and canonical JSON are made from. What the messages mean is in `docs/contract.md`.

mod codec;
mod frame;

pub use codec::Codec;
pub use frame::{FrameEvent, WatchFrame};

/// Package `haul.v1`.
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    unused_qualifications
)]
pub mod v1 {
    tonic::include_proto!("haul.v1");
}

/// The compiled descriptors of the contract, a serialized `google.protobuf.FileDescriptorSet` with source info.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/haul.binpb"));

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod listing;
