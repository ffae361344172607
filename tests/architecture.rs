//! The import rule of the server: floors, a module imports only from floors below it, siblings never import each other;
//! and the few names that only one place may know.
//!
//! It reads the sources as text, without comments and without what is compiled for tests only.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

/// From the roof down. On the roof, where everything is put together, each may import those to its right.
const ROOF: [&str; 5] = ["main", "app", "telemetry", "config", "shutdown"];
const FLOORS: [&[&str]; 6] = [
    &["api"],
    &["control"],
    &["engine"],
    &["connector", "source"],
    &["fetch", "store", "progress"],
    &["domain", "clock", "failpoint"],
];

/// Word, the places that may name it. A place is a file or a folder below `server/src`.
const RESERVED: [(&str, &[&str]); 9] = [
    ("reqwest", &["fetch/wire.rs", "fetch/resolve.rs"]),
    ("sqlx", &["store"]),
    ("std::env", &["config.rs"]),
    ("env::var", &["config.rs"]),
    ("haul_proto", &["api", "app"]),
    ("Utc::now", &["clock.rs"]),
    ("Local::now", &["clock.rs"]),
    ("SystemTime::now", &["clock.rs"]),
    (
        "tokio",
        &[
            "main.rs",
            "app",
            "shutdown.rs",
            "telemetry.rs",
            "failpoint.rs",
            "api",
            "control",
            "engine",
            "source",
            "fetch",
            "store",
            "progress",
        ],
    ),
];

struct Source {
    /// Below `server/src`.
    path: String,
    text: String,
}

impl Source {
    /// The module of the first level that it belongs to.
    fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// How many modules it is below the root.
    fn depth(&self) -> usize {
        self.path.split('/').count()
    }

    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| {
            let of_folder = || self.path.strip_suffix(".rs") == Some(*place);
            self.path == *place || self.path.starts_with(&format!("{place}/")) || of_folder()
        })
    }

    /// The modules of the first level that it names.
    fn imports(&self) -> Vec<&str> {
        let to_root = "super::".repeat(self.depth());
        let mut found = Vec::new();
        for root in ["crate::", to_root.as_str()] {
            for (at, _) in self.text.match_indices(root) {
                let before = &self.text[..at];
                if !before.ends_with("super::") && !before.ends_with(is_word) {
                    found.extend(first_names(&self.text[at + root.len()..]));
                }
            }
        }
        found
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word(text: &str) -> &str {
    &text[..text.find(|c| !is_word(c)).unwrap_or(text.len())]
}

/// What follows `crate::`: one name, or those of a group.
fn first_names(text: &str) -> Vec<&str> {
    let Some(group) = text.strip_prefix('{') else { return vec![word(text)] };
    let (mut names, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(word(group[start..at].trim_start()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// All of the server that is compiled into it.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("server/src");
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths.sort();
    let mut sources: Vec<Source> = paths
        .iter()
        .map(|path| Source {
            path: path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(),
            text: without_comments(&fs::read_to_string(path).unwrap()),
        })
        .collect();
    let for_tests: Vec<String> = sources.iter().flat_map(modules_for_tests).collect();
    sources.retain(|source| !for_tests.iter().any(|module| source.is_in(&[module])));
    for source in &mut sources {
        let end = source.text.find("#[cfg(test)]\nmod tests {").unwrap_or(source.text.len());
        source.text.truncate(end);
    }
    assert!(sources.len() > 50, "the server is in {}", root.display());
    sources
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

fn without_comments(text: &str) -> String {
    let code = |line: &str| line.find("//").map_or(line, |at| &line[..at]).trim_end().to_owned() + "\n";
    text.lines().map(code).collect()
}

/// Modules in files of their own that only tests have, as paths.
fn modules_for_tests(source: &Source) -> Vec<String> {
    let folder = source.path.strip_suffix(".rs").unwrap();
    let declared = source.text.match_indices("#[cfg(test)]\n").filter_map(|(at, attribute)| {
        let declaration = source.text[at + attribute.len()..].lines().next().unwrap_or_default().trim();
        let (_, name) = declaration.strip_suffix(';')?.rsplit_once("mod ")?;
        Some(if matches!(folder, "lib" | "main") { name.to_owned() } else { format!("{folder}/{name}") })
    });
    declared.collect()
}

#[test]
fn an_import_is_seen_however_it_is_written() {
    let text = "use crate::{api::{a, b}, domain,\n  engine as e};\nuse super::super::web;\nlet x: super::item::X = crate::fetch::f();";
    let source = Source { path: "control/watch.rs".to_owned(), text: text.to_owned() };
    let mut imports = source.imports();
    imports.sort_unstable();
    assert_eq!(imports, ["api", "domain", "engine", "fetch", "web"]);
}

#[test]
fn a_module_imports_only_from_floors_below_it() {
    let floor: HashMap<&str, usize> = (ROOF.len()..)
        .zip(FLOORS)
        .flat_map(|(floor, names)| names.iter().map(move |name| (*name, floor)))
        .collect();
    let floor =
        |name: &str| ROOF.iter().position(|on_roof| *on_roof == name).or_else(|| floor.get(name).copied());
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| source.path != "lib.rs") {
        let Some(own) = floor(source.module()) else {
            broken.push(format!("{}: module {} is on no floor", source.path, source.module()));
            continue;
        };
        for name in source.imports() {
            // Names that are no module of the first level are the crate's own items.
            let Some(other) = floor(name) else { continue };
            if name != source.module() && other <= own {
                broken.push(format!("{} imports {name}", source.path));
            }
        }
    }
    broken.dedup();
    assert!(broken.is_empty(), "imports that go up or sideways:\n  {}", broken.join("\n  "));
}

#[test]
fn a_reserved_name_is_known_where_it_belongs_and_nowhere_else() {
    let mut broken = Vec::new();
    for source in sources() {
        for (name, places) in RESERVED {
            let named = source.text.match_indices(name).any(|(at, _)| {
                let (before, after) = (&source.text[..at], &source.text[at + name.len()..]);
                !before.ends_with(is_word) && !after.starts_with(is_word)
            });
            if named && !source.is_in(places) {
                broken.push(format!("{} names {name}", source.path));
            }
        }
    }
    assert!(broken.is_empty(), "names out of place:\n  {}", broken.join("\n  "));
}

#[test]
fn only_one_file_builds_a_status() {
    let builds = |source: &Source| {
        source.text.match_indices("Status::").any(|(at, name)| {
            let constructor = word(&source.text[at + name.len()..]);
            let of_tonic = !source.text[..at].ends_with(is_word);
            of_tonic && constructor.starts_with(char::is_lowercase) && constructor != "from"
        })
    };
    let broken: Vec<String> = sources()
        .into_iter()
        .filter(|source| source.path != "api/status.rs" && builds(source))
        .map(|s| s.path)
        .collect();
    assert!(broken.is_empty(), "only api/status.rs builds a tonic::Status: {broken:?}");
}

#[test]
fn only_one_file_of_the_fetch_stack_picks_a_failure_class() {
    let broken: Vec<String> = sources()
        .into_iter()
        .filter(|source| source.module() == "fetch" && source.path != "fetch/classify.rs")
        .filter(|source| source.text.contains("FailureClass"))
        .map(|source| source.path)
        .collect();
    assert!(broken.is_empty(), "only fetch/classify.rs picks a failure class: {broken:?}");
}

/// Words that look like reasons and are none, and places that have no reasons.
const NOT_REASONS: [&str; 14] = [
    "STATE",
    "SOURCE",
    "ITEMS",
    "UPSTREAM_OUTAGE",
    "RETRY_AFTER",
    "SYSTEM_FAILURE",
    "ALLOW_ALL",
    "BUFFER_ALL",
    "BUFFER_ONE",
    "CANCEL_OTHER",
    "CONTENT",
    "FILE_IO",
    "SEGMENT_",
    "SCREAMING_SNAKE_CASE",
];
const NO_REASONS: [&str; 4] = ["app", "config", "domain/listing", "domain/datum"];

/// Texts that are one word in capitals.
fn capitals(source: &Source) -> impl Iterator<Item = &str> {
    let is_capital = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    source.text.match_indices('"').filter_map(move |(at, _)| {
        let rest = &source.text[at + 1..];
        let end = rest.find(|c| !is_capital(c))?;
        (end > 0 && rest[end..].starts_with('"')).then_some(&rest[..end])
    })
}

#[test]
fn every_reason_has_a_page_and_every_page_a_reason() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors");
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let pages: Vec<String> = names
        .filter_map(|name| Some(name.strip_suffix(".md")?.to_owned()))
        .filter(|name| name != "README")
        .collect();
    let sources = sources();
    let known = |word: &str| NOT_REASONS.contains(&word) || pages.iter().any(|page| page == word);
    let mut bare = Vec::new();
    for source in sources.iter().filter(|source| !source.is_in(&NO_REASONS)) {
        // Elsewhere a word without `_` is a state or a kind.
        let all = source.is_in(&["api/status", "fetch/classify"]);
        let reasons = capitals(source).filter(|word| all || word.contains('_'));
        bare.extend(reasons.filter(|word| !known(word)).map(|word| format!("{}: {word}", source.path)));
    }
    assert!(bare.is_empty(), "reasons without a page in docs/errors:\n  {}", bare.join("\n  "));
    let words: Vec<&str> = sources.iter().flat_map(capitals).collect();
    let stale: Vec<&String> = pages.iter().filter(|page| !words.contains(&page.as_str())).collect();
    assert!(stale.is_empty(), "pages of reasons that the server does not know: {stale:?}");
}

#[test]
fn main_is_a_shim() {
    let main = Path::new(env!("CARGO_MANIFEST_DIR")).join("server/src/main.rs");
    assert!(fs::read_to_string(main).unwrap().lines().count() <= 40);
}
