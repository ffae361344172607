//! Inline items.

use haul_proto::v1;
use prost::Message;
use prost_types::{Struct, Value, value::Kind};
use serde_json::{Map, Value as Json};

use super::{ApiError, COLUMNS_BYTES_MAX, COLUMNS_MAX, Faults, NewItem, Violation, key_fault};

/// Items of a spec, or of a chunk.
const ITEMS_MAX: usize = 10_000;
const ITEMS_BYTES_MAX: usize = 2 << 20;

/// Takes the inline items out of a spec, if it has them. Of too many none is looked at.
pub(super) fn take(spec: &mut v1::BatchSpec, faults: &mut Faults) -> Option<Vec<v1::ItemSpec>> {
    let Some(v1::batch_spec::Source::InlineItems(inline)) = &mut spec.source else { return None };
    let bytes = inline.encoded_len();
    let items = std::mem::take(&mut inline.items);
    let too_many = if items.len() > ITEMS_MAX {
        Violation::too_many_inline_items(ITEMS_MAX, items.len(), "items")
    } else if bytes > ITEMS_BYTES_MAX {
        Violation::too_many_inline_items(ITEMS_BYTES_MAX, bytes, "bytes")
    } else {
        return Some(items);
    };
    faults.0.push(too_many);
    None
}

pub(super) fn parse(items: Vec<v1::ItemSpec>, faults: &mut Faults) -> Vec<NewItem> {
    let field = "spec.inline_items.items";
    if items.is_empty() {
        faults.add(field, "has no item; at least one is required");
    }
    checked(items, field, faults)
}

/// The items of a chunk of an upload.
pub(in crate::api) fn uploaded(chunk: v1::UploadChunk) -> Result<Vec<NewItem>, ApiError> {
    let (count, bytes) = (chunk.items.len(), chunk.encoded_len());
    let mut faults = Faults::default();
    if chunk.first_offset < 0 {
        let problem = format!("{} is negative: it counts the items before the chunk", chunk.first_offset);
        faults.add("chunk.first_offset", problem);
    }
    if count > ITEMS_MAX {
        faults.add(
            "chunk.items",
            format!("has {count} items, more than {ITEMS_MAX}: send them in several chunks"),
        );
    } else if bytes > ITEMS_BYTES_MAX {
        faults.add(
            "chunk.items",
            format!("has {bytes} bytes, more than {ITEMS_BYTES_MAX}: send them in several chunks"),
        );
    }
    if !faults.0.is_empty() {
        return Err(ApiError::Invalid(faults.0));
    }
    let items = checked(chunk.items, "chunk.items", &mut faults);
    if faults.0.is_empty() { Ok(items) } else { Err(ApiError::Invalid(faults.0)) }
}

fn checked(items: Vec<v1::ItemSpec>, list: &str, faults: &mut Faults) -> Vec<NewItem> {
    let mut parsed = Vec::with_capacity(items.len());
    for (n, item) in items.into_iter().enumerate() {
        let field = |name: &str| format!("{list}[{n}].{name}");
        if let Some(fault) = key_fault(&item.key) {
            faults.add(field("key"), format!("the key {fault}"));
        }
        let columns = item.columns.filter(|columns| !columns.fields.is_empty()).map(|columns| {
            if columns.fields.len() > COLUMNS_MAX {
                faults.add(
                    field("columns"),
                    format!("has {} names, more than {COLUMNS_MAX}", columns.fields.len()),
                );
            }
            let text = json(columns).to_string();
            if text.len() > COLUMNS_BYTES_MAX {
                faults.add(
                    field("columns"),
                    format!("has {} bytes, more than {COLUMNS_BYTES_MAX}", text.len()),
                );
            }
            text
        });
        parsed.push(NewItem { columns, ..NewItem::keyed(item.key) });
    }
    parsed
}

fn json(columns: Struct) -> Json {
    Json::Object(
        columns.fields.into_iter().map(|(name, value)| (name, json_value(value))).collect::<Map<_, _>>(),
    )
}

fn json_value(value: Value) -> Json {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(value)) => value.into(),
        Some(Kind::NumberValue(value)) if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 => {
            (value as i64).into()
        }
        Some(Kind::NumberValue(value)) => value.into(),
        Some(Kind::StringValue(value)) => value.into(),
        Some(Kind::StructValue(value)) => json(value),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(json_value).collect(),
    }
}

/// Columns as they are on the wire.
pub(in crate::api) fn columns(text: &str) -> Option<Struct> {
    match proto_value(serde_json::from_str(text).ok()?).kind? {
        Kind::StructValue(columns) => Some(columns),
        _ => None,
    }
}

fn proto_value(json: Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(value),
        Json::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or(f64::NAN)),
        Json::String(value) => Kind::StringValue(value),
        Json::Array(values) => {
            Kind::ListValue(prost_types::ListValue { values: values.into_iter().map(proto_value).collect() })
        }
        Json::Object(fields) => Kind::StructValue(Struct {
            fields: fields.into_iter().map(|(name, value)| (name, proto_value(value))).collect(),
        }),
    };
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns_of(json: &str) -> Struct {
        columns(json).unwrap()
    }

    #[test]
    fn columns_come_back_as_they_went_in() {
        let text = r#"{"a":1,"b":[true,null,"x"],"c":{"d":1.5}}"#;
        let item = v1::ItemSpec { key: "k".into(), columns: Some(columns_of(text)) };
        let mut faults = Faults::default();
        let items = parse(vec![item], &mut faults);
        assert!(faults.0.is_empty());
        assert_eq!(items[0].columns.as_deref(), Some(text));
    }

    #[test]
    fn every_bad_item_is_named_by_its_place() {
        let keyed = |key: &str| v1::ItemSpec { key: key.into(), columns: None };
        let many: Vec<String> = (0..65).map(|n| format!("\"c{n}\":1")).collect();
        let wide = v1::ItemSpec {
            key: "wide".into(),
            columns: Some(columns_of(&format!("{{{}}}", many.join(",")))),
        };
        let mut faults = Faults::default();
        parse(vec![keyed(""), keyed("ok"), keyed("a\u{7}"), wide], &mut faults);
        let fields: Vec<&str> = faults.0.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "spec.inline_items.items[0].key",
                "spec.inline_items.items[2].key",
                "spec.inline_items.items[3].columns"
            ]
        );
    }

    #[test]
    fn a_chunk_is_held_to_the_same_bounds_and_names_its_own_fields() {
        let keyed = |key: &str| v1::ItemSpec { key: key.into(), columns: None };
        let chunk = |first_offset, items| v1::UploadChunk { first_offset, items, seal: false };
        for (given, field, problem) in [
            (chunk(-1, vec![]), "chunk.first_offset", "-1 is negative"),
            (
                chunk(0, vec![keyed("k"); ITEMS_MAX + 1]),
                "chunk.items",
                "has 10001 items, more than 10000: send",
            ),
            (chunk(0, vec![keyed(&"k".repeat(500)); 5_000]), "chunk.items", "bytes, more than 2097152: send"),
            (chunk(0, vec![keyed("a"), keyed("")]), "chunk.items[1].key", "the key is empty"),
        ] {
            let Err(ApiError::Invalid(violations)) = uploaded(given) else { panic!("{field} is taken") };
            let [violation] = &violations[..] else { panic!("{violations:?}") };
            assert_eq!(violation.field, field);
            assert!(violation.problem.contains(problem), "{violation:?}");
        }
        assert_eq!(uploaded(chunk(0, vec![])).unwrap(), [], "it may be empty, to seal");
        assert_eq!(uploaded(chunk(0, vec![keyed("k"); ITEMS_MAX])).unwrap().len(), ITEMS_MAX);
    }

    #[test]
    fn too_many_items_are_refused_as_such() {
        let items = vec![v1::ItemSpec { key: "k".into(), columns: None }; ITEMS_MAX + 1];
        let inline = v1::InlineItems { items, item_count: 0 };
        let mut spec = v1::BatchSpec {
            source: Some(v1::batch_spec::Source::InlineItems(inline)),
            ..v1::BatchSpec::default()
        };
        let mut faults = Faults::default();
        assert_eq!(take(&mut spec, &mut faults), None);
        assert_eq!(faults.0, [Violation::too_many_inline_items(ITEMS_MAX, ITEMS_MAX + 1, "items")]);
    }
}
