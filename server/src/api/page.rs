//! Page sizes, and what a page or a stream goes on by: opaque tokens that only the server of this store can make. A token
//! carries its version, a position, and a seal over both and the other arguments of the call.

use hmac::{Hmac, Mac};
use prost::Message;
use sha2::{Digest, Sha256};

use super::status::{ApiError, Violation};
use crate::domain::text;

/// A page ends early at this size, well below the 4 MiB that a message may have.
const PAGE_BYTES_MAX: usize = 2 << 20;

/// The size that is meant: the default for none, the maximum for more.
pub(super) fn size(asked: i32, default: usize, max: usize) -> Result<usize, ApiError> {
    match usize::try_from(asked) {
        Ok(0) => Ok(default),
        Ok(size) => Ok(size.min(max)),
        Err(_) => Err(ApiError::Invalid(vec![Violation::new(
            "page_size",
            format!("{asked} is negative; leave it out for {default}, or give 1 to {max}"),
        )])),
    }
}

/// Messages of one page: one at least, and then up to [`PAGE_BYTES_MAX`].
pub(super) struct Page<M> {
    pub(super) messages: Vec<M>,
    bytes: usize,
}

impl<M: Message> Page<M> {
    pub(super) fn new() -> Self {
        Self { messages: Vec::new(), bytes: 0 }
    }

    /// Takes a message in, if there is room for it.
    pub(super) fn take(&mut self, message: M) -> bool {
        self.bytes += message.encoded_len();
        let fits = self.bytes <= PAGE_BYTES_MAX || self.messages.is_empty();
        if fits {
            self.messages.push(message);
        }
        fits
    }
}

const VERSION: u8 = 2;
const SEAL_BYTES: usize = 16;
/// Bytes of a key in a token, which then has less than 512.
const KEY_BYTES_MAX: usize = 200;

/// Makes tokens and knows them again.
#[derive(Clone)]
pub(super) struct Tokens {
    key: [u8; 32],
}

impl Tokens {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// A token for what follows `position`, of a call with these other arguments.
    pub(super) fn make<const N: usize>(&self, call: &Call, position: [i64; N]) -> String {
        self.sealed(call, position.iter().flat_map(|part| part.to_be_bytes()))
    }

    /// A token for what follows a thing of this number and key. Of a long key it has the beginning.
    pub(super) fn make_behind(&self, call: &Call, number: i64, key: &str) -> String {
        let key = &key[..key.floor_char_boundary(KEY_BYTES_MAX)];
        self.sealed(call, number.to_be_bytes().into_iter().chain(key.bytes()))
    }

    fn sealed(&self, call: &Call, position: impl Iterator<Item = u8>) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend(position);
        let seal = self.seal(call, &bytes).finalize().into_bytes();
        bytes.extend(&seal[..SEAL_BYTES]);
        text::hex(&bytes)
    }

    /// The number and key of such a page token; nothing for none.
    pub(super) fn page_behind(&self, call: &Call, token: &str) -> Result<Option<(i64, String)>, ApiError> {
        if token.is_empty() {
            return Ok(None);
        }
        let read = || {
            let position = self.opened(call, unhex(token)?)?;
            let (number, key) = position.split_first_chunk()?;
            Some((i64::from_be_bytes(*number), String::from_utf8(key.to_vec()).ok()?))
        };
        read().map(Some).ok_or_else(|| ApiError::Invalid(vec![Violation::page_token()]))
    }

    /// What was sealed for this call.
    fn opened(&self, call: &Call, mut token: Vec<u8>) -> Option<Vec<u8>> {
        let seal = token.split_off(token.len().checked_sub(SEAL_BYTES)?);
        let genuine = self.seal(call, &token).verify_truncated_left(&seal).is_ok();
        (genuine && token.first() == Some(&VERSION)).then(|| token.split_off(1))
    }

    /// The position of a token; nothing if it is not one of this call.
    pub(super) fn read<const N: usize>(&self, call: &Call, token: &str) -> Option<[i64; N]> {
        let said = self.opened(call, unhex(token)?).filter(|said| said.len() == 8 * N)?;
        let mut position = [0; N];
        for (part, bytes) in position.iter_mut().zip(said.chunks_exact(8)) {
            *part = i64::from_be_bytes(bytes.try_into().ok()?);
        }
        Some(position)
    }

    /// The position of a page token; nothing for none.
    pub(super) fn page<const N: usize>(
        &self,
        call: &Call,
        token: &str,
    ) -> Result<Option<[i64; N]>, ApiError> {
        if token.is_empty() {
            return Ok(None);
        }
        self.read(call, token).map(Some).ok_or_else(|| ApiError::Invalid(vec![Violation::page_token()]))
    }

    fn seal(&self, call: &Call, said: &[u8]) -> Hmac<Sha256> {
        let mut seal = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key of any length is one");
        seal.update(&call.0);
        seal.update(said);
        seal
    }
}

/// A call: which RPC it is of, and the hash of all that must not change from page to page.
pub(super) struct Call([u8; 32]);

impl Call {
    /// `arguments` is the request without page size and token.
    pub(super) fn new(rpc: &str, arguments: &impl Message) -> Self {
        let hash = Sha256::new_with_prefix(rpc).chain_update([0]).chain_update(arguments.encode_to_vec());
        Self(hash.finalize().into())
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use haul_proto::v1::ListItemsRequest;

    use super::*;

    fn call(parent: &str) -> Call {
        Call::new("ListItems", &ListItemsRequest { parent: parent.to_owned(), ..ListItemsRequest::default() })
    }

    #[test]
    fn a_token_reads_back_for_the_same_call_of_the_same_store_only() {
        let tokens = Tokens::new([7; 32]);
        let made = tokens.make(&call("batches/nightly"), [4_711, -1]);
        assert_eq!(tokens.read(&call("batches/nightly"), &made), Some([4_711, -1]));
        assert_eq!(tokens.page::<2>(&call("batches/nightly"), "").ok(), Some(None));
        assert_eq!(tokens.read::<2>(&call("batches/other"), &made), None);
        let other = Call::new("ListAttempts", &ListItemsRequest::default());
        assert_eq!(tokens.read::<2>(&other, &made), None);
        assert_eq!(Tokens::new([8; 32]).read::<2>(&call("batches/nightly"), &made), None);
        assert_eq!(tokens.read::<1>(&call("batches/nightly"), &made), None);
        assert!(made.len() <= 512);
    }

    #[test]
    fn no_character_of_a_token_may_change() {
        let tokens = Tokens::new([7; 32]);
        let made = tokens.make(&call("batches/nightly"), [4_711]);
        for at in 0..made.len() {
            for by in ["0", "f", "g", "é", ""] {
                let mut changed = made.clone();
                changed.replace_range(at..=at, by);
                let read = tokens.read::<1>(&call("batches/nightly"), &changed);
                assert_eq!(read.is_some(), changed == made, "{changed}");
            }
        }
        for bad in ["", "0", "02", &format!("{made}00"), &made[..made.len() - 2]] {
            assert_eq!(tokens.read::<1>(&call("batches/nightly"), bad), None, "{bad}");
        }
    }

    #[test]
    fn a_token_may_have_a_key_or_how_a_long_one_begins() {
        let tokens = Tokens::new([7; 32]);
        let call = call("datasets/stock_prices");
        let long = "é".repeat(256);
        for (key, read) in [("7203", "7203"), ("", ""), (long.as_str(), &long[..200])] {
            let made = tokens.make_behind(&call, -5, key);
            assert_eq!(tokens.page_behind(&call, &made).ok(), Some(Some((-5, read.to_owned()))));
            assert!(made.len() <= 512);
            assert!(tokens.page_behind(&call, &made[2..]).is_err());
            assert!(tokens.page_behind(&Call::new("Other", &ListItemsRequest::default()), &made).is_err());
        }
        assert_eq!(tokens.page_behind(&call, "").ok(), Some(None));
    }

    #[test]
    fn sizes_are_cut_and_negative_ones_refused() {
        assert_eq!(size(0, 50, 1_000).ok(), Some(50));
        assert_eq!(size(5_000, 50, 1_000).ok(), Some(1_000));
        assert_eq!(size(7, 50, 1_000).ok(), Some(7));
        assert!(size(-1, 50, 1_000).is_err());
    }
}
