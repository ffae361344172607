//! What an upload is refused with.

use tonic::{Code, Status};

use super::{Answer, Violation, command, invalid};
use crate::{
    domain::id::{BatchId, UploadId},
    store::UploadError,
};

pub(super) fn upload(error: UploadError) -> Status {
    let message = error.to_string();
    let of_upload = |code, reason, way_out: &str, batch: BatchId, upload: UploadId| {
        let mut answer = Answer::new(code, reason, format!("{message}{way_out}"))
            .with("name", batch.name())
            .with("upload_id", upload.as_str());
        answer.details.set_resource_info("haul.v1.Upload", upload.as_str(), "", "");
        answer.status()
    };
    match error {
        UploadError::Batch(error) => command(error),
        UploadError::NotFound { batch, upload } => {
            of_upload(Code::NotFound, "UPLOAD_NOT_FOUND", "", batch, upload)
        }
        UploadError::Superseded { batch, upload } => {
            of_upload(Code::Aborted, "UPLOAD_SUPERSEDED", ": this one is over", batch, upload)
        }
        UploadError::Gap { first_offset, committed } => {
            Answer::new(Code::OutOfRange, "UPLOAD_OFFSET_GAP", format!("{message}: go on from there"))
                .with("first_offset", first_offset.to_string())
                .with("committed_items", committed.to_string())
                .status()
        }
        UploadError::Mismatch { batch, upload, first_offset } => {
            let message = format!("{message}: begin a new upload_id for other items");
            let mut answer =
                Answer::new(Code::FailedPrecondition, "UPLOAD_CONTENT_MISMATCH", message.clone())
                    .with("name", batch.name())
                    .with("upload_id", upload.as_str())
                    .with("first_offset", first_offset.to_string());
            answer.details.add_precondition_failure_violation("CONTENT", batch.name(), message);
            answer.status()
        }
        UploadError::TooManyItems => {
            let problem = format!("{message}: start another batch for the rest");
            invalid(&[Violation::new("chunk.items", problem)])
        }
        UploadError::TooManyUploads => {
            let problem = format!("{message}: go on with one of them");
            invalid(&[Violation::new("header.upload_id", problem)])
        }
    }
}
