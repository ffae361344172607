//! Why no batch was made.

use tonic::{Code, Status};

use super::{Answer, METADATA_BYTES_MAX, not_found, not_terminal, purged, request_id_reused, store};
use crate::{domain::text, source::SourceError, store::CreateError};

pub(super) fn create(error: CreateError) -> Status {
    match error {
        CreateError::BatchExists(id) => {
            let message = format!("{} exists: choose another batch_id", id.name());
            Answer::new(Code::AlreadyExists, "BATCH_EXISTS", message).resource(&id).status()
        }
        CreateError::RequestIdReused(id) => request_id_reused(&id),
        CreateError::NoParent(id) => not_found(&id),
        CreateError::ParentPurged(gone) => purged(&gone),
        CreateError::ParentNotTerminal { id, state } => not_terminal(&id, state),
        CreateError::NoKeptBodies { id, origin } => {
            let message = match &origin {
                Some(origin) => format!(
                    "{} keeps no bodies of its own: redecode {}, whose bodies it decoded",
                    id.name(),
                    origin.name()
                ),
                None => format!("{} has no kept bodies: there were none, or they have expired", id.name()),
            };
            let mut answer = Answer::new(Code::FailedPrecondition, "NO_KEPT_BODIES", message.clone())
                .with("name", id.name());
            if let Some(origin) = origin {
                answer = answer.with("origin", origin.name());
            }
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
        CreateError::OverlapBufferFull { key, limit } => {
            let message = format!(
                "{limit} batches wait for overlap key {}, which is the limit: stop some, or wait for their end",
                text::cut(&key, 64)
            );
            let mut answer = Answer::new(Code::ResourceExhausted, "OVERLAP_BUFFER_FULL", message.clone())
                .with("limit", limit.to_string());
            answer.details.add_quota_failure_violation("overlap_key", message);
            answer.status()
        }
        CreateError::Quota { limit } => {
            let message =
                format!("as many batches are live as may be ({limit}): stop some, or wait for their end");
            let mut answer = Answer::new(Code::ResourceExhausted, "BATCH_QUOTA", message.clone())
                .with("limit", limit.to_string());
            answer.details.add_quota_failure_violation("batches", message);
            answer.status()
        }
        CreateError::Store(error) => store(&error),
    }
}

pub(super) fn source(error: SourceError) -> Status {
    let mut message = format!("the source cannot be read: {error}");
    let list_date = match &error {
        SourceError::Store(error) => return store(error),
        // A batch would try again by itself.
        SourceError::Temporary(_) => {
            message.push_str(" (this may pass: try again)");
            None
        }
        SourceError::Refused(_) | SourceError::Unreadable(_) => None,
        SourceError::NoList { earliest, .. } => *earliest,
    };
    let mut answer = Answer::new(Code::FailedPrecondition, "SOURCE_UNREADABLE", message.clone())
        .with("problem", text::cut(&error.to_string(), METADATA_BYTES_MAX));
    if let Some(date) = list_date {
        answer = answer.with("list_date", date.to_string());
    }
    let described = text::cut(&message, text::MESSAGE_BYTES_MAX);
    answer.details.add_precondition_failure_violation("SOURCE", "spec.source", described);
    answer.status()
}
