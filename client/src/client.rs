//! The client: one method per RPC, each with its deadline.

mod call;

use std::{sync::Arc, time::Duration};

use futures::{Stream, stream::BoxStream};
use haul_proto::v1::{
    self, dataset_service_client::DatasetServiceClient, haul_service_client::HaulServiceClient,
    start_batch_response::Outcome, upstream_service_client::UpstreamServiceClient,
};
use tonic::transport::Channel;
use uuid::Uuid;

use crate::{
    BatchHandle, BoxError, ClientOptions, Error, MatchEvent, ResultsEvent, ResultsOptions, StartBatch,
    UploadOptions, WatchEvent, WatchOptions, batch_name, channel, page, results, retry::Throttle, upload,
    watch,
};

pub(crate) type Stub = HaulServiceClient<Channel>;

const START_DEADLINE: Duration = Duration::from_secs(30);
/// The source is read, which may have to wait for a slow host or for a permit.
const PLAN_DEADLINE: Duration = Duration::from_mins(3);
/// Its items are looked through.
const RETRY_DEADLINE: Duration = Duration::from_mins(1);
pub(crate) const UNARY_DEADLINE: Duration = Duration::from_secs(10);
const REPORT_DEADLINE: Duration = Duration::from_mins(1);

/// A connection to a server. Clones share it.
///
/// Every call has a deadline, and is repeated up to three times while the server is unavailable; batches go by id or
/// by full name.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
    stub: Stub,
    upstreams: UpstreamServiceClient<Channel>,
    datasets: DatasetServiceClient<Channel>,
}

#[derive(Debug)]
struct Shared {
    server: String,
    options: ClientOptions,
    throttle: Arc<Throttle>,
}

impl Client {
    /// Connects to `http://host:port`; the scheme and, without scheme, the port may be left out.
    ///
    /// ```no_run
    /// # async fn demo() -> Result<(), haul_client::Error> {
    /// let client = haul_client::Client::connect("127.0.0.1:50051").await?;
    /// let batch = client.get_batch("nightly").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(server: &str) -> Result<Self, Error> {
        Self::connect_with(server, ClientOptions::default()).await
    }

    /// [`connect`](Self::connect) with bounds of the caller's.
    pub async fn connect_with(server: &str, options: ClientOptions) -> Result<Self, Error> {
        let channel = channel::connect(server, &options).await?;
        Ok(Self {
            shared: Arc::new(Shared {
                server: server.to_owned(),
                options,
                throttle: Arc::new(Throttle::new()),
            }),
            upstreams: UpstreamServiceClient::new(channel.clone())
                .max_decoding_message_size(channel::MESSAGE_MAX_BYTES)
                .max_encoding_message_size(channel::MESSAGE_MAX_BYTES),
            datasets: DatasetServiceClient::new(channel.clone())
                .max_decoding_message_size(channel::MESSAGE_MAX_BYTES)
                .max_encoding_message_size(channel::MESSAGE_MAX_BYTES),
            stub: HaulServiceClient::new(channel)
                .max_decoding_message_size(channel::MESSAGE_MAX_BYTES)
                .max_encoding_message_size(channel::MESSAGE_MAX_BYTES),
        })
    }

    /// The address that was connected to, as it was given.
    pub fn server(&self) -> &str {
        &self.shared.server
    }

    /// A batch on this server, by id or by full name. Asks nothing: whether there is one is found out by its first call.
    pub fn batch(&self, id_or_name: &str) -> BatchHandle {
        BatchHandle::new(self.clone(), id_or_name)
    }

    /// Starts a batch, and answers once it is durable. However often the call has to be repeated, it makes one batch.
    /// Where it makes none because another batch of its overlap key is live, it answers [`Error::Skipped`].
    ///
    /// ```no_run
    /// use haul_client::{StartBatch, YahooChart};
    ///
    /// # async fn demo(client: haul_client::Client) -> Result<(), haul_client::Error> {
    /// let start = StartBatch::yahoo_chart(YahooChart::range("1y")).items(["7203", "6758"]);
    /// let batch = client.start(start.as_of_date("2026-01-30").time_zone("Asia/Tokyo")).await?;
    /// println!("{}", batch.wait().await?.end_reason);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn start(&self, start: impl Into<StartBatch>) -> Result<BatchHandle, Error> {
        let started = self.start_batch(start.into().into()).await?;
        self.made("StartBatch", started.outcome(), started.batch)
    }

    /// The batch that a call has made, which one that was skipped has not.
    pub(crate) fn made(
        &self,
        rpc: &'static str,
        outcome: Outcome,
        batch: Option<v1::Batch>,
    ) -> Result<BatchHandle, Error> {
        let batch = batch.ok_or_else(|| self.malformed(rpc, "a batch"))?;
        match outcome {
            Outcome::Skipped => Err(Error::Skipped { live: Box::new(batch) }),
            _ => Ok(self.batch(&batch.name)),
        }
    }

    /// What a batch would do, without starting it: the same checks as for a start, the source read, and nothing made.
    ///
    /// ```no_run
    /// # async fn demo(client: haul_client::Client, start: haul_client::StartBatch) -> Result<(), haul_client::Error> {
    /// let plan = client.plan(start.clone()).await?;
    /// if plan.warnings.is_empty() {
    ///     client.start(start).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn plan(&self, start: impl Into<StartBatch>) -> Result<v1::Plan, Error> {
        let answer = self.plan_batch(start.into().into()).await?;
        answer.plan.ok_or_else(|| self.malformed("StartBatch", "a plan"))
    }

    /// [`start`](Self::start) with the contract's own messages: the answer has the batch, and whether it is new. An empty
    /// `request_id` is filled in, so that the call may be repeated without a second batch.
    pub async fn start_batch(
        &self,
        mut request: v1::StartBatchRequest,
    ) -> Result<v1::StartBatchResponse, Error> {
        if request.request_id.is_empty() {
            request.request_id = Uuid::now_v7().to_string();
        }
        self.call(START_DEADLINE, request, |mut stub, request| async move { stub.start_batch(request).await })
            .await
    }

    /// [`plan`](Self::plan) with the contract's own messages: the answer has the spec with its defaults as well.
    pub async fn plan_batch(&self, request: v1::StartBatchRequest) -> Result<v1::StartBatchResponse, Error> {
        let request = v1::StartBatchRequest { validate_only: true, ..request };
        self.call(PLAN_DEADLINE, request, |mut stub, request| async move { stub.start_batch(request).await })
            .await
    }

    /// Makes a child batch that decodes a batch's kept bodies anew, without a request. `name` may be an id; an empty
    /// `request_id` is filled in, so that the call may be repeated without a second child.
    pub async fn redecode(&self, mut request: v1::RedecodeRequest) -> Result<v1::RedecodeResponse, Error> {
        request.name = batch_name(&request.name);
        if request.request_id.is_empty() {
            request.request_id = Uuid::now_v7().to_string();
        }
        self.call(START_DEADLINE, request, |mut stub, request| async move { stub.redecode(request).await })
            .await
    }

    /// Plans a redecode: the same checks, the items counted, and nothing made.
    pub async fn plan_redecode(&self, request: v1::RedecodeRequest) -> Result<v1::RedecodeResponse, Error> {
        let name = batch_name(&request.name);
        let request = v1::RedecodeRequest { name, validate_only: true, ..request };
        self.call(PLAN_DEADLINE, request, |mut stub, request| async move { stub.redecode(request).await })
            .await
    }

    /// Makes a child batch that fetches items of a batch that did not succeed. `name` may be an id; an empty `request_id`
    /// is filled in, so that the call may be repeated without a second child.
    pub async fn retry_failed(
        &self,
        mut request: v1::RetryFailedRequest,
    ) -> Result<v1::RetryFailedResponse, Error> {
        request.name = batch_name(&request.name);
        if request.request_id.is_empty() {
            request.request_id = Uuid::now_v7().to_string();
        }
        self.call(
            RETRY_DEADLINE,
            request,
            |mut stub, request| async move { stub.retry_failed(request).await },
        )
        .await
    }

    /// Plans a retry: the same checks, the items counted, and nothing made.
    pub async fn plan_retry(
        &self,
        request: v1::RetryFailedRequest,
    ) -> Result<v1::RetryFailedResponse, Error> {
        let name = batch_name(&request.name);
        let request = v1::RetryFailedRequest { name, validate_only: true, ..request };
        self.call(
            RETRY_DEADLINE,
            request,
            |mut stub, request| async move { stub.retry_failed(request).await },
        )
        .await
    }

    /// Pauses a batch. `reason` is for people, and may be empty.
    pub async fn pause(&self, name: &str, reason: &str) -> Result<v1::PauseResponse, Error> {
        let (name, reason) = (name.to_owned(), reason.to_owned());
        self.pause_with(v1::PauseRequest { name, reason, ..v1::PauseRequest::default() }).await
    }

    /// [`pause`](Self::pause) in whatever way the request says. `name` may be an id.
    pub async fn pause_with(&self, mut request: v1::PauseRequest) -> Result<v1::PauseResponse, Error> {
        request.name = batch_name(&request.name);
        self.call(UNARY_DEADLINE, request, |mut stub, request| async move { stub.pause(request).await }).await
    }

    /// Lets a paused batch go on. `reason` is for the server's log, and may be empty.
    pub async fn resume(&self, name: &str, reason: &str) -> Result<v1::ResumeResponse, Error> {
        let (name, reason) = (name.to_owned(), reason.to_owned());
        self.resume_with(v1::ResumeRequest { name, reason, ..v1::ResumeRequest::default() }).await
    }

    /// [`resume`](Self::resume) in whatever way the request says, such as only in the state of an etag. `name` may be an id.
    pub async fn resume_with(&self, mut request: v1::ResumeRequest) -> Result<v1::ResumeResponse, Error> {
        request.name = batch_name(&request.name);
        self.call(UNARY_DEADLINE, request, |mut stub, request| async move { stub.resume(request).await })
            .await
    }

    /// Ends a batch for good. `reason` is for people, and may be empty.
    pub async fn stop(&self, name: &str, reason: &str) -> Result<v1::StopResponse, Error> {
        let (name, reason) = (name.to_owned(), reason.to_owned());
        self.stop_with(v1::StopRequest { name, reason, ..v1::StopRequest::default() }).await
    }

    /// [`stop`](Self::stop) in whatever way the request says. `name` may be an id.
    pub async fn stop_with(&self, mut request: v1::StopRequest) -> Result<v1::StopResponse, Error> {
        request.name = batch_name(&request.name);
        self.call(UNARY_DEADLINE, request, |mut stub, request| async move { stub.stop(request).await }).await
    }

    /// Deletes a batch that has ended. `name` may be an id. Repeated only with `allow_missing`: a first call that was lost
    /// may have deleted it.
    pub async fn delete_batch(&self, mut request: v1::DeleteBatchRequest) -> Result<(), Error> {
        request.name = batch_name(&request.name);
        let mut options = self.shared.options.clone();
        if !request.allow_missing {
            options.retry_attempts = 1;
        }
        let rpc = |mut stub: Stub, request| async move { stub.delete_batch(request).await };
        self.call_with(&options, UNARY_DEADLINE, request, rpc).await.map(drop)
    }

    /// Reads one batch, its spec included.
    pub async fn get_batch(&self, name: &str) -> Result<v1::Batch, Error> {
        let request = v1::GetBatchRequest { name: batch_name(name), view: v1::BatchView::Full.into() };
        self.call(UNARY_DEADLINE, request, |mut stub, request| async move { stub.get_batch(request).await })
            .await?
            .batch
            .ok_or_else(|| self.malformed("GetBatch", "a batch"))
    }

    /// Reads the newest batches, at most `limit`, newest first.
    pub async fn list_batches(&self, limit: usize) -> Result<Vec<v1::Batch>, Error> {
        let request =
            v1::ListBatchesRequest { view: v1::BatchView::Basic.into(), ..v1::ListBatchesRequest::default() };
        self.query_batches(request, limit).await
    }

    /// Reads the batches that a request asks for, by filter and in its order, at most `limit`, page after page.
    pub async fn query_batches(
        &self,
        request: v1::ListBatchesRequest,
        limit: usize,
    ) -> Result<Vec<v1::Batch>, Error> {
        page::batches(self, request, limit).await
    }

    /// Reads the items of a batch, by index, page after page as they are asked for.
    pub fn items(&self, name: &str) -> BoxStream<'static, Result<v1::Item, Error>> {
        self.query_items(v1::ListItemsRequest { parent: name.to_owned(), ..v1::ListItemsRequest::default() })
    }

    /// Reads the items that a request asks for, by filter and with the fields that it names, page after page as they are
    /// asked for. `parent` may be an id.
    pub fn query_items(
        &self,
        mut request: v1::ListItemsRequest,
    ) -> BoxStream<'static, Result<v1::Item, Error>> {
        request.parent = batch_name(&request.parent);
        page::items(self.clone(), request)
    }

    /// Reads the attempts at one item, or at all of them if `key` is empty, by index of the item, then number.
    pub fn attempts(&self, name: &str, key: &str) -> BoxStream<'static, Result<v1::Attempt, Error>> {
        let request = v1::ListAttemptsRequest {
            parent: batch_name(name),
            item_key: key.to_owned(),
            ..v1::ListAttemptsRequest::default()
        };
        page::attempts(self.clone(), request)
    }

    /// Reads the final items of a batch in the order in which they became final, through restarts of the server: each
    /// chunk once, with the cursor to go on behind it. An error is final: the server refused.
    ///
    /// ```no_run
    /// use futures::TryStreamExt;
    /// use haul_client::{ResultsEvent, ResultsOptions};
    ///
    /// # async fn demo(client: haul_client::Client) -> Result<(), haul_client::Error> {
    /// let options = ResultsOptions { follow: true, ..ResultsOptions::default() };
    /// let mut events = client.results("nightly", options);
    /// while let Some(event) = events.try_next().await? {
    ///     if let ResultsEvent::Chunk(chunk) = event {
    ///         println!("{} items, then {}", chunk.items.len(), chunk.cursor);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn results(
        &self,
        name: &str,
        options: ResultsOptions,
    ) -> BoxStream<'static, Result<ResultsEvent, Error>> {
        results::results(self.clone(), batch_name(name), options)
    }

    /// Uploads items into an open batch, and seals it unless told not to. Broken connections are mended: the server says
    /// where to go on, and `observe` is told how many items are durable. An upload that an earlier process began is gone
    /// on with by the same `upload_id` and the same items from the first on.
    ///
    /// ```no_run
    /// use futures::stream;
    /// use haul_client::{UploadOptions, v1::ItemSpec};
    ///
    /// # async fn demo(client: haul_client::Client) -> Result<(), haul_client::Error> {
    /// let items = (1..=1_000_000).map(|n| Ok(ItemSpec { key: n.to_string(), columns: None }));
    /// let options = UploadOptions::default();
    /// let uploaded = client.upload("nightly", options, stream::iter(items), |durable| println!("{durable}")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn upload(
        &self,
        name: &str,
        options: UploadOptions,
        items: impl Stream<Item = Result<v1::ItemSpec, BoxError>> + Unpin,
        observe: impl FnMut(i64),
    ) -> Result<v1::UploadItemsResponse, Error> {
        upload::upload(self, batch_name(name), options, items, observe).await
    }

    /// Reads how far an upload has come.
    pub async fn upload_status(
        &self,
        name: &str,
        upload_id: &str,
    ) -> Result<v1::GetUploadStatusResponse, Error> {
        let request = v1::GetUploadStatusRequest { name: batch_name(name), upload_id: upload_id.to_owned() };
        self.call(UNARY_DEADLINE, request, |mut stub, request| async move {
            stub.get_upload_status(request).await
        })
        .await
    }

    /// Sums a batch up; of a live one, as it stands.
    pub async fn get_report(&self, name: &str) -> Result<v1::Report, Error> {
        let request = v1::GetReportRequest { name: batch_name(name) };
        self.call(REPORT_DEADLINE, request, |mut stub, request| async move { stub.get_report(request).await })
            .await?
            .report
            .ok_or_else(|| self.malformed("GetReport", "a report"))
    }

    /// Watches a batch until its end, through restarts of the server.
    ///
    /// Revisions only grow; after [`WatchEvent::Terminal`] the stream ends. An error is final: the server refused.
    pub fn watch(&self, name: &str, options: WatchOptions) -> BoxStream<'static, Result<WatchEvent, Error>> {
        watch::watch(self.clone(), batch_name(name), options)
    }

    /// Watches all live batches that match a filter, through restarts of the server; at most 1,000 at a time, or the server
    /// refuses with `WATCH_LIMIT`. It has no end of its own. An error is final: the server refused.
    ///
    /// ```no_run
    /// use futures::TryStreamExt;
    /// use haul_client::{MatchEvent, WatchOptions};
    ///
    /// # async fn demo(client: haul_client::Client) -> Result<(), haul_client::Error> {
    /// let mut events = client.watch_matching("labels.team:research", WatchOptions::default());
    /// while let Some(event) = events.try_next().await? {
    ///     match event {
    ///         MatchEvent::Snapshot(batch) | MatchEvent::Update(batch) => println!("{} goes on", batch.name),
    ///         MatchEvent::Terminal(batch) => println!("{}: {}", batch.name, batch.end_reason),
    ///         MatchEvent::Removed(name) => println!("{name} matches no more"),
    ///         MatchEvent::Reconnecting { error, .. } => eprintln!("{error}; the batches go on"),
    ///         MatchEvent::Reconnected => eprintln!("connected again"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch_matching(
        &self,
        filter: &str,
        options: WatchOptions,
    ) -> BoxStream<'static, Result<MatchEvent, Error>> {
        watch::watch_matching(self.clone(), filter.to_owned(), options)
    }

    pub(crate) fn stub(&self) -> Stub {
        self.stub.clone()
    }

    pub(crate) fn upstreams(&self) -> UpstreamServiceClient<Channel> {
        self.upstreams.clone()
    }

    pub(crate) fn datasets(&self) -> DatasetServiceClient<Channel> {
        self.datasets.clone()
    }

    pub(crate) fn options(&self) -> &ClientOptions {
        &self.shared.options
    }

    pub(crate) fn malformed(&self, rpc: &'static str, missing: &'static str) -> Error {
        Error::Malformed { server: self.shared.server.clone(), rpc, missing }
    }
}
