//! What SQLite's answers mean.

use crate::store::StoreError;

const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const READONLY: i32 = 8;
const IOERR: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANTOPEN: i32 = 14;
/// The locking protocol lost a race that another try wins.
const PROTOCOL: i32 = 15;
const TOOBIG: i32 = 18;
const CONSTRAINT: i32 = 19;
const MISMATCH: i32 = 20;
const NOTADB: i32 = 26;
// Extended ones, of IOERR.
const IOERR_NOMEM: i32 = 3082;
const IOERR_CORRUPTFS: i32 = 8458;

/// The extended result code (<https://www.sqlite.org/rescode.html>), if SQLite itself answered.
fn code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

fn primary_code(error: &sqlx::Error) -> Option<i32> {
    code(error).map(|code| code & 0xff)
}

/// The row itself was refused: another one may well be taken.
pub(super) fn is_refused_row(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(CONSTRAINT | MISMATCH | TOOBIG))
}

pub(super) fn store(error: sqlx::Error) -> StoreError {
    let text = error.to_string();
    match code(&error) {
        Some(IOERR_NOMEM) => return StoreError::Fault(text),
        Some(IOERR_CORRUPTFS) => return StoreError::Damaged(text),
        _ => {}
    }
    match primary_code(&error) {
        // A disk that fails may be one that is away for a moment; what was not synced is written again.
        Some(BUSY | LOCKED | PROTOCOL | IOERR | CANTOPEN) => StoreError::Unavailable(text),
        Some(FULL) => StoreError::Full(text),
        Some(READONLY) => StoreError::ReadOnly(text),
        Some(CORRUPT | NOTADB) => StoreError::Damaged(text),
        Some(_) => StoreError::Fault(text),
        None => match error {
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => StoreError::Unavailable(text),
            sqlx::Error::Io(_) => StoreError::Damaged(text),
            _ => StoreError::Fault(text),
        },
    }
}

/// A value in the tables that no version of this program writes.
pub(super) fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(what.to_owned())
}
