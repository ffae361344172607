//! One NDJSON line.

use serde_json::{Map, Value};

use super::count_fault;
use crate::domain::item::NewItem;

/// The item of an object; every member becomes one of its columns, the key's too.
pub(super) fn item(line: &str, key_column: &str) -> Result<NewItem, String> {
    let object: Map<String, Value> = serde_json::from_str(line)
        .map_err(|error| format!("it is no JSON object ({error}): write one object per line"))?;
    if let Some(fault) = count_fault(object.len()) {
        return Err(fault);
    }
    let key = match object.get(key_column) {
        Some(Value::String(key)) => key.clone(),
        Some(Value::Number(number)) if number.is_i64() || number.is_u64() => number.to_string(),
        Some(other) => {
            let shown = crate::domain::text::cut(&other.to_string(), 60);
            return Err(format!("its {key_column:?} is {shown}: a key is a string or a whole number"));
        }
        None => return Err(format!("it has no {key_column:?}: every object needs the key's member")),
    };
    Ok(NewItem { columns: Some(Value::Object(object).to_string()), ..NewItem::keyed(key) })
}
