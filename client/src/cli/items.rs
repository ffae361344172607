//! Items for an upload, out of a file or of standard input, one at a time. What is an item, and what its key and columns
//! are, is the same as for a server that reads the file itself; nothing is trimmed.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    iter::Peekable,
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
const COLUMNS_MAX: usize = 64;
/// Characters of a value that an error shows.
const SHOWN_MAX: usize = 60;

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
pub type Items = Peekable<Box<dyn Iterator<Item = Result<ItemSpec, BoxError>> + Send>>;

/// Opens a file of items, or standard input where the path is `-`, and reads up to the first item: what is wrong with the
/// head of it is said here.
pub fn open(path: &Path, format: Option<ItemFormat>, key_column: &str) -> Result<Items, BoxError> {
    let format = format.unwrap_or_else(|| ItemFormat::of(path));
    let origin = origin(path);
    let mut items = if path.as_os_str() == "-" {
        read(BufReader::new(io::stdin()), &origin, format, key_column)?
    } else {
        let file = File::open(path).map_err(|error| format!("{origin}: {error}"))?;
        read(BufReader::new(file), &origin, format, key_column)?
    };
    match items.next_if(Result::is_err) {
        Some(Err(error)) => Err(error),
        _ => Ok(items),
    }
}

/// What a file of items is called.
pub fn origin(path: &Path) -> String {
    if path.as_os_str() == "-" { "standard input".to_owned() } else { path.display().to_string() }
}

/// Reads items. `origin` names where they are from in errors.
fn read(
    reader: impl BufRead + Send + 'static,
    origin: &str,
    format: ItemFormat,
    key_column: &str,
) -> Result<Items, BoxError> {
    let (origin, key_column) = (origin.to_owned(), key_column.to_owned());
    let place = match format {
        ItemFormat::Lines => String::new(),
        ItemFormat::Csv => format!("column {key_column:?}: "),
        ItemFormat::Ndjson => format!("member {key_column:?}: "),
    };
    let placed = move |(line, item): (u64, Result<ItemSpec, String>)| {
        let checked = item.and_then(|item| match key_fault(&item.key) {
            Some(fault) => Err(format!("{place}the key {fault}: correct or delete it")),
            None => Ok(item),
        });
        checked.map_err(|problem| BoxError::from(format!("{origin}:{line}: {problem}")))
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
    let items: Box<dyn Iterator<Item = Result<ItemSpec, BoxError>> + Send> = Box::new(items.map(placed));
    Ok(items.peekable())
}

/// A row of a CSV file after its header; every column becomes one of the item's, the key's too.
fn rows<R: Read + Send + 'static>(
    reader: R,
    key_column: &str,
) -> Result<impl Iterator<Item = (u64, Result<ItemSpec, String>)> + Send + use<R>, (u64, String)> {
    let mut reader = csv::Reader::from_reader(reader);
    let names = reader.headers().map_err(|error| (1, row_fault(&error, &[])))?;
    let names: Vec<String> =
        names.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect();
    if let Some(problem) = header_fault(&names) {
        return Err((1, problem));
    }
    let key_at = names.iter().position(|name| name == key_column).ok_or_else(|| {
        let known = names.join(", ");
        (1, format!("the header row has no column {key_column:?}, only {known}: name it with --key-column"))
    })?;
    Ok(reader.into_records().map(move |row| match row {
        Ok(row) => {
            let line = row.position().map_or(0, csv::Position::line);
            let text = |field: &str| Value { kind: Some(Kind::StringValue(field.to_owned())) };
            let fields = names.iter().cloned().zip(row.iter().map(text)).collect();
            (line, Ok(ItemSpec { key: row[key_at].to_owned(), columns: Some(Struct { fields }) }))
        }
        Err(error) => (error.position().map_or(0, csv::Position::line), Err(row_fault(&error, &names))),
    }))
}

/// Why a header row is none.
fn header_fault(names: &[String]) -> Option<String> {
    if names.len() > COLUMNS_MAX {
        return Some(format!("it has {} columns, more than {COLUMNS_MAX}: leave some out", names.len()));
    }
    (0..).zip(names).find_map(|(at, name)| {
        if name.is_empty() {
            Some(format!("column {} has no name in the header row: give it one", at + 1))
        } else if names[..at].contains(name) {
            Some(format!("two columns are named {name:?} in the header row: rename one"))
        } else {
            None
        }
    })
}

/// Why a row is none.
fn row_fault(error: &csv::Error, names: &[String]) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => format!(
            "it has {len} fields where the header row has {expected_len}: add or remove fields, quote commas"
        ),
        csv::ErrorKind::Utf8 { err, .. } => {
            let at = err.field();
            let column = names.get(at).map_or_else(|| (at + 1).to_string(), |name| format!("{name:?}"));
            format!("column {column}: {NOT_UTF8}")
        }
        _ => format!("it is no row: {error}"),
    }
}

const NOT_UTF8: &str = "it is not UTF-8: convert the file to UTF-8";

/// The item of a JSON object; every member becomes one of its columns, the key's too.
fn object(line: &str, key_column: &str) -> Result<ItemSpec, String> {
    let object: Map<String, Json> = serde_json::from_str(line)
        .map_err(|error| format!("it is no JSON object ({error}): write one object per line"))?;
    if object.len() > COLUMNS_MAX {
        return Err(format!("it has {} columns, more than {COLUMNS_MAX}: leave some out", object.len()));
    }
    let key = match object.get(key_column) {
        Some(Json::String(key)) => key.clone(),
        Some(Json::Number(number)) if !number.is_f64() => number.to_string(),
        Some(other) => {
            let shown = shown(&other.to_string());
            return Err(format!("its {key_column:?} is {shown}: a key is a string or a whole number"));
        }
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

/// Why a key is none, in words that follow "the key". The server says so too, but knows no line.
fn key_fault(key: &str) -> Option<String> {
    if key.is_empty() {
        Some("is empty".to_owned())
    } else if key.len() > KEY_BYTES_MAX {
        Some(format!("{:?} has {} bytes, more than {KEY_BYTES_MAX}", shown(key), key.len()))
    } else if key.chars().any(char::is_control) {
        Some(format!("{:?} has a control character", shown(key)))
    } else {
        None
    }
}

fn shown(value: &str) -> String {
    let mut shown: String = value.chars().take(SHOWN_MAX).collect();
    if shown.len() < value.len() {
        shown.push('…');
    }
    shown
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
                Err(format!("the line has more than {LINE_BYTES_MAX} bytes: break it up"))
            }
            Ok(_) => String::from_utf8(line).map_err(|_| NOT_UTF8.to_owned()),
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

    fn items(text: impl AsRef<[u8]> + Send + 'static, format: ItemFormat) -> Vec<Result<ItemSpec, String>> {
        match read(io::Cursor::new(text), "x", format, "code") {
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
            (
                "a\nb\tc\n",
                ItemFormat::Lines,
                "x:2: the key \"b\\tc\" has a control character: correct or delete it",
            ),
            ("code,n\na,1\nb\n", ItemFormat::Csv, "x:3: it has 1 fields where the header row has 2: add or"),
            (
                "key,n\na,1\n",
                ItemFormat::Csv,
                "x:1: the header row has no column \"code\", only key, n: name it",
            ),
            ("code,n,n\n", ItemFormat::Csv, "x:1: two columns are named \"n\" in the header row: rename one"),
            ("code,\n", ItemFormat::Csv, "x:1: column 2 has no name in the header row: give it one"),
            ("code\n\"\"\n", ItemFormat::Csv, "x:2: column \"code\": the key is empty: correct or delete it"),
            (
                "n,code\n1,\"a\nb\"\n",
                ItemFormat::Csv,
                "x:2: column \"code\": the key \"a\\nb\" has a control",
            ),
            ("{\"code\":1}\n[1]\n", ItemFormat::Ndjson, "x:2: it is no JSON object"),
            ("{\"code\":1.5}", ItemFormat::Ndjson, "x:1: its \"code\" is 1.5: a key is a string or"),
            ("{\"code\":\"\"}", ItemFormat::Ndjson, "x:1: member \"code\": the key is empty: correct"),
            ("{}", ItemFormat::Ndjson, "x:1: it has no \"code\": name the key's member"),
        ] {
            let problem = items(text, format).into_iter().find_map(Result::err).unwrap();
            assert!(problem.starts_with(expected), "{problem}");
        }
        let long = items("k".repeat(600), ItemFormat::Lines);
        assert!(
            long[0]
                .as_ref()
                .unwrap_err()
                .ends_with("k…\" has 600 bytes, more than 512: correct or delete it")
        );
        for (bytes, format, expected) in [
            (&b"code,n\na,1\nb,\xFF\n"[..], ItemFormat::Csv, "x:3: column \"n\": it is not UTF-8: convert"),
            (b"a\n\xFF\n", ItemFormat::Lines, "x:2: it is not UTF-8: convert"),
        ] {
            assert!(items(bytes, format)[1].as_ref().unwrap_err().starts_with(expected), "{format:?}");
        }
        let wide: Vec<String> = (0..64).map(|n| format!("c{n}")).collect();
        let wide = items(format!("code,{}\n", wide.join(",")), ItemFormat::Csv);
        assert!(wide[0].as_ref().unwrap_err().contains("it has 65 columns, more than 64"));
    }

    #[test]
    fn blanks_are_part_of_a_key() {
        assert_eq!(keys(" a\nb \n # c\n", ItemFormat::Lines), [" a", "b ", " # c"]);
        assert_eq!(keys("n,code\n1, a\n2,\"b \"\n", ItemFormat::Csv), [" a", "b "]);
        assert_eq!(keys("{\"code\":\" a \"}\n", ItemFormat::Ndjson), [" a "]);
    }

    #[test]
    fn a_file_with_a_wrong_head_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        let opened = |text: &str| {
            std::fs::write(&path, text).unwrap();
            open(&path, None, "code").map(Iterator::count).map_err(|error| error.to_string())
        };
        assert_eq!(opened("code\n1\n2\n"), Ok(2));
        assert_eq!(opened("code\n"), Ok(0));
        assert_eq!(opened("code\n1\n\"\"\n"), Ok(2), "what follows is found when it is read");
        assert!(opened("code\n\"\"\n1\n").unwrap_err().contains("rows.csv:2: column \"code\""));
        assert!(opened("key\n1\n").unwrap_err().contains("rows.csv:1: the header row has no column"));
        assert!(open(&folder.path().join("none"), None, "code").is_err());
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
