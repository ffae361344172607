//! The one place that builds a [`Status`]. Code, reason and details are the contract's (docs/contract.md, section 11);
//! the text is for people and may change.

use std::{collections::HashMap, time::Duration};

use chrono::SecondsFormat;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    control::{PlanError, ReadError},
    domain::{
        batch::{Refusal, State},
        filter::FilterError,
        id::BatchId,
        text,
    },
    source::SourceError,
    store::{CommandError, CreateError, DeleteError, Purged, StoreError},
};

const DOMAIN: &str = "haul.v1";
/// Violations that are listed; the rest is counted.
const VIOLATIONS_MAX: usize = 20;
/// Details must fit into 4 KiB: what is left for the texts of violations, and for the message.
const VIOLATIONS_BYTES_MAX: usize = 2_400;
const MESSAGE_BYTES_MAX: usize = 512;
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Something wrong with one field of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) field: String,
    pub(super) problem: String,
}

impl Violation {
    pub(super) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

/// Everything that an RPC may answer instead of its response.
#[derive(Debug)]
pub(super) enum ApiError {
    Invalid(Vec<Violation>),
    TooManyInlineItems { limit: usize, given: usize, unit: &'static str },
    TargetForbidden(Violation),
    InvalidPageToken,
    InvalidFilter { field: &'static str, fault: FilterError },
    Create(CreateError),
    Source(SourceError),
    Command(CommandError),
    Delete(DeleteError),
    Read(ReadError),
    WatchLimit { limit: usize },
    Draining,
}

impl From<CreateError> for ApiError {
    fn from(error: CreateError) -> Self {
        Self::Create(error)
    }
}

impl From<PlanError> for ApiError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Create(error) => Self::Create(error),
            PlanError::Source(error) => Self::Source(error),
        }
    }
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> Self {
        Self::Command(error)
    }
}

impl From<DeleteError> for ApiError {
    fn from(error: DeleteError) -> Self {
        Self::Delete(error)
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::Read(error.into())
    }
}

/// An error under construction.
struct Answer {
    code: Code,
    reason: &'static str,
    message: String,
    metadata: HashMap<String, String>,
    details: ErrorDetails,
}

impl Answer {
    fn new(code: Code, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), metadata: HashMap::new(), details: ErrorDetails::new() }
    }

    fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.metadata.insert(key.to_owned(), value.into());
        self
    }

    fn violations(mut self, violations: &[Violation]) -> Self {
        let listed = violations.len().clamp(1, VIOLATIONS_MAX);
        for violation in violations.iter().take(listed) {
            let share = VIOLATIONS_BYTES_MAX / listed;
            let field = text::cut(&violation.field, share / 2);
            let problem = text::cut(&violation.problem, share - field.len());
            self.details.add_bad_request_violation(field, problem);
        }
        self
    }

    fn retry(mut self) -> Self {
        self.details.set_retry_info(Some(RETRY_AFTER));
        self
    }

    fn resource(mut self, batch: &BatchId) -> Self {
        self.details.set_resource_info("haul.v1.Batch", batch.name(), "", "");
        self.with("name", batch.name())
    }

    fn status(mut self) -> Status {
        self.details.set_error_info(self.reason, DOMAIN, self.metadata);
        Status::with_error_details(self.code, text::cut(&self.message, MESSAGE_BYTES_MAX), self.details)
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Invalid(violations) => invalid(&violations),
            ApiError::TooManyInlineItems { limit, given, unit } => {
                let message = format!(
                    "spec.inline_items has {given} {unit}, at most {limit} are taken: use a file source"
                );
                let violation = Violation::new("spec.inline_items", message.clone());
                Answer::new(Code::InvalidArgument, "TOO_MANY_INLINE_ITEMS", message)
                    .with("limit", limit.to_string())
                    .with("unit", unit)
                    .violations(&[violation])
                    .status()
            }
            ApiError::TargetForbidden(violation) => {
                let message = format!("{}: {}", violation.field, violation.problem);
                Answer::new(Code::InvalidArgument, "TARGET_FORBIDDEN", message)
                    .with("field", violation.field.clone())
                    .violations(&[violation])
                    .status()
            }
            ApiError::InvalidPageToken => {
                let message =
                    "page_token is not one of this call with these arguments: start over without it";
                Answer::new(Code::InvalidArgument, "INVALID_PAGE_TOKEN", message)
                    .violations(&[Violation::new("page_token", message)])
                    .status()
            }
            ApiError::InvalidFilter { field, fault } => {
                let message = format!("{field}: {fault}");
                Answer::new(Code::InvalidArgument, "INVALID_FILTER", message)
                    .with("column", fault.column.to_string())
                    .violations(&[Violation::new(field, fault.to_string())])
                    .status()
            }
            ApiError::Create(error) => create(error),
            ApiError::Source(error) => source(error),
            ApiError::Command(error) => command(error),
            ApiError::Delete(error) => delete(error),
            ApiError::Read(ReadError::NotFound(id)) => not_found(&id),
            ApiError::Read(ReadError::Purged(gone)) => purged(&gone),
            ApiError::Read(ReadError::Store(error)) => store(&error),
            ApiError::WatchLimit { limit } => {
                let message = format!("{limit} watchers are connected, which is the limit: try again later");
                Answer::new(Code::ResourceExhausted, "WATCH_LIMIT", message)
                    .with("limit", limit.to_string())
                    .retry()
                    .status()
            }
            ApiError::Draining => {
                Answer::new(Code::Unavailable, "SERVER_DRAINING", "the server is leaving: reconnect")
                    .retry()
                    .status()
            }
        }
    }
}

fn invalid(violations: &[Violation]) -> Status {
    let message = match violations {
        [one] => format!("{}: {}", one.field, one.problem),
        more => format!("{} fields of the request are wrong", more.len()),
    };
    Answer::new(Code::InvalidArgument, "INVALID_FIELD", message)
        .with("violations_total", violations.len().to_string())
        .violations(violations)
        .status()
}

fn create(error: CreateError) -> Status {
    match error {
        CreateError::BatchExists(id) => {
            let message = format!("{} exists: choose another batch_id", id.name());
            Answer::new(Code::AlreadyExists, "BATCH_EXISTS", message).resource(&id).status()
        }
        CreateError::RequestIdReused(id) => {
            let message = format!("request_id {id} was used with another request: make a new one");
            let mut answer =
                Answer::new(Code::AlreadyExists, "REQUEST_ID_REUSED", message).with("request_id", id.clone());
            answer.details.set_resource_info("request", id, "", "");
            answer.status()
        }
        CreateError::NoParent(id) => not_found(&id),
        CreateError::ParentPurged(gone) => purged(&gone),
        CreateError::ParentNotTerminal { id, state } => not_terminal(&id, state),
        CreateError::NoKeptBodies { id, origin } => {
            let message = match origin {
                Some(origin) => format!(
                    "{} keeps no bodies of its own: redecode {}, whose bodies it decoded",
                    id.name(),
                    origin.name()
                ),
                None => format!("{} has no kept bodies: there were none, or they have expired", id.name()),
            };
            let mut answer = Answer::new(Code::FailedPrecondition, "NO_KEPT_BODIES", message.clone())
                .with("name", id.name());
            answer.details.add_precondition_failure_violation("ITEMS", id.name(), message);
            answer.status()
        }
        CreateError::NoFailedItems(id) => {
            let message =
                format!("no item of {} is to be retried: its report says what became of them", id.name());
            let mut answer = Answer::new(Code::FailedPrecondition, "NO_FAILED_ITEMS", message.clone())
                .with("name", id.name());
            answer.details.add_precondition_failure_violation("ITEMS", id.name(), message);
            answer.status()
        }
        CreateError::Quota { limit } => {
            let message =
                format!("{limit} batches are live, which is the limit: stop some, or wait for their end");
            let mut answer = Answer::new(Code::ResourceExhausted, "BATCH_QUOTA", message.clone())
                .with("limit", limit.to_string());
            answer.details.add_quota_failure_violation("batches", message);
            answer.status()
        }
        CreateError::Store(error) => store(&error),
    }
}

fn source(error: SourceError) -> Status {
    let mut message = format!("the source cannot be read: {error}");
    let list_date = match &error {
        SourceError::Store(error) => return store(error),
        // A batch would try again by itself.
        SourceError::Temporary(_) => {
            message.push_str(" (this may pass: try again)");
            None
        }
        SourceError::Unreadable(_) => None,
        SourceError::NoList { earliest, .. } => *earliest,
    };
    let mut answer = Answer::new(Code::FailedPrecondition, "SOURCE_UNREADABLE", message.clone());
    if let Some(date) = list_date {
        answer = answer.with("list_date", date.to_string());
    }
    let described = text::cut(&message, text::MESSAGE_BYTES_MAX);
    answer.details.add_precondition_failure_violation("SOURCE", "spec.source", described);
    answer.status()
}

fn command(error: CommandError) -> Status {
    match error {
        CommandError::NotFound(id) => not_found(&id),
        CommandError::Purged(gone) => purged(&gone),
        CommandError::Store(error) => store(&error),
        CommandError::Refused { id, state, refusal } => {
            let (reason, allowed) = match refusal {
                Refusal::Open => ("BATCH_OPEN", "UploadItems, Stop"),
                Refusal::Sealed => ("BATCH_SEALED", "Pause, Resume, Stop"),
                Refusal::Stopping => ("BATCH_STOPPING", "Stop"),
                Refusal::Terminal => ("BATCH_TERMINAL", ""),
            };
            let message = format!("{} is {}", id.name(), state.as_str());
            let mut answer = Answer::new(Code::FailedPrecondition, reason, message.clone())
                .with("name", id.name())
                .with("state", state.as_str())
                .with("allowed", allowed);
            answer.details.add_precondition_failure_violation("STATE", id.name(), message);
            answer.status()
        }
    }
}

fn delete(error: DeleteError) -> Status {
    match error {
        DeleteError::NotFound(id) => not_found(&id),
        DeleteError::Purged(gone) => purged(&gone),
        DeleteError::NotTerminal { id, state } => not_terminal(&id, state),
        DeleteError::EtagMismatch { id, etag, state } => {
            let message = format!("{} has changed, it is {}: read it again", id.name(), state.as_str());
            Answer::new(Code::Aborted, "ETAG_MISMATCH", message)
                .with("current_etag", etag)
                .with("current_state", state.as_str())
                .resource(&id)
                .status()
        }
        DeleteError::Store(error) => store(&error),
    }
}

fn not_terminal(id: &BatchId, state: State) -> Status {
    let message = format!("{} is {}: stop it, or wait for its end", id.name(), state.as_str());
    let mut answer = Answer::new(Code::FailedPrecondition, "BATCH_NOT_TERMINAL", message.clone())
        .with("name", id.name())
        .with("state", state.as_str())
        .with("allowed", "Stop");
    answer.details.add_precondition_failure_violation("STATE", id.name(), message);
    answer.status()
}

fn purged(gone: &Purged) -> Status {
    let at = gone.at.to_rfc3339_opts(SecondsFormat::Millis, true);
    Answer::new(Code::NotFound, "BATCH_PURGED", format!("{} went on {at}", gone.id.name()))
        .with("purge_time", at)
        .resource(&gone.id)
        .status()
}

fn not_found(id: &BatchId) -> Status {
    Answer::new(Code::NotFound, "BATCH_NOT_FOUND", format!("there is no {}", id.name())).resource(id).status()
}

fn store(error: &StoreError) -> Status {
    match error {
        StoreError::Unavailable(_) => {
            Answer::new(Code::Unavailable, "STORE_UNAVAILABLE", "the store does not answer: try again")
                .retry()
                .status()
        }
        StoreError::Full(_) => {
            let message = "the store is full: the operator must make room";
            let mut answer = Answer::new(Code::ResourceExhausted, "STORE_FULL", message);
            answer.details.add_quota_failure_violation("store", message);
            answer.status()
        }
        StoreError::ReadOnly(_) | StoreError::Damaged(_) | StoreError::Fault(_) => {
            let incident = uuid::Uuid::now_v7().to_string();
            tracing::error!(incident, error = %error, "internal error");
            Answer::new(
                Code::Internal,
                "INTERNAL",
                format!("internal error; the server's log has incident {incident}"),
            )
            .with("incident", incident)
            .status()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_are_counted_and_the_first_twenty_listed_within_four_kib() {
        let violations: Vec<Violation> = (0..100)
            .map(|n| Violation::new(format!("spec.inline_items.items[{n}].key"), "x".repeat(5_000)))
            .collect();
        let status = Status::from(ApiError::Invalid(violations));
        let details = status.get_error_details();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(details.bad_request().unwrap().field_violations.len(), 20);
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("INVALID_FIELD", "haul.v1"));
        assert_eq!(info.metadata["violations_total"], "100");
        assert!(status.details().len() <= 4 * 1024, "{}", status.details().len());
    }

    #[test]
    fn internal_errors_tell_nothing_but_their_incident() {
        let status = Status::from(ApiError::from(StoreError::Fault("secret path /x".into())));
        assert_eq!(status.code(), Code::Internal);
        assert!(!status.message().contains("secret"));
        assert!(status.get_error_details().error_info().unwrap().metadata.contains_key("incident"));
    }
}
