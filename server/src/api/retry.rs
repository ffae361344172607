//! `RetryFailed`.

use haul_proto::v1;
use prost::Message;
use sha2::{Digest, Sha256};

use super::{
    plan,
    service::{batch_id, chosen_id, outcome, request_key},
    status::ApiError,
};
use crate::{
    control::{Control, Retry},
    domain::filter::{Filter, RETRIED},
};

pub(super) async fn retry_failed(
    control: &Control,
    mut request: v1::RetryFailedRequest,
) -> Result<v1::RetryFailedResponse, ApiError> {
    // A plan is held against the request that would follow it.
    let validate_only = std::mem::take(&mut request.validate_only);
    // No other RPC has the same hash: one request id makes one batch.
    let sha256 = Sha256::new_with_prefix(b"RetryFailed").chain_update(request.encode_to_vec()).finalize();
    let parent = request.name.clone();
    let retry = retry(request, sha256.into())?;
    if validate_only {
        let v1::StartBatchResponse { batch, outcome, plan } =
            plan::validated(control.plan_retry(retry).await?);
        let kind = v1::batch::Kind::Retry.into();
        let batch = batch.map(|batch| v1::Batch { kind, parent_batch: parent, ..batch });
        return Ok(v1::RetryFailedResponse { batch, outcome, plan });
    }
    let started = control.retry(retry).await?;
    let (batch, outcome) = outcome(&started);
    Ok(v1::RetryFailedResponse { batch, outcome, plan: None })
}

fn retry(request: v1::RetryFailedRequest, sha256: [u8; 32]) -> Result<Retry, ApiError> {
    let v1::RetryFailedRequest { name, filter, request_id, batch_id: child, validate_only: _ } = request;
    let mut faults = Vec::new();
    let parent = match batch_id("name", &name) {
        Err(ApiError::Invalid(found)) => {
            faults.extend(found);
            None
        }
        found => Some(found?),
    };
    let id = chosen_id(&child, &mut faults);
    let request = request_key(&request_id, sha256, &mut faults);
    let Some(parent) = parent.filter(|_| faults.is_empty()) else { return Err(ApiError::Invalid(faults)) };
    let filter = if filter.is_empty() { RETRIED.to_owned() } else { filter };
    Filter::retried(&filter).map_err(|fault| ApiError::InvalidFilter { field: "filter", fault })?;
    Ok(Retry { parent, filter, id, request })
}
