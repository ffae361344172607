//! One CSV record, by RFC 4180 and nothing looser: a stray quote is an error, not text.

use serde_json::{Map, Value};

use super::count_fault;
use crate::domain::item::NewItem;

/// The columns' names.
#[derive(Debug)]
pub(super) struct Header {
    names: Vec<String>,
    key_at: usize,
}

impl Header {
    /// The names out of the first record.
    pub(super) fn read(record: &str, key_column: &str) -> Result<Self, String> {
        let names = fields(record)?;
        if let Some(fault) = count_fault(names.len()) {
            return Err(fault);
        }
        for (at, name) in names.iter().enumerate() {
            if name.is_empty() {
                return Err(format!("column {} has no name in the header row: give it one", at + 1));
            }
            if names[..at].contains(name) {
                return Err(format!("two columns are named {name:?} in the header row: rename one"));
            }
        }
        let key_at = names.iter().position(|name| name == key_column).ok_or_else(|| {
            format!(
                "the header row has no column {key_column:?}, only {}: name the key's column",
                names.join(", ")
            )
        })?;
        Ok(Self { names, key_at })
    }

    /// The item of a later record; every column becomes one of the item's, the key's too.
    pub(super) fn item(&self, record: &str) -> Result<NewItem, String> {
        let fields = fields(record)?;
        if fields.len() != self.names.len() {
            let [found, expected] = [fields.len(), self.names.len()];
            return Err(format!(
                "it has {found} fields where the header row has {expected}: add or remove fields, quote commas"
            ));
        }
        let key = fields[self.key_at].clone();
        let columns: Map<String, Value> =
            self.names.iter().cloned().zip(fields.into_iter().map(Value::String)).collect();
        Ok(NewItem { columns: Some(Value::Object(columns).to_string()), ..NewItem::keyed(key) })
    }
}

fn fields(record: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = record;
    loop {
        let (field, after) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted_field(quoted)?
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let (field, after) = rest.split_at(end);
            if field.contains('"') {
                return Err(format!(
                    "field {} has a quote inside: put the field in quotes and double it",
                    fields.len() + 1
                ));
            }
            (field.to_owned(), after)
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(fields),
            None => {
                return Err(format!(
                    "field {} goes on after its closing quote: double quotes inside it",
                    fields.len()
                ));
            }
        }
    }
}

/// A field after its opening quote, and what follows its closing one.
fn quoted_field(mut rest: &str) -> Result<(String, &str), String> {
    let mut field = String::new();
    loop {
        let end = rest.find('"').ok_or("a quote is opened and never closed: close it")?;
        field.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None => return Ok((field, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fields;

    #[test]
    fn fields_are_those_of_the_rfc() {
        for (record, expected) in [
            ("a,b", &["a", "b"][..]),
            ("a,", &["a", ""]),
            (",", &["", ""]),
            ("\"a,b\",\"\"", &["a,b", ""]),
            ("\"a\"\"b\"", &["a\"b"]),
            ("\"a\r\nb\",c", &["a\r\nb", "c"]),
            (" a , b ", &[" a ", " b "]),
        ] {
            assert_eq!(fields(record).unwrap(), expected, "{record:?}");
        }
        for record in ["a\"b", "\"a\"b", "\"a", "\"a\" ,b", "a,\""] {
            assert!(fields(record).is_err(), "{record:?}");
        }
    }
}
