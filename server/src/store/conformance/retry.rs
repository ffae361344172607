//! Children that fetch again what did not succeed.

use super::{
    fixture::{
        batch::{inline, redecoding, retrying},
        outcome, page,
        recording::Group,
    },
    harness::Harness,
};
use crate::{
    domain::{
        batch::{Batch, Kind, State},
        filter::{Filter, RETRIED},
        item::Item,
    },
    store::{CreateError, ItemQuery, NewBatch},
};

/// A stopped batch with an item of every end: succeeded, gone for good, failed for now, canceled.
async fn ended(h: &Harness, id: &str) -> Batch {
    let batch = h.start(inline(id, &["ok", "gone", "weak", "open"])).await;
    for _ in 0..3 {
        let slice = h.claim(&batch).await;
        let place = |key: &str| slice.items.iter().position(|item| item.key == key);
        let mut group =
            Group::new().release(&slice).add(&slice, place("weak").unwrap(), outcome::temporary());
        if let (Some(ok), Some(gone)) = (place("ok"), place("gone")) {
            group = group.add(&slice, ok, outcome::success());
            group = group.add(&slice, gone, outcome::permanent("NOT_FOUND", 404));
        }
        h.record(&batch, group).await;
    }
    let stopped = h.stop(&batch).await;
    let counts = &stopped.counts;
    assert_eq!((counts.succeeded, counts.failed, counts.canceled), (1, 2, 1));
    stopped
}

async fn refused(h: &Harness, new: NewBatch) -> CreateError {
    h.create_batch(new, h.now).await.unwrap_err()
}

async fn taken(h: &Harness, parent: &Batch, filter: &str) -> Vec<String> {
    let query = ItemQuery { filter: Filter::retried(filter).unwrap(), from: 0, limit: 100 };
    let items = h.list_items(parent.seq, &query, h.now).await.unwrap();
    items.into_iter().map(|item: Item| item.key).collect()
}

pub(super) async fn a_retry_says_what_it_was_made_from(h: Harness) {
    let parent = ended(&h, "parent").await;
    let child = h.start(retrying("child", &parent, RETRIED)).await;
    assert_eq!((child.kind, child.parent()), (Kind::Retry { parent: parent.seq }, Some(&parent.id)));
    assert_eq!(
        (child.state, child.expanded),
        (State::Running, false),
        "its items are read like any source's"
    );
    assert_eq!(h.children(parent.seq, 10).await.unwrap(), std::slice::from_ref(&child.id));
    assert_eq!(h.read(&parent).await, parent, "the parent stays as it is");
}

pub(super) async fn there_must_be_something_to_fetch_again(h: Harness) {
    let live = h.start(inline("live", &["a"])).await;
    let error = refused(&h, retrying("child", &live, RETRIED)).await;
    assert!(matches!(error, CreateError::ParentNotTerminal { state: State::Running, .. }), "{error:?}");
    let slice = h.claim(&live).await;
    let done = h.record(&live, Group::new().keep(&slice).add(&slice, 0, outcome::success())).await.batch;
    for filter in [RETRIED, "", "state = SUCCEEDED", "key = a"] {
        let error = refused(&h, retrying("child", &done, filter)).await;
        assert!(matches!(error, CreateError::NoFailedItems(id) if id == done.id), "{filter}");
    }
    let error = refused(&h, retrying("live", &done, RETRIED)).await;
    assert!(matches!(error, CreateError::BatchExists(_)), "a name that is taken is found first: {error:?}");
}

pub(super) async fn what_succeeded_is_never_taken(h: Harness) {
    let parent = ended(&h, "parent").await;
    for (filter, expected) in [
        (RETRIED, vec!["weak", "open"]),
        ("", vec!["gone", "weak", "open"]),
        ("state = FAILED", vec!["gone", "weak"]),
        ("error.reason = NOT_FOUND OR key = ok", vec!["gone"]),
        ("state = SUCCEEDED", vec![]),
    ] {
        assert_eq!(taken(&h, &parent, filter).await, expected, "{filter:?}");
        let made = h.check_batch(&retrying("child", &parent, filter), h.now).await;
        assert_eq!(made.is_ok(), !expected.is_empty(), "{filter:?}: {made:?}");
    }
}

pub(super) async fn a_retry_of_a_retry_is_one(h: Harness) {
    let parent = ended(&h, "parent").await;
    let child = h.start(retrying("child", &parent, RETRIED)).await;
    let lease = h.read_source(&child).await;
    h.page(&child, &lease, page::keys(&["weak", "open"], None)).await;
    let slice = h.claim(&child).await;
    h.record(&child, Group::new().release(&slice).add(&slice, 0, outcome::success())).await;
    let child = h.stop(&child).await;
    assert_eq!(taken(&h, &child, RETRIED).await, ["open"]);
    let grandchild = h.start(retrying("grandchild", &child, RETRIED)).await;
    assert_eq!(grandchild.parent(), Some(&child.id));
    assert_eq!(h.children(parent.seq, 10).await.unwrap(), [child.id]);
}

pub(super) async fn a_retry_has_bodies_of_its_own(h: Harness) {
    let parent = ended(&h, "parent").await;
    let child = h.start(retrying("child", &parent, RETRIED)).await;
    let lease = h.read_source(&child).await;
    h.page(&child, &lease, page::keys(&["weak"], None)).await;
    let without = h.stop(&child).await;
    let error = refused(&h, redecoding("again", &without)).await;
    assert!(matches!(error, CreateError::NoKeptBodies { origin: None, .. }), "{error:?}");

    let child = h.start(retrying("child-b", &parent, RETRIED)).await;
    let lease = h.read_source(&child).await;
    h.page(&child, &lease, page::keys(&["weak"], None)).await;
    let slice = h.claim(&child).await;
    let done = Group::new().with_bodies().keep(&slice).add(&slice, 0, outcome::success());
    let child = h.record(&child, done).await.batch;
    assert_eq!(child.state, State::Completed);
    let again = h.start(redecoding("again", &child)).await;
    assert_eq!(again.kind, Kind::Redecode { parent: child.seq });
}
