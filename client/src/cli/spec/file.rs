//! A spec, and the file that it came from: what the server finds wrong with it is said in the file's own words.

use std::path::Path;

use haul_proto::v1;

use super::{SpecError, origin, problem::line_of_name, spelled, text_of};
use crate::{Error, Violation};

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
        let origin = origin(path);
        let text = text_of(path)?;
        Ok(Self { spec: super::parse(&text, &origin)?, origin, text })
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
