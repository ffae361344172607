//! A clock that is set back.

use super::{
    fixture::{batch::numbered, outcome, recording::Group},
    harness::Harness,
};
use crate::{clock::SetBack, store::Claim};

pub(super) async fn who_waits_does_not_wait_for_a_clock_that_was_set_back(mut h: Harness) {
    let batch = h.start(numbered("batch-a", 300)).await;
    let (waits, due, held) = (h.claim(&batch).await, h.claim(&batch).await, h.claim(&batch).await);
    let fails = Group::new().add(&waits, 0, outcome::temporary()).park(&waits, h.after(20));
    h.record(&batch, fails.park(&due, h.after(-5))).await;
    let step = SetBack::between(h.now, h.after(-3_600)).unwrap();
    h.pass(-3_600);
    assert_eq!(h.ask(&batch).await, Claim { slice: None, ready_at: Some(h.after(3_595)) });
    h.set_back(step).await.unwrap();
    assert_eq!(h.claim(&batch).await.no, due.no);
    assert_eq!(h.ask(&batch).await, Claim { slice: None, ready_at: Some(h.after(20)) });
    h.pass(20);
    let again = h.claim(&batch).await;
    assert_eq!(again.no, waits.no);
    assert!(again.items[0].not_before.is_some_and(|at| at <= h.now), "{:?}", again.items[0]);
    // Leases last no longer either.
    h.pass(10);
    assert_eq!([h.claim(&batch).await.no, h.claim(&batch).await.no], [due.no, held.no]);
}
