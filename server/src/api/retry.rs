//! `RetryFailed`.

use haul_proto::v1;
use prost::Message;
use sha2::{Digest, Sha256};

use super::{
    plan,
    service::{batch_id, canonical, chosen_id, outcome, request_key},
    status::{ApiError, Violation, both},
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
    request.request_id = canonical(&request.request_id);
    let sha256 = Sha256::digest(request.encode_to_vec());
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
    let filter = if filter.is_empty() { RETRIED.to_owned() } else { filter };
    let fault = |fault| ApiError::Invalid(vec![Violation::filter("filter", &fault)]);
    let taken = both(batch_id("name", &name), Filter::retried(&filter).map_err(fault));
    let ids = both(chosen_id(&child), request_key(&request_id, sha256));
    let ((parent, _), (id, request)) = both(taken, ids)?;
    Ok(Retry { parent, filter, id, request })
}
