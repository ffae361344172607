//! Canonical protobuf JSON of the contract's messages, both ways. Fields at their default are left out, 64-bit integers
//! are strings, enum values are names, as the canonical form has it.

use std::sync::LazyLock;

use haul_proto::v1;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::Value;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(haul_proto::FILE_DESCRIPTOR_SET).expect("the contract was compiled by this build")
});

/// Why a message has no JSON, or JSON no message.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The contract has no such message.
    #[error("the contract has no message {0}")]
    UnknownMessage(String),
    /// The bytes or the JSON are no such message.
    #[error("not a {full_name}: {problem}")]
    Mismatch {
        /// The message's full name.
        full_name: String,
        /// What is wrong.
        problem: String,
    },
}

/// The message `full_name`, such as `haul.v1.Batch`.
pub(crate) fn descriptor(full_name: &str) -> Result<MessageDescriptor, JsonError> {
    POOL.get_message_by_name(full_name).ok_or_else(|| JsonError::UnknownMessage(full_name.to_owned()))
}

/// A message as canonical JSON. `full_name` names its type, such as `haul.v1.Batch`.
pub fn to_json<M: Message>(full_name: &str, message: &M) -> Result<Value, JsonError> {
    let mismatch = |problem: String| JsonError::Mismatch { full_name: full_name.to_owned(), problem };
    let dynamic = DynamicMessage::decode(descriptor(full_name)?, message.encode_to_vec().as_slice())
        .map_err(|error| mismatch(error.to_string()))?;
    serde_json::to_value(&dynamic).map_err(|error| mismatch(error.to_string()))
}

/// A message from canonical JSON.
pub fn from_json<M: Message + Default>(full_name: &str, json: Value) -> Result<M, JsonError> {
    let mismatch = |problem: String| JsonError::Mismatch { full_name: full_name.to_owned(), problem };
    let dynamic = DynamicMessage::deserialize(descriptor(full_name)?, json)
        .map_err(|error| mismatch(error.to_string()))?;
    M::decode(dynamic.encode_to_vec().as_slice()).map_err(|error| mismatch(error.to_string()))
}

/// A batch as canonical JSON.
pub fn batch(batch: &v1::Batch) -> Result<Value, JsonError> {
    to_json("haul.v1.Batch", batch)
}

/// An item as canonical JSON.
pub fn item(item: &v1::Item) -> Result<Value, JsonError> {
    to_json("haul.v1.Item", item)
}

/// A report as canonical JSON.
pub fn report(report: &v1::Report) -> Result<Value, JsonError> {
    to_json("haul.v1.Report", report)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn batches_go_there_and_back() {
        let batch = v1::Batch {
            name: "batches/nightly".to_owned(),
            state: v1::batch::State::Paused.into(),
            revision: 1 << 60,
            spec: Some(v1::BatchSpec {
                fetch: Some(v1::FetchPolicy {
                    workers: Some(0),
                    requests_per_second: Some(0.5),
                    attempt_timeout: Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }),
                    ..v1::FetchPolicy::default()
                }),
                ..v1::BatchSpec::default()
            }),
            ..v1::Batch::default()
        };
        let json = super::batch(&batch).unwrap();
        assert_eq!(
            json,
            json!({
                "name": "batches/nightly",
                "state": "STATE_PAUSED",
                "revision": "1152921504606846976",
                "spec": {"fetch": {"workers": 0, "requestsPerSecond": 0.5, "attemptTimeout": "1.500s"}},
            })
        );
        assert_eq!(from_json::<v1::Batch>("haul.v1.Batch", json).unwrap(), batch);
    }

    #[test]
    fn what_is_no_message_is_said() {
        assert_eq!(
            to_json("haul.v1.Nothing", &v1::Batch::default()).unwrap_err().to_string(),
            "the contract has no message haul.v1.Nothing"
        );
        assert!(from_json::<v1::Batch>("haul.v1.Batch", json!({"nmae": "x"})).is_err());
    }
}
