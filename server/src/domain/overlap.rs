//! Batches of one overlap key: what a newcomer does where others of its key are live.
//!
//! A live batch *holds* the key once it has run, or if it was let run beside others. The rest *waits*; where nobody
//! holds the key, the first that waits is as good as its holder, and those behind it are buffered.

use super::spec::OverlapPolicy;

/// Batches that are buffered behind one key at most.
pub const BUFFERED_MAX: usize = 100;

/// What a newcomer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meeting {
    /// It starts.
    Start,
    /// It waits behind those that are there.
    Wait,
    /// It takes the place of those that are there, and waits for their end.
    Replace,
    /// It is not made.
    Skip,
    /// It is refused: [`BUFFERED_MAX`] wait already.
    Full,
}

/// What a newcomer of that policy does where so many live batches hold its key, and so many wait for it.
pub fn meet(policy: OverlapPolicy, holders: usize, waiting: usize) -> Meeting {
    let buffered = if holders == 0 { waiting.saturating_sub(1) } else { waiting };
    match policy {
        _ if holders + waiting == 0 => Meeting::Start,
        OverlapPolicy::AllowAll => Meeting::Start,
        OverlapPolicy::BufferOne if buffered == 0 => Meeting::Wait,
        OverlapPolicy::Skip | OverlapPolicy::BufferOne => Meeting::Skip,
        OverlapPolicy::BufferAll if buffered < BUFFERED_MAX => Meeting::Wait,
        OverlapPolicy::BufferAll => Meeting::Full,
        OverlapPolicy::CancelOther => Meeting::Replace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of docs/contract.md, section 5.
    #[test]
    fn the_newcomers_policy_decides() {
        use Meeting::{Full, Replace, Skip, Start, Wait};
        for (policy, none, live, one_buffered, full) in [
            (OverlapPolicy::Skip, Start, Skip, Skip, Skip),
            (OverlapPolicy::BufferOne, Start, Wait, Skip, Skip),
            (OverlapPolicy::BufferAll, Start, Wait, Wait, Full),
            (OverlapPolicy::CancelOther, Start, Replace, Replace, Replace),
            (OverlapPolicy::AllowAll, Start, Start, Start, Start),
        ] {
            assert_eq!(meet(policy, 0, 0), none, "{policy:?}");
            // The first of a key may not have run yet: it is the live one all the same.
            for (holders, first) in [(1, 0), (0, 1)] {
                assert_eq!(meet(policy, holders, first), live, "{policy:?}");
                assert_eq!(meet(policy, holders, first + 1), one_buffered, "{policy:?}");
                assert_eq!(meet(policy, holders, first + 99), if full == Full { Wait } else { full });
                assert_eq!(meet(policy, holders, first + 100), full, "{policy:?}");
            }
            // Many run beside each other, none waits.
            assert_eq!(meet(policy, 200, 0), live, "{policy:?}");
        }
    }
}
