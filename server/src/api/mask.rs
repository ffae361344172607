//! Field masks: which fields of a message a reader wants.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MessageDescriptor, ReflectMessage};
use prost_types::FieldMask;

use super::status::{ApiError, Violation};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(haul_proto::FILE_DESCRIPTOR_SET).expect("the contract was compiled by this build")
});

/// Wanted fields of one kind of message; all of them if nothing was said.
pub(super) struct Mask {
    message: MessageDescriptor,
    paths: Option<Vec<String>>,
}

impl Mask {
    /// Reads the mask of the field `field` of a request over `full_name`, such as `haul.v1.Item`.
    pub(super) fn parse(mask: Option<FieldMask>, field: &str, full_name: &str) -> Result<Self, ApiError> {
        let message = POOL.get_message_by_name(full_name).expect("a message of the contract");
        let Some(FieldMask { paths }) = mask else { return Ok(Self { message, paths: None }) };
        let unknown = paths.iter().enumerate().filter(|(_, path)| !has(&message, path)).map(|(n, path)| {
            Violation::new(format!("{field}.paths[{n}]"), format!("{} has no field {path:?}", message.name()))
        });
        let unknown: Vec<Violation> = unknown.collect();
        if unknown.is_empty() {
            Ok(Self { message, paths: Some(paths) })
        } else {
            Err(ApiError::Invalid(unknown))
        }
    }

    /// Whether it names this very field.
    pub(super) fn names(&self, path: &str) -> bool {
        self.paths.iter().flatten().any(|wanted| wanted == path)
    }

    /// The message without what is not wanted.
    pub(super) fn apply<M: Message + Default>(&self, message: M) -> M {
        let Some(paths) = &self.paths else { return message };
        let mut pruned = DynamicMessage::new(self.message.clone());
        // Both are generated from the same file.
        pruned.transcode_from(&message).expect("the message is of this kind");
        let wanted: Vec<&str> = paths.iter().map(String::as_str).collect();
        prune(&mut pruned, &wanted);
        pruned.transcode_to().expect("the message is of this kind")
    }
}

fn has(message: &MessageDescriptor, path: &str) -> bool {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let Some(field) = message.get_field_by_name(first) else { return false };
    match (rest, field.kind()) {
        (None, _) => true,
        (Some(rest), Kind::Message(inner)) if !field.is_list() && !field.is_map() => has(&inner, rest),
        (Some(_), _) => false,
    }
}

fn prune(message: &mut DynamicMessage, wanted: &[&str]) {
    for field in message.descriptor().fields() {
        if wanted.contains(&field.name()) || !message.has_field(&field) {
            continue;
        }
        let inner =
            |path: &&str| path.strip_prefix(field.name()).and_then(|rest| rest.strip_prefix('.')).is_some();
        let below: Vec<&str> =
            wanted.iter().filter(|path| inner(path)).map(|path| &path[field.name().len() + 1..]).collect();
        match message.get_field_mut(&field).as_message_mut() {
            Some(child) if !below.is_empty() => prune(child, &below),
            _ => message.clear_field(&field),
        }
    }
}

#[cfg(test)]
mod tests {
    use haul_proto::v1::{Item, ItemResult, ItemSpec};

    use super::*;

    fn mask(paths: &[&str]) -> Result<Mask, ApiError> {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        Mask::parse(Some(FieldMask { paths }), "read_mask", "haul.v1.Item")
    }

    #[test]
    fn what_is_not_named_is_left_out() {
        let item = Item {
            index: 7,
            spec: Some(ItemSpec { key: "7203".to_owned(), columns: None }),
            records_written: 3,
            result: Some(ItemResult { http_status: 200, size_bytes: 9, ..ItemResult::default() }),
            ..Item::default()
        };
        let none = Mask::parse(None, "read_mask", "haul.v1.Item").unwrap();
        assert_eq!(none.apply(item.clone()), item);
        assert_eq!(mask(&[]).unwrap().apply(item.clone()), Item::default());
        let some = mask(&["index", "result.http_status"]).unwrap().apply(item.clone());
        let result = ItemResult { http_status: 200, ..ItemResult::default() };
        assert_eq!(some, Item { index: 7, result: Some(result), ..Item::default() });
        let whole = mask(&["result.size_bytes", "result", "spec.key"]).unwrap().apply(item.clone());
        assert_eq!(whole, Item { spec: item.spec.clone(), result: item.result.clone(), ..Item::default() });
    }

    #[test]
    fn every_unknown_path_is_told() {
        assert!(mask(&["state", "spec.columns", "error.failure_class"]).is_ok());
        let Err(ApiError::Invalid(unknown)) =
            mask(&["state", "stat", "*", "index.x", "spec.", "", "result.http_status"])
        else {
            panic!("they are unknown");
        };
        let fields: Vec<&str> = unknown.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, [1, 2, 3, 4, 5].map(|n| format!("read_mask.paths[{n}]")));
    }
}
