//! What readers see of attempts.

use chrono::TimeDelta;

use super::{
    fixture::{
        batch::{inline, redecoding},
        outcome,
        recording::{BYTES, Group},
    },
    harness::Harness,
};
use crate::{
    domain::{
        batch::Batch,
        item::{AttemptOutcome, PastAttempt},
    },
    store::AttemptQuery,
};

fn all(limit: usize) -> AttemptQuery {
    AttemptQuery { after: (0, 0), last_index: None, limit, running: Vec::new() }
}

async fn told(h: &Harness, batch: &Batch) -> Vec<PastAttempt> {
    h.attempts(batch.seq, &all(100)).await.unwrap()
}

fn shown(attempts: &[PastAttempt]) -> Vec<(&str, u32, AttemptOutcome, bool, u32)> {
    let shown = |attempt: &PastAttempt| -> (u32, AttemptOutcome, bool, u32) {
        (attempt.number, attempt.outcome, attempt.is_charged, attempt.requests)
    };
    let with_key = attempts.iter().map(|attempt| {
        let (number, outcome, charged, requests) = shown(attempt);
        (attempt.key.as_str(), number, outcome, charged, requests)
    });
    with_key.collect()
}

pub(super) async fn every_attempt_is_told_by_index_then_number(mut h: Harness) {
    use AttemptOutcome::{Failed, Released, Succeeded};
    let batch = h.start(inline("batch-a", &["a", "b", "c", "d", "e"])).await;
    assert_eq!(told(&h, &batch).await, []);
    let slice = h.claim(&batch).await;
    let group = Group::new()
        .keep(&slice)
        .with_bodies()
        .add(&slice, 0, outcome::success())
        .add(&slice, 1, outcome::temporary())
        .add(&slice, 2, outcome::push_back(5))
        .add(&slice, 3, outcome::permanent("NOT_FOUND", 404));
    h.record(&batch, group).await;
    let first_at = h.now;
    h.record(&batch, Group::new().release(&slice).add_unsent(&slice, 4, outcome::released(None))).await;
    h.pass(60);
    let again = h.claim(&batch).await;
    let group = Group::new()
        .release(&again)
        .add(&again, 0, outcome::success())
        .add(&again, 1, outcome::released(None))
        .add(&again, 2, outcome::success());
    h.record(&batch, group).await;
    let attempts = told(&h, &batch).await;
    let expected = [
        ("a", 1, Succeeded, true, 1),
        ("b", 1, Failed, true, 1),
        ("b", 2, Succeeded, true, 1),
        ("c", 1, Failed, false, 1),
        ("c", 2, Released, false, 1),
        ("d", 1, Failed, true, 1),
        ("e", 1, Succeeded, true, 1),
    ];
    assert_eq!(shown(&attempts), expected, "what was never sent is none");
    for attempt in &attempts {
        let ended_at =
            if ["a", "d"].contains(&attempt.key.as_str()) || attempt.number == 1 && attempt.key != "e" {
                first_at
            } else {
                h.now
            };
        assert_eq!(attempt.ended_at, Some(ended_at), "{attempt:?}");
        assert_eq!(attempt.started_at, Some(ended_at - TimeDelta::seconds(1)), "{attempt:?}");
        assert_eq!((attempt.bytes_received, attempt.node.as_str()), (BYTES, h.node.as_str()));
        assert_eq!(attempt.failure.is_some(), attempt.outcome == Failed, "{attempt:?}");
    }
    let statuses: Vec<_> = attempts.iter().map(|attempt| attempt.http_status.unwrap_or(0)).collect();
    assert_eq!(statuses, [200, 502, 200, 429, 0, 404, 200]);
    assert_eq!(attempts[3].failure.as_ref().unwrap().reason, "HTTP_429");

    for limit in 1..=attempts.len() + 1 {
        let (mut pages, mut query) = (Vec::new(), all(limit));
        loop {
            let page = h.attempts(batch.seq, &query).await.unwrap();
            let Some(last) = page.last() else { break };
            query.after = (last.index, last.number.into());
            pages.extend(page);
        }
        assert_eq!(pages, attempts, "by {limit}");
    }
    let of_c = AttemptQuery { after: (2, 0), last_index: Some(2), ..all(100) };
    assert_eq!(h.attempts(batch.seq, &of_c).await.unwrap(), attempts[3..5]);

    h.stop(&batch).await;
    let child = h.start(redecoding("batch-b", &batch)).await;
    let lease = h.read_source(&child).await;
    h.page(&child, &lease, super::fixture::page::keys(&["a"], None)).await;
    let slice = h.claim(&child).await;
    let group = Group::new().release(&slice).redecoded(h.now).add_unsent(&slice, 0, outcome::success());
    h.record(&child, group).await;
    assert_eq!(shown(&told(&h, &child).await), [("a", 1, Succeeded, true, 0)], "nothing was sent for it");
}

pub(super) async fn a_running_attempt_follows_the_recorded_ones(mut h: Harness) {
    use AttemptOutcome::{Failed, Running, Succeeded};
    let batch = h.start(inline("batch-a", &["a", "b", "c"])).await;
    let running = AttemptQuery { running: vec![0, 1, 2], ..all(100) };
    assert_eq!(h.attempts(batch.seq, &running).await.unwrap(), [], "nobody has leased them");
    let slice = h.claim(&batch).await;
    let group =
        Group::new().keep(&slice).add(&slice, 0, outcome::success()).add(&slice, 1, outcome::temporary());
    h.record(&batch, group).await;
    let attempts = h.attempts(batch.seq, &running).await.unwrap();
    let expected = [
        ("a", 1, Succeeded, true, 1),
        ("b", 1, Failed, true, 1),
        ("b", 2, Running, false, 0),
        ("c", 1, Running, false, 0),
    ];
    assert_eq!(shown(&attempts), expected);
    assert_eq!((attempts[2].started_at, attempts[2].ended_at), (None, None));
    assert_eq!(attempts[3].node, h.node.as_str());
    let behind = AttemptQuery { after: (1, 1), limit: 1, ..running };
    assert_eq!(h.attempts(batch.seq, &behind).await.unwrap(), attempts[2..3]);
    h.pass(60);
    h.stop(&batch).await;
    assert_eq!(shown(&h.attempts(batch.seq, &behind).await.unwrap()), []);
}

pub(super) async fn keys_have_their_index(h: Harness) {
    let batch = h.start(inline("batch-a", &["a", "b", "a", "c"])).await;
    let other = h.start(inline("batch-b", &["c"])).await;
    assert_eq!(h.item_index(batch.seq, "c").await.unwrap(), Some(2));
    assert_eq!(h.item_index(other.seq, "c").await.unwrap(), Some(0));
    assert_eq!(h.item_index(other.seq, "a").await.unwrap(), None);
}
