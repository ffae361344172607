//! What need not be fetched: fetched already, known to be missing.

use std::time::Duration;

use chrono::TimeDelta;

use super::{
    fixture::{
        batch::{filed, inline, opened, redecoding, retrying},
        outcome, page, price,
        recording::Group,
    },
    harness::Harness,
};
use crate::{
    domain::{
        batch::{Batch, State},
        dataset::{Dataset, MissingKey, MissingPlace},
        failure::{Failure, FailureClass},
        filter::RETRIED,
        id::UploadId,
        item::{self, NewItem, Outcome},
        skip::SkipPolicy,
        spec::Connector,
    },
    store::{NewBatch, PageRead, UploadChunk},
};

const DAY_S: u64 = 86_400;
const TTL_DAYS: i64 = 30;

/// The same, without what was fetched before.
fn skipping(mut new: NewBatch) -> NewBatch {
    new.spec.skip.fetched = true;
    new
}

/// The same, which remembers for 30 days what is missing.
fn remembering(mut new: NewBatch) -> NewBatch {
    new.spec.skip.missing_ttl = Some(Duration::from_secs(TTL_DAYS as u64 * DAY_S));
    new
}

/// The same for another day.
fn later(mut new: NewBatch, days: i64) -> NewBatch {
    new.spec.as_of.time += TimeDelta::days(days);
    new
}

/// The same by other settings.
fn with_settings(mut new: NewBatch, change: impl FnOnce(&mut crate::domain::spec::YahooChart)) -> NewBatch {
    let Connector::YahooChart(chart) = &mut new.spec.connector else {
        unreachable!("the fixture's connector")
    };
    change(chart);
    new
}

fn missing() -> Outcome {
    outcome::permanent("NOT_FOUND", 404)
}

/// Carries a batch out, each item to what its key stands for here: `ok…` succeeds, `gone…` does not exist, `bad…` fails
/// for good.
async fn run(h: &Harness, new: NewBatch) -> Batch {
    let batch = h.start(new).await;
    carry_out(h, &batch).await
}

async fn carry_out(h: &Harness, batch: &Batch) -> Batch {
    let mut batch = h.read(batch).await;
    while batch.counts.processed() < batch.counts.total {
        let slice = h.claim(&batch).await;
        let mut group = Group::new().keep(&slice);
        for (place, item) in slice.items.iter().enumerate() {
            group = group.add(
                &slice,
                place,
                match item.key.get(..2) {
                    Some("ok") => outcome::success(),
                    Some("go") => missing(),
                    _ => outcome::permanent("HTTP_STATUS", 418),
                },
            );
        }
        batch = h.record(&batch, group).await.batch;
    }
    batch
}

/// Keys of a batch with their states, and with why they were left out.
async fn told(h: &Harness, batch: &Batch) -> Vec<String> {
    h.read(batch).await;
    let items = h.items(batch).await.into_iter();
    items
        .map(|item| {
            let reason = item.skip_reason.map(|reason| format!(" {reason}")).unwrap_or_default();
            format!("{} {}{reason}", item.key, item.state.as_str())
        })
        .collect()
}

async fn remembered(h: &Harness) -> Vec<MissingKey> {
    h.missing_keys(Dataset::StockPrices, None, 1_000).await.unwrap()
}

async fn missing_keys(h: &Harness) -> Vec<String> {
    remembered(h).await.into_iter().map(|missing| missing.key).collect()
}

pub(super) async fn what_succeeded_before_is_skipped_and_nothing_else(h: Harness) {
    let keys = ["ok1", "gone", "bad", "ok2"];
    let first = run(&h, inline("first", &keys)).await;
    assert_eq!((first.counts.succeeded, first.counts.failed), (2, 2));

    let again = h.start(skipping(inline("again", &["new", "ok2", "bad", "ok1", "gone"]))).await;
    assert_eq!(
        told(&h, &again).await,
        [
            "new PENDING",
            "ok2 SKIPPED ALREADY_FETCHED",
            "bad PENDING",
            "ok1 SKIPPED ALREADY_FETCHED",
            "gone PENDING"
        ]
    );
    let over = carry_out(&h, &again).await;
    assert_eq!((over.state, over.counts.skipped, over.counts.failed), (State::Completed, 2, 3));

    let mut other_zone = skipping(inline("other-zone", &["ok1"]));
    other_zone.spec.as_of.zone = chrono_tz::Europe::Berlin;
    let other_zone = h.start(other_zone).await;
    assert_eq!(told(&h, &other_zone).await, ["ok1 SKIPPED ALREADY_FETCHED"], "as_of counts as an instant");
    assert_eq!(other_zone.state, State::Completed, "nothing is left to do");

    let no_policy = inline("no-policy", &["ok1"]);
    let other_day = skipping(later(inline("other-day", &["ok1"]), 1));
    let other_settings = skipping(with_settings(inline("other-settings", &["ok1"]), |chart| {
        chart.interval = "1wk".to_owned();
    }));
    for new in [no_policy, other_day, other_settings] {
        let batch = h.start(new).await;
        assert_eq!(told(&h, &batch).await, ["ok1 PENDING"], "{}", batch.id);
    }
}

pub(super) async fn items_are_decided_however_they_come(h: Harness) {
    run(&h, inline("first", &["ok1", "ok2", "ok3"])).await;

    let read = h.start(skipping(filed("read"))).await;
    let lease = h.read_source(&read).await;
    h.page(&read, &lease, page::keys(&["ok1", "new"], Some("2"))).await;
    let failure = Failure::new(FailureClass::Permanent, "CODE_NOT_LISTED", "not in the list");
    let unlisted = NewItem { failure: Some(failure), ..NewItem::keyed("ok3") };
    h.page(&read, &lease, page::items(vec![NewItem::keyed("ok2"), unlisted, NewItem::keyed("ok1")], None))
        .await;
    assert_eq!(
        told(&h, &read).await,
        ["ok1 SKIPPED ALREADY_FETCHED", "new PENDING", "ok2 SKIPPED ALREADY_FETCHED", "ok3 FAILED"],
        "what cannot be fetched has failed, and a repeated key is one item"
    );

    let open = h.start(skipping(opened("open"))).await;
    let upload = UploadId::parse("0190b6a0-0000-7000-8000-000000000000").unwrap();
    let opened = h.open_upload(&open.id, &upload).await.unwrap();
    for (first_offset, key) in (0..).zip(["ok1", "new", "ok2"]) {
        let items = vec![NewItem::keyed(key)];
        let seal = key == "ok2";
        let (batch, epoch, upload) = (open.seq, opened.epoch, upload.clone());
        let chunk = UploadChunk { batch, upload, epoch, first_offset, items, seal };
        h.append_upload(&chunk, h.now).await.unwrap();
    }
    assert_eq!(
        told(&h, &open).await,
        ["ok1 SKIPPED ALREADY_FETCHED", "new PENDING", "ok2 SKIPPED ALREADY_FETCHED"]
    );

    let planned =
        h.decide_skips(&open.spec, vec![NewItem::keyed("ok1"), NewItem::keyed("new")]).await.unwrap();
    assert_eq!(
        planned.iter().map(NewItem::is_open).collect::<Vec<_>>(),
        [false, true],
        "a plan tells the same"
    );
}

pub(super) async fn what_was_decided_stays(mut h: Harness) {
    run(&h, inline("first", &["ok1"])).await;
    let read = h.start(skipping(filed("read"))).await;
    let lease = h.read_source(&read).await;
    h.page(&read, &lease, page::keys(&["ok1", "ok2"], Some("2"))).await;
    let decided = told(&h, &read).await;
    assert_eq!(decided, ["ok1 SKIPPED ALREADY_FETCHED", "ok2 PENDING"]);
    run(&h, inline("meanwhile", &["ok2"])).await;
    h.reopen().await;
    h.recover(h.now).await.unwrap();
    assert_eq!(told(&h, &read).await, decided, "of what is taken in nothing is decided anew");
    let lease = h.read_source(&read).await;
    assert_eq!(lease.position.as_deref(), Some("2"));
    h.page(&read, &lease, page::keys(&["ok2"], None)).await;
    assert_eq!(told(&h, &read).await, decided);
}

pub(super) async fn what_was_fetched_is_known_as_long_as_a_batch_of_it_is_there(h: Harness) {
    let first = run(&h, inline("first", &["ok1"])).await;
    let second = run(&h, skipping(inline("second", &["ok1"]))).await;
    h.delete_batch(&first.id, None, h.now).await.unwrap();
    let third = run(&h, skipping(inline("third", &["ok1"]))).await;
    assert_eq!(told(&h, &third).await, ["ok1 SKIPPED ALREADY_FETCHED"], "the second one knows it still");
    for gone in [second, third] {
        h.delete_batch(&gone.id, None, h.now).await.unwrap();
    }
    let fourth = h.start(skipping(inline("fourth", &["ok1"]))).await;
    assert_eq!(told(&h, &fourth).await, ["ok1 PENDING"]);
}

pub(super) async fn what_a_decoder_took_away_is_fetched_again(h: Harness) {
    let parent = h.start(inline("parent", &["ok1", "ok2"])).await;
    let slice = h.claim(&parent).await;
    h.record(&parent, Group::new().with_bodies().keep(&slice).add_all(&slice, &outcome::success())).await;
    let child = h.start(redecoding("child", &parent)).await;
    let lease = h.read_source(&child).await;
    h.page(&child, &lease, page::keys(&["ok1", "ok2"], None)).await;
    let slice = h.claim(&child).await;
    let group = Group::new().redecoded(h.now).keep(&slice).add(&slice, 0, outcome::success());
    h.record(&child, group.add(&slice, 1, outcome::permanent("UNDECODABLE", 200))).await;
    let again = h.start(skipping(inline("again", &["ok1", "ok2"]))).await;
    assert_eq!(told(&h, &again).await, ["ok1 SKIPPED ALREADY_FETCHED", "ok2 PENDING"]);
    carry_out(&h, &again).await;
    let third = h.start(skipping(inline("third", &["ok1", "ok2"]))).await;
    assert_eq!(third.counts.skipped, 2, "fetched since");
}

pub(super) async fn a_long_list_is_decided_page_by_page(h: Harness) {
    const PAGES: usize = 20;
    let keys = |page: usize| (page * 1_000..(page + 1) * 1_000).map(|n| format!("ok{n:06}"));
    let fetched = h.start(filed("fetched")).await;
    let lease = h.read_source(&fetched).await;
    for page in 0..PAGES {
        let items = keys(page).map(NewItem::keyed).collect();
        let next = (page + 1 < PAGES).then(|| page.to_string());
        // Without the suite's audit, which reads all of the batch each time.
        let read = PageRead::Items { items, next, list: None };
        expand(&h, &fetched, lease.epoch, read).await;
    }
    // Every second slice succeeds.
    for n in 0..PAGES * 10 {
        let slice = h.claim(&fetched).await;
        let mut group = Group::new().keep(&slice);
        if n % 2 == 0 {
            group = group.add_all(&slice, &outcome::success_with(price::closes(0, &[])));
        }
        h.commit(&group.into_commit(fetched.seq, &h.node, h.now)).await.unwrap();
    }
    let again = h.start(skipping(filed("again"))).await;
    let lease = h.read_source(&again).await;
    for page in 0..PAGES {
        let items = keys(page).map(NewItem::keyed).collect();
        let next = (page + 1 < PAGES).then(|| page.to_string());
        let read = PageRead::Items { items, next, list: None };
        let batch = expand(&h, &again, lease.epoch, read).await;
        assert_eq!(batch.counts.skipped, (page as i64 + 1) * 500);
    }
}

async fn expand(h: &Harness, batch: &Batch, epoch: crate::domain::id::Epoch, read: PageRead) -> Batch {
    let lease_until = h.after(30);
    let page = crate::store::SourcePage {
        batch: batch.seq,
        epoch,
        read,
        requests: 0,
        bytes_received: 0,
        lease_until,
    };
    h.expand(&page, h.now).await.unwrap().batch
}

pub(super) async fn a_missing_key_is_skipped_from_its_day_to_its_expiry(h: Harness) {
    let keys = ["gone1", "ok", "bad", "gone2"];
    let first = run(&h, remembering(inline("first", &keys))).await;
    let found = remembered(&h).await;
    assert_eq!(found.iter().map(|found| found.key.as_str()).collect::<Vec<_>>(), ["gone1", "gone2"]);
    let as_of = first.spec.as_of.time;
    let MissingKey { number: _, key: _, reason, http_status, as_of: since, expires_at, batch } = &found[0];
    assert_eq!((reason.as_str(), *http_status, batch.as_str()), ("NOT_FOUND", Some(404), "first"));
    assert_eq!((*since, *expires_at), (as_of, as_of + TimeDelta::days(TTL_DAYS)));

    for (days, is_skipped) in [(-1, false), (0, true), (TTL_DAYS - 1, true), (TTL_DAYS, false)] {
        let batch = h.start(later(remembering(inline(&format!("day{days}x"), &["gone1", "ok"])), days)).await;
        let gone = if is_skipped { "gone1 SKIPPED KNOWN_MISSING" } else { "gone1 PENDING" };
        assert_eq!(told(&h, &batch).await, [gone, "ok PENDING"], "after {days} days");
    }
    for new in [inline("no-policy", &["gone1"]), skipping(inline("only-fetched", &["gone1"]))] {
        let batch = h.start(new).await;
        assert_eq!(told(&h, &batch).await, ["gone1 PENDING"], "{}", batch.id);
    }
}

pub(super) async fn what_is_found_later_prolongs_and_what_was_known_later_stays(h: Harness) {
    run(&h, remembering(inline("first", &["gone"]))).await;
    let number = remembered(&h).await[0].number;
    run(&h, later(remembering(inline("later", &["gone"])), TTL_DAYS)).await;
    let prolonged = remembered(&h).await;
    assert_eq!((prolonged.len(), prolonged[0].batch.as_str(), prolonged[0].number), (1, "later", number));
    run(&h, later(remembering(inline("of-long-ago", &["gone"])), -TTL_DAYS)).await;
    assert_eq!(remembered(&h).await, prolonged);
}

pub(super) async fn only_what_does_not_exist_is_remembered(h: Harness) {
    run(&h, inline("no-policy", &["gone"])).await;
    run(&h, skipping(inline("only-fetched", &["gone"]))).await;
    run(&h, remembering(inline("refused", &["bad"]))).await;
    let of_now = Failure::new(FailureClass::Temporary, "NOT_FOUND", "for now").with_status(503);
    let weak = h.start(remembering(inline("weak", &["weak"]))).await;
    let slice = h.claim(&weak).await;
    h.record(&weak, Group::new().release(&slice).add(&slice, 0, Outcome::Failed(of_now))).await;
    assert_eq!(remembered(&h).await, []);

    // Whoever is late neither remembers nor forgets.
    run(&h, remembering(inline("known", &["gone"]))).await;
    let late = h.start(inline("late", &["gone", "never"])).await;
    let mut slice = h.claim(&late).await;
    slice.epoch.0 += 1;
    let group = Group::new().keep(&slice).add(&slice, 0, outcome::success()).add(&slice, 1, missing());
    let commit = group.into_commit(late.seq, &h.node, h.now);
    assert_eq!(h.commit(&commit).await.unwrap().fenced, [slice.no]);
    assert_eq!(missing_keys(&h).await, ["gone"]);
}

pub(super) async fn a_success_forgets_that_a_key_was_missing(h: Harness) {
    run(&h, remembering(inline("first", &["gone1", "gone2"]))).await;
    // By any batch that asks there, whatever its policy and its day.
    let second = h.start(later(inline("second", &["gone1"]), -7)).await;
    let slice = h.claim(&second).await;
    h.record(&second, Group::new().keep(&slice).add(&slice, 0, outcome::success())).await;
    assert_eq!(missing_keys(&h).await, ["gone2"]);
    let third = h.start(remembering(inline("third", &["gone1", "gone2"]))).await;
    assert_eq!(told(&h, &third).await, ["gone1 PENDING", "gone2 SKIPPED KNOWN_MISSING"]);
}

pub(super) async fn a_key_may_be_missing_at_one_address_and_not_at_another(h: Harness) {
    let elsewhere = |new| with_settings(new, |chart| chart.base_url = "http://127.0.0.1:2".to_owned());
    let suffixed = |new| with_settings(new, |chart| chart.symbol_suffix = ".S".to_owned());
    let longer = |new| with_settings(new, |chart| chart.interval = "1mo".to_owned());
    run(&h, remembering(inline("first", &["gone"]))).await;
    for (new, is_skipped) in [
        (elsewhere(inline("elsewhere", &["gone"])), false),
        (suffixed(inline("suffixed", &["gone"])), false),
        (longer(inline("longer", &["gone"])), true),
    ] {
        let batch = h.start(remembering(new)).await;
        let gone = if is_skipped { "gone SKIPPED KNOWN_MISSING" } else { "gone PENDING" };
        assert_eq!(told(&h, &batch).await, [gone], "{}", batch.id);
    }
    let other = h.batch(&elsewhere(inline("elsewhere", &[])).id).await.unwrap().unwrap();
    carry_out(&h, &other).await;
    assert_eq!(missing_keys(&h).await, ["gone", "gone"]);
    assert_eq!(h.clear_missing(Dataset::StockPrices, Some(&["gone".to_owned()])).await.unwrap(), 2);
}

pub(super) async fn what_is_cleared_is_asked_for_again(h: Harness) {
    run(&h, remembering(inline("first", &["gone1", "gone2", "gone3"]))).await;
    let named = ["gone2".to_owned(), "nobody".to_owned()];
    assert_eq!(h.clear_missing(Dataset::Responses, Some(&named)).await.unwrap(), 0, "another dataset");
    assert_eq!(h.clear_missing(Dataset::Responses, None).await.unwrap(), 0);
    assert_eq!(h.clear_missing(Dataset::StockPrices, Some(&named)).await.unwrap(), 1);
    assert_eq!(h.clear_missing(Dataset::StockPrices, Some(&named)).await.unwrap(), 0);
    let again = h.start(remembering(inline("again", &["gone1", "gone2"]))).await;
    assert_eq!(told(&h, &again).await, ["gone1 SKIPPED KNOWN_MISSING", "gone2 PENDING"]);
    assert_eq!(h.clear_missing(Dataset::StockPrices, None).await.unwrap(), 2);
    assert_eq!(remembered(&h).await, []);
}

pub(super) async fn missing_keys_are_listed_by_key_from_anywhere(h: Harness) {
    run(&h, remembering(inline("first", &["gone3", "gone1", "goneß", "gone2", "gone4"]))).await;
    let all = remembered(&h).await;
    let keys: Vec<&str> = all.iter().map(|missing| missing.key.as_str()).collect();
    assert_eq!(keys, ["gone1", "gone2", "gone3", "gone4", "goneß"]);
    let behind = async |place: &MissingPlace| {
        let page = h.missing_keys(Dataset::StockPrices, Some(place), 2).await.unwrap();
        page.into_iter().map(|missing| missing.key).collect::<Vec<_>>()
    };
    // A key that is too long for a token is known by its number.
    let at_2 = MissingPlace { number: all[1].number, key: "g".to_owned() };
    assert_eq!(behind(&at_2).await, ["gone3", "gone4"]);
    let at_2 = MissingPlace { number: all[1].number, key: "gone2".to_owned() };
    h.clear_missing(Dataset::StockPrices, Some(&["gone2".to_owned(), "gone3".to_owned()])).await.unwrap();
    assert_eq!(behind(&at_2).await, ["gone4", "goneß"], "it may be forgotten meanwhile");
    assert_eq!(h.missing_keys(Dataset::Responses, None, 10).await.unwrap(), []);
}

pub(super) async fn what_has_expired_goes_and_what_was_found_for_a_past_day_has_its_time(mut h: Harness) {
    // The clock is days ahead of the logical date, so by that it would be gone that much earlier.
    run(&h, later(remembering(inline("past", &["gone1"])), -TTL_DAYS)).await;
    let ahead = h.start(later(remembering(inline("ahead", &["gone2"])), TTL_DAYS)).await;
    let ahead_s = (ahead.spec.as_of.time - h.now).num_seconds();
    carry_out(&h, &ahead).await;
    h.pass(TTL_DAYS * DAY_S as i64 - 1);
    h.purge(h.now).await.unwrap();
    assert_eq!(missing_keys(&h).await, ["gone1", "gone2"]);
    h.pass(1);
    h.purge(h.now).await.unwrap();
    assert_eq!(missing_keys(&h).await, ["gone2"]);
    h.pass(ahead_s);
    while h.purge(h.now).await.unwrap() > 0 {}
    assert_eq!(remembered(&h).await, []);
}

pub(super) async fn items_that_a_retry_names_are_asked_for_though_known_to_be_missing(h: Harness) {
    let parent = h.start(skipping(remembering(inline("parent", &["ok", "gone", "weak"])))).await;
    let slice = h.claim(&parent).await;
    let group = Group::new().release(&slice).add(&slice, 0, outcome::success()).add(&slice, 1, missing());
    h.record(&parent, group).await;
    let parent = h.stop(&parent).await;
    let child = async |id: &str, filter: &str, key: &str| {
        let mut new = retrying(id, &parent, filter);
        new.spec.skip = parent.spec.skip.clone();
        let child = h.start(new).await;
        let lease = h.read_source(&child).await;
        h.page(&child, &lease, page::keys(&[key], None)).await;
        told(&h, &child).await
    };
    assert_eq!(child("named", "key = gone", "gone").await, ["gone PENDING"]);
    assert_eq!(child("unnamed", RETRIED, "gone").await, ["gone SKIPPED KNOWN_MISSING"]);
    let ok = child("fetched", "key = weak", "ok").await;
    assert_eq!(ok, ["ok SKIPPED ALREADY_FETCHED"], "another batch has fetched it since");
}

pub(super) async fn what_is_decoded_anew_skips_remembers_and_forgets_nothing(h: Harness) {
    let policy = SkipPolicy { fetched: true, missing_ttl: Some(Duration::from_secs(DAY_S)) };
    let parent = h.start(inline("parent", &["ok", "gone"])).await;
    let slice = h.claim(&parent).await;
    h.record(&parent, Group::new().with_bodies().keep(&slice).add_all(&slice, &outcome::success())).await;
    run(&h, remembering(inline("known", &["gone"]))).await;

    let mut new = redecoding("child", &parent);
    new.spec.skip = policy;
    let child = h.start(new).await;
    let lease = h.read_source(&child).await;
    h.page(&child, &lease, page::keys(&["ok", "gone"], None)).await;
    assert_eq!(h.states(&child).await, [item::State::Pending; 2]);
    let slice = h.claim(&child).await;
    let group = Group::new().redecoded(h.now).keep(&slice);
    h.record(&child, group.add(&slice, 0, missing()).add(&slice, 1, outcome::success())).await;
    assert_eq!(missing_keys(&h).await, ["gone"], "a body is of another day");
}
