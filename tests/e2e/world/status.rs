//! What a refusal says.

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Asserts code and reason, and answers with the details.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(
    answer: Result<T, Status>,
    code: Code,
    reason: &str,
) -> ErrorDetails {
    let status = answer.expect_err("it is refused");
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    assert_eq!(
        (status.code(), info.reason.as_str(), info.domain.as_str()),
        (code, reason, "haul.v1"),
        "{status}"
    );
    assert!(!status.message().is_empty());
    details
}

/// The fields at fault, in the order given.
pub(crate) fn fields(details: &ErrorDetails) -> Vec<&str> {
    let violations = &details.bad_request().expect("fields are named").field_violations;
    violations.iter().map(|violation| violation.field.as_str()).collect()
}
