//! Where a reading stands, and of which file.

use std::fs::Metadata;

use serde::{Deserialize, Serialize};

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fingerprint {
    size: u64,
    mtime_ns: i64,
    inode: u64,
}

impl Fingerprint {
    #[cfg(unix)]
    pub(super) fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;

        let mtime_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        Self { size: metadata.size(), mtime_ns, inode: metadata.ino() }
    }

    #[cfg(not(unix))]
    pub(super) fn of(metadata: &Metadata) -> Self {
        let modified = metadata.modified().ok();
        let since_1970 = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let mtime_ns = since_1970.and_then(|time| i64::try_from(time.as_nanos()).ok()).unwrap_or_default();
        Self { size: metadata.len(), mtime_ns, inode: 0 }
    }
}

/// A place between two lines of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Bytes before it.
    pub(super) byte: u64,
    /// Lines before it.
    pub(super) line: u64,
    /// The file.
    #[serde(flatten)]
    pub(super) fingerprint: Fingerprint,
}

impl Position {
    pub(super) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub(super) fn to_text(self) -> String {
        let Fingerprint { size, mtime_ns, inode } = self.fingerprint;
        let Self { byte, line, .. } = self;
        format!(r#"{{"byte":{byte},"line":{line},"size":{size},"mtime_ns":{mtime_ns},"inode":{inode}}}"#)
    }
}
