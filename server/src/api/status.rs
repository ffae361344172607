//! The one place that builds a [`Status`]. Code, reason and details are the contract's (docs/contract.md, section 11);
//! the text is for people and may change.

mod create;
mod dataset;
mod upload;
mod upstream;

use std::{collections::HashMap, time::Duration};

use chrono::SecondsFormat;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    control::{
        PlanError, ReadError, UpstreamError,
        watch::{WATCHED_MAX, WatchError},
    },
    domain::{
        batch::{Batch, Refusal, State},
        etag,
        filter::FilterError,
        id::BatchId,
        text,
    },
    source::SourceError,
    store::{CommandError, CreateError, DeleteError, Purged, StoreError, UploadError},
};

const DOMAIN: &str = "haul.v1";
/// Violations that are listed; the rest is counted.
const VIOLATIONS_MAX: usize = 20;
/// Details must fit into 4 KiB: what is left for the texts of violations, and for the message.
const VIOLATIONS_BYTES_MAX: usize = 2_400;
const MESSAGE_BYTES_MAX: usize = 512;
/// Of one value.
const METADATA_BYTES_MAX: usize = 256;
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Something wrong with one field of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) field: String,
    pub(super) problem: String,
    /// Of an answer in which it is alone, or among its like.
    reason: &'static str,
    metadata: Vec<(&'static str, String)>,
}

impl Violation {
    pub(super) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into(), reason: "INVALID_FIELD", metadata: Vec::new() }
    }

    pub(super) fn target_forbidden(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { reason: "TARGET_FORBIDDEN", ..Self::new(field, problem) }
    }

    pub(super) fn page_token() -> Self {
        let problem = "is not one of this call with these arguments: start over without it";
        Self { reason: "INVALID_PAGE_TOKEN", ..Self::new("page_token", problem) }
    }

    pub(super) fn cursor(batch: &BatchId) -> Self {
        let problem = format!("is none that was given for {}: start over without it", batch.name());
        let metadata = vec![("name", batch.name())];
        Self { reason: "INVALID_CURSOR", metadata, ..Self::new("after_cursor", problem) }
    }

    pub(super) fn filter(field: &'static str, fault: &FilterError) -> Self {
        let metadata = vec![("column", fault.column.to_string())];
        Self { reason: "INVALID_FILTER", metadata, ..Self::new(field, fault.to_string()) }
    }

    pub(super) fn too_many_inline_items(limit: usize, given: usize, unit: &'static str) -> Self {
        let problem =
            format!("has {given} {unit}, at most {limit} are taken: use uploaded_items and UploadItems");
        let metadata = vec![
            ("limit", limit.to_string()),
            ("given", given.to_string()),
            ("unit", unit.to_owned()),
            ("use", "UploadItems".to_owned()),
        ];
        Self { reason: "TOO_MANY_INLINE_ITEMS", metadata, ..Self::new("spec.inline_items", problem) }
    }
}

/// Everything that an RPC may answer instead of its response.
#[derive(Debug)]
pub(super) enum ApiError {
    Invalid(Vec<Violation>),
    Create(CreateError),
    Source(SourceError),
    Command(CommandError),
    Delete(DeleteError),
    Read(ReadError),
    Upload(UploadError),
    Upstream(UpstreamError),
    /// No dataset of that name.
    DatasetNotFound(String),
    WatchLimit {
        limit: usize,
    },
    /// More batches match than one watch may follow.
    TooManyWatched {
        limit: usize,
    },
    /// Nothing could be written for too long.
    SlowConsumer,
    /// The caller is above its rate.
    ApiRate {
        limit_per_s: f64,
        caller: String,
        wait: Duration,
    },
    /// Its time is up.
    Deadline {
        after: Duration,
    },
    /// Nothing came for so long.
    Idle {
        after: Duration,
    },
    /// The handler panicked, with this message.
    Panicked(String),
    Draining,
}

/// Both values, or everything that is wrong with either.
pub(super) fn both<A, B>(a: Result<A, ApiError>, b: Result<B, ApiError>) -> Result<(A, B), ApiError> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(ApiError::Invalid(mut faults)), Err(ApiError::Invalid(more))) => {
            faults.extend(more);
            Err(ApiError::Invalid(faults))
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
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

impl From<UploadError> for ApiError {
    fn from(error: UploadError) -> Self {
        Self::Upload(error)
    }
}

impl From<UpstreamError> for ApiError {
    fn from(error: UpstreamError) -> Self {
        Self::Upstream(error)
    }
}

impl From<WatchError> for ApiError {
    fn from(error: WatchError) -> Self {
        match error {
            WatchError::TooMany => Self::TooManyWatched { limit: WATCHED_MAX },
            WatchError::Store(error) => error.into(),
        }
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

    fn retry(self) -> Self {
        self.retry_after(RETRY_AFTER)
    }

    fn retry_after(mut self, wait: Duration) -> Self {
        self.details.set_retry_info(Some(wait));
        self
    }

    fn resource(mut self, batch: &BatchId) -> Self {
        self.details.set_resource_info("haul.v1.Batch", batch.name(), "", "");
        self.with("name", batch.name())
    }

    fn status(mut self) -> Status {
        self.details.set_error_info(self.reason, DOMAIN, self.metadata);
        let pushback = self.details.retry_info().and_then(|info| info.retry_delay);
        let message = text::cut(&self.message, MESSAGE_BYTES_MAX);
        let mut status = Status::with_error_details(self.code, message, self.details);
        // Whoever repeats calls by gRPC's own rules (proposal A6) knows no details.
        if let Some(wait) = pushback.filter(|_| self.code == Code::ResourceExhausted) {
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            status.metadata_mut().insert("grpc-retry-pushback-ms", wait_ms.into());
        }
        status
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Invalid(violations) => invalid(&violations),
            ApiError::Create(error) => create::create(error),
            ApiError::Source(error) => create::source(error),
            ApiError::Command(error) => command(error),
            ApiError::Delete(error) => delete(error),
            ApiError::Read(ReadError::NotFound(id)) => not_found(&id),
            ApiError::Read(ReadError::NoItem { batch, key }) => no_item(&batch, &key),
            ApiError::Read(ReadError::Purged(gone)) => purged(&gone),
            ApiError::Read(ReadError::Store(error)) => store(&error),
            ApiError::Upload(error) => upload::upload(error),
            ApiError::Upstream(error) => upstream::upstream(error),
            ApiError::DatasetNotFound(name) => dataset::not_found(&name),
            ApiError::Idle { after } => {
                let after_ms = after.as_millis();
                let message = format!(
                    "no message for {after_ms} ms: what is committed stays, GetUploadStatus says where to go on"
                );
                Answer::new(Code::DeadlineExceeded, "DEADLINE", message)
                    .with("after_ms", after_ms.to_string())
                    .status()
            }
            ApiError::WatchLimit { limit } => {
                let message = format!("as many watchers are connected as may be ({limit}): try again later");
                Answer::new(Code::ResourceExhausted, "WATCH_LIMIT", message)
                    .with("limit", limit.to_string())
                    .retry()
                    .status()
            }
            ApiError::TooManyWatched { limit } => {
                let message = format!("more than {limit} live batches match filter: narrow it down");
                Answer::new(Code::ResourceExhausted, "WATCH_LIMIT", message)
                    .with("limit", limit.to_string())
                    .retry()
                    .status()
            }
            ApiError::SlowConsumer => {
                let message = "nothing could be sent for too long: read faster, or ask for less";
                Answer::new(Code::Unavailable, "SLOW_CONSUMER", message).retry().status()
            }
            ApiError::ApiRate { limit_per_s, caller, wait } => {
                let message = format!("{caller} makes more than {limit_per_s} calls a second: wait");
                Answer::new(Code::ResourceExhausted, "API_RATE_LIMIT", message)
                    .with("limit", limit_per_s.to_string())
                    .with("caller", caller)
                    .retry_after(wait)
                    .status()
            }
            ApiError::Deadline { after } => {
                let after_ms = after.as_millis();
                let message = format!("no answer within {after_ms} ms; what was begun may yet be done");
                Answer::new(Code::DeadlineExceeded, "DEADLINE", message)
                    .with("after_ms", after_ms.to_string())
                    .status()
            }
            ApiError::Panicked(message) => internal(&format!("a handler panicked: {message}")),
            ApiError::Draining => {
                Answer::new(Code::Unavailable, "SERVER_DRAINING", "the server is leaving: reconnect")
                    .retry()
                    .status()
            }
        }
    }
}

/// What gRPC itself answers to a method that is not there.
pub(super) fn no_such_method(path: &str) -> Status {
    Status::unimplemented(format!("{} is no method of this server", text::cut(path, MESSAGE_BYTES_MAX / 2)))
}

fn invalid(violations: &[Violation]) -> Status {
    let mut answer = match violations {
        [one] => {
            let message = format!("{}: {}", one.field, one.problem);
            let mut answer = Answer::new(Code::InvalidArgument, one.reason, message)
                .with("field", text::cut(&one.field, METADATA_BYTES_MAX))
                .with("problem", text::cut(&one.problem, METADATA_BYTES_MAX));
            for (key, value) in &one.metadata {
                answer = answer.with(key, value);
            }
            answer
        }
        more => {
            let first = more.first().map_or("INVALID_FIELD", |violation| violation.reason);
            let alike = more.iter().all(|violation| violation.reason == first);
            let reason = if alike { first } else { "INVALID_FIELD" };
            Answer::new(
                Code::InvalidArgument,
                reason,
                format!("{} fields of the request are wrong", more.len()),
            )
        }
    };
    answer = answer.with("violations_total", violations.len().to_string());
    answer.violations(violations).status()
}

fn command(error: CommandError) -> Status {
    match error {
        CommandError::NotFound(id) => not_found(&id),
        CommandError::Purged(gone) => purged(&gone),
        CommandError::Store(error) => store(&error),
        CommandError::RequestIdReused(id) => request_id_reused(&id),
        CommandError::EtagMismatch { batch, .. } => etag_mismatch(&batch),
        CommandError::Refused { id, state, refusal, .. } => {
            let (reason, allowed, more) = match refusal {
                Refusal::Open => {
                    ("BATCH_OPEN", "UploadItems, Stop", ": nothing of it runs before it is sealed")
                }
                Refusal::Sealed => ("BATCH_SEALED", "Pause, Resume, Stop", " and takes no items any more"),
                Refusal::Stopping => ("BATCH_STOPPING", "Stop", ""),
                Refusal::Terminal => ("BATCH_TERMINAL", "", ""),
            };
            let message = format!("{} is {}{more}", id.name(), state.as_str());
            let mut answer = Answer::new(Code::FailedPrecondition, reason, message.clone())
                .with("name", id.name())
                .with("state", state.as_str())
                .with("allowed", allowed);
            answer.details.add_precondition_failure_violation("STATE", id.name(), message);
            answer.status()
        }
    }
}

fn etag_mismatch(batch: &Batch) -> Status {
    let (etag, state) = (etag::of(batch), batch.state.as_str());
    let message =
        format!("{} is {state} by now: read it again, and decide with etag {etag}", batch.id.name());
    Answer::new(Code::Aborted, "ETAG_MISMATCH", message)
        .with("current_etag", etag)
        .with("current_state", state)
        .resource(&batch.id)
        .status()
}

fn request_id_reused(id: &str) -> Status {
    let message = format!("request_id {id} was used with another request: make a new one");
    let mut answer = Answer::new(Code::AlreadyExists, "REQUEST_ID_REUSED", message).with("request_id", id);
    answer.details.set_resource_info("request", id, "", "");
    answer.status()
}

fn delete(error: DeleteError) -> Status {
    match error {
        DeleteError::NotFound(id) => not_found(&id),
        DeleteError::Purged(gone) => purged(&gone),
        DeleteError::NotTerminal { id, state } => not_terminal(&id, state),
        DeleteError::EtagMismatch { batch } => etag_mismatch(&batch),
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
    Answer::new(Code::NotFound, "BATCH_PURGED", format!("{} was deleted at {at}", gone.id.name()))
        .with("purge_time", at)
        .resource(&gone.id)
        .status()
}

fn not_found(id: &BatchId) -> Status {
    Answer::new(Code::NotFound, "BATCH_NOT_FOUND", format!("there is no {}", id.name())).resource(id).status()
}

fn no_item(batch: &BatchId, key: &str) -> Status {
    let message = format!("{} has no item {key:?}", batch.name());
    let mut answer = Answer::new(Code::NotFound, "ITEM_NOT_FOUND", message)
        .with("name", batch.name())
        .with("item_key", text::cut(key, MESSAGE_BYTES_MAX));
    answer.details.set_resource_info("haul.v1.Item", text::cut(key, MESSAGE_BYTES_MAX), "", "");
    answer.status()
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
            internal(&error.to_string())
        }
    }
}

/// What happened is in the log, under the number that the caller is told.
fn internal(error: &str) -> Status {
    let incident = uuid::Uuid::now_v7().to_string();
    tracing::error!(incident, error, "internal error");
    Answer::new(
        Code::Internal,
        "INTERNAL",
        format!("internal error; the server's log has incident {incident}"),
    )
    .with("incident", incident)
    .status()
}

#[cfg(test)]
mod tests;
