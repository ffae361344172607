//! Kept bodies, for people to look at.

use std::io::Read;

use super::{Control, ReadError};
use crate::{domain::id::BatchSeq, store::StoreError};

impl Control {
    /// The body of an item's last reply, decompressed; nothing where none is kept, or one of more than `bytes_max`.
    pub async fn body(
        &self,
        batch: BatchSeq,
        index: i64,
        bytes_max: usize,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(kept) = self.store.kept_body(batch, index).await? else { return Ok(None) };
        let mut body = Vec::new();
        let damaged =
            |error| StoreError::Damaged(format!("body of item {index} of batch {}: {error}", batch.0));
        let decoder = zstd::Decoder::new(kept.body.zstd.as_slice()).map_err(damaged)?;
        // One byte more shows that there is more.
        decoder.take(bytes_max as u64 + 1).read_to_end(&mut body).map_err(damaged)?;
        Ok((body.len() <= bytes_max).then_some(body))
    }
}
