//! Upstreams: what each may be asked.

use futures::stream::BoxStream;
use haul_proto::v1;

use crate::{
    Client, Error,
    client::UNARY_DEADLINE,
    page::{self, PER_PAGE},
    upstream_name,
};

impl Client {
    /// Reads one upstream, by name, by id, or by any URL there.
    pub async fn get_upstream(&self, name: &str) -> Result<v1::Upstream, Error> {
        let request = v1::GetUpstreamRequest { name: upstream_name(name) };
        let stub = self.upstreams();
        let rpc = move |_, request| {
            let mut stub = stub.clone();
            async move { stub.get_upstream(request).await }
        };
        let answer = self.call(UNARY_DEADLINE, request, rpc).await?;
        answer.upstream.ok_or_else(|| self.malformed("GetUpstream", "an upstream"))
    }

    /// Reads the upstreams that a filter takes, by name, page after page as they are asked for.
    ///
    /// ```no_run
    /// use futures::TryStreamExt;
    ///
    /// # async fn demo(client: haul_client::Client) -> Result<(), haul_client::Error> {
    /// let mut held = client.list_upstreams("hold_cause = OPERATOR");
    /// while let Some(upstream) = held.try_next().await? {
    ///     client.release_gate(&upstream.name, "lunch is over").await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn list_upstreams(&self, filter: &str) -> BoxStream<'static, Result<v1::Upstream, Error>> {
        let (client, filter) = (self.clone(), filter.to_owned());
        page::pages(move |page_token| {
            let (client, stub, filter) = (client.clone(), client.upstreams(), filter.clone());
            async move {
                let request = v1::ListUpstreamsRequest { page_size: PER_PAGE, page_token, filter };
                let rpc = move |_, request| {
                    let mut stub = stub.clone();
                    async move { stub.list_upstreams(request).await }
                };
                let page = client.call(UNARY_DEADLINE, request, rpc).await?;
                Ok((page.upstreams, page.next_page_token))
            }
        })
    }

    /// Sets limits of an upstream: those that the mask names, or that are there where it is absent. The name may be an
    /// id or any URL there.
    ///
    /// ```no_run
    /// use haul_client::v1::{UpdateUpstreamRequest, Upstream};
    ///
    /// # async fn demo(client: haul_client::Client) -> Result<(), haul_client::Error> {
    /// let slow = Upstream {
    ///     name: "https://api.example.com".to_owned(),
    ///     configured_requests_per_second: Some(0.5),
    ///     ..Upstream::default()
    /// };
    /// client.update_upstream(UpdateUpstreamRequest { upstream: Some(slow), ..Default::default() }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn update_upstream(
        &self,
        mut request: v1::UpdateUpstreamRequest,
    ) -> Result<v1::Upstream, Error> {
        if let Some(upstream) = &mut request.upstream {
            upstream.name = upstream_name(&upstream.name);
        }
        let stub = self.upstreams();
        let rpc = move |_, request| {
            let mut stub = stub.clone();
            async move { stub.update_upstream(request).await }
        };
        let answer = self.call(UNARY_DEADLINE, request, rpc).await?;
        answer.upstream.ok_or_else(|| self.malformed("UpdateUpstream", "an upstream"))
    }

    /// Holds an upstream's gate: nothing is sent to it, and its batches stay as they are. Without `duration` until
    /// [`release_gate`](Self::release_gate). The name may be an id or any URL there.
    pub async fn hold_gate(&self, mut request: v1::HoldGateRequest) -> Result<v1::Upstream, Error> {
        request.name = upstream_name(&request.name);
        let stub = self.upstreams();
        let rpc = move |_, request| {
            let mut stub = stub.clone();
            async move { stub.hold_gate(request).await }
        };
        let answer = self.call(UNARY_DEADLINE, request, rpc).await?;
        answer.upstream.ok_or_else(|| self.malformed("HoldGate", "an upstream"))
    }

    /// Ends whatever holds an upstream's gate. `reason` is for the server's log, and may be empty.
    pub async fn release_gate(&self, name: &str, reason: &str) -> Result<v1::Upstream, Error> {
        let request = v1::ReleaseGateRequest { name: upstream_name(name), reason: reason.to_owned() };
        let stub = self.upstreams();
        let rpc = move |_, request| {
            let mut stub = stub.clone();
            async move { stub.release_gate(request).await }
        };
        let answer = self.call(UNARY_DEADLINE, request, rpc).await?;
        answer.upstream.ok_or_else(|| self.malformed("ReleaseGate", "an upstream"))
    }
}
