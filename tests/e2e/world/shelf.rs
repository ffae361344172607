//! A web server with one file, which may be exchanged.

use std::{
    ops::Range,
    sync::{Arc, Mutex},
};

use super::canned::Canned;

/// What is there at present.
#[derive(Clone, Default)]
pub(crate) struct Shown {
    pub(crate) file: Vec<u8>,
    pub(crate) etag: Option<String>,
    /// Whether it takes ranges.
    pub(crate) in_parts: bool,
    /// Status lines that come first, one for each request.
    pub(crate) failures: Vec<&'static str>,
}

impl Shown {
    /// As most servers show files.
    pub(crate) fn in_parts(file: impl Into<Vec<u8>>, etag: &str) -> Self {
        Self { file: file.into(), etag: Some(format!("\"{etag}\"")), in_parts: true, failures: Vec::new() }
    }

    /// As a program shows what it makes at each request.
    pub(crate) fn whole(file: impl Into<Vec<u8>>) -> Self {
        Self { file: file.into(), ..Self::default() }
    }
}

/// It serves until it is dropped.
pub(crate) struct Shelf {
    shown: Arc<Mutex<Shown>>,
    asked: Arc<Mutex<Vec<Range<usize>>>>,
    canned: Canned,
}

impl Shelf {
    pub(crate) async fn of(shown: Shown) -> Self {
        let shown = Arc::new(Mutex::new(shown));
        let asked = Arc::default();
        let (here, log) = (Arc::clone(&shown), Arc::clone(&asked));
        let canned = Canned::choosing(move |request| reply(&here, &log, request)).await;
        Self { shown, asked, canned }
    }

    /// Shows something else from now on.
    pub(crate) fn show(&self, shown: Shown) {
        *self.shown.lock().unwrap() = shown;
    }

    /// The file's address under a name.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.canned.url())
    }

    /// How many requests came.
    pub(crate) fn requests(&self) -> usize {
        self.canned.requests()
    }

    /// The parts that were asked for.
    pub(crate) fn asked(&self) -> Vec<Range<usize>> {
        self.asked.lock().unwrap().clone()
    }
}

fn reply(shown: &Mutex<Shown>, asked: &Mutex<Vec<Range<usize>>>, request: &str) -> (String, Vec<u8>) {
    let mut shown = shown.lock().unwrap();
    if !shown.failures.is_empty() {
        return (shown.failures.remove(0).to_owned(), Vec::new());
    }
    let etag = shown.etag.as_ref().map(|etag| format!("\r\netag: {etag}")).unwrap_or_default();
    let range = request.lines().find_map(|line| line.strip_prefix("range: bytes="));
    let Some(range) = range else { return (format!("200 OK{etag}"), shown.file.clone()) };
    let (first, last) = range.split_once('-').unwrap();
    let part = first.parse().unwrap()..last.trim().parse::<usize>().unwrap() + 1;
    asked.lock().unwrap().push(part.clone());
    let size = shown.file.len();
    if !shown.in_parts {
        return (format!("200 OK{etag}"), shown.file.clone());
    }
    if part.start >= size {
        return (format!("416 Range Not Satisfiable\r\ncontent-range: bytes */{size}"), Vec::new());
    }
    let end = part.end.min(size);
    let head = format!("206 Partial Content{etag}\r\ncontent-range: bytes {}-{}/{size}", part.start, end - 1);
    (head, shown.file[part.start..end].to_vec())
}
