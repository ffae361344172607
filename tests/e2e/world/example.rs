//! Examples of docs/errors: an error as it really looks, held against the page of its reason.
//!
//! The server's own tests include this file too, for errors that cannot be brought about from outside. Run with
//! `HAUL_RENEW_EXAMPLES=1`, the tests write the examples anew instead.

use std::{fmt::Write, path::Path};

use tonic::Status;
use tonic_types::{ErrorDetail, StatusExt};

const BEGIN: &str = "```text\n";
const END: &str = "```\n";

/// Asserts that the page of a reason shows this very text.
#[track_caller]
pub(crate) fn documented(reason: &str, shown: &str) {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = if package.ends_with("server") { package.parent().unwrap() } else { package };
    let path = root.join("docs/errors").join(format!("{reason}.md"));
    let page = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (before, rest) = page.split_once(BEGIN).unwrap_or_else(|| panic!("{reason}.md has no example"));
    let (example, after) = rest.split_once(END).unwrap();
    let shown = without_ids(shown);
    if example != shown && std::env::var_os("HAUL_RENEW_EXAMPLES").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{shown}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(example, shown, "docs/errors/{reason}.md; HAUL_RENEW_EXAMPLES=1 writes it anew");
}

/// Asserts what holds of every error, and that the page of its reason shows this one.
#[track_caller]
pub(crate) fn documented_status(reason: &str, status: &Status) {
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, "haul.v1"), "{status}");
    assert!(status.details().len() <= 4 * 1024, "{} bytes of details", status.details().len());
    let mut kinds: Vec<String> = status.get_error_details_vec().iter().map(kind).collect();
    let count = kinds.len();
    kinds.sort();
    kinds.dedup();
    assert_eq!(kinds.len(), count, "each type of detail at most once: {kinds:?}");
    documented(reason, &shown(status));
}

fn kind(detail: &ErrorDetail) -> String {
    format!("{detail:?}").split(['(', ' ']).next().unwrap().to_owned()
}

/// Code, message and details, a line each.
fn shown(status: &Status) -> String {
    let code = format!("{:?}", status.code());
    let mut text = String::new();
    for (at, c) in code.char_indices() {
        if at > 0 && c.is_uppercase() {
            text.push('_');
        }
        text.push(c.to_ascii_uppercase());
    }
    writeln!(text, ": {}", status.message()).unwrap();
    let details = status.get_error_details();
    if let Some(info) = details.error_info() {
        writeln!(text, "ErrorInfo: {} {}", info.domain, info.reason).unwrap();
        let mut metadata: Vec<_> = info.metadata.iter().collect();
        metadata.sort();
        for (key, value) in metadata {
            writeln!(text, "{}", format!("  {key}: {value}").trim_end()).unwrap();
        }
    }
    for violation in details.bad_request().map(|bad| &bad.field_violations[..]).unwrap_or_default() {
        writeln!(text, "BadRequest: {}: {}", violation.field, violation.description).unwrap();
    }
    if let Some(resource) = details.resource_info() {
        writeln!(text, "ResourceInfo: {} {}", resource.resource_type, resource.resource_name).unwrap();
    }
    for failure in details.precondition_failure().map(|failure| &failure.violations[..]).unwrap_or_default() {
        writeln!(
            text,
            "PreconditionFailure: {} {}: {}",
            failure.r#type, failure.subject, failure.description
        )
        .unwrap();
    }
    for violation in details.quota_failure().map(|failure| &failure.violations[..]).unwrap_or_default() {
        writeln!(text, "QuotaFailure: {}: {}", violation.subject, violation.description).unwrap();
    }
    if let Some(retry) = details.retry_info() {
        writeln!(text, "RetryInfo: {:?}", retry.retry_delay.unwrap_or_default()).unwrap();
    }
    text
}

/// An id is another one each time.
fn without_ids(text: &str) -> String {
    const LENGTH: usize = 36;
    let mut made = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_id = rest.get(..LENGTH).is_some_and(|id| uuid::Uuid::try_parse(id).is_ok());
        let taken = if is_id { LENGTH } else { first.len_utf8() };
        made.push_str(if is_id { "01a20000-0000-7000-8000-000000000000" } else { &rest[..taken] });
        rest = &rest[taken..];
    }
    made
}
