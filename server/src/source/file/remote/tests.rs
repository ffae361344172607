//! A server in a few lines, with all the ways in which servers differ.

use std::{sync::Mutex, time::Duration};

use super::*;
use crate::domain::{
    failure::{Failure, FailureClass},
    item::NewItem,
    spec::FileFormat,
};

const NOW: &str = "Sun, 22 Nov 2026 00:00:02 GMT";

#[derive(Clone, Default)]
struct Served {
    bytes: Bytes,
    gives_parts: bool,
    etag: Option<&'static str>,
    modified: Option<&'static str>,
    /// Of what it sends where a part was asked for.
    encoding: Option<&'static str>,
    /// Bytes that its parts lack at their end, by their head.
    short_by: usize,
    /// Bytes of a part that are not sent.
    cut_by: usize,
    /// It cannot give what begins behind this.
    fails_behind: Option<u64>,
    /// What it is that lies there, if it says so.
    content_type: &'static str,
}

/// It, and what it was asked for.
struct Server(Mutex<(Served, Vec<Option<Range<u64>>>)>);

impl Server {
    fn of(served: Served) -> Arc<Self> {
        Arc::new(Self(Mutex::new((served, Vec::new()))))
    }

    fn become_(&self, served: Served) {
        self.0.lock().unwrap().0 = served;
    }

    fn asked(&self) -> Vec<Option<Range<u64>>> {
        std::mem::take(&mut self.0.lock().unwrap().1)
    }
}

#[async_trait]
impl Download for Server {
    async fn get(&self, _: &str, part: Option<Range<u64>>) -> Result<Response, Failure> {
        let mut state = self.0.lock().unwrap();
        state.1.push(part.clone());
        let served = state.0.clone();
        let (mut status, mut body, mut file) = (200, served.bytes.clone(), FileHead::default());
        if served.fails_behind.zip(part.as_ref()).is_some_and(|(at, part)| part.start > at) {
            return Err(Failure::new(FailureClass::Temporary, "HTTP_STATUS", "HTTP 500").with_status(500));
        }
        if let Some(part) = part {
            file.etag = served.etag.map(str::to_owned);
            file.last_modified = served.modified.map(str::to_owned);
            file.content_encoding = served.encoding.map(str::to_owned);
            let size = served.bytes.len();
            if served.gives_parts {
                let [start, end] = [part.start, part.end].map(|at| (at as usize).min(size));
                if start == size {
                    let failure = Failure::new(FailureClass::Permanent, "HTTP_STATUS", "HTTP 416");
                    return Err(failure.with_status(416));
                }
                let end = end - served.short_by;
                file.content_range = Some(format!("bytes {start}-{}/{size}", end - 1));
                (status, body) = (206, served.bytes.slice(start..end - served.cut_by));
            }
        }
        Ok(Response {
            status,
            content_type: served.content_type.to_owned(),
            retry_after: None,
            date: Some(NOW.to_owned()),
            body,
            digest: None,
            bytes_received: 0,
            latency: Duration::ZERO,
            file,
        })
    }
}

fn spec(format: FileFormat, encoding: &str) -> FileSource {
    let uri = "https://host/keys?token=secret".to_owned();
    FileSource { uri, format, key_column: "key".into(), encoding: encoding.into() }
}

fn source(spec: &FileSource, server: &Arc<Server>, part_bytes: u64) -> RemoteFile {
    let source = RemoteFile::new(spec, Arc::clone(server) as Arc<dyn Download>);
    RemoteFile { part_bytes, ..source }
}

/// All items, from one source or from a new one for each page.
async fn all(
    spec: &FileSource,
    server: &Arc<Server>,
    part_bytes: u64,
    anew: bool,
) -> Result<Vec<NewItem>, SourceError> {
    let mut reading = source(spec, server, part_bytes);
    let (mut items, mut next) = (Vec::new(), None);
    loop {
        // Two places to begin anew at: where a part ended, and behind what it was read on with.
        for _ in 0..2 {
            let page = reading.page(next.as_deref()).await?;
            items.extend(page.items);
            next = page.next;
            if next.is_none() {
                return Ok(items);
            }
        }
        if anew {
            reading = source(spec, server, part_bytes);
        }
    }
}

fn every_kind(bytes: &Bytes) -> Vec<Served> {
    let whole = Served { bytes: bytes.clone(), ..Served::default() };
    let parts = Served { gives_parts: true, ..whole.clone() };
    vec![
        Served { etag: Some("\"1\""), ..parts.clone() },
        Served { modified: Some("Sun, 22 Nov 2026 00:00:00 GMT"), ..parts.clone() },
        Served { modified: Some("Sun, 22 Nov 2026 00:00:01 GMT"), ..parts.clone() },
        Served { etag: Some("W/\"1\""), ..parts.clone() },
        Served { etag: Some("\"1\""), encoding: Some("gzip"), ..parts.clone() },
        Served { etag: Some("\"1\""), short_by: 1, ..parts.clone() },
        parts,
        Served { etag: Some("\"1\""), ..whole.clone() },
        whole,
    ]
}

#[tokio::test]
async fn whatever_the_server_and_the_parts_the_items_are_those_of_the_file() {
    let shift_jis = |text: &str| encoding_rs::SHIFT_JIS.encode(text).0.into_owned();
    for (bytes, spec) in [
        (
            b"\xEF\xBB\xBFa\r\n#c\nb\n\n\n#a long comment, longer than some parts\nc\nd\n#end".to_vec(),
            spec(FileFormat::Lines, "utf-8"),
        ),
        (shift_jis("表,key\n\"ソ,\n能\",1\n表,2\n,3\n能ソ,4\nソ,5\n"), spec(FileFormat::Csv, "shift_jis")),
        (b"{\"key\":1}\n\n{\"key\":2,\"a\":\"b\"}\n{\"key\":3}".to_vec(), spec(FileFormat::Ndjson, "utf-8")),
        (Vec::new(), spec(FileFormat::Lines, "utf-8")),
    ] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let local = FileReader::open(file.path(), &spec, None).unwrap().page(usize::MAX).unwrap().items;
        for served in every_kind(&bytes.into()) {
            let server = Server::of(served);
            for part_bytes in [42, 43, 50, 64, 1_000] {
                for anew in [false, true] {
                    let items = all(&spec, &server, part_bytes, anew).await.unwrap();
                    assert_eq!(items, local, "{spec:?} {part_bytes} {anew}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_part_at_a_time_is_asked_for_and_all_only_of_whom_gives_none() {
    let spec = spec(FileFormat::Lines, "utf-8");
    let bytes = Bytes::from("aaa\n".repeat(30));
    let marked = Served { bytes: bytes.clone(), etag: Some("\"1\""), ..Served::default() };
    let parts = Served { gives_parts: true, ..marked.clone() };
    for (served, asked) in [
        (parts.clone(), vec![Some(0..50), Some(48..98), Some(96..146)]),
        (marked, vec![Some(0..50)]),
        (Served { etag: None, ..parts }, vec![Some(0..50), None]),
        (Served { bytes, ..Served::default() }, vec![Some(0..50)]),
    ] {
        let server = Server::of(served);
        assert_eq!(all(&spec, &server, 50, false).await.unwrap().len(), 30);
        assert_eq!(server.asked(), asked);
    }
}

#[tokio::test]
async fn another_state_of_the_file_is_told_by_what_the_server_says_of_it_or_by_its_hash() {
    let spec = spec(FileFormat::Lines, "utf-8");
    let [was, same_size, shorter] = [b"a".repeat(60), b"b".repeat(60), b"a".repeat(40)]
        .map(|keys| Bytes::from(keys.chunks(1).flat_map(|key| [key, b"\n"].concat()).collect::<Vec<u8>>()));
    let of = |bytes: &Bytes| Served { bytes: bytes.clone(), ..Served::default() };
    let parts = Served { gives_parts: true, etag: Some("\"1\""), ..of(&was) };
    let dated = Served { etag: None, modified: Some("Sun, 22 Nov 2026 00:00:00 GMT"), ..parts.clone() };
    let weak = Served { etag: Some("W/\"1\""), ..dated.clone() };
    for (before, after, said) in [
        (&weak, Served { etag: Some("W/\"2\""), ..weak.clone() }, "its ETag was W/\"1\" and is W/\"2\""),
        (&parts, Served { etag: Some("\"2\""), ..parts.clone() }, "its ETag was \"1\" and is \"2\""),
        (&parts, Served { bytes: shorter.clone(), ..parts.clone() }, "its size was 120 and is 80"),
        (&parts, Served { etag: None, ..parts.clone() }, "its server gives no part of it from byte"),
        (
            &dated,
            Served { modified: Some("Sat, 21 Nov 2026 23:59:59 GMT"), ..dated.clone() },
            "its Last-Modified was Sun, 22 Nov 2026 00:00:00 GMT and is Sat, 21 Nov 2026 23:59:59 GMT",
        ),
        (&of(&was), of(&same_size), "its SHA-256 was "),
        (&of(&was), of(&shorter), "its size was 120 and is 80"),
    ] {
        let server = Server::of(before.clone());
        let mut reading = source(&spec, &server, 50);
        let (position, is_whole) = match reading.page(None).await.unwrap().next {
            Some(position) => (position, false),
            // It was had whole, so that nobody reads on in it: another reader was given up before its end.
            None => (whole_position(&server, &spec).await, true),
        };
        server.become_(after);
        let mut readers = vec![source(&spec, &server, 50)];
        if !is_whole {
            readers.push(reading);
        }
        for mut reader in readers {
            match reader.page(Some(&position)).await {
                Err(SourceError::Unreadable(what)) => {
                    assert!(what.starts_with("https://host/keys?…: the file changed"), "{what}");
                    assert!(what.contains(said), "{said}: {what}");
                }
                other => panic!("{said}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn what_fails_for_a_time_is_asked_for_again_alone() {
    let spec = spec(FileFormat::Lines, "utf-8");
    let sound = Served {
        bytes: "aaa\n".repeat(30).into(),
        etag: Some("\"1\""),
        gives_parts: true,
        ..Served::default()
    };
    let cut = Served { cut_by: 1, ..sound.clone() };
    for trouble in [Served { fails_behind: Some(0), ..sound.clone() }, cut] {
        let server = Server::of(sound.clone());
        let mut reading = source(&spec, &server, 50);
        let position = reading.page(None).await.unwrap().next;
        server.become_(trouble);
        for _ in 0..3 {
            let again = reading.page(position.as_deref()).await;
            assert!(matches!(again, Err(SourceError::Temporary(_))), "{again:?}");
        }
        assert_eq!(server.asked(), [Some(0..50), Some(48..98), Some(48..98), Some(48..98)]);
        server.become_(sound.clone());
        assert_eq!(reading.page(position.as_deref()).await.unwrap().items.len(), 12);
    }
}

#[tokio::test]
async fn a_page_for_people_is_no_list() {
    let page =
        Served { bytes: "<html>\n".into(), content_type: "Text/HTML; charset=utf-8", ..Served::default() };
    let refused = source(&spec(FileFormat::Lines, "utf-8"), &Server::of(page), 50).page(None).await;
    assert!(matches!(refused, Err(SourceError::Unreadable(what)) if what.contains("HTML page")));
}

/// Where a reading of a whole file stands after its first item.
async fn whole_position(server: &Arc<Server>, spec: &FileSource) -> String {
    let source = source(spec, server, 50);
    let window = source.fetch(0, None).await.unwrap();
    FileReader::over(window, spec, None).unwrap().page(1).unwrap().next.unwrap()
}

#[test]
fn a_content_range_is_read_strictly() {
    for (text, expected) in [
        ("bytes 0-49/120", Some((0..50, 120))),
        (" bytes 119-119/120", Some((119..120, 120))),
        ("bytes 0-120/120", None),
        ("bytes 5-4/120", None),
        ("bytes 0-49/*", None),
        ("bytes */120", None),
        ("items 0-49/120", None),
        ("bytes 0-18446744073709551615/18446744073709551616", None),
        ("", None),
    ] {
        assert_eq!(in_range(text), expected, "{text}");
    }
}

#[test]
fn what_may_be_a_secret_in_an_address_is_not_shown() {
    for (url, expected) in [
        ("https://host/a/keys.csv", "https://host/a/keys.csv"),
        ("https://host/keys.csv?token=secret", "https://host/keys.csv?…"),
        ("https://host/keys.csv#secret", "https://host/keys.csv?…"),
    ] {
        assert_eq!(shown(url), expected);
    }
}
