//! Identifiers. Each has its own type, so that no two can be mistaken for one another.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A batch's own number in one store. Rows of other tables point to it; it never leaves the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchSeq(pub i64);

/// The name of a batch without its collection: `nightly-2026-02-28`, or a UUID that the server made.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BatchId(String);

impl BatchId {
    /// What a chosen id must look like.
    pub const PATTERN: &str = "[a-z0-9][a-z0-9-]{2,61}[a-z0-9]";
    pub(super) const COLLECTION: &str = "batches/";

    /// Reads an id that a caller chose, or nothing if it is not of [`Self::PATTERN`].
    pub fn chosen(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let well_formed = (4..=63).contains(&bytes.len())
            && bytes.iter().all(|b| alphanumeric(b) || *b == b'-')
            && bytes.first().is_some_and(alphanumeric)
            && bytes.last().is_some_and(alphanumeric);
        well_formed.then(|| Self(text.to_owned()))
    }

    /// Reads a resource name, `batches/{batch}`.
    pub fn from_name(name: &str) -> Option<Self> {
        name.strip_prefix(Self::COLLECTION).and_then(Self::chosen)
    }

    /// A new id, ordered by time.
    pub fn generate() -> Self {
        Self(uuid::Uuid::now_v7().to_string())
    }

    /// An id as the store holds it.
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    /// The bare id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The resource name, `batches/{batch}`.
    pub fn name(&self) -> String {
        format!("{}{}", Self::COLLECTION, self.0)
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of an upload to a batch across its reconnects: a UUID that the caller made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UploadId(String);

impl UploadId {
    /// Reads a UUID in any of its spellings, or nothing if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        uuid::Uuid::try_parse(text).ok().map(|id| Self(id.to_string()))
    }

    /// Hyphenated, lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One process of the server, from its start to its end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NodeId(String);

impl NodeId {
    /// A new incarnation.
    pub fn generate() -> Self {
        Self(uuid::Uuid::now_v7().to_string())
    }

    /// The bare id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A slice of a batch: about a hundred neighbouring items that are leased together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SliceNo(pub i64);

/// Fencing number of a lease. Grows with each claim; a commit with an older one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub i64);

#[cfg(test)]
mod tests {
    use super::BatchId;

    #[test]
    fn chosen_ids_are_four_to_sixty_three_lower_case_letters_digits_and_inner_hyphens() {
        let long = "a".repeat(63);
        for good in ["abcd", "a--b", "2026-02-28", long.as_str()] {
            assert_eq!(BatchId::chosen(good).map(|id| id.name()), Some(format!("batches/{good}")));
        }
        let too_long = "a".repeat(64);
        for bad in ["", "abc", "-abc", "abc-", "Abcd", "ab_d", "ab/d", "äbcd", too_long.as_str()] {
            assert_eq!(BatchId::chosen(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_generated_id_is_one_that_could_have_been_chosen() {
        let id = BatchId::generate();
        assert_eq!(BatchId::chosen(id.as_str()), Some(id.clone()));
        assert_eq!(BatchId::from_name(&id.name()), Some(id));
    }

    #[test]
    fn names_of_other_collections_are_not_batches() {
        for bad in ["abcd", "batch/abcd", "batches/", "batches/abcd/x", "/batches/abcd"] {
            assert_eq!(BatchId::from_name(bad), None, "{bad}");
        }
    }
}
