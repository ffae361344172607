//! Filters and orders.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::{
    fixture::{
        batch::{filed, inline, keyed, ranked, redecoding},
        outcome, page, price,
        recording::Group,
    },
    harness::Harness,
};
use crate::{
    domain::{
        batch::Batch,
        filter::{
            BatchField, Datum, FILTER_BYTES_MAX, FILTER_DEPTH_MAX, Field, Filter, ItemField, Subject, Type,
        },
        item::{Item, NewItem, State},
        spec::OverlapPolicy,
    },
    store::{BatchOrder, BatchQuery, ItemQuery, NewBatch},
};

fn labeled(mut new: NewBatch, labels: &[(&str, &str)], as_of: &str) -> NewBatch {
    new.spec.labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    new.spec.as_of.time = as_of.parse().unwrap();
    new
}

/// Batches in many states, with items in every state.
async fn world(h: &mut Harness) -> Vec<Batch> {
    let running =
        labeled(inline("running", &["a", "b", "c", "d"]), &[("team", "infra")], "2026-02-27T15:00:00Z");
    let running = keyed(running, "日本 \"x\"", OverlapPolicy::Skip);
    let running = h.start(ranked(running, 5)).await;
    let slice = h.claim(&running).await;
    let group = Group::new()
        .keep(&slice)
        .add(&slice, 0, outcome::success_with(price::closes(0, &[1.0, 2.0])))
        .add(&slice, 1, outcome::permanent("NOT_FOUND", 404))
        .add(&slice, 2, outcome::temporary());
    h.record(&running, group).await;
    h.pass(1);

    let reading = h
        .start(labeled(filed("reading"), &[("a.b/c", "*"), ("team", "")], "2026-02-26T15:00:00.0004Z"))
        .await;
    let lease = h.read_source(&reading).await;
    let failure = match outcome::permanent("CODE_NOT_LISTED", 404) {
        crate::domain::item::Outcome::Failed(failure) => failure,
        other => panic!("{other:?}"),
    };
    let items = vec![
        NewItem::keyed("日本 \"x\" '%'"),
        NewItem { failure: Some(failure), ..NewItem::keyed("e") },
        NewItem { skip_reason: Some("NO_KEPT_BODY"), ..NewItem::keyed("f") },
    ];
    h.page(&reading, &lease, page::items(items, Some("4"))).await;

    let paused = labeled(inline("paused", &["a", "b"]), &[], "2026-02-27T15:00:00Z");
    let paused = h.start(keyed(ranked(paused, -3), "nightly", OverlapPolicy::Skip)).await;
    let slice = h.claim(&paused).await;
    h.record(&paused, Group::new().release(&slice).add(&slice, 0, outcome::push_back(5))).await;
    h.pause(&paused).await;
    h.pass(2);

    let stopped = h.start(inline("stopped", &["a", "b", "c"])).await;
    let slice = h.claim(&stopped).await;
    let group = Group::new().release(&slice).with_bodies().add(&slice, 0, outcome::success()).add(
        &slice,
        1,
        outcome::temporary(),
    );
    h.record(&stopped, group).await;
    h.pass(1);
    h.stop(&stopped).await;
    let child = h.start(redecoding("child", &stopped)).await;
    h.break_down(&child).await;

    let completed = h.start(ranked(inline("completed", &["a"]), 5)).await;
    let slice = h.claim(&completed).await;
    h.record(&completed, Group::new().keep(&slice).add(&slice, 0, outcome::permanent("GONE", 410))).await;
    let mut batches = Vec::new();
    for batch in [running, reading, paused, stopped, child, completed] {
        batches.push(h.read(&batch).await);
    }
    batches
}

pub(super) async fn batches_are_listed_in_each_order_page_by_page(mut h: Harness) {
    let batches = world(&mut h).await;
    let ms = |time: DateTime<Utc>| time.timestamp_millis();
    let key = |order, batch: &Batch| match order {
        BatchOrder::Newest => -ms(batch.created_at),
        BatchOrder::Oldest => ms(batch.created_at),
        BatchOrder::EndTime => -batch.ended_at.map_or(0, ms),
        BatchOrder::AsOf => -ms(batch.spec.as_of.time),
        BatchOrder::Priority => -i64::from(batch.spec.priority),
    };
    for order in
        [BatchOrder::Newest, BatchOrder::Oldest, BatchOrder::EndTime, BatchOrder::AsOf, BatchOrder::Priority]
    {
        let mut expected = batches.clone();
        expected.sort_by_key(|batch| {
            (key(order, batch), if order == BatchOrder::Oldest { batch.seq.0 } else { -batch.seq.0 })
        });
        for limit in 1..=batches.len() + 1 {
            let mut query = BatchQuery { order, ..BatchQuery::newest(limit) };
            let mut listed = Vec::new();
            loop {
                let page = h.list_batches(&query).await.unwrap();
                assert!(page.len() <= limit);
                query.after = page.last().map(|(place, _)| *place);
                listed.extend(page.into_iter().map(|(_, batch)| batch));
                if query.after.is_none() {
                    break;
                }
            }
            assert_eq!(listed, expected, "{order:?} by {limit}");
        }
    }
}

/// All pages of an order; `meanwhile` happens after the one with that number.
async fn paged(h: &Harness, order: BatchOrder, limit: usize, meanwhile: (usize, &Batch)) -> Vec<Batch> {
    let mut query = BatchQuery { order, ..BatchQuery::newest(limit) };
    let mut listed = Vec::new();
    for n in 1.. {
        let page = h.list_batches(&query).await.unwrap();
        let Some((place, _)) = page.last() else { break };
        query.after = Some(*place);
        listed.extend(page.into_iter().map(|(_, batch)| batch));
        if n == meanwhile.0 {
            h.stop(meanwhile.1).await;
        }
    }
    listed
}

pub(super) async fn a_batch_that_ends_between_two_pages_by_end_is_told_once_at_most_and_moves_no_other(
    mut h: Harness,
) {
    for name in ["ended-a", "ended-b", "ended-c", "live-a", "live-b"] {
        h.pass(1);
        let batch = h.start(inline(name, &["a"])).await;
        if name.starts_with("ended") {
            h.stop(&batch).await;
        }
    }
    let (mut once, mut left_out) = (0, 0);
    for limit in 1..4 {
        for n in 1..=3 {
            h.pass(1);
            let ends = h.start(inline(&format!("ends-{limit}-{n}"), &["a"])).await;
            let before = h.listed().await;
            let page = if n == 3 { before.len().div_ceil(limit) } else { n };
            let told = paged(&h, BatchOrder::EndTime, limit, (page, &ends)).await;
            let count = |batch: &Batch| told.iter().filter(|told| told.seq == batch.seq).count();
            for batch in before.iter().filter(|batch| batch.seq != ends.seq) {
                assert_eq!(count(batch), 1, "{} by {limit}, after page {page}", batch.id);
            }
            match count(&ends) {
                0 => left_out += 1,
                1 => once += 1,
                times => panic!("{times} times"),
            }
        }
    }
    // Before it ended, and not at all.
    assert!(once > 0 && left_out > 0, "{once} {left_out}");
}

/// Random filters over the fields of a kind, with values that occur and values that do not.
struct Writer<'a> {
    rng: StdRng,
    values: &'a BTreeMap<&'static str, Vec<String>>,
    labels: &'a [&'static str],
}

impl Writer<'_> {
    fn filter<F: Field>(&mut self) -> String {
        loop {
            let text = self.expression::<F>(0);
            if text.len() <= FILTER_BYTES_MAX {
                return text;
            }
        }
    }

    fn expression<F: Field>(&mut self, depth: usize) -> String {
        let terms = self.rng.random_range(1..=3);
        let mut text = String::new();
        for n in 0..terms {
            if n > 0 {
                text.push_str([" AND ", " OR "].choose(&mut self.rng).unwrap());
            }
            text.push_str(["", "", "NOT ", "-"].choose(&mut self.rng).unwrap());
            if depth < FILTER_DEPTH_MAX && self.rng.random_bool(0.25) {
                text.push('(');
                text.push_str(&self.expression::<F>(depth + 1));
                text.push(')');
            } else {
                text.push_str(&self.restriction::<F>());
            }
        }
        text
    }

    fn restriction<F: Field>(&mut self) -> String {
        let (name, _, shape) = F::TABLE.choose(&mut self.rng).unwrap();
        if let Type::Labels = shape {
            let key = self.labels.choose(&mut self.rng).unwrap();
            let value = ["infra", "", "*", "x"].choose(&mut self.rng).unwrap();
            return match self.rng.random_range(0..4) {
                0 => format!("{name}.{key}:*"),
                1 => format!("{name}:\"{key}\""),
                2 => format!("{name}.{key} != \"{value}\""),
                _ => format!("{name}.{key}:\"{value}\""),
            };
        }
        let orders: &[&str] = match shape {
            Type::Words(_) => &["=", "!="],
            _ => &["=", "!=", "<", "<=", ">", ">="],
        };
        let order = orders.choose(&mut self.rng).unwrap();
        let seen = self.values[name].choose(&mut self.rng).unwrap();
        let value = match shape {
            Type::Words(words) => (*words().choose(&mut self.rng).unwrap()).to_owned(),
            Type::Whole | Type::Instant => seen.clone(),
            Type::Text | Type::Name | Type::Labels => {
                format!("\"{}\"", seen.replace('\\', "\\\\").replace('"', "\\\""))
            }
        };
        format!("{name} {order} {value}")
    }
}

/// What the fields of some things hold, and a value that none holds.
fn values<'a, F: Field, S: Subject<F> + 'a>(
    of: impl Iterator<Item = &'a S> + Clone,
) -> BTreeMap<&'static str, Vec<String>> {
    let each = F::TABLE.iter().map(|(name, field, shape)| {
        let mut seen: Vec<String> = match shape {
            Type::Whole => vec!["-1".to_owned()],
            Type::Instant => vec!["2026-02-27T15:00:00.001Z".to_owned()],
            Type::Name => vec!["batches/x' OR 1=1 --".to_owned()],
            _ => vec!["x' OR 1=1 --".to_owned()],
        };
        seen.extend(of.clone().filter_map(|thing| match thing.datum(*field) {
            Datum::Text(text) => Some(text.into_owned()),
            Datum::Whole(number) => Some(number.to_string()),
            Datum::Instant(instant) => instant.map(|instant| instant.to_rfc3339()),
            Datum::Labels => None,
        }));
        (*name, seen)
    });
    each.collect()
}

pub(super) async fn a_filter_means_the_same_in_the_store_and_in_memory(mut h: Harness) {
    let batches = world(&mut h).await;
    let labels = ["team", "a.b/c", "none"];
    let of_batches = values::<BatchField, Batch>(batches.iter());
    let mut writer = Writer { rng: StdRng::seed_from_u64(7), values: &of_batches, labels: &labels };
    let (mut some, mut none, mut all) = (0, 0, 0);
    for _ in 0..400 {
        let text = writer.filter::<BatchField>();
        let filter = Filter::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let mut expected: Vec<Batch> =
            batches.iter().filter(|batch| filter.matches(*batch)).cloned().collect();
        expected.reverse();
        let query = BatchQuery { filter, order: BatchOrder::Newest, after: None, limit: 100 };
        let listed = h.list_batches(&query).await.unwrap();
        let listed: Vec<Batch> = listed.into_iter().map(|(_, batch)| batch).collect();
        assert_eq!(listed, expected, "{text}");
        match listed.len() {
            0 => none += 1,
            n if n == batches.len() => all += 1,
            _ => some += 1,
        }
    }
    assert!(some > 100 && none > 20 && all > 20, "{some} take some, {none} none, {all} all");

    let mut items: Vec<(usize, Vec<Item>)> = Vec::new();
    for (n, batch) in batches.iter().enumerate() {
        items.push((n, h.items(batch).await));
    }
    let states = items.iter().flat_map(|(_, items)| items).map(|item| item.state);
    for state in State::ALL {
        assert!(states.clone().any(|of| of == state), "{state:?}");
    }
    let of_items = values::<ItemField, Item>(items.iter().flat_map(|(_, items)| items));
    writer.values = &of_items;
    for _ in 0..200 {
        let text = writer.filter::<ItemField>();
        let filter = Filter::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        for (n, items) in &items {
            let expected: Vec<Item> = items.iter().filter(|item| filter.matches(*item)).cloned().collect();
            let query = ItemQuery { filter: filter.clone(), from: 0, limit: 100 };
            assert_eq!(h.list_items(batches[*n].seq, &query, h.now).await.unwrap(), expected, "{text}");
        }
    }
}

pub(super) async fn what_a_filter_holds_is_no_part_of_the_statement(mut h: Harness) {
    let batches = world(&mut h).await;
    for value in ["' OR '1'='1", "x\" OR 1=1 --", "?1", "$1", "%", "_", "*", "\0"] {
        let quoted = value.replace('"', "\\\"");
        for text in [format!("name = \"batches/{quoted}\""), format!("labels.\"{quoted}\":\"{quoted}\"")] {
            let filter = Filter::parse(&text).unwrap();
            let query = BatchQuery { filter, ..BatchQuery::newest(100) };
            assert!(h.list_batches(&query).await.unwrap().is_empty(), "{text}");
        }
        let filter = Filter::parse(&format!("key != \"{quoted}\"")).unwrap();
        let query = ItemQuery { filter, ..ItemQuery::all(0, 100) };
        assert_eq!(h.list_items(batches[0].seq, &query, h.now).await.unwrap().len(), 4, "{value}");
    }
}

pub(super) async fn a_canceled_item_tells_when(mut h: Harness) {
    let batch = h.start(inline("batch-a", &["a", "b"])).await;
    let slice = h.claim(&batch).await;
    h.record(&batch, Group::new().keep(&slice).add(&slice, 0, outcome::temporary())).await;
    h.pass(5);
    h.stop(&batch).await;
    h.pass(5);
    let given_back = h.now;
    h.record(&batch, Group::new().release(&slice)).await;
    for item in h.items(&batch).await {
        assert_eq!((item.state, item.updated_at), (State::Canceled, Some(given_back)));
    }
    let waiting = h.start(inline("batch-b", &["a"])).await;
    h.stop(&waiting).await;
    assert_eq!(h.items(&waiting).await[0].updated_at, Some(h.now));
}
