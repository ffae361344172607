//! The contract's three forms say the same: the proto, docs/contract.md, and the pages of docs/errors.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use haul_proto::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_types::{FileDescriptorSet, MethodDescriptorProto, method_options::IdempotencyLevel};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Rows of the first table below a heading of docs/contract.md that has this column first.
fn table(heading: &str, first_column: &str) -> Vec<Vec<String>> {
    let text = read("docs/contract.md");
    let section = text.split_once(&format!("\n{heading}")).unwrap_or_else(|| panic!("{heading}")).1;
    let table = section.split_once(&format!("\n| {first_column} |")).unwrap_or_else(|| panic!("{heading}")).1;
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    table.lines().skip(2).take_while(|line| line.starts_with('|')).map(cells).collect()
}

/// Methods of all services with their comments.
fn methods() -> Vec<(MethodDescriptorProto, String)> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let mut methods = Vec::new();
    for file in set.file.into_iter().filter(|file| file.package() == "haul.v1") {
        let locations = file.source_code_info.unwrap().location;
        for (of, service) in file.service.into_iter().enumerate() {
            for (nth, method) in service.method.into_iter().enumerate() {
                // Field 6 of a file are its services, field 2 of a service its methods.
                let path = [6, of as i32, 2, nth as i32];
                let location = locations.iter().find(|location| location.path == path).unwrap();
                let comment = location.leading_comments().split_whitespace().collect::<Vec<_>>().join(" ");
                methods.push((method, comment));
            }
        }
    }
    methods
}

/// Each reason's page: its third line says what it is a reason of.
fn pages() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors");
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let reasons = names.filter_map(|name| name.strip_suffix(".md").map(str::to_owned));
    reasons
        .filter(|reason| reason != "README")
        .map(|reason| {
            let page = read(&format!("docs/errors/{reason}.md"));
            let mut lines = page.lines();
            assert_eq!(lines.next(), Some(format!("# {reason}").as_str()));
            let kind = lines.nth(1).unwrap().to_owned();
            (reason, kind)
        })
        .collect()
}

fn reasons_of(kind: &str) -> BTreeSet<String> {
    pages().into_iter().filter(|(_, kinds)| kinds.contains(kind)).map(|(reason, _)| reason).collect()
}

/// The words of a text that may be reasons, what stands in brackets left out.
fn words(text: &str) -> Vec<String> {
    let mut depth = 0;
    let bare: String = text
        .chars()
        .filter(|c| {
            depth += i32::from(*c == '(');
            depth -= i32::from(*c == ')');
            depth == 0
        })
        .collect();
    let is_reason = |word: &&str| word.len() > 2 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    bare.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(is_reason)
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_table_of_rpcs_lists_each_of_them_with_its_kind_and_idempotency() {
    let mut listed = BTreeMap::new();
    for row in table("## 1. RPCs", "RPC") {
        let level = match row[2].as_str() {
            "read" => IdempotencyLevel::NoSideEffects,
            cell if cell.starts_with("by nature") => IdempotencyLevel::Idempotent,
            _ => IdempotencyLevel::IdempotencyUnknown,
        };
        for name in row[0].split(", ") {
            listed.insert(name.to_owned(), (row[1].clone(), level));
        }
    }
    let kind = |method: &MethodDescriptorProto| match (method.client_streaming(), method.server_streaming()) {
        (false, false) => "unary",
        (false, true) => "server stream",
        (true, _) => "client stream",
    };
    let served: BTreeMap<_, _> = methods()
        .into_iter()
        .map(|(method, _)| {
            let level = method
                .options
                .as_ref()
                .map_or(IdempotencyLevel::IdempotencyUnknown, prost_types::MethodOptions::idempotency_level);
            (method.name().to_owned(), (kind(&method).to_owned(), level))
        })
        .collect();
    assert_eq!(listed, served);
}

#[test]
fn an_rpc_names_errors_that_there_are_with_their_codes() {
    let pages = pages();
    for (method, comment) in methods() {
        let Some((_, errors)) = comment.split_once("Errors: ") else {
            panic!("{} names no errors", method.name())
        };
        for group in errors.split(';') {
            let Some((code, reasons)) = group.split_once(" / ") else { continue };
            for reason in words(reasons) {
                let kind =
                    pages.get(&reason).unwrap_or_else(|| panic!("{}: {reason} has no page", method.name()));
                assert!(
                    kind.contains(&format!("code {}.", code.trim())),
                    "{}: {code} / {reason}",
                    method.name()
                );
            }
        }
    }
}

#[test]
fn the_table_of_errors_lists_each_reason_with_its_code() {
    for row in table("## 11. Errors", "case") {
        let mut codes = words(&row[1]);
        assert_eq!(codes.len(), 1, "{row:?}");
        let code = codes.remove(0);
        let of_code = reasons_of(&format!("code {code}."));
        for reason in words(&row[2]) {
            assert!(of_code.contains(&reason), "{code} / {reason}");
        }
    }
    let listed: BTreeSet<String> =
        table("## 11. Errors", "case").iter().flat_map(|row| words(&row[2])).collect();
    assert_eq!(listed, reasons_of("Error of a call"));
}

#[test]
fn the_table_of_failure_classes_lists_each_reason_of_an_item() {
    let rows: Vec<_> = table("### 3.3 Failure classes", "class | reasons").into_iter().collect();
    assert_eq!(rows.len(), 3);
    for row in rows {
        let listed: BTreeSet<String> = words(&row[1]).into_iter().collect();
        assert_eq!(listed, reasons_of(&format!("class {}.", row[0])), "{}", row[0]);
    }
}

#[test]
fn the_index_lists_every_page() {
    let index = read("docs/errors/README.md");
    let pages: BTreeSet<String> = pages().into_keys().collect();
    let linked = |line: &str| {
        let (name, link) = line.strip_prefix("| [")?.split_once("](")?;
        let (file, what) = link.split_once(") | ")?;
        assert!(file == format!("{name}.md") && what.len() > 5, "{line}");
        Some(name.to_owned())
    };
    assert_eq!(index.lines().filter_map(linked).collect::<BTreeSet<_>>(), pages);
}

/// An example stands on each page of a call's error, and is held against a real one.
#[test]
fn the_example_of_every_error_of_a_call_is_held_against_a_real_one() {
    let held = read("tests/e2e/refusal.rs") + &read("server/src/api/status/tests.rs");
    for reason in reasons_of("Error of a call") {
        assert!(held.contains(&format!("\"{reason}\",")), "no test brings {reason} about");
        let page = read(&format!("docs/errors/{reason}.md"));
        let (_, example) =
            page.split_once("```text\n").unwrap_or_else(|| panic!("{reason}.md has no example"));
        assert!(example.contains(&format!("ErrorInfo: haul.v1 {reason}\n")), "{reason}.md: {example}");
    }
}
