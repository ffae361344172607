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

use self::csv::Header;
use crate::BoxError;

pub mod csv;

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
            Lines { reader, number: 0, unit: Unit::Line }
                .filter(|(_, line)| {
                    line.as_ref().map_or(true, |line| !line.trim().is_empty() && !line.starts_with('#'))
                })
                .map(|(number, line)| (number, line.map(|key| ItemSpec { key, columns: None }))),
        ),
        ItemFormat::Ndjson => Box::new(
            Lines { reader, number: 0, unit: Unit::Line }
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

/// The rows of a CSV file behind its header.
fn rows<R: BufRead + Send + 'static>(
    reader: R,
    key_column: &str,
) -> Result<impl Iterator<Item = (u64, Result<ItemSpec, String>)> + Send + use<R>, (u64, String)> {
    let is_row =
        |(_, record): &(u64, Result<String, String>)| !matches!(record, Ok(record) if record.is_empty());
    let mut records = Lines { reader, number: 0, unit: Unit::CsvRecord }.filter(is_row);
    let Some((line, record)) = records.next() else {
        return Err((1, "it is empty: a header row must name its columns".to_owned()));
    };
    let header =
        record.and_then(|record| Header::read(&record, key_column)).map_err(|problem| (line, problem))?;
    Ok(records.map(move |(line, record)| (line, record.and_then(|record| row(&header, &record)))))
}

/// The item of a row; every column becomes one of the item's, the key's too.
fn row(header: &Header, record: &str) -> Result<ItemSpec, String> {
    let fields = header.fields(record)?;
    let key = fields[header.key_at()].clone();
    let text = |field| Value { kind: Some(Kind::StringValue(field)) };
    let fields = header.names().iter().cloned().zip(fields.into_iter().map(text)).collect();
    Ok(ItemSpec { key, columns: Some(Struct { fields }) })
}

/// Why there are too many columns, if there are.
fn columns_fault(columns: usize) -> Option<String> {
    (columns > COLUMNS_MAX)
        .then(|| format!("it has {columns} columns, more than {COLUMNS_MAX}: leave some out"))
}

const NOT_UTF8: &str = "it is not UTF-8: convert the file to UTF-8";

/// The item of a JSON object; every member becomes one of its columns, the key's too.
fn object(line: &str, key_column: &str) -> Result<ItemSpec, String> {
    let object: Map<String, Json> = serde_json::from_str(line)
        .map_err(|error| format!("it is no JSON object ({error}): write one object per line"))?;
    if let Some(fault) = columns_fault(object.len()) {
        return Err(fault);
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

/// What is read at once.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Unit {
    /// Up to the next line end.
    Line,
    /// Up to the next line end outside quotes.
    CsvRecord,
}

/// Lines or records without their ends, with the line that they begin in, counted from 1.
struct Lines<R> {
    reader: R,
    /// Lines before the next one.
    number: u64,
    unit: Unit,
}

impl<R: BufRead> Lines<R> {
    /// The bytes of the next one, its end included; none at the end.
    fn bytes(&mut self) -> Result<Vec<u8>, String> {
        let (mut bytes, mut in_quotes) = (Vec::new(), false);
        loop {
            let before = bytes.len();
            let room = LINE_BYTES_MAX + 1 - before as u64;
            let read = self.reader.by_ref().take(room).read_until(b'\n', &mut bytes);
            if read.map_err(|error| error.to_string())? == 0 {
                let what = "a quote is opened here and never closed: close it, or double it where it is text";
                return if in_quotes { Err(what.to_owned()) } else { Ok(bytes) };
            }
            if bytes.len() as u64 > LINE_BYTES_MAX {
                return Err(format!(
                    "it goes on for more than {LINE_BYTES_MAX} bytes: break it up, or look for a quote that is not closed"
                ));
            }
            self.number += 1;
            // A quote inside quotes is doubled: it closes them and opens them again.
            in_quotes = bytes[before..].iter().fold(in_quotes, |open, byte| open ^ (*byte == b'"'));
            if self.unit == Unit::Line || !in_quotes {
                return Ok(bytes);
            }
        }
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = (u64, Result<String, String>);

    fn next(&mut self) -> Option<Self::Item> {
        let number = self.number + 1;
        let line = match self.bytes() {
            Ok(bytes) if bytes.is_empty() => return None,
            Ok(bytes) => String::from_utf8(bytes).map_err(|_| NOT_UTF8.to_owned()),
            Err(problem) => Err(problem),
        };
        let text = |line: String| {
            let line = line.strip_suffix('\n').unwrap_or(&line);
            let line = line.strip_suffix('\r').unwrap_or(line);
            line.strip_prefix('\u{feff}').filter(|_| number == 1).unwrap_or(line).to_owned()
        };
        Some((number, line.map(text)))
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
                "x:1: the header row has no column \"code\", only key, n: name the",
            ),
            ("code,n,n\n", ItemFormat::Csv, "x:1: two columns are named \"n\" in the header row: rename one"),
            ("code,\n", ItemFormat::Csv, "x:1: column 2 has no name in the header row: give it one"),
            ("code\n\"\"\n", ItemFormat::Csv, "x:2: column \"code\": the key is empty: correct or delete it"),
            ("\n\ncode\n\n1\r\n\r\n\"\"\n", ItemFormat::Csv, "x:7: column \"code\": the key is empty"),
            (
                "code,n\n1,\"x\n2,y\n",
                ItemFormat::Csv,
                "x:2: a quote is opened here and never closed: close it",
            ),
            (
                "code,n\n1,x\"y\"\n",
                ItemFormat::Csv,
                "x:2: field 2 has a quote inside: put the field in quotes",
            ),
            ("\n", ItemFormat::Csv, "x:1: it is empty: a header row must name its columns"),
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
            (&b"code,n\na,1\nb,\xFF\n"[..], ItemFormat::Csv, "x:3: it is not UTF-8: convert"),
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
