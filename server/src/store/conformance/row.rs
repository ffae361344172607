//! Records: rows of datasets, written with the outcome that they belong to.

use super::{
    fixture::{
        batch::{inline, numbered},
        outcome, price,
        recording::Group,
    },
    harness::Harness,
};
use crate::domain::{batch::State, datum::Records, failure::FailureClass, item};

/// Each bar as somebody at the database sees it.
const BARS: &str = "SELECT code || ' ' || session_date || ' ' || close FROM stock_prices ORDER BY code, ts";

/// Fetches one key in a batch of its own.
async fn fetch(h: &Harness, batch: &str, key: &str, records: Records) -> item::Item {
    let batch = h.start(inline(batch, &[key])).await;
    let slice = h.claim(&batch).await;
    h.record(&batch, Group::new().keep(&slice).add(&slice, 0, outcome::success_with(records))).await;
    h.items(&batch).await.remove(0)
}

pub(super) async fn a_row_is_written_once_per_key(h: Harness) {
    for batch in ["batch-a", "batch-b"] {
        let item = fetch(&h, batch, "7203", price::closes(0, &[1.5, 2.5])).await;
        assert_eq!((item.records_written, item.records_changed), (2, 0));
    }
    fetch(&h, "batch-c", "6758", price::closes(0, &[9.5])).await;
    assert_eq!(h.texts(BARS).await, ["6758 2026-02-24 9.5", "7203 2026-02-24 1.5", "7203 2026-02-25 2.5"]);
}

pub(super) async fn a_change_is_counted_and_kept(h: Harness) {
    fetch(&h, "batch-a", "7203", price::closes(0, &[1.5, 2.5, 3.5])).await;
    let item = fetch(&h, "batch-b", "7203", price::closes(1, &[2.5, 8.5, 4.5])).await;
    assert_eq!((item.records_written, item.records_changed), (3, 1));
    let bars = h.texts(BARS).await;
    assert_eq!(
        bars,
        ["7203 2026-02-24 1.5", "7203 2026-02-25 2.5", "7203 2026-02-26 8.5", "7203 2026-02-27 4.5"]
    );
    let writers = h
        .texts(
            "SELECT b.name FROM stock_prices p JOIN batch_executions b ON b.seq = p.batch_seq ORDER BY p.code, p.ts",
        )
        .await;
    assert_eq!(writers, ["batch-a", "batch-b", "batch-b", "batch-b"]);
    // Many bars take more than one statement.
    let many: Vec<f64> = (0..333).map(f64::from).collect();
    assert_eq!(fetch(&h, "batch-c", "1301", price::closes(0, &many)).await.records_written, 333);
    let again: Vec<f64> = (0..333).map(|n| f64::from(n) + f64::from(n % 10 == 0)).collect();
    assert_eq!(fetch(&h, "batch-d", "1301", price::closes(0, &again)).await.records_changed, 34);
}

pub(super) async fn a_change_of_what_stands_beside_the_values_is_counted(h: Harness) {
    let changed =
        async |batch: &str, records: Records| fetch(&h, batch, "7203", records).await.records_changed;
    assert_eq!(changed("batch-a", price::closes(0, &[1.5, 2.5])).await, 0);
    assert_eq!(changed("batch-b", price::in_currency("USD", price::closes(0, &[1.5, 2.5]))).await, 2);
    assert_eq!(changed("batch-c", price::in_currency("USD", price::closes(0, &[1.5, 2.5]))).await, 0);
    assert_eq!(changed("batch-d", price::events(12.5)).await, 0);
    assert_eq!(changed("batch-e", price::in_currency("USD", price::events(12.5))).await, 2);
    // A bar that was provisional and is not any more, with the same prices.
    let mut growing = price::prices(price::closes(5, &[1.5]));
    growing.prices[0].provisional = true;
    assert_eq!(changed("batch-f", Records::PriceHistory(growing)).await, 0);
    assert_eq!(changed("batch-g", price::closes(5, &[1.5])).await, 1);
}

pub(super) async fn a_bar_takes_the_place_of_what_was_provisional_in_its_period(h: Harness) {
    // The bar begins on 2026-02-24: the last day of its period.
    for (interval, last, next) in [
        ("1h", 0, "2026-02-25"),
        ("1d", 0, "2026-02-25"),
        ("5d", 6, "2026-03-03"),
        ("1wk", 6, "2026-03-03"),
        ("1mo", 4, "2026-03-01"),
        ("3mo", 65, "2026-05-01"),
    ] {
        let of = |records| price::of_length(interval, records);
        fetch(&h, &format!("{interval}-1"), interval, of(price::unsettled(last, &[8.5]))).await;
        fetch(&h, &format!("{interval}-2"), interval, of(price::unsettled(last + 1, &[9.5]))).await;
        fetch(&h, &format!("{interval}-3"), interval, of(price::closes(0, &[1.5]))).await;
        let bars: Vec<String> =
            h.texts(BARS).await.into_iter().filter(|bar| bar.starts_with(&format!("{interval} "))).collect();
        let expected = [format!("{interval} 2026-02-24 1.5"), format!("{interval} {next} 9.5")];
        assert_eq!(bars, expected, "the next period's stays");
    }
}

pub(super) async fn events_are_rows_too(h: Harness) {
    let first = fetch(&h, "batch-a", "7203", price::events(12.5)).await;
    assert_eq!((first.records_written, first.records_changed), (2, 0));
    let second = fetch(&h, "batch-b", "7203", price::events(12.5)).await;
    assert_eq!((second.records_written, second.records_changed), (2, 0));
    let third = fetch(&h, "batch-c", "7203", price::events(13.5)).await;
    assert_eq!((third.records_written, third.records_changed), (2, 1));
    let events =
        h.texts("SELECT kind || ' ' || coalesce(amount, numerator) FROM stock_events ORDER BY kind").await;
    assert_eq!(events, ["DIVIDEND 13.5", "SPLIT 2.5"]);
}

pub(super) async fn what_was_left_out_is_told_of_the_latest_outcome(h: Harness) {
    const LEFT_OUT: &str = "SELECT stock_code || ' ' || rows_left_out FROM batch_items ORDER BY item_index";
    let batch = h.start(inline("batch-a", &["a", "b", "c"])).await;
    let slice = h.claim(&batch).await;
    let group = Group::new()
        .keep(&slice)
        .add(&slice, 0, outcome::success_with(price::with_left_out(price::closes(0, &[1.5]))))
        .add(&slice, 1, outcome::success())
        .add(&slice, 2, outcome::temporary());
    h.record(&batch, group).await;
    assert_eq!(h.texts(LEFT_OUT).await, [format!("a {}", price::LEFT_OUT), "b 0".into(), "c 0".into()]);
}

pub(super) async fn a_refused_row_fails_its_item_and_no_other(h: Harness) {
    let batch = h.start(inline("batch-a", &["a", "b", "c", "d"])).await;
    let slice = h.claim(&batch).await;
    let group = Group::new()
        .with_bodies()
        .keep(&slice)
        .add(&slice, 0, outcome::success_with(price::closes(0, &[1.5])))
        .add(&slice, 1, outcome::success_with(price::refused()))
        .add(&slice, 2, outcome::temporary())
        .add(&slice, 3, outcome::success_with(price::closes(0, &[4.5])));
    let committed = h.record(&batch, group).await;
    assert_eq!(committed.rejected, [1]);
    assert!(committed.fenced.is_empty());
    let counts = committed.batch.counts;
    assert_eq!((counts.succeeded, counts.failed, counts.records, counts.requests), (2, 1, 2, 4));
    assert_eq!(counts.failed_items_by_class, [0, 1, 0]);
    assert_eq!(counts.failed_attempts_by_class, [1, 1, 0]);

    let items = h.items(&batch).await;
    let refused = items[1].failure.as_ref().unwrap();
    assert_eq!((refused.class, refused.reason.as_str()), (FailureClass::Permanent, "ROW_REJECTED"));
    assert_eq!((items[1].state, items[1].records_written, items[1].attempts), (item::State::Failed, 0, 1));
    assert_eq!(items[2].state, item::State::Running);
    assert_eq!(
        h.texts(BARS).await,
        ["a 2026-02-24 1.5", "d 2026-02-24 4.5"],
        "not even its good row is there"
    );
    let bodies = "SELECT d.item_key FROM kept_bodies k JOIN batch_execution_details d
                  ON d.batch_seq = k.batch_seq AND d.item_index = k.item_index ORDER BY 1";
    assert_eq!(h.texts(bodies).await, ["a", "b", "d"], "a mended decoder will want to see it");
}

pub(super) async fn a_refused_row_keeps_fences_and_counts(mut h: Harness) {
    let batch = h.start(numbered("batch-a", 102)).await;
    let lost = h.claim(&batch).await;
    h.pass(15);
    let kept = h.claim(&batch).await;
    h.pass(15);
    h.claim(&batch).await;
    let group = Group::new()
        .keep(&lost)
        .keep(&kept)
        .add(&lost, 0, outcome::success_with(price::refused()))
        .add(&kept, 0, outcome::success_with(price::refused()))
        .add(&kept, 1, outcome::success_with(price::refused()));
    let committed = h.record(&batch, group).await;
    assert_eq!((committed.fenced, committed.rejected), (vec![lost.no], vec![100, 101]));
    assert_eq!(committed.batch.counts.failed, 2);
    // A batch may end that way.
    let alone = h.start(inline("batch-b", &["x"])).await;
    let slice = h.claim(&alone).await;
    let ended = h
        .record(&alone, Group::new().keep(&slice).add(&slice, 0, outcome::success_with(price::refused())))
        .await;
    assert_eq!(ended.batch.state, State::Completed);
    assert!(h.texts(BARS).await.is_empty());
}

pub(super) async fn what_is_fenced_writes_no_rows(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a"])).await;
    let slice = h.claim(&batch).await;
    h.pass(30);
    h.claim(&batch).await;
    let late = Group::new().keep(&slice).add(&slice, 0, outcome::success_with(price::closes(0, &[1.0])));
    assert_eq!(h.record(&batch, late).await.fenced, [slice.no]);
    assert!(h.texts(BARS).await.is_empty());
}
