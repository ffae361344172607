//! Single values: what the file says, what the field takes, and the canonical JSON between them.
//!
//! YAML reads unquoted `1301` as a number; where the field is text, it is the text that was written. Where what was
//! read no longer shows what was written (`1301.0`, `0x10`, `yes`), the file has to quote it.

use chrono::DateTime;
use prost_reflect::{EnumDescriptor, Kind};
use serde_json::{Number, Value as Json, json};
use serde_norway::Value;

use super::problem::advice;

/// A value of kind `kind` in canonical JSON, or what is wrong with it. `text` is the whole file.
pub(crate) fn convert(kind: &Kind, value: &Value, text: &str) -> Result<Json, String> {
    match kind {
        Kind::Bool => value.as_bool().map(Json::Bool).ok_or_else(|| expected("true or false", value)),
        Kind::String => string(value, text),
        Kind::Double | Kind::Float => float(value),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            integer(value, i64::from(i32::MIN), i64::from(i32::MAX))
        }
        Kind::Uint32 | Kind::Fixed32 => integer(value, 0, i64::from(u32::MAX)),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => integer(value, i64::MIN, i64::MAX),
        Kind::Uint64 | Kind::Fixed64 => integer(value, 0, i64::MAX),
        Kind::Bytes => value.as_str().map(Json::from).ok_or_else(|| expected("base64 text", value)),
        Kind::Enum(known) => enumeration(known, value),
        Kind::Message(message) => match message.full_name() {
            "google.protobuf.Duration" => duration(value),
            _ => instant(value),
        },
    }
}

/// The message types that a file writes as one value.
pub(crate) fn is_scalar_message(full_name: &str) -> bool {
    matches!(full_name, "google.protobuf.Duration" | "google.protobuf.Timestamp")
}

pub(crate) fn expected(what: &str, value: &Value) -> String {
    format!("expected {what}, got {}", shown(value))
}

/// A value as the reader of an error message knows it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::String(value) => {
            let head: String = value.chars().take(60).collect();
            let more = if head.len() < value.len() { "..." } else { "" };
            format!("{:?}", head + more)
        }
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) => "a group of fields".to_owned(),
        Value::Tagged(tagged) => format!("a value tagged {}", tagged.tag),
    }
}

fn string(value: &Value, text: &str) -> Result<Json, String> {
    let quote = || format!("{}; put it in quotes", expected("text", value));
    match value {
        Value::String(value) => Ok(json!(value)),
        Value::Number(number) if !number.is_f64() => {
            let digits = number.to_string();
            if is_written(text, &digits) { Ok(Json::String(digits)) } else { Err(quote()) }
        }
        Value::Number(_) | Value::Bool(_) => Err(quote()),
        _ => Err(expected("text", value)),
    }
}

/// Whether `digits` stand in the file as they are: 16 may also have been read from 0x10.
fn is_written(text: &str, digits: &str) -> bool {
    let apart = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && !"._+".contains(c));
    text.match_indices(digits).any(|(start, _)| {
        apart(text[..start].chars().next_back()) && apart(text[start + digits.len()..].chars().next())
    })
}

fn integer(value: &Value, min: i64, max: i64) -> Result<Json, String> {
    let number = match value {
        Value::Number(number) => number.as_i64().or_else(|| {
            number
                .as_f64()
                .filter(|float| float.fract() == 0.0 && float.abs() < 9e15)
                .map(|float| float as i64)
        }),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    match number {
        Some(number) if (min..=max).contains(&number) => Ok(json!(number)),
        Some(_) => Err(expected(&format!("a whole number from {min} to {max}"), value)),
        None => Err(expected("a whole number", value)),
    }
}

fn float(value: &Value) -> Result<Json, String> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number.and_then(Number::from_f64).map(Json::Number).ok_or_else(|| expected("a number", value))
}

fn duration(value: &Value) -> Result<Json, String> {
    value
        .as_str()
        .filter(|text| {
            text.strip_suffix('s').is_some_and(|seconds| {
                let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
                let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
                digits(whole.strip_prefix('-').unwrap_or(whole)) && digits(fraction) && fraction.len() <= 9
            })
        })
        .map(Json::from)
        .ok_or_else(|| expected("a duration in seconds such as \"30s\" or \"0.5s\"", value))
}

fn instant(value: &Value) -> Result<Json, String> {
    value
        .as_str()
        .filter(|text| DateTime::parse_from_rfc3339(text).is_ok())
        .map(Json::from)
        .ok_or_else(|| expected("an instant such as \"2026-02-28T15:00:00+09:00\"", value))
}

/// A full name, a name without the enum's prefix, or a number.
fn enumeration(known: &EnumDescriptor, value: &Value) -> Result<Json, String> {
    let prefix = known
        .get_value(0)
        .and_then(|zero| zero.name().strip_suffix("UNSPECIFIED").map(str::to_owned))
        .unwrap_or_default();
    let short = |name: &str| name.strip_prefix(&prefix).unwrap_or(name).to_owned();
    let names: Vec<String> =
        known.values().filter(|value| value.number() != 0).map(|value| short(value.name())).collect();
    match value {
        Value::String(given) => known
            .values()
            .find(|value| value.name() == given || short(value.name()) == *given)
            .map(|value| json!(value.name()))
            .ok_or_else(|| format!("unknown value {given:?}; {}", advice(&short(given), &names))),
        Value::Number(given) => given
            .as_i64()
            .and_then(|number| i32::try_from(number).ok())
            .and_then(|number| known.get_value(number))
            .map(|value| json!(value.name()))
            .ok_or_else(|| format!("unknown value {given}; known are {}", names.join(", "))),
        _ => Err(expected(&format!("one of {}", names.join(", ")), value)),
    }
}
