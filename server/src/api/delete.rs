//! `DeleteBatch`.

use haul_proto::v1;

use super::{service::batch_id, status::ApiError};
use crate::control::{Control, Delete};

pub(super) async fn delete_batch(
    control: &Control,
    request: v1::DeleteBatchRequest,
) -> Result<v1::DeleteBatchResponse, ApiError> {
    let v1::DeleteBatchRequest { name, etag, allow_missing } = request;
    let id = batch_id("name", &name)?;
    control.delete(Delete { id, etag: Some(etag).filter(|etag| !etag.is_empty()), allow_missing }).await?;
    Ok(v1::DeleteBatchResponse {})
}
