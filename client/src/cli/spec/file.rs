//! A spec, and the file that it came from: what the server finds wrong with it is said in the file's own words.

use std::{
    collections::HashSet,
    fs,
    io::{self, Read},
    path::Path,
    sync::LazyLock,
};

use haul_proto::v1;

use super::{
    SpecError, parse,
    problem::{line_of_name, names},
};
use crate::{Error, Violation, cli::json};

/// Largest file, bytes: what one request may carry.
const FILE_MAX_BYTES: u64 = 4 << 20;

/// A spec file that was read.
#[derive(Clone, Debug)]
pub struct SpecFile {
    /// What it says.
    pub spec: v1::BatchSpec,
    origin: String,
    text: String,
}

impl SpecFile {
    /// Reads a file, or standard input where the path is `-`.
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        let (origin, text) = if path.as_os_str() == "-" {
            let origin = "standard input".to_owned();
            let text = text(io::stdin().lock(), &origin)?;
            (origin, text)
        } else {
            let origin = path.display().to_string();
            let file = fs::File::open(path)
                .map_err(|source| SpecError::Unreadable { origin: origin.clone(), source })?;
            let text = text(file, &origin)?;
            (origin, text)
        };
        Ok(Self { spec: parse(&text, &origin)?, origin, text })
    }

    /// An error of the server's, with the fields of the spec as the file spells them, and with their lines:
    /// `spec.fetch.max_attempts` is `nightly.yaml:7: spec.fetch.maxAttempts`.
    #[must_use]
    pub fn in_its_words(&self, mut error: Error) -> Error {
        let Error::Refused(refusal) = &mut error else { return error };
        let alone = refusal.violations.len() == 1;
        for Violation { field, description } in &mut refusal.violations {
            let place = self.place(field).unwrap_or_else(|| field.clone());
            // A message about one field names it, and may be all that is said of it.
            let said = |text: &str| match text.split_once(&*field) {
                Some((before, after)) if alone => format!("{before}{place}{}", self.reworded(after)),
                _ => self.reworded(text),
            };
            if alone {
                refusal.message = said(&refusal.message);
            }
            *description = said(description);
            *field = place;
        }
        error
    }

    fn place(&self, field: &str) -> Option<String> {
        let names: Vec<String> =
            field.strip_prefix("spec.")?.split('.').map(|name| spelled(&self.text, name)).collect();
        let last = names.last()?;
        let name = last.split_once('[').map_or(last.as_str(), |(name, _)| name);
        let line = line_of_name(&self.text, name).map(|line| format!("{line}:")).unwrap_or_default();
        Some(format!("{}:{line} spec.{}", self.origin, names.join(".")))
    }

    /// A sentence of the server's with the spec's fields as the file spells them. What stands in quotes is a value.
    fn reworded(&self, sentence: &str) -> String {
        let word = |word: &str| {
            let name = word.trim_end_matches(|c: char| !is_name(c));
            let rest = &word[name.len()..];
            if FIELDS.contains(name) { spelled(&self.text, name) + rest } else { word.to_owned() }
        };
        let words = |part: &str| part.split_inclusive(|c| !is_name(c)).map(word).collect();
        let parts = sentence.split('"').enumerate();
        let parts: Vec<String> =
            parts.map(|(n, part)| if n % 2 == 0 { words(part) } else { part.to_owned() }).collect();
        parts.join("\"")
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The names of a spec's fields that have more than one spelling.
static FIELDS: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let mut names = HashSet::new();
    let mut messages: Vec<_> = json::descriptor("haul.v1.BatchSpec").into_iter().collect();
    let mut seen = HashSet::new();
    while let Some(message) = messages.pop() {
        if seen.insert(message.full_name().to_owned()) {
            names.extend(
                message.fields().map(|field| field.name().to_owned()).filter(|name| name.contains('_')),
            );
            messages.extend(message.fields().filter_map(|field| field.kind().as_message().cloned()));
        }
    }
    names
});

/// A field's name as a file spells it: as the contract does where it says so, and else as JSON does.
fn spelled(text: &str, name: &str) -> String {
    let plain = name.split('[').next().unwrap_or(name);
    if text.lines().any(|line| names(line, plain)) {
        return name.to_owned();
    }
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let (initial, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
        name + &initial.to_uppercase() + rest
    })
}

fn text(reader: impl Read, origin: &str) -> Result<String, SpecError> {
    let mut bytes = Vec::new();
    reader
        .take(FILE_MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| SpecError::Unreadable { origin: origin.to_owned(), source })?;
    if bytes.len() as u64 > FILE_MAX_BYTES {
        return Err(SpecError::TooLarge { origin: origin.to_owned() });
    }
    String::from_utf8(bytes).map_err(|error| SpecError::Syntax {
        origin: origin.to_owned(),
        problem: format!("not UTF-8 from byte {} on", error.utf8_error().valid_up_to()),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic::Code;

    use super::*;
    use crate::Refusal;

    fn said(text: &str, message: &str, violations: &[(&str, &str)]) -> String {
        let file = SpecFile {
            spec: v1::BatchSpec::default(),
            origin: "nightly.yaml".to_owned(),
            text: text.to_owned(),
        };
        let violations = violations
            .iter()
            .map(|(field, description)| Violation {
                field: (*field).to_owned(),
                description: (*description).to_owned(),
            })
            .collect();
        file.in_its_words(Error::Refused(Box::new(Refusal {
            code: Code::InvalidArgument,
            reason: "INVALID_FIELD".to_owned(),
            message: message.to_owned(),
            violations,
            metadata: HashMap::new(),
            retry_after: None,
        })))
        .to_string()
    }

    const TEXT: &str = "\
fetch:
  maxAttempts: 50
  max_backoff: 1s
labels: {my_team: x}
inlineItems:
  items: [{key: a}, {key: b}]
";

    #[test]
    fn one_field() {
        let problem = "is 50; it may be 1 to 20";
        let field = "spec.fetch.max_attempts";
        assert_eq!(
            said(TEXT, &format!("{field}: {problem}"), &[(field, problem)]),
            format!("nightly.yaml:2: spec.fetch.maxAttempts: {problem}")
        );
        let whole = "spec.inline_items has 3 items, at most 2 are taken";
        assert_eq!(
            said(TEXT, whole, &[("spec.inline_items", whole)]),
            "nightly.yaml:5: spec.inlineItems has 3 items, at most 2 are taken"
        );
    }

    #[test]
    fn what_is_said_of_a_field_names_others_as_the_file_does() {
        let missing = "one of inline_items, uploaded_items, jpx_listing and file is required";
        assert_eq!(
            said(TEXT, &format!("spec.source: {missing}"), &[("spec.source", missing)]),
            "nightly.yaml: spec.source: one of inlineItems, uploadedItems, jpxListing and file is required"
        );
        let key = "needs spec.overlap_key: set the key, or leave the policy out";
        assert_eq!(
            said(
                "max_backoff: 1s\noverlap_policy: SKIP\n",
                "2 fields are wrong",
                &[
                    ("spec.overlap_policy", key),
                    ("spec.display_name", "\"overlap_key or not\" is too long; see max_backoff, max_length")
                ]
            ),
            "\
2 fields are wrong
  nightly.yaml:2: spec.overlap_policy: needs spec.overlapKey: set the key, or leave the policy out
  nightly.yaml: spec.displayName: \"overlap_key or not\" is too long; see max_backoff, max_length"
        );
    }

    #[test]
    fn many_fields_in_the_spelling_that_the_file_has_and_else_in_that_of_json() {
        assert_eq!(
            said(
                TEXT,
                "6 fields of the request are wrong",
                &[
                    ("spec.fetch.max_backoff", "is too short"),
                    ("spec.labels.my_team", "is too long"),
                    ("spec.inline_items.items[1].key", "is there twice"),
                    ("spec.yahoo_chart.base_url", "is no address"),
                    ("spec", "has no source"),
                    ("batch_id", "is too short"),
                ]
            ),
            "\
6 fields of the request are wrong
  nightly.yaml:3: spec.fetch.max_backoff: is too short
  nightly.yaml:4: spec.labels.my_team: is too long
  nightly.yaml:6: spec.inlineItems.items[1].key: is there twice
  nightly.yaml: spec.yahooChart.baseUrl: is no address
  spec: has no source
  batch_id: is too short"
        );
    }
}
