//! What is deleted, and when.

use super::{
    fixture::{
        batch::{BODIES_KEPT_S, inline, numbered, requested},
        outcome, price,
        recording::Group,
    },
    harness::Harness,
};
use crate::domain::batch::State;

const BODIES: &str = "SELECT content_type FROM kept_bodies";

async fn bodies(h: &Harness) -> usize {
    h.texts(BODIES).await.len()
}

pub(super) async fn bodies_go_when_their_time_is_over_and_not_before(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a", "b"])).await;
    let slice = h.claim(&batch).await;
    h.record(
        &batch,
        Group::new()
            .with_bodies()
            .keep(&slice)
            .add_all(&slice, &outcome::success_with(price::closes(0, &[1.0]))),
    )
    .await;
    assert_eq!(bodies(&h).await, 2);
    h.pass(BODIES_KEPT_S - 1);
    assert_eq!(h.purge(h.now).await.unwrap(), 0);
    h.pass(1);
    assert_eq!(h.purge(h.now).await.unwrap(), 2);
    assert_eq!(bodies(&h).await, 0);
    assert_eq!(h.purge(h.now).await.unwrap(), 0);
    assert_eq!(h.read(&batch).await.counts.succeeded, 2);
    assert_eq!(
        h.texts("SELECT code FROM stock_prices ORDER BY code").await,
        ["a", "b"],
        "records outlive their batch"
    );
}

pub(super) async fn bodies_of_a_live_batch_stay(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a", "b"])).await;
    let slice = h.claim(&batch).await;
    h.record(
        &batch,
        Group::new().with_bodies().release(&slice).add(
            &slice,
            0,
            outcome::success_with(price::closes(0, &[])),
        ),
    )
    .await;
    h.pass(100 * BODIES_KEPT_S);
    assert_eq!(h.purge(h.now).await.unwrap(), 0);
    h.pause(&batch).await;
    h.pass(100 * BODIES_KEPT_S);
    assert_eq!(h.purge(h.now).await.unwrap(), 0);
    assert_eq!(h.stop(&batch).await.state, State::Stopped);
    h.pass(BODIES_KEPT_S);
    assert_eq!(h.purge(h.now).await.unwrap(), 1);
}

/// Most rows of one bite: a commit must not wait long behind it.
const BITE_MAX: u64 = 1_000;

pub(super) async fn one_bite_is_bounded(mut h: Harness) {
    let batch = h.start(numbered("batch-a", 1_500)).await;
    for _ in 0..15 {
        let slice = h.claim(&batch).await;
        h.record(
            &batch,
            Group::new()
                .with_bodies()
                .keep(&slice)
                .add_all(&slice, &outcome::success_with(price::closes(0, &[]))),
        )
        .await;
    }
    assert_eq!(bodies(&h).await, 1_500);
    h.pass(BODIES_KEPT_S);
    let mut bites = Vec::new();
    loop {
        match h.purge(h.now).await.unwrap() {
            0 => break,
            rows => bites.push(rows),
        }
    }
    assert_eq!(bites.iter().sum::<u64>(), 1_500);
    assert!(bites.iter().all(|rows| *rows <= BITE_MAX), "{bites:?}");
    assert_eq!(bodies(&h).await, 0);
}

pub(super) async fn request_ids_go_when_they_are_forgotten(mut h: Harness) {
    h.bound(2_000, 2_000).await;
    let live = h.start(requested(inline("live", &["a"]), "live", 1, h.after(60))).await;
    for n in 0..1_100 {
        // Zero items: over at once.
        h.start(requested(inline(&format!("over-{n}"), &[]), &format!("over-{n}"), 1, h.after(60))).await;
    }
    h.start(requested(inline("later", &[]), "later", 1, h.after(61))).await;
    h.pass(60);
    let mut forgotten = 0;
    loop {
        match h.purge(h.now).await.unwrap() {
            0 => break,
            rows => {
                assert!(rows <= BITE_MAX, "{rows}");
                forgotten += rows;
            }
        }
    }
    assert_eq!(forgotten, 1_100);
    assert_eq!(h.texts("SELECT request_id FROM requests ORDER BY 1").await, ["later", "live"]);
    h.stop(&live).await;
    h.pass(1);
    assert_eq!(h.purge(h.now).await.unwrap(), 2);
}
