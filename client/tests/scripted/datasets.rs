//! The missing keys that a test wrote down.

use haul_proto::v1::{self, dataset_service_server::DatasetService};
use tonic::{Request, Response, Status};

use super::service::{Service, page};

#[tonic::async_trait]
impl DatasetService for Service {
    async fn list_missing_keys(
        &self,
        _: Request<v1::ListMissingKeysRequest>,
    ) -> Result<Response<v1::ListMissingKeysResponse>, Status> {
        let (missing_keys, next_page_token) = page(&mut self.script()?.missing_pages);
        Ok(Response::new(v1::ListMissingKeysResponse { missing_keys, next_page_token }))
    }

    async fn clear_missing_keys(
        &self,
        request: Request<v1::ClearMissingKeysRequest>,
    ) -> Result<Response<v1::ClearMissingKeysResponse>, Status> {
        let request = request.into_inner();
        let cleared_count = request.keys.len() as i64;
        self.script()?.cleared.push(request);
        Ok(Response::new(v1::ClearMissingKeysResponse { cleared_count }))
    }
}
