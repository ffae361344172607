//! Items for an upload, out of a file or of standard input, one at a time.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use clap::ValueEnum;
use haul_proto::v1::ItemSpec;
use prost_types::{ListValue, Struct, Value, value::Kind};
use serde_json::{Map, Value as Json};

use crate::BoxError;

/// Longest line, in bytes.
const LINE_BYTES_MAX: u64 = 1 << 20;
const KEY_BYTES_MAX: usize = 512;

/// How items are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum ItemFormat {
    /// A key a line; blank lines and lines that begin with # are passed over.
    Lines,
    /// A header row, then a row an item.
    Csv,
    /// A JSON object a line.
    Ndjson,
}

impl ItemFormat {
    /// By the file's name: .csv, .ndjson and .jsonl; lines otherwise.
    pub fn of(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()).map(str::to_lowercase).as_deref() {
            Some("csv") => Self::Csv,
            Some("ndjson" | "jsonl") => Self::Ndjson,
            _ => Self::Lines,
        }
    }
}

/// Items as they are read; the first error is the last thing said.
pub type Items = Box<dyn Iterator<Item = Result<ItemSpec, BoxError>> + Send>;

/// Opens a file of items, or standard input where the path is `-`.
pub fn open(path: &Path, format: Option<ItemFormat>, key_column: &str) -> Result<Items, BoxError> {
    let format = format.unwrap_or_else(|| ItemFormat::of(path));
    if path.as_os_str() == "-" {
        return read(BufReader::new(io::stdin()), "standard input", format, key_column);
    }
    let origin = path.display().to_string();
    let file = File::open(path).map_err(|error| format!("{origin}: {error}"))?;
    read(BufReader::new(file), &origin, format, key_column)
}

/// Reads items. `origin` names where they are from in errors.
fn read(
    reader: impl BufRead + Send + 'static,
    origin: &str,
    format: ItemFormat,
    key_column: &str,
) -> Result<Items, BoxError> {
    let (origin, key_column) = (origin.to_owned(), key_column.to_owned());
    let placed = move |(line, item): (u64, Result<ItemSpec, String>)| {
        item.and_then(checked).map_err(|problem| BoxError::from(format!("{origin}:{line}: {problem}")))
    };
    let items: Box<dyn Iterator<Item = (u64, Result<ItemSpec, String>)> + Send> = match format {
        ItemFormat::Lines => Box::new(
            Lines { reader, number: 0 }
                .filter(|(_, line)| {
                    line.as_ref().map_or(true, |line| !line.trim().is_empty() && !line.starts_with('#'))
                })
                .map(|(number, line)| (number, line.map(|key| ItemSpec { key, columns: None }))),
        ),
        ItemFormat::Ndjson => Box::new(
            Lines { reader, number: 0 }
                .filter(|(_, line)| line.as_ref().map_or(true, |line| !line.trim().is_empty()))
                .map(move |(number, line)| (number, line.and_then(|line| object(&line, &key_column)))),
        ),
        ItemFormat::Csv => Box::new(
            rows(reader, &key_column)
                .map_err(|(line, problem)| placed((line, Err(problem))).expect_err("a problem was given"))?,
        ),
    };
    Ok(Box::new(items.map(placed)))
}

/// A row of a CSV file after its header; every column becomes one of the item's, the key's too.
fn rows<R: Read + Send + 'static>(
    reader: R,
    key_column: &str,
) -> Result<impl Iterator<Item = (u64, Result<ItemSpec, String>)> + Send + use<R>, (u64, String)> {
    let mut reader = csv::Reader::from_reader(reader);
    let names = reader.headers().map_err(|error| (1, error.to_string()))?.clone();
    let key_at = names.iter().position(|name| name.trim_start_matches('\u{feff}') == key_column);
    let key_at = key_at.ok_or_else(|| {
        let names: Vec<&str> = names.iter().collect();
        let known = names.join(", ");
        (1, format!("the header row has no column {key_column:?}, only {known}: name it with --key-column"))
    })?;
    Ok(reader.into_records().map(move |row| match row {
        Ok(row) => {
            let line = row.position().map_or(0, csv::Position::line);
            let columns = names.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned());
            let text = |field: &str| Value { kind: Some(Kind::StringValue(field.to_owned())) };
            let fields = columns.zip(row.iter().map(text)).collect();
            (line, Ok(ItemSpec { key: row[key_at].to_owned(), columns: Some(Struct { fields }) }))
        }
        Err(error) => {
            (error.position().map_or(0, csv::Position::line), Err(format!("it is no row: {error}")))
        }
    }))
}

/// The item of a JSON object; every member becomes one of its columns, the key's too.
fn object(line: &str, key_column: &str) -> Result<ItemSpec, String> {
    let object: Map<String, Json> =
        serde_json::from_str(line).map_err(|error| format!("it is no JSON object: {error}"))?;
    let key = match object.get(key_column) {
        Some(Json::String(key)) => key.clone(),
        Some(Json::Number(number)) if !number.is_f64() => number.to_string(),
        Some(_) => return Err(format!("its {key_column:?} is neither a string nor a whole number")),
        None => return Err(format!("it has no {key_column:?}: name the key's member with --key-column")),
    };
    let fields = object.into_iter().map(|(name, json)| (name, value(json))).collect();
    Ok(ItemSpec { key, columns: Some(Struct { fields }) })
}

fn value(json: Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(truth) => Kind::BoolValue(truth),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        Json::String(text) => Kind::StringValue(text),
        Json::Array(values) => Kind::ListValue(ListValue { values: values.into_iter().map(value).collect() }),
        Json::Object(object) => Kind::StructValue(Struct {
            fields: object.into_iter().map(|(name, json)| (name, value(json))).collect(),
        }),
    };
    Value { kind: Some(kind) }
}

/// The item, if its key is one. The server says so too, but knows no line.
fn checked(item: ItemSpec) -> Result<ItemSpec, String> {
    match &item.key {
        key if key.is_empty() => Err("the key is empty".to_owned()),
        key if key.len() > KEY_BYTES_MAX => {
            Err(format!("the key has {} bytes, more than {KEY_BYTES_MAX}", key.len()))
        }
        key if key.chars().any(char::is_control) => Err("the key has a control character".to_owned()),
        _ => Ok(item),
    }
}

/// Lines without their ends, counted from 1.
struct Lines<R> {
    reader: R,
    number: u64,
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = (u64, Result<String, String>);

    fn next(&mut self) -> Option<Self::Item> {
        self.number += 1;
        let mut line = Vec::new();
        let line = match self.reader.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line) {
            Ok(0) => return None,
            Ok(read) if read as u64 > LINE_BYTES_MAX => {
                Err(format!("the line has more than {LINE_BYTES_MAX} bytes"))
            }
            Ok(_) => String::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        let text = |line: String| {
            let line = line.strip_suffix('\n').unwrap_or(&line);
            let line = line.strip_suffix('\r').unwrap_or(line);
            let first = self.number == 1;
            line.strip_prefix('\u{feff}').filter(|_| first).unwrap_or(line).to_owned()
        };
        Some((self.number, line.map(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &'static str, format: ItemFormat) -> Vec<Result<ItemSpec, String>> {
        match read(text.as_bytes(), "x", format, "code") {
            Ok(items) => items.map(|item| item.map_err(|error| error.to_string())).collect(),
            Err(error) => vec![Err(error.to_string())],
        }
    }

    fn keys(text: &'static str, format: ItemFormat) -> Vec<String> {
        items(text, format).into_iter().map(|item| item.unwrap().key).collect()
    }

    #[test]
    fn the_three_formats_hold_the_same_items() {
        let lines = "\u{feff}# codes\n1301\r\n\n  \n1302\n日本";
        let csv = "\u{feff}code,name\n1301,\"a, b\"\n1302,\n日本,\"x\ny\"\n";
        let ndjson = "{\"code\":1301,\"n\":[1,{\"m\":null}]}\n\n{\"code\":\"1302\"}\n{\"code\":\"日本\"}";
        for (text, format) in
            [(lines, ItemFormat::Lines), (csv, ItemFormat::Csv), (ndjson, ItemFormat::Ndjson)]
        {
            assert_eq!(keys(text, format), ["1301", "1302", "日本"], "{format:?}");
        }
        let columns = items(csv, ItemFormat::Csv).remove(0).unwrap().columns.unwrap();
        let column = |name: &str| columns.fields[name].kind.clone();
        assert_eq!(column("name"), Some(Kind::StringValue("a, b".to_owned())));
        assert_eq!(column("code"), Some(Kind::StringValue("1301".to_owned())));
        let columns = items(ndjson, ItemFormat::Ndjson).remove(0).unwrap().columns.unwrap();
        assert_eq!(columns.fields["code"].kind, Some(Kind::NumberValue(1301.0)));
        assert!(matches!(columns.fields["n"].kind, Some(Kind::ListValue(_))));
        assert_eq!(items("1301", ItemFormat::Lines)[0].as_ref().unwrap().columns, None);
    }

    #[test]
    fn what_is_no_item_is_named_by_its_line() {
        for (text, format, expected) in [
            ("a\nb\tc\n", ItemFormat::Lines, "x:2: the key has a control character"),
            ("code,n\na,1\nb\n", ItemFormat::Csv, "x:3: it is no row"),
            ("key,n\na,1\n", ItemFormat::Csv, "x:1: the header row has no column \"code\", only key, n:"),
            ("code\n\"\"\n", ItemFormat::Csv, "x:2: the key is empty"),
            ("{\"code\":1}\n[1]\n", ItemFormat::Ndjson, "x:2: it is no JSON object"),
            ("{\"code\":1.5}", ItemFormat::Ndjson, "x:1: its \"code\" is neither"),
            ("{}", ItemFormat::Ndjson, "x:1: it has no \"code\": name the key's member"),
        ] {
            let problem = items(text, format).into_iter().find_map(Result::err).unwrap();
            assert!(problem.starts_with(expected), "{problem}");
        }
        let long: &'static str = Box::leak("k".repeat(600).into_boxed_str());
        assert!(items(long, ItemFormat::Lines)[0].as_ref().unwrap_err().contains("600 bytes, more than 512"));
    }

    #[test]
    fn the_format_goes_by_the_files_name() {
        for (name, format) in [
            ("a.csv", ItemFormat::Csv),
            ("a.JSONL", ItemFormat::Ndjson),
            ("a.ndjson", ItemFormat::Ndjson),
            ("a.txt", ItemFormat::Lines),
            ("-", ItemFormat::Lines),
        ] {
            assert_eq!(ItemFormat::of(Path::new(name)), format, "{name}");
        }
    }
}
