//! One batch, as something to hold on to.

use futures::{Stream, StreamExt, stream::BoxStream};
use haul_proto::v1;

use crate::{
    BoxError, Client, Error, ResultsEvent, ResultsOptions, UploadOptions, WatchEvent, WatchOptions,
    batch_name,
};

/// A batch on a server. It costs nothing to make and nothing to drop: the batch goes on without it.
///
/// ```no_run
/// # async fn demo(client: haul_client::Client) -> Result<(), haul_client::Error> {
/// let batch = client.batch("nightly-2026-02-28");
/// batch.pause("the provider asked us to").await?;
/// batch.resume("").await?;
/// let ended = batch.wait().await?;
/// println!("{} {}", batch.id(), ended.end_reason);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct BatchHandle {
    client: Client,
    name: String,
}

impl BatchHandle {
    pub(crate) fn new(client: Client, id_or_name: &str) -> Self {
        Self { client, name: batch_name(id_or_name) }
    }

    /// `batches/{id}`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the name has after `batches/`.
    pub fn id(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }

    /// Reads it, its spec included.
    pub async fn get(&self) -> Result<v1::Batch, Error> {
        self.client.get_batch(&self.name).await
    }

    /// Pauses it: from a second after the answer on, no further request is sent. `reason` is for people, and may be empty.
    pub async fn pause(&self, reason: &str) -> Result<v1::PauseResponse, Error> {
        self.client.pause(&self.name, reason).await
    }

    /// Lets it go on. `reason` is for the server's log, and may be empty.
    pub async fn resume(&self, reason: &str) -> Result<v1::ResumeResponse, Error> {
        self.client.resume(&self.name, reason).await
    }

    /// Ends it for good; what is open is canceled. `reason` is for people, and may be empty.
    pub async fn stop(&self, reason: &str) -> Result<v1::StopResponse, Error> {
        self.client.stop(&self.name, reason).await
    }

    /// Makes a batch that fetches again what did not succeed, once this one has ended: the items that the filter says or,
    /// if it is empty, those that were canceled or failed in a way that may pass. [`Error::Skipped`] as of a start.
    pub async fn retry(&self, filter: &str) -> Result<Self, Error> {
        let (name, filter) = (self.name.clone(), filter.to_owned());
        let request = v1::RetryFailedRequest { name, filter, ..v1::RetryFailedRequest::default() };
        let made = self.client.retry_failed(request).await?;
        self.client.made("RetryFailed", made.outcome(), made.batch)
    }

    /// Makes a batch that decodes the kept bodies of this one anew, once it has ended: those of the items that the filter
    /// says or, if it is empty, of all. [`Error::Skipped`] as of a start.
    pub async fn redecode(&self, filter: &str) -> Result<Self, Error> {
        let (name, filter) = (self.name.clone(), filter.to_owned());
        let request = v1::RedecodeRequest { name, filter, ..v1::RedecodeRequest::default() };
        let made = self.client.redecode(request).await?;
        self.client.made("Redecode", made.outcome(), made.batch)
    }

    /// Deletes it with its items and kept bodies, once it has ended. Records in datasets stay. It is no error if it is gone
    /// already.
    pub async fn delete(&self) -> Result<(), Error> {
        let request = v1::DeleteBatchRequest {
            name: self.name.clone(),
            allow_missing: true,
            ..v1::DeleteBatchRequest::default()
        };
        self.client.delete_batch(request).await
    }

    /// Uploads items into it while it is open: [`Client::upload`].
    pub async fn upload(
        &self,
        options: UploadOptions,
        items: impl Stream<Item = Result<v1::ItemSpec, BoxError>> + Unpin,
        observe: impl FnMut(i64),
    ) -> Result<v1::UploadItemsResponse, Error> {
        self.client.upload(&self.name, options, items, observe).await
    }

    /// Watches it to its end, through restarts of the server: [`Client::watch`].
    pub fn watch(&self, options: WatchOptions) -> BoxStream<'static, Result<WatchEvent, Error>> {
        self.client.watch(&self.name, options)
    }

    /// Waits for its end, through restarts of the server, and answers with the batch as it ended. A paused batch has not
    /// ended: [`wait_for`](Self::wait_for) waits for something else as well.
    pub async fn wait(&self) -> Result<v1::Batch, Error> {
        self.wait_for(|_| false).await
    }

    /// Waits until the batch is as wished, or has ended.
    ///
    /// ```no_run
    /// use haul_client::v1::batch::State;
    ///
    /// # async fn demo(batch: haul_client::BatchHandle) -> Result<(), haul_client::Error> {
    /// batch.pause("lunch").await?;
    /// let quiet = batch.wait_for(|batch| batch.state() == State::Paused).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn wait_for(&self, wished: impl Fn(&v1::Batch) -> bool + Send) -> Result<v1::Batch, Error> {
        let mut events = self.watch(WatchOptions::default());
        while let Some(event) = events.next().await {
            match event? {
                WatchEvent::Terminal(batch) => return Ok(batch),
                WatchEvent::Snapshot(batch) | WatchEvent::Update(batch) if wished(&batch) => {
                    return Ok(batch);
                }
                WatchEvent::Snapshot(_)
                | WatchEvent::Update(_)
                | WatchEvent::Reconnecting { .. }
                | WatchEvent::Reconnected => {}
            }
        }
        Err(self.client.malformed("WatchProgress", "a terminal event"))
    }

    /// Reads its items, by index, page after page as they are asked for.
    ///
    /// ```no_run
    /// use futures::TryStreamExt;
    ///
    /// # async fn demo(batch: haul_client::BatchHandle) -> Result<(), haul_client::Error> {
    /// let mut items = batch.items();
    /// while let Some(item) = items.try_next().await? {
    ///     if let Some(error) = item.error {
    ///         println!("{}: {}", item.spec.unwrap_or_default().key, error.reason);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn items(&self) -> BoxStream<'static, Result<v1::Item, Error>> {
        self.client.items(&self.name)
    }

    /// Reads the attempts at one item, or at all of them if `key` is empty.
    pub fn attempts(&self, key: &str) -> BoxStream<'static, Result<v1::Attempt, Error>> {
        self.client.attempts(&self.name, key)
    }

    /// Reads its final items in the order in which they became final: [`Client::results`].
    pub fn results(&self, options: ResultsOptions) -> BoxStream<'static, Result<ResultsEvent, Error>> {
        self.client.results(&self.name, options)
    }

    /// Sums it up; while it is live, as it stands.
    pub async fn report(&self) -> Result<v1::Report, Error> {
        self.client.get_report(&self.name).await
    }
}
