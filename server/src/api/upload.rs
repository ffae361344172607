//! Streams of items.

use std::time::Duration;

use futures::{Stream, StreamExt};
use haul_proto::v1::{self, BatchView, upload_items_request::Part};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    batch::batch,
    service::batch_id,
    spec,
    status::{ApiError, Violation},
};
use crate::{
    control::{Control, Upload},
    domain::id::{BatchId, UploadId},
};

/// A stream ends after so long without a message.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(60);

/// What ends a stream from this side.
pub(super) struct End {
    pub(super) idle: Duration,
    pub(super) draining: CancellationToken,
}

/// Takes a stream in, to its end. The next message is asked for when the last chunk is durable.
pub(super) async fn receive(
    control: &Control,
    mut messages: impl Stream<Item = Result<v1::UploadItemsRequest, Status>> + Unpin,
    end: End,
) -> Result<v1::UploadItemsResponse, Status> {
    let first = end.next(&mut messages, std::future::pending()).await?;
    let Some(Part::Header(header)) = first else {
        return Err(invalid("header", "must be the first message").into());
    };
    let (id, upload) = named("header.", &header.name, &header.upload_id)?;
    let mut upload = control.open_upload(&id, upload).await.map_err(ApiError::from)?;
    while let Some(part) = end.next(&mut messages, upload.superseded()).await? {
        match part {
            Part::Chunk(chunk) => append(&mut upload, chunk).await?,
            Part::Header(_) => return Err(invalid("header", "was sent already: chunks follow it").into()),
        }
    }
    let snapshot = upload.snapshot().await.map_err(ApiError::from)?;
    let progress = upload.progress();
    Ok(v1::UploadItemsResponse {
        batch: Some(batch(&snapshot, BatchView::Basic)),
        committed_items: progress.committed,
        duplicate_items: progress.duplicates,
    })
}

async fn append(upload: &mut Upload, chunk: v1::UploadChunk) -> Result<(), ApiError> {
    let (first_offset, seal) = (chunk.first_offset, chunk.seal);
    Ok(upload.append(first_offset, spec::uploaded(chunk)?, seal).await?)
}

impl End {
    /// The next message's part, or nothing at the end of the stream.
    async fn next(
        &self,
        messages: &mut (impl Stream<Item = Result<v1::UploadItemsRequest, Status>> + Unpin),
        superseded: impl Future<Output = crate::store::UploadError>,
    ) -> Result<Option<Part>, Status> {
        let message = tokio::select! {
            biased;
            () = self.draining.cancelled() => return Err(ApiError::Draining.into()),
            error = superseded => return Err(ApiError::from(error).into()),
            message = tokio::time::timeout(self.idle, messages.next()) => {
                message.map_err(|_| ApiError::Idle { after: self.idle })?.transpose()?
            }
        };
        match message {
            Some(v1::UploadItemsRequest { part: None }) => {
                Err(invalid("chunk", "is required, or header in the first message").into())
            }
            Some(message) => Ok(message.part),
            None => Ok(None),
        }
    }
}

/// Batch and upload by what callers call them; `within` is the message that does.
pub(super) fn named(within: &str, name: &str, upload_id: &str) -> Result<(BatchId, UploadId), ApiError> {
    let mut faults = Vec::new();
    let batch = match batch_id(&format!("{within}name"), name) {
        Ok(batch) => Some(batch),
        Err(ApiError::Invalid(more)) => {
            faults.extend(more);
            None
        }
        Err(other) => return Err(other),
    };
    let upload = UploadId::parse(upload_id);
    if upload.is_none() {
        faults.push(Violation::new(format!("{within}upload_id"), format!("{upload_id:?} is no UUID")));
    }
    match (batch, upload) {
        (Some(batch), Some(upload)) => Ok((batch, upload)),
        _ => Err(ApiError::Invalid(faults)),
    }
}

fn invalid(field: &str, problem: &str) -> ApiError {
    ApiError::Invalid(vec![Violation::new(field, problem)])
}

#[cfg(test)]
mod tests;
