//! Damaged files of keys: the reader answers, invents no key, and gives the same items whatever the pages' sizes.

use std::collections::HashSet;

use super::{
    ReadError,
    tests::{file, read, spec},
};
use crate::{
    damage,
    domain::{item::NewItem, spec::FileFormat},
};

/// Damages a file, and checks every key by what the damaged text shows.
fn fuzz(name: &str, format: FileFormat, wholes: &[&str], holds: impl Fn(&str, &NewItem) -> bool) {
    damage::run(name, 500, |damage| {
        let whole = *damage.one(wholes);
        let bytes = damage.bytes(whole.as_bytes());
        let page = damage.below(4);
        let file = file(&bytes);
        let whole = read(file.path(), &spec(format), usize::MAX);
        let paged = read(file.path(), &spec(format), page);
        match (whole, paged) {
            (Ok(whole), Ok(paged)) => {
                assert_eq!(whole, paged);
                let text = String::from_utf8(bytes).unwrap();
                assert!(whole.len() <= text.lines().count());
                for item in &whole {
                    assert!(holds(&text, item), "{item:?} is not in {text:?}");
                }
            }
            (Err(ReadError::Unreadable(whole)), Err(ReadError::Unreadable(paged))) => {
                assert_eq!(whole, paged);
            }
            (whole, paged) => panic!("{whole:?} in one page, {paged:?} in pages of {page}"),
        }
    });
}

/// The text after its byte-order mark; a second one is text.
fn unmarked(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

#[test]
fn damaged_lines_are_an_error_or_lines_of_the_file() {
    let wholes = ["7203\r\n\r\n# Toyota\n130A\n  \n a b \n#\nlast", "\u{feff}表示\n極洋\n1301"];
    fuzz("file, lines", FileFormat::Lines, &wholes, |text, item| {
        unmarked(text).lines().any(|line| line.trim_end_matches('\r') == item.key)
    });
}

#[test]
fn a_damaged_csv_is_an_error_or_holds_fields_of_the_file() {
    let wholes =
        ["name,key\r\n\"極,\"\"洋\"\"\",1301\r\n\r\n\"two\nlines\",130A", "key,v\n1,\"\"\n2,3\n4,\"5\"\n"];
    fuzz("file, CSV", FileFormat::Csv, &wholes, |text, item| {
        text.contains(&item.key) || text.replace("\"\"", "\"").contains(&item.key)
    });
}

#[test]
fn a_damaged_ndjson_is_an_error_or_holds_keys_of_the_file() {
    let wholes =
        ["{\"key\":1301,\"z\":[1,2.5],\"a\":null}\n\n{\"key\":\"130A\"}\r\n{\"key\":\"a\",\"b\":{\"c\":[]}}"];
    fuzz("file, NDJSON", FileFormat::Ndjson, &wholes, |text, item| {
        let keys: HashSet<String> = unmarked(text)
            .split('\n')
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .map(|object| object["key"].as_str().map_or_else(|| object["key"].to_string(), str::to_owned))
            .collect();
        keys.contains(&item.key)
    });
}
