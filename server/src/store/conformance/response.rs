//! Replies as they came, a row each in `responses`.

use super::{
    fixture::{
        batch::{inline, redecoding},
        outcome, page,
        recording::Group,
        response::{of_day, records},
    },
    harness::Harness,
};
use crate::{
    domain::{
        batch::{Batch, State},
        datum::StoredResponse,
        failure::FailureClass,
        item::{self, NewItem, Outcome},
        request::Method,
    },
    store::ItemQuery,
};

/// Each row as somebody at the database sees it, with who wrote it.
const ROWS: &str = "
    SELECT item_key || ' ' || (as_of_at / 86400000 - 20000) || ' ' || method || ' ' || url || ' ' || http_status || ' '
      || size_bytes || ' ' || coalesce(CAST(body AS TEXT), '-') || ' ' || (SELECT name FROM batch_executions WHERE seq = batch_seq)
    FROM responses ORDER BY item_key, as_of_at, method, url";

async fn fetched(h: &Harness, id: &str, key: &str, response: StoredResponse) -> Batch {
    let batch = h.start(inline(id, &[key])).await;
    let slice = h.claim(&batch).await;
    let group = Group::new().with_bodies().keep(&slice);
    h.record(&batch, group.add(&slice, 0, outcome::success_with(records(response)))).await.batch
}

async fn changed(h: &Harness, id: &str, key: &str, response: StoredResponse) -> i64 {
    let batch = fetched(h, id, key, response).await;
    let item = h.items(&batch).await.remove(0);
    assert_eq!((item.state, item.records_written, batch.counts.records), (item::State::Succeeded, 1, 1));
    item.records_changed
}

pub(super) async fn a_reply_is_a_row_per_key_day_method_and_url(h: Harness) {
    assert_eq!(changed(&h, "first", "a", of_day(0, "old")).await, 0);
    assert_eq!(changed(&h, "same", "a", of_day(0, "old")).await, 0);
    assert_eq!(changed(&h, "again", "a", of_day(0, "newer")).await, 1);
    assert_eq!(changed(&h, "next-day", "a", of_day(1, "old")).await, 0);
    assert_eq!(changed(&h, "other-key", "b", of_day(0, "old")).await, 0);
    let elsewhere = StoredResponse { url: "http://h.test/y".to_owned(), ..of_day(0, "old") };
    assert_eq!(changed(&h, "other-url", "a", elsewhere).await, 0);
    let head = StoredResponse { method: Method::Head, ..of_day(0, "") };
    assert_eq!(changed(&h, "other-method", "a", head).await, 0);
    assert_eq!(
        h.texts(ROWS).await,
        [
            "a 0 GET http://h.test/x 200 5 newer again",
            "a 0 GET http://h.test/y 200 3 old other-url",
            "a 0 HEAD http://h.test/x 200 0  other-method",
            "a 1 GET http://h.test/x 200 3 old next-day",
            "b 0 GET http://h.test/x 200 3 old other-key",
        ]
    );
}

pub(super) async fn a_reply_may_be_told_of_without_its_body(h: Harness) {
    let told = || StoredResponse { zstd: None, ..of_day(0, "much") };
    assert_eq!(changed(&h, "told", "a", told()).await, 0);
    assert_eq!(changed(&h, "told-again", "a", told()).await, 0);
    assert_eq!(h.texts(ROWS).await, ["a 0 GET http://h.test/x 200 4 - told-again"]);
    // The same reply, with its body now.
    assert_eq!(changed(&h, "stored", "a", of_day(0, "much")).await, 1);
    let other_status = StoredResponse { http_status: 203, ..of_day(0, "much") };
    assert_eq!(changed(&h, "other-status", "a", other_status).await, 1);
    assert_eq!(h.texts(ROWS).await, ["a 0 GET http://h.test/x 203 4 much other-status"]);
}

pub(super) async fn a_reply_that_is_refused_fails_its_item_and_no_other(h: Harness) {
    let batch = h.start(inline("batch-a", &["a", "b", "c"])).await;
    let slice = h.claim(&batch).await;
    let refused = StoredResponse { size_bytes: -1, ..of_day(0, "x") };
    let group = Group::new()
        .keep(&slice)
        .add(&slice, 0, outcome::success_with(records(of_day(0, "x"))))
        .add(&slice, 1, outcome::success_with(records(refused)))
        .add(&slice, 2, outcome::success_with(records(of_day(0, "x"))));
    let committed = h.record(&batch, group).await;
    assert_eq!((committed.rejected, committed.batch.counts.succeeded), (vec![1], 2));
    let failure = h.items(&batch).await.remove(1).failure.unwrap();
    assert_eq!((failure.class, failure.reason.as_str()), (FailureClass::Permanent, "ROW_REJECTED"));
    assert_eq!(h.texts("SELECT item_key FROM responses ORDER BY 1").await, ["a", "c"]);
}

/// Decodes the only body of a batch anew, to this.
async fn redecoded(h: &Harness, id: &str, parent: &Batch, outcome: Outcome) -> item::Item {
    let batch = h.start(redecoding(id, parent)).await;
    let lease = h.read_source(&batch).await;
    let items = h.kept_items(parent.seq, &ItemQuery::all(0, 100)).await.unwrap();
    let fetched_at = h.kept_body(parent.seq, &items[0].key).await.unwrap().expect("it is kept").fetched_at;
    let items = items.into_iter().map(|item| NewItem::keyed(item.key)).collect();
    let batch = h.page(&batch, &lease, page::items(items, None)).await.batch;
    let slice = h.claim(&batch).await;
    let group = Group::new().redecoded(fetched_at).keep(&slice).add_unsent(&slice, 0, outcome);
    assert_eq!(h.record(&batch, group).await.batch.state, State::Completed);
    h.items(&batch).await.remove(0)
}

pub(super) async fn what_is_decoded_anew_takes_its_parents_place_and_leaves_later_rows_alone(mut h: Harness) {
    let success = |body| outcome::success_with(records(of_day(0, body)));
    let parent = fetched(&h, "parent", "a", of_day(0, "old")).await;
    fetched(&h, "beside", "a", of_day(1, "other day")).await;
    let item = redecoded(&h, "child", &parent, success("new")).await;
    assert_eq!(item.records_written, 1);
    let beside = "a 1 GET http://h.test/x 200 9 other day beside";
    assert_eq!(h.texts(ROWS).await, ["a 0 GET http://h.test/x 200 3 new child", beside]);
    // It holds nothing after all.
    redecoded(&h, "second-child", &parent, outcome::permanent("UNDECODABLE", 200)).await;
    assert_eq!(h.texts(ROWS).await, [beside]);
    h.pass(60);
    fetched(&h, "later", "a", of_day(0, "later")).await;
    let item = redecoded(&h, "third-child", &parent, success("late")).await;
    assert_eq!((item.records_written, item.records_changed), (0, 0));
    assert_eq!(h.texts(ROWS).await, ["a 0 GET http://h.test/x 200 5 later later", beside]);
}
