//! The connections to the file, and what is set for each.

use std::{path::Path, time::Duration};

use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::writer::Writer;

/// How long a statement waits for another process's lock on the file.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const READERS: u32 = 4;
/// Scripts that a connection keeps prepared. A commit's has one text for each number of items and leases; with large groups
/// one takes 0.5 MiB, most come only once, and more of them are no faster (`bench/README.md`).
const STATEMENTS_CACHED: usize = 32;
/// Rows that the engine's thread reads ahead of the program, which it else waits for.
const ROWS_BUFFERED: usize = 1_000;
/// Page caches of the writing connection and of each reading one, in KiB. Larger ones write no faster (`bench/README.md`): what
/// they lack is in the system's cache.
pub(super) const WRITER_CACHE_KIB: u32 = 4 * 1024;
const READER_CACHE_KIB: u32 = 1024;
/// Bytes of a page in a new file. Rows and bodies are written for a tenth less CPU than with SQLite's 4,096 (`bench/README.md`).
const PAGE_BYTES: u32 = 8_192;
/// Pages in the log that make a commit copy them to the file: a page that several commits wrote is copied once.
const CHECKPOINT_PAGES: &str = "8192";

fn options(path: &Path, cache_kib: u32) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .page_size(PAGE_BYTES)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(STATEMENTS_CACHED)
        .row_buffer_size(ROWS_BUFFERED)
        .pragma("cache_size", format!("-{cache_kib}"))
}

/// The one that writes. It makes the file if it is not there.
pub(super) async fn writer(path: &Path) -> Result<Writer, sqlx::Error> {
    let writing = options(path, WRITER_CACHE_KIB).create_if_missing(true);
    Writer::open(&writing.pragma("wal_autocheckpoint", CHECKPOINT_PAGES)).await
}

/// Those that read. They are kept while idle, and not tried before each use: the file belongs to this process as long as it
/// runs.
pub(super) async fn readers(path: &Path) -> Result<SqlitePool, sqlx::Error> {
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options(path, READER_CACHE_KIB).read_only(true))
        .await
}
