//! Uploading items into an open batch.
//!
//! ```text
//!   items ──▶ window of chunks ──▶ one stream ──▶ durable ──▶ next window
//!                 ▲                     │
//!                 └─ status, wait ◀─────┴─ broken, unavailable, silent
//! ```
//!
//! A window is kept until the server has said that it is durable, and no longer: memory does not grow with the items, and
//! they are read once. After a cut the server says where to go on.

use std::{sync::Arc, time::Duration};

use futures::{Stream, StreamExt, stream};
use haul_proto::v1::{self, upload_items_request::Part};
use prost::Message;
use uuid::Uuid;

use crate::{BoxError, Client, Error, backoff};

/// Bounds of a chunk, and what the chunk itself takes of them.
const CHUNK_ITEMS_MAX: usize = 10_000;
const CHUNK_BYTES_MAX: usize = (2 << 20) - 64;
/// Tag and length before each item.
const ITEM_FRAME_BYTES: usize = 5;
const WINDOW_CHUNKS: usize = 8;
/// A window that takes longer is a broken stream; what was committed of it counts.
const WINDOW_DEADLINE: Duration = Duration::from_mins(2);
/// Streams in a row that brought nothing.
const ATTEMPTS_MAX: u32 = 12;

/// How to upload.
#[derive(Clone, Debug)]
pub struct UploadOptions {
    /// Names the upload, so that a later process may go on with it: a UUID. Default: a new one.
    pub upload_id: String,
    /// Nothing follows, from any upload: the batch may run. Default: true.
    pub seal: bool,
}

impl Default for UploadOptions {
    fn default() -> Self {
        Self { upload_id: Uuid::now_v7().to_string(), seal: true }
    }
}

struct Upload<'a> {
    client: &'a Client,
    name: String,
    id: String,
    committed: i64,
}

/// Uploads all items; those that an earlier process has uploaded are passed over. `observe` is told how many are durable.
pub(crate) async fn upload(
    client: &Client,
    name: String,
    options: UploadOptions,
    items: impl Stream<Item = Result<v1::ItemSpec, BoxError>> + Unpin,
    mut observe: impl FnMut(i64),
) -> Result<v1::UploadItemsResponse, Error> {
    let UploadOptions { upload_id, seal } = options;
    let mut upload = Upload { client, name, id: upload_id, committed: 0 };
    upload.committed = upload.asked().await?;
    observe(upload.committed);
    let mut windows = Windows { items, next: None, offset: 0 };
    windows.pass_over(upload.committed).await?;
    loop {
        let (window, at_end) = windows.next(seal).await?;
        let response = upload.send(window.into()).await?;
        observe(upload.committed);
        if at_end {
            return Ok(response);
        }
    }
}

impl Upload<'_> {
    /// What the server has of it.
    async fn asked(&self) -> Result<i64, Error> {
        match self.client.upload_status(&self.name, &self.id).await {
            Ok(status) => Ok(status.committed_items),
            Err(error) if error.reason() == Some("UPLOAD_NOT_FOUND") => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Sends a window, over as many streams as it takes.
    async fn send(&mut self, window: Arc<[v1::UploadChunk]>) -> Result<v1::UploadItemsResponse, Error> {
        let options = self.client.options();
        let mut attempt = 0;
        loop {
            let error = match self.stream(&window).await {
                Ok(response) => {
                    self.committed = response.committed_items;
                    return Ok(response);
                }
                Err(error) => error,
            };
            attempt += 1;
            if !error.is_broken_stream() || attempt == ATTEMPTS_MAX {
                return Err(error);
            }
            let jittered = || backoff::stream(options.backoff_min, options.backoff_max, attempt);
            tokio::time::sleep(error.retry_after().unwrap_or_else(jittered)).await;
            match self.asked().await {
                Ok(committed) if committed > self.committed => {
                    self.committed = committed;
                    attempt = 0;
                }
                Ok(_) => {}
                Err(error) if error.is_broken_stream() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// One stream of what is not durable yet of a window.
    async fn stream(&self, window: &Arc<[v1::UploadChunk]>) -> Result<v1::UploadItemsResponse, Error> {
        let header = v1::UploadHeader { name: self.name.clone(), upload_id: self.id.clone() };
        let (committed, window) = (self.committed, Arc::clone(window));
        // Copied one at a time, as the stream asks for them.
        let chunks = (0..window.len()).filter_map(move |n| {
            let chunk = &window[n];
            let is_durable = chunk.first_offset + chunk.items.len() as i64 <= committed;
            (chunk.seal || !is_durable).then(|| Part::Chunk(chunk.clone()))
        });
        let parts = std::iter::once(Part::Header(header)).chain(chunks);
        let messages = stream::iter(parts.map(|part| v1::UploadItemsRequest { part: Some(part) }));
        let mut request = tonic::Request::new(messages);
        request.set_timeout(WINDOW_DEADLINE);
        let (server, mut stub) = (self.client.server(), self.client.stub());
        match tokio::time::timeout(WINDOW_DEADLINE, stub.upload_items(request)).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(Error::from_status(server, WINDOW_DEADLINE, status)),
            Err(_) => Err(Error::NoAnswer { server: server.to_owned(), after: WINDOW_DEADLINE }),
        }
    }
}

/// Cuts items into chunks, and chunks into windows.
struct Windows<S> {
    items: S,
    /// Read, and too much for the last chunk.
    next: Option<v1::ItemSpec>,
    /// Items before the next chunk.
    offset: i64,
}

impl<S: Stream<Item = Result<v1::ItemSpec, BoxError>> + Unpin> Windows<S> {
    /// Reads past what is durable from before.
    async fn pass_over(&mut self, committed: i64) -> Result<(), Error> {
        while self.offset < committed {
            if self.item().await?.is_none() {
                let (found, problem) = (self.offset, "this is not what the upload began with");
                let text = format!("{committed} items were uploaded before and here are {found}: {problem}");
                return Err(Error::Items(text.into()));
            }
            self.offset += 1;
        }
        Ok(())
    }

    /// The next chunks, and whether they are the last ones.
    async fn next(&mut self, seal: bool) -> Result<(Vec<v1::UploadChunk>, bool), Error> {
        let mut window = Vec::with_capacity(WINDOW_CHUNKS);
        while window.len() < WINDOW_CHUNKS {
            let chunk = self.chunk().await?;
            if chunk.items.is_empty() {
                if seal {
                    window.push(v1::UploadChunk { seal, ..chunk });
                }
                return Ok((window, true));
            }
            window.push(chunk);
        }
        Ok((window, false))
    }

    async fn chunk(&mut self) -> Result<v1::UploadChunk, Error> {
        let first_offset = self.offset;
        let (mut items, mut bytes) = (Vec::new(), 0);
        while items.len() < CHUNK_ITEMS_MAX
            && let Some(item) = self.item().await?
        {
            bytes += item.encoded_len() + ITEM_FRAME_BYTES;
            if bytes > CHUNK_BYTES_MAX && !items.is_empty() {
                self.next = Some(item);
                break;
            }
            items.push(item);
        }
        self.offset += items.len() as i64;
        Ok(v1::UploadChunk { first_offset, items, seal: false })
    }

    async fn item(&mut self) -> Result<Option<v1::ItemSpec>, Error> {
        match self.next.take() {
            Some(item) => Ok(Some(item)),
            None => self.items.next().await.transpose().map_err(Error::Items),
        }
    }
}
