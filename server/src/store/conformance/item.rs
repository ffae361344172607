//! What readers see of items, failures and leases.

use super::{
    fixture::{
        batch::{inline, numbered},
        outcome, price,
        recording::Group,
    },
    harness::Harness,
};
use crate::{
    domain::{failure::FailureClass, item::State, report::SAMPLE_KEYS_MAX},
    store::ItemQuery,
};

pub(super) async fn items_are_listed_by_index_from_anywhere(h: Harness) {
    let batch = h.start(numbered("batch-a", 250)).await;
    let page = h.list_items(batch.seq, &ItemQuery::all(98, 5), h.now).await.unwrap();
    let listed: Vec<_> = page.iter().map(|item| (item.index, item.key.as_str())).collect();
    assert_eq!(listed, [(98, "0098"), (99, "0099"), (100, "0100"), (101, "0101"), (102, "0102")]);
    assert_eq!(h.list_items(batch.seq, &ItemQuery::all(248, 5), h.now).await.unwrap().len(), 2);
    assert!(h.list_items(batch.seq, &ItemQuery::all(250, 5), h.now).await.unwrap().is_empty());
    let other = h.start(inline("batch-b", &["x"])).await;
    assert_eq!(h.items(&other).await.len(), 1);
}

pub(super) async fn running_and_canceled_are_worked_out(mut h: Harness) {
    use State::{Canceled, Pending, Running, Succeeded};
    let batch = h.start(inline("batch-a", &["a", "b", "c"])).await;
    assert_eq!(h.states(&batch).await, [Pending, Pending, Pending]);
    let slice = h.claim(&batch).await;
    assert_eq!(h.states(&batch).await, [Running, Running, Running]);
    let group =
        Group::new().keep(&slice).add(&slice, 0, outcome::success()).add(&slice, 1, outcome::temporary());
    h.record(&batch, group).await;
    assert_eq!(h.states(&batch).await, [Succeeded, Running, Running]);
    let items = h.items(&batch).await;
    assert_eq!(items[1].not_before, None, "it is not waiting while it is held");
    h.pass(30);
    assert_eq!(h.states(&batch).await, [Succeeded, Pending, Pending]);
    assert!(h.items(&batch).await[1].not_before.is_some());
    h.stop(&batch).await;
    assert_eq!(h.states(&batch).await, [Succeeded, Canceled, Canceled]);
    let items = h.items(&batch).await;
    assert_eq!(items[1].not_before, None);
    assert_eq!(items[1].failure.as_ref().unwrap().reason, "HTTP_5XX");
}

pub(super) async fn a_success_carries_its_reply(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a", "b"])).await;
    let slice = h.claim(&batch).await;
    let records = price::closes(0, &[1.0, 2.0, 3.0]);
    let group = Group::new().keep(&slice).add(&slice, 0, outcome::success_with(records)).add(
        &slice,
        1,
        outcome::push_back(5),
    );
    h.record(&batch, group).await;
    h.reopen().await;
    let items = h.items(&batch).await;
    assert_eq!(items[0].reply, Some(outcome::reply()));
    assert_eq!((items[0].records_written, items[0].failure.as_ref()), (3, None));
    assert_eq!(items[1].reply, None);
    let failure = items[1].failure.clone().unwrap();
    assert_eq!((failure.class, failure.http_status), (FailureClass::Temporary, Some(429)));
    assert_eq!(failure.retry_after, Some(std::time::Duration::from_secs(5)));
    assert_eq!(failure.message, "slower");
}

pub(super) async fn failures_are_grouped_most_frequent_first(h: Harness) {
    let batch = h.start(numbered("batch-a", 9)).await;
    assert!(h.failure_groups(batch.seq).await.unwrap().is_empty());
    let slice = h.claim(&batch).await;
    let kinds = [
        ("NOT_FOUND", 404),
        ("GONE", 410),
        ("NOT_FOUND", 404),
        ("GONE", 404),
        ("NOT_FOUND", 404),
        ("GONE", 410),
    ];
    let mut group =
        Group::new().keep(&slice).add(&slice, 8, outcome::success()).add(&slice, 7, outcome::temporary());
    for (place, (reason, status)) in kinds.into_iter().enumerate() {
        group = group.add(&slice, place, outcome::permanent(reason, status));
    }
    h.record(&batch, group).await;
    let groups: Vec<_> = h
        .failure_groups(batch.seq)
        .await
        .unwrap()
        .into_iter()
        .map(|group| (group.reason, group.http_status.unwrap(), group.items, group.sample_keys.join(" ")))
        .collect();
    let expected =
        [("NOT_FOUND", 404, 3, "0000 0002 0004"), ("GONE", 410, 2, "0001 0005"), ("GONE", 404, 1, "0003")];
    let expected =
        expected.map(|(reason, status, items, keys)| (reason.to_owned(), status, items, keys.to_owned()));
    assert_eq!(groups, expected, "what is still open is in none");
}

pub(super) async fn a_group_names_a_few_of_its_keys(h: Harness) {
    let batch = h.start(numbered("batch-a", 20)).await;
    let slice = h.claim(&batch).await;
    let mut group = Group::new().keep(&slice);
    for place in (0..20).rev() {
        group = group.add(&slice, place, outcome::permanent("NOT_FOUND", 404));
    }
    h.record(&batch, group).await;
    let groups = h.failure_groups(batch.seq).await.unwrap();
    assert_eq!((groups.len(), groups[0].items), (1, 20));
    assert_eq!(groups[0].sample_keys, ["0000", "0001", "0002", "0003", "0004"]);
    assert_eq!(groups[0].sample_keys.len(), SAMPLE_KEYS_MAX);
}

pub(super) async fn lost_leases_are_counted(mut h: Harness) {
    let batch = h.start(numbered("batch-a", 150)).await;
    h.claim(&batch).await;
    let other = h.claim(&batch).await;
    h.record(&batch, Group::new().release(&other)).await;
    h.pass(30);
    assert_eq!(h.lost(&batch).await, 0, "nobody has noticed yet");
    let again = h.claim(&batch).await;
    assert_eq!((again.no.0, h.lost(&batch).await), (0, 1));
    h.pass(30);
    h.stop(&batch).await;
    assert_eq!(h.lost(&batch).await, 2, "the one that ran out before the stop");
}
