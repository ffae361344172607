//! Small files, written for the test.

use std::{io::Write, path::Path};

use tempfile::NamedTempFile;

use super::{FileReader, LINE_BYTES_MAX, ReadError};
use crate::domain::{
    item::NewItem,
    spec::{FileFormat, FileSource},
};

pub(super) fn spec(format: FileFormat) -> FileSource {
    FileSource { uri: "file:keys".into(), format, key_column: "key".into(), encoding: "utf-8".into() }
}

pub(super) fn file(bytes: impl AsRef<[u8]>) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes.as_ref()).unwrap();
    file
}

/// All items, in pages of `items_max`, opening the file anew for each page.
pub(super) fn read(path: &Path, spec: &FileSource, items_max: usize) -> Result<Vec<NewItem>, ReadError> {
    let mut items = Vec::new();
    let mut next: Option<String> = None;
    loop {
        let page = FileReader::open(path, spec, next.as_deref())?.page(items_max)?;
        assert!(page.items.len() <= items_max.max(1));
        items.extend(page.items);
        next = page.next;
        if next.is_none() {
            return Ok(items);
        }
    }
}

fn all(bytes: impl AsRef<[u8]>, spec: &FileSource) -> Result<Vec<NewItem>, ReadError> {
    read(file(bytes).path(), spec, usize::MAX)
}

fn keys(bytes: impl AsRef<[u8]>, spec: &FileSource) -> Vec<String> {
    all(bytes, spec).unwrap().into_iter().map(|item| item.key).collect()
}

fn fault(bytes: impl AsRef<[u8]>, spec: &FileSource) -> String {
    match all(bytes, spec) {
        Err(ReadError::Unreadable(said)) => said,
        other => panic!("{other:?}"),
    }
}

#[test]
fn lines_are_keys_but_for_blank_ones_and_comments() {
    let lines = spec(FileFormat::Lines);
    assert_eq!(
        keys("7203\r\n\r\n# Toyota\n130A\n  \n a b \n#\nlast", &lines),
        ["7203", "130A", " a b ", "last"]
    );
    assert_eq!(keys("", &lines), Vec::<String>::new());
    assert_eq!(keys("\u{feff}7203\n", &lines), ["7203"]);
    assert!(all("a", &lines).unwrap()[0].columns.is_none());
}

#[test]
fn every_column_of_csv_becomes_one_of_the_items() {
    let csv = spec(FileFormat::Csv);
    let items = all("name,key\r\n\"極,\"\"洋\"\"\",1301\r\n\r\n\"two\nlines\",130A", &csv).unwrap();
    assert_eq!(items[0].key, "1301");
    assert_eq!(items[0].columns.as_deref(), Some(r#"{"key":"1301","name":"極,\"洋\""}"#));
    assert_eq!(items[1].columns.as_deref(), Some(r#"{"key":"130A","name":"two\nlines"}"#));
    let other = FileSource { key_column: "code".into(), ..csv.clone() };
    assert_eq!(keys("\u{feff}code\n1\n2\n", &other), ["1", "2"]);
    assert_eq!(keys("key\n", &csv), Vec::<String>::new());
}

#[test]
fn every_member_of_ndjson_becomes_a_column() {
    let ndjson = spec(FileFormat::Ndjson);
    let items = all("{\"key\":1301,\"z\":[1,2.5],\"a\":null}\n\n{\"key\":\"130A\"}\r\n", &ndjson).unwrap();
    assert_eq!((items[0].key.as_str(), items[1].key.as_str()), ("1301", "130A"));
    assert_eq!(items[0].columns.as_deref(), Some(r#"{"a":null,"key":1301,"z":[1,2.5]}"#));
    assert_eq!(keys("{\"key\":18446744073709551615}", &ndjson), ["18446744073709551615"]);
}

#[test]
fn a_reading_resumed_anywhere_gives_what_one_reading_gives() {
    let shift_jis = |text: &str| encoding_rs::SHIFT_JIS.encode(text).0.into_owned();
    let sjis = |format| FileSource { encoding: "shift_jis".into(), ..spec(format) };
    for (bytes, spec) in [
        (b"\xEF\xBB\xBFa\r\n#c\nb\n\n\nc\nd\n#end".to_vec(), spec(FileFormat::Lines)),
        (shift_jis("表示\n能\nソ\n"), sjis(FileFormat::Lines)),
        (b"\xEF\xBB\xBFkey,v\n\n1,\"x\ny\"\n2,\"\"\"\"\r\n3,z\n\n4,".to_vec(), spec(FileFormat::Csv)),
        (shift_jis("表,key\n\"ソ,\n能\",1\n表,2"), sjis(FileFormat::Csv)),
        (b"{\"key\":1}\n\n{\"key\":2,\"a\":\"b\"}\n{\"key\":3}".to_vec(), spec(FileFormat::Ndjson)),
    ] {
        let file = file(&bytes);
        let whole = read(file.path(), &spec, usize::MAX).unwrap();
        assert!(whole.len() > 1);
        for items_max in 0..=whole.len() + 1 {
            assert_eq!(read(file.path(), &spec, items_max).unwrap(), whole, "{spec:?} {items_max}");
        }
        // One reader that stays open.
        let mut reader = FileReader::open(file.path(), &spec, None).unwrap();
        let mut items = Vec::new();
        loop {
            let page = reader.page(1).unwrap();
            items.extend(page.items);
            if page.next.is_none() {
                break;
            }
        }
        assert_eq!(items, whole, "{spec:?}");
    }
}

#[test]
fn a_line_that_cannot_be_read_is_named_also_after_a_resumption() {
    let [lines, csv, ndjson] = [FileFormat::Lines, FileFormat::Csv, FileFormat::Ndjson].map(spec);
    let long = "k".repeat(513);
    let wide = (0..65).map(|at| format!(",\"c{at}\":0")).collect::<Vec<_>>().concat();
    let names = (0..64).map(|at| format!(",c{at}")).collect::<Vec<_>>().concat();
    for (bytes, spec, expected) in [
        (format!("a\n\n{long}\n"), &lines, "file:keys, line 3: the key has 513 bytes"),
        ("a\n#\nb\tc\n".into(), &lines, "line 3: the key has a control character"),
        ("key,v\n1,2\n3\n".into(), &csv, "line 3: it has 1 fields where the header row has 2"),
        ("key,v\n1,\"x\n\ny\"\n3,4,5\n".into(), &csv, "line 5: it has 3 fields"),
        ("key,v\n,1\n".into(), &csv, "line 2: the key is empty"),
        ("key,v\n1,\"x\n".into(), &csv, "line 2: a quote is opened here and never closed"),
        ("key,v\n1,x\"y\"\n".into(), &csv, "line 2: field 2 has a quote inside"),
        ("code,v\n1,2\n".into(), &csv, "line 1: the header row has no column \"key\", only code, v"),
        ("key,v,v\n".into(), &csv, "two columns are named \"v\""),
        ("key,\n".into(), &csv, "column 2 has no name"),
        (format!("key{names}\n"), &csv, "it has 65 columns, more than 64"),
        ("\n".into(), &csv, "it is empty"),
        ("\n\ncode\n".into(), &csv, "line 3: the header row has no column"),
        ("{\"key\":1}\n[]\n".into(), &ndjson, "line 2: it is no JSON object"),
        ("{\"key\":1}\n{\"key\":1.5}\n".into(), &ndjson, "line 2: its \"key\" is 1.5"),
        ("{\"a\":1}\n".into(), &ndjson, "line 1: it has no \"key\""),
        (format!("{{\"key\":1{wide}}}\n"), &ndjson, "line 1: it has 66 columns"),
        (
            format!("{{\"key\":1,\"a\":\"{}\"}}\n", "x".repeat(65_536)),
            &ndjson,
            "line 1: the columns have 65552 bytes",
        ),
    ] {
        let said = fault(&bytes, spec);
        assert!(said.contains(expected), "{expected}: {said}");
        let file = file(&bytes);
        let Err(ReadError::Unreadable(resumed)) = read(file.path(), spec, 1) else { panic!("{bytes}") };
        assert_eq!(resumed, said);
    }
}

#[test]
fn a_line_has_a_bound_and_so_has_a_record_of_many_lines() {
    let said = fault([b"a\n".to_vec(), vec![b'x'; LINE_BYTES_MAX + 1]].concat(), &spec(FileFormat::Lines));
    assert!(said.contains("line 2: it goes on for more than 1048576 bytes"), "{said}");
    let open_quote = format!("key\n\"{}", "x\n".repeat(LINE_BYTES_MAX));
    assert!(fault(open_quote, &spec(FileFormat::Csv)).contains("line 2: it goes on"));
}

#[test]
fn a_page_of_large_items_ends_early() {
    let line = format!("{{\"key\":0,\"a\":\"{}\"}}\n", "x".repeat(65_000));
    let file = file(line.repeat(200));
    let page = FileReader::open(file.path(), &spec(FileFormat::Ndjson), None).unwrap().page(1_000).unwrap();
    assert!(page.items.len() < 200 && page.next.is_some(), "{}", page.items.len());
}

#[test]
fn encodings_are_named_or_marked() {
    let labelled = |label: &str| FileSource { encoding: label.into(), ..spec(FileFormat::Lines) };
    let shift_jis = encoding_rs::SHIFT_JIS.encode("表示\n極洋\n").0.into_owned();
    assert_eq!(keys(&shift_jis, &labelled("Shift_JIS")), ["表示", "極洋"]);
    assert_eq!(keys(b"caf\xE9\n", &labelled("latin1")), ["café"]);
    assert_eq!(keys("極洋\n", &labelled("")), ["極洋"]);
    // The mark wins over the label.
    assert_eq!(keys("\u{feff}極洋\n", &labelled("shift_jis")), ["極洋"]);
    assert!(fault([b"a\n", &shift_jis[..]].concat(), &labelled("utf-8")).contains("line 2: it is no UTF-8"));
    for label in ["iso-2022-jp", "utf-16le", "utf-16", "replacement", "hz-gb-2312"] {
        assert!(fault("a\n", &labelled(label)).contains("cannot be read line by line"), "{label}");
    }
    assert!(fault(b"\xFF\xFEa\0\n\0", &labelled("utf-8")).contains("UTF-16LE cannot be read line by line"));
    assert!(fault("a\n", &labelled("utf-9")).contains("\"utf-9\" is no WHATWG encoding label"));
}

#[test]
fn a_file_that_changed_is_refused() {
    let lines = spec(FileFormat::Lines);
    let mut file = file("a\nb\nc\n");
    let mut reader = FileReader::open(file.path(), &lines, None).unwrap();
    let position = reader.page(1).unwrap().next.unwrap();
    assert!(FileReader::open(file.path(), &lines, Some(&position)).is_ok());
    file.write_all(b"d\n").unwrap();
    let changed = |result: Result<(), ReadError>| {
        assert!(
            matches!(&result, Err(ReadError::Unreadable(said)) if said.contains("changed while it was read")),
            "{result:?}"
        );
    };
    changed(reader.page(1).map(drop));
    changed(FileReader::open(file.path(), &lines, Some(&position)).map(drop));
}

#[test]
fn what_is_not_there_is_unreadable_for_good() {
    let lines = spec(FileFormat::Lines);
    let folder = tempfile::tempdir().unwrap();
    let file = file("a\n");
    for (path, position, expected) in [
        (folder.path().join("none"), None, "there is no such file"),
        (folder.path().to_owned(), None, "it is no file"),
        (file.path().to_owned(), Some("{}"), "the position in it cannot be read"),
    ] {
        match FileReader::open(&path, &lines, position) {
            Err(ReadError::Unreadable(said)) => assert!(said.contains(expected), "{said}"),
            other => panic!("{other:?}"),
        }
    }
}
