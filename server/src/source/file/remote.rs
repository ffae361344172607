//! A file of keys by http(s), read in parts.
//!
//! Of a server that gives parts (Range) and says which state of the file they are of (a strong `ETag`, a Last-Modified
//! that is some seconds old), a part at a time is held, so the file may have any size. Of any other the file is had whole, within the bound of a
//! download, and is had again when the reading is resumed; where the server names no state, a hash tells one from another.

use std::{
    io::{self, BufRead, Read, Seek, SeekFrom},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{
    super::{Download, Page, Source, SourceError, failed},
    read::{self, Content, FilePage, FileReader, Fingerprint, LINE_BYTES_MAX, Position, ReadError},
    read_page, source_error,
};
use crate::domain::{
    failure::{Failure, FailureClass},
    request::{FileHead, Response},
    spec::FileSource,
    text,
};

/// What is asked for at once. More than the longest line, so that each part ends one.
const PART_BYTES: u64 = 4 * LINE_BYTES_MAX as u64;

/// Since it was modified. Last-Modified and Date are in seconds.
const SETTLED: Duration = Duration::from_secs(2);

/// A file of keys elsewhere, read in pages.
pub struct RemoteFile {
    url: String,
    /// With the address that messages show.
    spec: FileSource,
    download: Arc<dyn Download>,
    part_bytes: u64,
    open: Option<Open>,
}

struct Open {
    reader: FileReader<Window>,
    /// Where it stands.
    next: Option<String>,
    /// It needs another part to read on.
    is_cut: bool,
}

impl RemoteFile {
    pub(in crate::source) fn new(spec: &FileSource, download: Arc<dyn Download>) -> Self {
        let shown = FileSource { uri: shown(&spec.uri), ..spec.clone() };
        Self { url: spec.uri.clone(), spec: shown, download, part_bytes: PART_BYTES, open: None }
    }

    /// Bytes of the file, those at `at` among them. A state of it that is not the `known` one is an error.
    async fn fetch(&self, at: u64, known: Option<&Fingerprint>) -> Result<Window, SourceError> {
        let part = match known {
            Some(Fingerprint::Whole { .. }) => None,
            _ => self.ask(Some(at..at.saturating_add(self.part_bytes))).await?,
        };
        let window = match (part, known) {
            (Some(window), _) => window,
            (None, None | Some(Fingerprint::Whole { .. })) => self.ask(None).await?.ok_or_else(|| {
                SourceError::Unreadable(format!(
                    "{}: a part of it came where all was asked for",
                    self.spec.uri
                ))
            })?,
            (None, Some(_)) => {
                return Err(self.changed(&format!("its server gives no part of it from byte {at} on")));
            }
        };
        match known.and_then(|known| known.change(&window.of)) {
            Some(what) => Err(self.changed(&what)),
            None => Ok(window),
        }
    }

    /// Nothing if the part that was asked for is not to be had as one.
    async fn ask(&self, part: Option<Range<u64>>) -> Result<Option<Window>, SourceError> {
        let reply = match self.download.get(&self.url, part.clone()).await {
            // There is no such part, of an empty file none at all.
            Err(failure) if failure.http_status == Some(416) && part.is_some() => return Ok(None),
            reply => reply.map_err(|failure| failed(&self.spec.uri, failure))?,
        };
        if reply.content_type.to_ascii_lowercase().starts_with("text/html") {
            let what = format!("{}: an HTML page came where a list of keys was asked for", self.spec.uri);
            return Err(SourceError::Unreadable(what));
        }
        let window = tokio::task::spawn_blocking(move || Window::of(reply, part.as_ref())).await;
        match window {
            Ok(Ok(window)) => Ok(window),
            Ok(Err(Cut)) => Err(SourceError::Temporary(Failure::new(
                FailureClass::Temporary,
                "TRUNCATED_BODY",
                &format!("{}: a part of it was cut", self.spec.uri),
            ))),
            Err(error) => Err(SourceError::Unreadable(format!("the file's reader failed: {error}"))),
        }
    }

    fn changed(&self, what: &str) -> SourceError {
        source_error(read::changed(&self.spec.uri, what))
    }
}

#[async_trait]
impl Source for RemoteFile {
    async fn page(&mut self, position: Option<&str>) -> Result<Page, SourceError> {
        let open = self.open.take().filter(|open| open.next.as_deref() == position);
        let reader = match open {
            Some(Open { reader, is_cut: false, .. }) => reader,
            Some(Open { mut reader, next, is_cut }) => {
                let (byte, of) = reader.place();
                let window = match self.fetch(byte, Some(of)).await {
                    Ok(window) => window,
                    // Whoever asks again goes on from here, and for the same part.
                    Err(error) => {
                        self.open = Some(Open { reader, next, is_cut });
                        return Err(error);
                    }
                };
                reader.go_on_in(window).map_err(source_error)?;
                reader
            }
            None => {
                let known = position.and_then(Position::parse).map(|position| position.fingerprint);
                let window = self.fetch(0, known.as_ref()).await?;
                FileReader::over(window, &self.spec, position).map_err(source_error)?
            }
        };
        let (reader, FilePage { items, next, is_cut }) = read_page(move || Ok(reader)).await?;
        self.open = Some(Open { reader, next: next.clone(), is_cut });
        Ok(Page { items, next, list: None })
    }
}

/// The first items of a file, out of a reply that holds its first bytes.
pub fn first_items(spec: &FileSource, reply: Response, items_max: usize) -> Result<FilePage, ReadError> {
    let told = reply.file.content_range.as_deref().and_then(in_range).map(|(_, size)| size);
    let size = told.unwrap_or(reply.body.len() as u64 + u64::from(reply.status == 206));
    let of = Fingerprint::Marked { size, etag: None, modified: None };
    let window = Window { start: 0, bytes: reply.body, at: 0, of };
    FileReader::over(window, &FileSource { uri: shown(&spec.uri), ..spec.clone() }, None)?.page(items_max)
}

/// The part that [`first_items`] are looked for in.
pub fn first_part() -> Range<u64> {
    0..PART_BYTES
}

/// An address as messages show it: what follows the path may be a secret.
pub fn shown(url: &str) -> String {
    let open = url.split(['?', '#']).next().unwrap_or_default();
    let shown = text::cut(open, 400);
    if open.len() < url.len() { shown + "?…" } else { shown }
}

/// Bytes of a file that are at hand.
#[derive(Debug)]
struct Window {
    /// Of the file, before them.
    start: u64,
    bytes: Bytes,
    /// Where the reading stands in the file.
    at: u64,
    of: Fingerprint,
}

impl Window {
    /// What a reply holds; nothing if it is not the part that was asked for, or a part of nobody knows what.
    fn of(reply: Response, asked: Option<&Range<u64>>) -> Result<Option<Self>, Cut> {
        let FileHead { etag, last_modified: modified, content_range, content_encoding } = reply.file;
        if content_encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
            return Ok(None);
        }
        // A weak ETag may stay as it is while bytes change, and a file that was just written may be written again in the
        // same second (RFC 9110, 8.8.1 and 8.8.2.2). Their change is one all the same.
        let is_named = etag.as_ref().is_some_and(|etag| !etag.starts_with("W/"))
            || modified.as_deref().is_some_and(|modified| is_settled(modified, reply.date.as_deref()));
        let length = reply.body.len() as u64;
        let (start, size) = if reply.status == 206 {
            let range = content_range.as_deref().and_then(in_range);
            let (Some((range, size)), Some(asked), true) = (range, asked, is_named) else { return Ok(None) };
            if range != (asked.start..asked.end.min(size)) {
                return Ok(None);
            }
            if length < range.end - range.start {
                return Err(Cut);
            }
            (range.start, size)
        } else {
            (0, length)
        };
        let of = if is_named {
            Fingerprint::Marked { size, etag, modified }
        } else {
            Fingerprint::Whole { size, sha256: text::hex(&Sha256::digest(&reply.body)) }
        };
        Ok(Some(Self { start, bytes: reply.body, at: start, of }))
    }
}

/// A part ended before its end, on a connection that did not say how much was to come.
struct Cut;

/// Whether a file has rested for some seconds by its server's own clock.
fn is_settled(modified: &str, date: Option<&str>) -> bool {
    let time = |text: &str| httpdate::parse_http_date(text).ok();
    let rested = time(modified).zip(date.and_then(time)).and_then(|(from, to)| to.duration_since(from).ok());
    rested.is_some_and(|rested| rested >= SETTLED)
}

/// What a Content-Range says (RFC 9110, 14.4): the bytes, and how many the whole has.
fn in_range(content_range: &str) -> Option<(Range<u64>, u64)> {
    let (range, size) = content_range.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, size): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
    (first <= last && last < size).then_some((first..last + 1, size))
}

impl Content for Window {
    fn fingerprint(&self) -> io::Result<Fingerprint> {
        Ok(self.of.clone())
    }
}

impl BufRead for Window {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.of.size() {
            return Ok(&[]);
        }
        let from = self.at.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        let rest = from.and_then(|from| self.bytes.get(from..)).filter(|rest| !rest.is_empty());
        rest.ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }

    fn consume(&mut self, bytes: usize) {
        self.at += bytes as u64;
    }
}

impl Read for Window {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.of.size().checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests;
