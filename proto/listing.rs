//! The contract's elements, a line each: what `proto/listing.txt` holds, so that a change of the contract is seen as one.

use std::fmt::Write;

use prost::Message;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
    field_descriptor_proto::{Label, Type},
    method_options::IdempotencyLevel,
};

use crate::FILE_DESCRIPTOR_SET;

fn listing() -> String {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let mut lines = Vec::new();
    for file in set.file.iter().filter(|file| file.package() == "haul.v1") {
        for service in &file.service {
            lines.extend(service.method.iter().map(|method| rpc(service.name(), method)));
        }
        for nested in &file.message_type {
            message("", nested, &mut lines);
        }
        for nested in &file.enum_type {
            values("", nested, &mut lines);
        }
    }
    lines.sort();
    lines.join("\n") + "\n"
}

fn rpc(service: &str, method: &MethodDescriptorProto) -> String {
    let stream = |is_stream| if is_stream { "stream " } else { "" };
    let (asked, answered) = (bare(method.input_type()), bare(method.output_type()));
    let mut line = format!("rpc {service}.{}", method.name());
    write!(line, " {}{asked}", stream(method.client_streaming())).unwrap();
    write!(line, " -> {}{answered}", stream(method.server_streaming())).unwrap();
    match method.options.as_ref().map(prost_types::MethodOptions::idempotency_level) {
        None | Some(IdempotencyLevel::IdempotencyUnknown) => line,
        Some(level) => format!("{line} {}", level.as_str_name()),
    }
}

fn message(within: &str, message: &DescriptorProto, lines: &mut Vec<String>) {
    let name = format!("{within}{}", message.name());
    let is_map = |nested: &DescriptorProto| {
        nested.options.as_ref().is_some_and(prost_types::MessageOptions::map_entry)
    };
    lines.push(format!("message {name}"));
    for field in &message.field {
        let of_map = message.nested_type.iter().find(|nested| {
            is_map(nested)
                && bare(field.type_name()).ends_with(&format!("{}.{}", message.name(), nested.name()))
        });
        let kind = match of_map {
            Some(entry) => format!("map<{}, {}>", kind(&entry.field[0]), kind(&entry.field[1])),
            None => kind(field),
        };
        let place = match (field.proto3_optional(), field.oneof_index) {
            (false, Some(index)) => format!(" in {}", message.oneof_decl[index as usize].name()),
            (true, _) => " optional".to_owned(),
            (false, None) if field.label() == Label::Repeated && of_map.is_none() => " repeated".to_owned(),
            (false, None) => String::new(),
        };
        lines.push(format!("message {name} {:>3} {} {kind}{place}", field.number(), field.name()));
    }
    for nested in message.nested_type.iter().filter(|nested| !is_map(nested)) {
        self::message(&format!("{name}."), nested, lines);
    }
    for nested in &message.enum_type {
        values(&format!("{name}."), nested, lines);
    }
}

fn values(within: &str, listed: &EnumDescriptorProto, lines: &mut Vec<String>) {
    let name = format!("{within}{}", listed.name());
    lines.extend(
        listed.value.iter().map(|value| format!("enum {name} {:>3} {}", value.number(), value.name())),
    );
}

fn kind(field: &FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::Message | Type::Enum => bare(field.type_name()).to_owned(),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    }
}

/// Without the package, which all have in common.
fn bare(name: &str) -> &str {
    let name = name.trim_start_matches('.');
    name.strip_prefix("haul.v1.").unwrap_or(name)
}

#[test]
fn the_contract_is_what_its_listing_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/proto/listing.txt");
    let now = listing();
    if std::env::var_os("HAUL_RENEW_LISTING").is_some() {
        std::fs::write(path, &now).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    let gone: Vec<&str> = kept.lines().filter(|line| !now.lines().any(|other| other == *line)).collect();
    let new: Vec<&str> = now.lines().filter(|line| !kept.lines().any(|other| other == *line)).collect();
    assert!(
        kept == now,
        "the contract changed:\n- {}\n+ {}\nWhat goes breaks callers; if all of it is meant, run this test with \
         HAUL_RENEW_LISTING=1 and commit proto/listing.txt",
        gone.join("\n- "),
        new.join("\n+ "),
    );
}
