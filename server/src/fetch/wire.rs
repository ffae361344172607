//! The wire: two pooled clients, one for parts of files. Only this file and the resolver name the HTTP library.

use std::{
    collections::HashSet,
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use futures::{FutureExt, future::BoxFuture};
use reqwest::{
    Client, ClientBuilder,
    header::{
        ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, LAST_MODIFIED,
        RANGE, RETRY_AFTER, USER_AGENT,
    },
};
use sha2::{Digest as _, Sha256};
use tower::Service;
use url::{Position, Url};

use super::{
    Call, FetchError,
    outbound::{Forbidden, Outbound},
    resolve::{LookupError, SystemResolver},
};
use crate::domain::{
    request::{Digest, FileHead, Method, Reading, Response, URL_BYTES_MAX},
    text::{self, cut},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_PER_HOST_MAX: usize = 128;
const CONTENT_TYPE_BYTES_MAX: usize = 256;
/// Of Retry-After and Date.
const TIME_BYTES_MAX: usize = 256;
/// Of what names the state of a file.
const MARK_BYTES_MAX: usize = 256;

/// The client could not be made: the machine's TLS roots cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("HTTP client: {0}")]
pub struct ClientError(String);

/// Hosts that one client has connections to. Each of those that are open and unused takes about 20 KiB.
const HOSTS_MAX: usize = 192;

#[derive(Debug, Clone)]
pub(super) struct Wire {
    pool: Arc<Mutex<Pool>>,
    /// Takes bodies as they come: a part of a compressed body cannot be decompressed.
    plain: Client,
    outbound: Arc<Outbound>,
}

/// A client, and the hosts that it has connections to. Where requests go to very many, a new client takes its place now
/// and again, and what the old one had open and unused is closed.
#[derive(Debug)]
struct Pool {
    client: Client,
    hosts: HashSet<String>,
}

impl Pool {
    fn client(&mut self, url: &Url, outbound: &Arc<Outbound>) -> Client {
        let host = &url[..Position::BeforePath];
        if !self.hosts.contains(host) {
            if self.hosts.len() >= HOSTS_MAX
                && let Ok(client) = builder(outbound).build()
            {
                *self = Self { client, hosts: HashSet::new() };
            }
            self.hosts.insert(host.to_owned());
        }
        self.client.clone()
    }
}

fn builder(outbound: &Arc<Outbound>) -> ClientBuilder {
    Client::builder()
        .dns_resolver(SystemResolver(Arc::clone(outbound)))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .tcp_nodelay(true)
        .no_proxy()
}

impl Wire {
    pub(super) fn new(outbound: Outbound) -> Result<Self, ClientError> {
        let outbound = Arc::new(outbound);
        let failed = |error| ClientError(sources(&error));
        let client = builder(&outbound).build().map_err(failed)?;
        let plain = builder(&outbound).no_gzip().no_brotli().build().map_err(failed)?;
        let pool = Arc::new(Mutex::new(Pool { client, hosts: HashSet::new() }));
        Ok(Self { pool, plain, outbound })
    }

    fn client(&self, url: &Url) -> Client {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).client(url, &self.outbound)
    }
}

impl Service<Call> for Wire {
    type Response = Response;
    type Error = FetchError;
    type Future = BoxFuture<'static, Result<Response, FetchError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), FetchError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let wire = self.clone();
        async move { wire.exchange(&call).await }.boxed()
    }
}

impl Wire {
    async fn exchange(&self, call: &Call) -> Result<Response, FetchError> {
        if call.request.url.len() > URL_BYTES_MAX {
            return Err(FetchError::Unsendable(format!("URL has more than {URL_BYTES_MAX} bytes")));
        }
        let url = Url::parse(&call.request.url).map_err(|error| FetchError::Unsendable(error.to_string()))?;
        self.outbound.check(&url).map_err(|error| FetchError::Forbidden(error.to_string()))?;
        let started = Instant::now();
        let part = call.request.part.as_ref().filter(|part| !part.is_empty());
        let mut request = match part {
            Some(part) => {
                let range = format!("bytes={}-{}", part.start, part.end - 1);
                self.plain.get(url).header(RANGE, range).header(ACCEPT_ENCODING, "identity")
            }
            None => match call.request.method {
                Method::Get => self.client(&url).get(url),
                Method::Head => self.client(&url).head(url),
            },
        };
        let headers = &call.request.headers;
        if !headers.iter().any(|(name, _)| name == ACCEPT.as_str()) {
            request = request.header(ACCEPT, call.request.accept);
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let mut reply = request
            .header(USER_AGENT, &*call.user_agent)
            .send()
            .await
            .map_err(|error| before_reply(&error))?;

        let header = |name, bytes_max| {
            let value = reply.headers().get(name)?;
            Some(cut(&String::from_utf8_lossy(value.as_bytes()), bytes_max))
        };
        let content_type = header(CONTENT_TYPE, CONTENT_TYPE_BYTES_MAX).unwrap_or_default();
        let retry_after = header(RETRY_AFTER, TIME_BYTES_MAX);
        let date = header(DATE, TIME_BYTES_MAX);
        // Two of which the same is left when they are cut are not the same: a longer one is none.
        let mark = |name| header(name, MARK_BYTES_MAX + 1).filter(|mark| mark.len() <= MARK_BYTES_MAX);
        let file = part.map(|_| FileHead {
            etag: mark(ETAG),
            last_modified: mark(LAST_MODIFIED),
            content_range: mark(CONTENT_RANGE),
            content_encoding: mark(CONTENT_ENCODING),
        });
        let status = reply.status().as_u16();
        // Absent once the body is decompressed on the way in.
        let length = reply.content_length();
        let (body, digest, bytes) = if call.request.method == Method::Head {
            // Whatever its head says of a body, there is none.
            (Bytes::new(), None, 0)
        } else {
            read_body(&mut reply, length, call.request.reading, call.body_bytes_max).await?
        };
        Ok(Response {
            status,
            content_type,
            retry_after,
            date,
            bytes_received: bytes as i64,
            body,
            digest,
            latency: started.elapsed(),
            file: file.unwrap_or_default(),
        })
    }
}

/// The body, or what it comes to where it is not to be collected; and how much was received.
async fn read_body(
    reply: &mut reqwest::Response,
    length: Option<u64>,
    reading: Reading,
    bytes_max: u64,
) -> Result<(Bytes, Option<Digest>, u64), FetchError> {
    // What the header promises is believed only up to here.
    const RESERVED_MAX: u64 = 1 << 20;
    let (is_collected, bytes_max) = match reading {
        Reading::Whole => (true, bytes_max),
        Reading::UpTo(least) => (true, bytes_max.min(least)),
        Reading::Digest => (false, bytes_max),
    };
    if length.is_some_and(|length| length > bytes_max) {
        return Err(FetchError::BodyTooLarge(bytes_max));
    }
    let reserved = if is_collected { length.unwrap_or(0).min(RESERVED_MAX) } else { 0 };
    let (mut body, mut sha256, mut bytes) = (BytesMut::with_capacity(reserved as usize), Sha256::new(), 0);
    while let Some(chunk) = reply.chunk().await.map_err(|error| FetchError::Truncated(sources(&error)))? {
        bytes += chunk.len() as u64;
        if bytes > bytes_max {
            return Err(FetchError::BodyTooLarge(bytes_max));
        }
        if is_collected {
            body.extend_from_slice(&chunk);
        } else {
            sha256.update(&chunk);
        }
    }
    let digest = (!is_collected).then(|| Digest { bytes, sha256: sha256.finalize().into() });
    Ok((body.freeze(), digest, length.unwrap_or(bytes)))
}

fn before_reply(error: &reqwest::Error) -> FetchError {
    let said = sources(error);
    if error.is_builder() || error.is_request() && in_chain::<http::Error>(error).is_some() {
        FetchError::Unsendable(said)
    } else if let Some(forbidden) = in_chain::<Forbidden>(error) {
        FetchError::Forbidden(forbidden.to_string())
    } else if let Some(lookup) = in_chain::<LookupError>(error) {
        FetchError::Dns(text::message(&lookup.to_string()))
    } else if error.is_connect() || error.is_timeout() {
        FetchError::Connect(said)
    } else if in_chain::<hyper::Error>(error).is_some_and(hyper::Error::is_parse) {
        FetchError::Truncated(said)
    } else {
        FetchError::Broken(said)
    }
}

fn in_chain<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    std::iter::successors(Some(error), |error| (*error).source()).find_map(|error| error.downcast_ref::<E>())
}

/// The innermost causes in one line, each once. The URL is left out: it may carry secrets one day.
fn sources(error: &(dyn Error + 'static)) -> String {
    let mut causes: Vec<String> =
        std::iter::successors(error.source(), |error| (*error).source()).map(ToString::to_string).collect();
    // Many an error says its own cause.
    causes.dedup_by(|cause, outer| outer.ends_with(cause.as_str()));
    text::message(&causes.join(": "))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[tokio::test]
    async fn a_name_without_an_address_is_told_from_a_connection_that_fails() {
        let wire = Wire::new(Outbound::default()).unwrap();
        let url = Url::parse("http://nothing.invalid/").unwrap();
        let error = wire.client(&url).get(url).send().await.unwrap_err();
        let said = before_reply(&error);
        let FetchError::Dns(why) = said else { panic!("{said}") };
        let cause = why.strip_prefix("nothing.invalid: ").unwrap();
        assert!(!cause.is_empty() && !cause.contains(": failed to lookup"), "{why}");
    }

    #[test]
    fn connections_are_kept_to_so_many_hosts_and_no_more() {
        let outbound = Arc::new(Outbound::default());
        let mut pool = Pool { client: builder(&outbound).build().unwrap(), hosts: HashSet::new() };
        let mut renewed = Vec::new();
        for n in 0..3 * HOSTS_MAX {
            for path in ["a", "b?c"] {
                let url = Url::parse(&format!("http://h{n}.test/{path}")).unwrap();
                drop(pool.client(&url, &outbound));
            }
            if pool.hosts.len() == 1 {
                renewed.push(n);
            }
        }
        assert_eq!(renewed, [0, HOSTS_MAX, 2 * HOSTS_MAX]);
        let last = format!("http://h{}.test", 3 * HOSTS_MAX - 1);
        assert!(pool.hosts.contains(&last), "another port or scheme is another host");
    }

    #[test]
    fn each_cause_is_said_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outermost")]
        struct Outer(#[source] LookupLike);
        #[derive(Debug, thiserror::Error)]
        #[error("prices.example: {source}")]
        struct LookupLike {
            source: io::Error,
        }
        let error = Outer(LookupLike { source: io::Error::other("no such name") });
        assert_eq!(sources(&error), "prices.example: no such name");
    }
}
