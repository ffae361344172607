//! One CSV record, by RFC 4180 and nothing looser: a stray quote is an error, not text.

use super::columns_fault;

/// The columns' names.
#[derive(Debug)]
pub struct Header {
    names: Vec<String>,
    key_at: usize,
}

impl Header {
    /// The names out of the first record, or what is wrong with it and the way out.
    pub fn read(record: &str, key_column: &str) -> Result<Self, String> {
        let names = fields(record)?;
        if let Some(fault) = columns_fault(names.len()) {
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
                "the header row has no column {key_column:?}, only {}: name the key's column (key_column of a source, \
                 --key-column of a command)",
                names.join(", ")
            )
        })?;
        Ok(Self { names, key_at })
    }

    /// The names, in the order of the file.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Which of them is the key's.
    pub fn key_at(&self) -> usize {
        self.key_at
    }

    /// The fields of a later record, one for each name.
    pub fn fields(&self, record: &str) -> Result<Vec<String>, String> {
        let fields = fields(record)?;
        let [found, expected] = [fields.len(), self.names.len()];
        if found == expected {
            return Ok(fields);
        }
        Err(format!(
            "it has {found} fields where the header row has {expected}: add or remove fields, quote commas"
        ))
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
