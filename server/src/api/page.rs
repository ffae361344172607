//! Page sizes and page tokens. A token carries its version, a position and a check over position and arguments.

use sha2::{Digest, Sha256};

use super::status::{ApiError, Violation};
use crate::domain::text;

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

const VERSION: &str = "1";

/// A token for what follows `position`, of a call with these other arguments.
pub(super) fn token(arguments: &str, position: i64) -> String {
    format!("{VERSION}.{position:x}.{}", check(arguments, position))
}

/// The position of a token; nothing for none.
pub(super) fn position(arguments: &str, token: &str) -> Result<Option<i64>, ApiError> {
    if token.is_empty() {
        return Ok(None);
    }
    let mut parts = token.split('.');
    let parsed = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(VERSION), Some(position), Some(given), None) => i64::from_str_radix(position, 16)
            .ok()
            .filter(|position| *position >= 0 && check(arguments, *position) == given),
        _ => None,
    };
    parsed.map(Some).ok_or_else(|| ApiError::Invalid(vec![Violation::page_token()]))
}

fn check(arguments: &str, position: i64) -> String {
    let hash = Sha256::digest(format!("{VERSION}/{arguments}/{position}"));
    text::hex(&hash[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_for_the_same_arguments_only() {
        let made = token("items/batches/nightly", 4_711);
        assert_eq!(position("items/batches/nightly", &made).ok().flatten(), Some(4_711));
        assert_eq!(position("items/batches/nightly", "").ok(), Some(None));
        for bad in [made.replace("1267", "1268"), format!("{made}.x"), "x".into(), "1.-1.0".into()] {
            assert!(position("items/batches/nightly", &bad).is_err(), "{bad}");
        }
        assert!(position("items/batches/other", &made).is_err());
    }

    #[test]
    fn sizes_are_cut_and_negative_ones_refused() {
        assert_eq!(size(0, 50, 1_000).ok(), Some(50));
        assert_eq!(size(5_000, 50, 1_000).ok(), Some(1_000));
        assert!(size(-1, 50, 1_000).is_err());
    }
}
