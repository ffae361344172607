//! Where a reading stands, and of which state of which file.

use std::{fmt::Display, fs::Metadata};

use serde::{Deserialize, Serialize};

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(in crate::source::file) enum Fingerprint {
    /// Of a file of this machine.
    Local { size: u64, mtime_ns: i64, inode: u64 },
    /// Of a file by http(s) that is only had whole.
    Whole { size: u64, sha256: String },
    /// Of a file by http(s) whose server says which state of it a part is of.
    Marked { size: u64, etag: Option<String>, modified: Option<String> },
}

impl Fingerprint {
    #[cfg(unix)]
    pub(super) fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;

        let mtime_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        Self::Local { size: metadata.size(), mtime_ns, inode: metadata.ino() }
    }

    #[cfg(not(unix))]
    pub(super) fn of(metadata: &Metadata) -> Self {
        let modified = metadata.modified().ok();
        let since_1970 = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let mtime_ns = since_1970.and_then(|time| i64::try_from(time.as_nanos()).ok()).unwrap_or_default();
        Self::Local { size: metadata.len(), mtime_ns, inode: 0 }
    }

    /// Bytes of the file.
    pub(in crate::source::file) fn size(&self) -> u64 {
        match self {
            Self::Local { size, .. } | Self::Whole { size, .. } | Self::Marked { size, .. } => *size,
        }
    }

    /// What is not as it was, in words; nothing if `now` is the same state.
    pub(in crate::source::file) fn change(&self, now: &Self) -> Option<String> {
        if self == now {
            return None;
        }
        let moved = |what: &str, was: &dyn Display, is: &dyn Display| {
            Some(format!("its {what} was {was} and is {is}"))
        };
        let said = |mark: &Option<String>| mark.clone().unwrap_or_else(|| "not told".to_owned());
        match (self, now) {
            (was, is) if was.size() != is.size() => moved("size", &was.size(), &is.size()),
            (Self::Whole { sha256: was, .. }, Self::Whole { sha256: is, .. }) => moved("SHA-256", was, is),
            (Self::Marked { etag: was, .. }, Self::Marked { etag: is, .. }) if was != is => {
                moved("ETag", &said(was), &said(is))
            }
            (Self::Marked { modified: was, .. }, Self::Marked { modified: is, .. }) => {
                moved("Last-Modified", &said(was), &said(is))
            }
            (Self::Local { .. } | Self::Whole { .. } | Self::Marked { .. }, _) => {
                Some("it was written to or replaced".to_owned())
            }
        }
    }
}

/// A place between two lines of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::source::file) struct Position {
    /// Bytes before it.
    pub(super) byte: u64,
    /// Lines before it.
    pub(super) line: u64,
    /// The file.
    #[serde(flatten)]
    pub(in crate::source::file) fingerprint: Fingerprint,
}

impl Position {
    pub(in crate::source::file) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub(super) fn to_text(&self) -> String {
        serde_json::json!(self).to_string()
    }
}
