//! A spec, and the file that it came from: what the server finds wrong with it is said in the file's own words.

use std::{
    fs,
    io::{self, Read},
    path::Path,
};

use haul_proto::v1;

use super::{
    SpecError, parse,
    problem::{line_of_name, names},
};
use crate::{Error, Violation};

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
            let Some(place) = self.place(field) else { continue };
            // A message about one field names it, and may be all that is said of it.
            if alone {
                refusal.message = refusal.message.replacen(&*field, &place, 1);
                *description = description.replacen(&*field, &place, 1);
            }
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
}

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
