//! The upstreams that a test wrote down.

use haul_proto::v1::{self, upstream_service_server::UpstreamService};
use tonic::{Request, Response, Status};

use super::service::{Service, page};

#[tonic::async_trait]
impl UpstreamService for Service {
    async fn get_upstream(
        &self,
        _: Request<v1::GetUpstreamRequest>,
    ) -> Result<Response<v1::GetUpstreamResponse>, Status> {
        let upstream = Some(self.script()?.upstream.clone());
        Ok(Response::new(v1::GetUpstreamResponse { upstream }))
    }

    async fn list_upstreams(
        &self,
        _: Request<v1::ListUpstreamsRequest>,
    ) -> Result<Response<v1::ListUpstreamsResponse>, Status> {
        let (upstreams, next_page_token) = page(&mut self.script()?.upstream_pages);
        Ok(Response::new(v1::ListUpstreamsResponse { upstreams, next_page_token }))
    }

    async fn update_upstream(
        &self,
        request: Request<v1::UpdateUpstreamRequest>,
    ) -> Result<Response<v1::UpdateUpstreamResponse>, Status> {
        let mut script = self.script()?;
        script.updated.push(request.into_inner());
        let upstream = Some(script.upstream.clone());
        Ok(Response::new(v1::UpdateUpstreamResponse { upstream }))
    }

    async fn hold_gate(
        &self,
        request: Request<v1::HoldGateRequest>,
    ) -> Result<Response<v1::HoldGateResponse>, Status> {
        let mut script = self.script()?;
        script.held.push(request.into_inner());
        let upstream = Some(script.upstream.clone());
        Ok(Response::new(v1::HoldGateResponse { upstream }))
    }

    async fn release_gate(
        &self,
        _: Request<v1::ReleaseGateRequest>,
    ) -> Result<Response<v1::ReleaseGateResponse>, Status> {
        let upstream = Some(self.script()?.upstream.clone());
        Ok(Response::new(v1::ReleaseGateResponse { upstream }))
    }
}
