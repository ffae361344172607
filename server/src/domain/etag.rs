//! Etags of batches: one per state of control. Progress does not change them, else none would ever match while a batch
//! runs.

use sha2::{Digest, Sha256};

use super::{batch::Batch, text};

/// Most bytes of an etag.
pub const BYTES_MAX: usize = 512;

/// The etag of a batch as it stands, strong and quoted. No other batch of the store ever has the same.
pub fn of(batch: &Batch) -> String {
    let hash = Sha256::new()
        .chain_update(batch.seq.0.to_le_bytes())
        .chain_update(batch.control_revision.to_le_bytes())
        .finalize();
    // The number in front is the etag's version.
    format!("\"1-{}\"", text::hex(&hash[..12]))
}
