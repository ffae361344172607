//! One batch, as something to hold on to.

use futures::{StreamExt, stream::BoxStream};
use haul_proto::v1;

use crate::{Client, Error, WatchEvent, WatchOptions, batch_name};

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
                WatchEvent::Snapshot(_) | WatchEvent::Update(_) | WatchEvent::Reconnecting { .. } => {}
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

    /// Sums it up; while it is live, as it stands.
    pub async fn report(&self) -> Result<v1::Report, Error> {
        self.client.get_report(&self.name).await
    }
}
