//! The walk over a spec, along its message's descriptor: it turns what people write into canonical JSON and notes
//! everything that is wrong on its way.

use std::collections::HashMap;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value as Json};
use serde_norway::{Mapping, Value};

use super::{
    problem::{Problem, advice, line_of_name},
    scalar,
};

pub(crate) struct Walk<'a> {
    text: &'a str,
    pub(crate) problems: Vec<Problem>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, problems: Vec::new() }
    }

    pub(crate) fn root(&mut self, descriptor: &MessageDescriptor, document: &Value) -> Json {
        match document {
            Value::Null => {
                self.note("spec", None, "the file is empty".to_owned());
                Json::Null
            }
            document => self.message("spec", None, descriptor, document),
        }
    }

    fn message(
        &mut self,
        path: &str,
        name: Option<&str>,
        descriptor: &MessageDescriptor,
        value: &Value,
    ) -> Json {
        let Some(members) = self.members(path, name, value) else {
            return Json::Null;
        };
        let mut json = Map::new();
        let mut oneofs: HashMap<String, String> = HashMap::new();
        for (key, value) in members {
            let Some(key) = self.name(path, key) else {
                continue;
            };
            let path = format!("{path}.{key}");
            let Some(field) = field(descriptor, &key) else {
                let known = known(descriptor, &key);
                self.note(&path, Some(&key), format!("unknown field; {}", advice(&key, &known)));
                continue;
            };
            // Nothing, as after a bare "fetch:", is as good as absent.
            if value.is_null() {
                continue;
            }
            if json.contains_key(field.json_name()) {
                let text = format!("given twice, as {:?} and {:?}", field.json_name(), field.name());
                self.note(&path, Some(&key), text);
            }
            if let Some(oneof) = field.containing_oneof().filter(|oneof| !oneof.is_synthetic()) {
                if let Some(other) = oneofs.get(oneof.name()) {
                    let text = format!("excludes {other:?}; give one of the two");
                    self.note(&path, Some(&key), text);
                } else {
                    oneofs.insert(oneof.name().to_owned(), key.clone());
                }
            }
            let converted = self.field(&path, &key, &field, value);
            json.insert(field.json_name().to_owned(), converted);
        }
        Json::Object(json)
    }

    fn field(&mut self, path: &str, name: &str, field: &FieldDescriptor, value: &Value) -> Json {
        if field.is_map() {
            self.map(path, name, field, value)
        } else if field.is_list() {
            let Value::Sequence(values) = value else {
                let text = format!("{}; put it in [brackets]", scalar::expected("a list", value));
                self.note(path, Some(name), text);
                return Json::Null;
            };
            let kind = field.kind();
            values
                .iter()
                .enumerate()
                .map(|(index, value)| self.single(&format!("{path}[{index}]"), name, &kind, value))
                .collect()
        } else {
            self.single(path, name, &field.kind(), value)
        }
    }

    fn map(&mut self, path: &str, name: &str, field: &FieldDescriptor, value: &Value) -> Json {
        let Kind::Message(entry) = field.kind() else {
            return Json::Null;
        };
        let kind = entry.map_entry_value_field().kind();
        let Some(members) = self.members(path, Some(name), value) else {
            return Json::Null;
        };
        let mut json = Map::new();
        for (key, value) in members {
            if let Some(key) = self.name(path, key) {
                let converted = self.single(&format!("{path}.{key}"), &key, &kind, value);
                json.insert(key, converted);
            }
        }
        Json::Object(json)
    }

    fn single(&mut self, path: &str, name: &str, kind: &Kind, value: &Value) -> Json {
        let converted = match kind {
            Kind::Message(message) if message.full_name() == "google.protobuf.Struct" => {
                return self
                    .members(path, Some(name), value)
                    .map_or(Json::Null, |_| self.free(path, name, value));
            }
            Kind::Message(message) if !scalar::is_scalar_message(message.full_name()) => {
                return self.message(path, Some(name), message, value);
            }
            kind => scalar::convert(kind, value, self.text),
        };
        converted.unwrap_or_else(|text| {
            self.note(path, Some(name), text);
            Json::Null
        })
    }

    /// A value of the caller's own, taken as it is.
    fn free(&mut self, path: &str, name: &str, value: &Value) -> Json {
        match value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::String(value) => Json::String(value.clone()),
            Value::Sequence(values) => values
                .iter()
                .enumerate()
                .map(|(index, value)| self.free(&format!("{path}[{index}]"), name, value))
                .collect(),
            Value::Mapping(members) => {
                let mut json = Map::new();
                for (key, value) in members {
                    if let Some(key) = self.name(path, key) {
                        let converted = self.free(&format!("{path}.{key}"), &key, value);
                        json.insert(key, converted);
                    }
                }
                Json::Object(json)
            }
            Value::Number(_) | Value::Tagged(_) => {
                serde_json::to_value(value).ok().filter(Json::is_number).unwrap_or_else(|| {
                    self.note(path, Some(name), scalar::expected("a value that JSON knows", value));
                    Json::Null
                })
            }
        }
    }

    fn members<'v>(&mut self, path: &str, name: Option<&str>, value: &'v Value) -> Option<&'v Mapping> {
        let members = value.as_mapping();
        if members.is_none() {
            self.note(path, name, scalar::expected("a group of fields", value));
        }
        members
    }

    /// A member's name. YAML takes anything there; numbers are as good as text.
    fn name(&mut self, path: &str, key: &Value) -> Option<String> {
        match key {
            Value::String(name) => Some(name.clone()),
            Value::Number(number) => Some(number.to_string()),
            key => {
                self.note(path, None, scalar::expected("a field's name", key));
                None
            }
        }
    }

    fn note(&mut self, path: &str, name: Option<&str>, text: String) {
        self.problems.push(Problem {
            line: name.and_then(|name| line_of_name(self.text, name)),
            path: path.to_owned(),
            text,
        });
    }
}

/// A field by either of its names.
fn field(descriptor: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    descriptor.get_field_by_json_name(name).or_else(|| descriptor.get_field_by_name(name))
}

/// The names that are known, in the spelling of `like`.
fn known(descriptor: &MessageDescriptor, like: &str) -> Vec<String> {
    descriptor
        .fields()
        .map(|field| if like.contains('_') { field.name().to_owned() } else { field.json_name().to_owned() })
        .collect()
}
