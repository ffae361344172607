//! The order in which items become final.

use super::{
    fixture::{
        batch::{filed, inline, numbered},
        outcome, page, price,
        recording::Group,
    },
    harness::Harness,
};
use crate::domain::{
    batch::Batch,
    item::{NewItem, State},
};

/// Keys and states behind a number.
async fn told(h: &Harness, batch: &Batch, after: i64, limit: usize) -> Vec<(i64, String, State)> {
    let results = h.results(batch.seq, after, limit).await.unwrap();
    results.into_iter().map(|(no, item)| (no, item.key, item.state)).collect()
}

fn expected(of: &[(i64, &str, State)]) -> Vec<(i64, String, State)> {
    of.iter().map(|(no, key, state)| (*no, (*key).to_owned(), *state)).collect()
}

pub(super) async fn results_come_in_the_order_in_which_they_became_final(mut h: Harness) {
    let batch = h.start(filed("batch-a")).await;
    let lease = h.read_source(&batch).await;
    let skipped = NewItem { skip_reason: Some("NO_KEPT_BODY"), ..NewItem::keyed("s") };
    let items = ["a", "b", "c", "d"].map(NewItem::keyed);
    let page = page::items(items.into_iter().chain([skipped]).collect(), Some("next"));
    h.page(&batch, &lease, page).await;
    assert_eq!(told(&h, &batch, 0, 10).await, expected(&[(1, "s", State::Skipped)]), "known from the start");

    let slice = h.claim(&batch).await;
    let group = Group::new()
        .keep(&slice)
        .add(&slice, 2, outcome::success())
        .add(&slice, 1, outcome::temporary())
        .add(&slice, 0, outcome::success_with(price::refused()));
    h.record(&batch, group).await;
    let group = Group::new().release(&slice).add(&slice, 3, outcome::permanent("GONE", 410));
    h.record(&batch, group).await;
    h.page(&batch, &lease, page::keys(&["e"], None)).await;
    h.reopen().await;
    h.stop(&batch).await;
    let all = [
        (1, "s", State::Skipped),
        // In the order of the commit; what the store refuses has its place too, and what is open none.
        (2, "c", State::Succeeded),
        (3, "a", State::Failed),
        (4, "d", State::Failed),
        (5, "b", State::Canceled),
        (6, "e", State::Canceled),
    ];
    assert_eq!(told(&h, &batch, 0, 10).await, expected(&all));
    assert_eq!(told(&h, &batch, 2, 3).await, expected(&all[2..5]));
    assert_eq!(told(&h, &batch, 6, 10).await, []);
    assert_eq!(told(&h, &batch, i64::MAX, 10).await, []);
}

pub(super) async fn what_is_canceled_comes_slice_by_slice(h: Harness) {
    let batch = h.start(numbered("batch-a", 250)).await;
    let held = h.claim(&batch).await;
    let other = h.claim(&batch).await;
    h.record(&batch, Group::new().release(&other).add(&other, 7, outcome::success())).await;
    h.stop(&batch).await;
    let states = told(&h, &batch, 0, 1_000).await;
    assert_eq!(states.len(), 1 + 99 + 50, "what is held is not canceled yet");
    assert_eq!(states[0], (1, "0107".to_owned(), State::Succeeded));
    assert_eq!(states[1], (2, "0100".to_owned(), State::Canceled));
    assert_eq!(states[8], (9, "0108".to_owned(), State::Canceled));
    assert_eq!(states[100], (101, "0200".to_owned(), State::Canceled));
    // What was under way ends behind it, and takes the rest of its slice along.
    let group =
        Group::new().release(&held).add(&held, 99, outcome::success()).add(&held, 50, outcome::success());
    h.record(&batch, group).await;
    let late = told(&h, &batch, 150, 1_000).await;
    assert_eq!(late.len(), 100);
    let first =
        [(151, "0099", State::Succeeded), (152, "0050", State::Succeeded), (153, "0000", State::Canceled)];
    assert_eq!(late[..3], expected(&first));
    assert_eq!(late[99], (250, "0098".to_owned(), State::Canceled));
}

pub(super) async fn results_of_many_slices_are_read_from_anywhere(h: Harness) {
    let batch = h.start(numbered("batch-a", 450)).await;
    let other = h.start(inline("batch-b", &["x"])).await;
    while h.items(&batch).await.iter().any(|item| item.state == State::Pending) {
        let slice = h.claim(&batch).await;
        for places in [0..7, 7..slice.items.len().min(95)] {
            let group = places
                .rev()
                .fold(Group::new().keep(&slice), |group, place| group.add(&slice, place, outcome::success()));
            h.record(&batch, group).await;
        }
    }
    h.stop(&other).await;
    let all = h.results(batch.seq, 0, 10_000).await.unwrap();
    assert_eq!(all.len(), 4 * 95 + 50);
    for (after, limit) in [(0, 1), (3, 10), (6, 1), (100, 250), (299, 1_000), (429, 5), (430, 5)] {
        let page = h.results(batch.seq, after, limit).await.unwrap();
        let from = after as usize;
        assert_eq!(page, all[from..all.len().min(from + limit)], "{limit} after {after}");
    }
}
