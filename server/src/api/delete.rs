//! `DeleteBatch`.

use haul_proto::v1;

use super::{
    service::{batch_id, checked_etag},
    status::{ApiError, both},
};
use crate::control::{Control, Delete};

pub(super) async fn delete_batch(
    control: &Control,
    request: v1::DeleteBatchRequest,
) -> Result<v1::DeleteBatchResponse, ApiError> {
    let v1::DeleteBatchRequest { name, etag, allow_missing } = request;
    let (id, etag) = both(batch_id("name", &name), checked_etag(etag))?;
    control.delete(Delete { id, etag, allow_missing }).await?;
    Ok(v1::DeleteBatchResponse {})
}
