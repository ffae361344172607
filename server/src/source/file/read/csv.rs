//! The item of a CSV record. What a record is, is the same for the command that uploads a file.

use haul_client::cli::items::csv::Header;
use serde_json::{Map, Value};

use crate::domain::item::NewItem;

/// The item of a record behind the header; every column becomes one of the item's, the key's too.
pub(super) fn item(header: &Header, record: &str) -> Result<NewItem, String> {
    let fields = header.fields(record)?;
    let key = fields[header.key_at()].clone();
    let columns: Map<String, Value> =
        header.names().iter().cloned().zip(fields.into_iter().map(Value::String)).collect();
    Ok(NewItem { columns: Some(Value::Object(columns).to_string()), ..NewItem::keyed(key) })
}
