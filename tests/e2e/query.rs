//! Filters, orders, masks and attempts, as callers use them.

use std::time::{Duration, Instant};

use haul_proto::v1::{
    Attempt, Batch, Item, ListAttemptsRequest, ListBatchesRequest, ListItemsRequest, RedecodeRequest,
    attempt, batch::State, item, start_batch_response::Outcome,
};
use haul_sim::SimConfig;
use prost_types::FieldMask;
use tonic::Code;

use crate::world::{
    Server, Upstream,
    spec::{batch, codes, fast, inline, paced, prices},
    status::{fields, refused},
};

async fn batches(server: &Server, filter: &str, order_by: &str) -> Vec<Batch> {
    let request = ListBatchesRequest {
        filter: filter.to_owned(),
        order_by: order_by.to_owned(),
        page_size: 2,
        ..ListBatchesRequest::default()
    };
    server.client().await.query_batches(request, 100).await.unwrap()
}

fn names(batches: &[Batch]) -> Vec<&str> {
    batches.iter().map(|batch| batch.name.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_found_by_what_they_are() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let mut made = Vec::new();
    for (team, day) in [("infra", "2026-01-05"), ("data", "2026-01-07"), ("infra", "2026-01-06")] {
        let mut spec = prices(2, &upstream, fast());
        spec.labels = [("team".to_owned(), team.to_owned())].into();
        spec.as_of = Some(haul_proto::v1::AsOf {
            time_zone: "Asia/Tokyo".to_owned(),
            moment: Some(haul_proto::v1::as_of::Moment::Date(day.to_owned())),
            ..haul_proto::v1::AsOf::default()
        });
        let name = server.start_batch(spec).await;
        server.batch_ended(&name).await;
        made.push(name);
    }
    let [first, second, third] = [&made[0], &made[1], &made[2]].map(String::as_str);
    assert_eq!(names(&batches(&server, "", "").await), [third, second, first]);
    assert_eq!(names(&batches(&server, "", "create_time").await), [first, second, third]);
    assert_eq!(names(&batches(&server, "", "end_time desc").await), [third, second, first]);
    assert_eq!(names(&batches(&server, "", "as_of desc").await), [second, third, first]);
    assert_eq!(names(&batches(&server, "labels.team:infra", "create_time").await), [first, third]);
    let filter = format!("state = COMPLETED AND (name = {second} OR as_of < 2026-01-05T00:00:00Z)");
    assert_eq!(names(&batches(&server, &filter, "create_time").await), [first, second]);
    assert!(batches(&server, "state = RUNNING OR kind = REDECODE", "").await.is_empty());

    let said = server.haul(&["list", "--filter", "labels.team:data", "-o", "json"]).await;
    assert!(said.out.contains(second) && !said.out.contains(first), "{}", said.out);
    let wrong = [
        ("filter", "state = RUNNIN", "9"),
        ("filter", "nam = x", "1"),
        ("filter", "name = nightly", "8"),
        ("order_by", "name desc", "1"),
    ];
    for (field, text, column) in wrong {
        let mut request = ListBatchesRequest::default();
        *(if field == "filter" { &mut request.filter } else { &mut request.order_by }) = text.to_owned();
        let answer = server.stub().list_batches(request).await;
        let details = refused(answer, Code::InvalidArgument, "INVALID_FILTER");
        assert_eq!(fields(&details), [field]);
        assert_eq!(details.error_info().unwrap().metadata["column"], column);
    }
    let said = server.haul(&["list", "--filter", "parent_batch = nightly"]).await;
    assert!(said.status == 2 && said.err.contains("batches/nightly"), "the way out: {}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_by_end_has_all_that_had_ended_before_though_others_end_meanwhile() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let mut ended = Vec::new();
    for _ in 0..3 {
        ended.insert(0, server.start_batch(prices(1, &upstream, fast())).await);
        server.batch_ended(&ended[0]).await;
    }
    let live = server.start_batch(prices(100, &upstream, paced(1.0, 1))).await;
    let mut request = ListBatchesRequest {
        order_by: "end_time desc".to_owned(),
        page_size: 1,
        ..ListBatchesRequest::default()
    };
    let mut told = Vec::new();
    loop {
        let page = server.stub().list_batches(request.clone()).await.unwrap().into_inner();
        told.extend(page.batches.into_iter().map(|batch| batch.name));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
        if told.len() == 1 {
            server.client().await.stop(&live, "").await.unwrap();
            server.batch_ended(&live).await;
        }
    }
    assert_eq!(told, ended, "the one that ended meanwhile would come first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_outlives_its_server_and_is_good_for_its_own_call_only() {
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(5, &upstream, fast())).await;
    server.batch_ended(&name).await;
    let request = ListItemsRequest {
        parent: name.clone(),
        page_size: 2,
        filter: "state = SUCCEEDED".to_owned(),
        ..ListItemsRequest::default()
    };
    let page = server.stub().list_items(request.clone()).await.unwrap().into_inner();
    let page_token = page.next_page_token;
    server.kill().await;
    server.start_again().await;
    let request = ListItemsRequest { page_token: page_token.clone(), page_size: 10, ..request };
    let rest = server.stub().list_items(request.clone()).await.unwrap().into_inner();
    assert_eq!(rest.items.iter().map(|item| item.index).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(rest.next_page_token, "");
    let mask = Some(FieldMask { paths: vec!["index".to_owned()] });
    let others = [
        ListItemsRequest { filter: "state != FAILED".to_owned(), ..request.clone() },
        ListItemsRequest { read_mask: mask, ..request.clone() },
        ListItemsRequest { page_token: page_token.replace('0', "1"), ..request.clone() },
        ListItemsRequest { page_token: page_token[..page_token.len() - 2].to_owned(), ..request },
    ];
    for other in others {
        refused(server.stub().list_items(other).await, Code::InvalidArgument, "INVALID_PAGE_TOKEN");
    }
    let attempts = ListAttemptsRequest { parent: name, page_token, ..ListAttemptsRequest::default() };
    refused(server.stub().list_attempts(attempts).await, Code::InvalidArgument, "INVALID_PAGE_TOKEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn items_are_found_by_what_became_of_them_with_the_fields_wanted() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let keys = codes(3).into_iter().chain(["none".to_owned()]);
    let name = server.start_batch(batch(inline(keys), &upstream.url(), fast())).await;
    server.batch_ended(&name).await;
    let listed = async |filter: &str, paths: &[&str]| -> Vec<Item> {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let request = ListItemsRequest {
            parent: name.clone(),
            filter: filter.to_owned(),
            read_mask: Some(FieldMask { paths }),
            ..ListItemsRequest::default()
        };
        server.stub().list_items(request).await.unwrap().into_inner().items
    };
    let failed =
        listed("error.failure_class = PERMANENT AND error.http_status = 404", &["state", "error.reason"])
            .await;
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].state(), failed[0].index), (item::State::Failed, 0));
    let error = failed[0].error.as_ref().unwrap();
    assert_eq!((error.reason.as_str(), error.http_status, failed[0].spec.as_ref()), ("NOT_FOUND", 0, None));
    for item in listed("records_written > 0", &["result.inline_body", "result.size_bytes"]).await {
        let result = item.result.unwrap();
        assert_eq!(result.inline_body.len() as i64, result.size_bytes);
        assert!(result.size_bytes > 100 && result.sha256.is_empty());
    }
    assert!(
        server
            .items(&name)
            .await
            .iter()
            .flat_map(|item| &item.result)
            .all(|result| result.inline_body.is_empty())
    );
    let wrong = FieldMask { paths: vec!["state".to_owned(), "colour".to_owned()] };
    let request =
        ListItemsRequest { parent: name.clone(), read_mask: Some(wrong), ..ListItemsRequest::default() };
    let details = refused(server.stub().list_items(request).await, Code::InvalidArgument, "INVALID_FIELD");
    assert_eq!(fields(&details), ["read_mask.paths[1]"]);
    let said = server.haul(&["items", &name, "--filter", "state = FAILED"]).await;
    assert!(said.out.contains("none") && said.out.lines().count() == 2, "{}", said.out);
}

async fn attempts(server: &Server, name: &str, key: &str) -> Vec<Attempt> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListAttemptsRequest {
            parent: name.to_owned(),
            item_key: key.to_owned(),
            page_size: 7,
            page_token,
        };
        let page = server.stub().list_attempts(request).await.unwrap().into_inner();
        all.extend(page.attempts);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_that_arrived_belongs_to_an_attempt() {
    let config = SimConfig { faults: 0.3, ..SimConfig::default() };
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::start(config));
    let name = server.start_batch(prices(40, &upstream, fast())).await;
    server.batch_ended(&name).await;
    let told = attempts(&server, &name, "").await;
    let places: Vec<(i64, i32)> = told.iter().map(|attempt| (attempt.item_index, attempt.number)).collect();
    assert!(places.is_sorted() && told.len() > 40);
    let charts = upstream.charts();
    for item in server.items(&name).await {
        let key = &item.spec.as_ref().unwrap().key;
        let own: Vec<&Attempt> = told.iter().filter(|attempt| attempt.item_key == *key).collect();
        assert!(own.iter().zip(1..).all(|(attempt, number)| attempt.number == number), "dense: {own:?}");
        let sent = charts.iter().filter(|chart| chart.key() == key).count();
        assert_eq!(own.iter().map(|attempt| attempt.request_count).sum::<i32>(), sent as i32, "{own:?}");
        assert_eq!(own.iter().filter(|attempt| attempt.charged).count() as i32, item.attempt_count);
        let last = own.last().unwrap();
        assert_eq!(last.outcome() == attempt::Outcome::Succeeded, item.state() == item::State::Succeeded);
        for attempt in &own {
            assert_eq!(attempt.error.is_some(), attempt.outcome() == attempt::Outcome::Failed, "{attempt:?}");
            assert!(attempt.end_time.is_some() && attempt.node.starts_with("nodes/"), "{attempt:?}");
            let arrived = |chart: &&crate::world::upstream::Arrival| {
                attempt.url == format!("{}{}?{}", upstream.url(), chart.path, chart.query)
            };
            assert!(charts.iter().any(|chart| arrived(&chart)), "{} was sent", attempt.url);
        }
        assert_eq!(attempts(&server, &name, key).await.iter().collect::<Vec<_>>(), own);
    }
    let unknown = ListAttemptsRequest {
        parent: name.clone(),
        item_key: "none".to_owned(),
        ..ListAttemptsRequest::default()
    };
    let details = refused(server.stub().list_attempts(unknown).await, Code::NotFound, "ITEM_NOT_FOUND");
    assert_eq!(details.error_info().unwrap().metadata["item_key"], "none");
    let said = server.haul(&["attempts", &name, "--item", &told[0].item_key]).await;
    assert!(
        said.status == 0 && said.out.starts_with("INDEX") && said.out.contains(&told[0].item_key),
        "{}",
        said.out
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_under_way_is_told() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::slow(20_000));
    // The second permit comes after a quarter of an hour.
    let name = server.start_batch(prices(2, &upstream, paced(0.001, 1))).await;
    server
        .batch_when(&name, "is at work", |batch| batch.progress.as_ref().unwrap().in_flight_items == 2)
        .await;
    let deadline = Instant::now() + Duration::from_secs(30);
    while upstream.charts().is_empty() {
        assert!(Instant::now() < deadline, "nothing is sent");
        tokio::task::yield_now().await;
    }
    let told = attempts(&server, &name, "").await;
    for attempt in &told {
        assert_eq!((attempt.outcome(), attempt.number), (attempt::Outcome::Running, 1));
        assert!(attempt.end_time.is_none());
    }
    let begun = told.iter().filter(|attempt| attempt.start_time.is_some()).count();
    assert_eq!((told.len(), begun), (2, 1), "who waits for a permit has not begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_begins_when_its_request_is_sent() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(4, &upstream, paced(4.0, 1))).await;
    server.batch_ended(&name).await;
    let told = attempts(&server, &name, "").await;
    let micros = |time: Option<prost_types::Timestamp>| {
        let time = time.unwrap();
        time.seconds as u64 * 1_000_000 + time.nanos as u64 / 1_000
    };
    for chart in upstream.charts() {
        let attempt = told.iter().find(|attempt| attempt.item_key == chart.key()).unwrap();
        let (start, end) = (micros(attempt.start_time), micros(attempt.end_time));
        // Stored to the millisecond. Three of the four waited for 250 ms at least.
        assert!(start <= chart.at_us && chart.at_us <= end + 1_000, "{attempt:?}: {}", chart.at_us);
    }
    let mut starts: Vec<u64> = told.iter().map(|attempt| micros(attempt.start_time)).collect();
    starts.sort_unstable();
    assert!(starts.windows(2).all(|pair| pair[1] - pair[0] > 150_000), "{starts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redecode_takes_what_its_filter_takes_and_can_be_planned() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let keys = codes(4).into_iter().chain(["none".to_owned()]);
    let name = server.start_batch(batch(inline(keys), &upstream.url(), fast())).await;
    server.batch_ended(&name).await;
    let wanted = codes(4).remove(3);
    let filter = format!("key = \"{wanted}\" OR state = FAILED");
    let request =
        RedecodeRequest { name: name.clone(), filter: filter.clone(), ..RedecodeRequest::default() };
    let planned = server.client().await.plan_redecode(request.clone()).await.unwrap();
    assert_eq!(planned.outcome(), Outcome::Validated);
    let plan = planned.plan.unwrap();
    assert_eq!((plan.total_items, plan.skipped_items, plan.requests), (2, 1, 0));
    assert!(plan.upstreams.is_empty() && plan.first_requests.is_empty());
    assert_eq!(planned.batch.unwrap().parent_batch, name);
    assert_eq!(batches(&server, "kind = REDECODE", "").await, [], "nothing was made");

    let sent = upstream.charts().len();
    let child = server.client().await.redecode(request).await.unwrap().batch.unwrap();
    let ended = server.batch_ended(&child.name).await;
    assert_eq!(ended.state(), State::Completed);
    let states: Vec<_> = server
        .items(&child.name)
        .await
        .into_iter()
        .map(|item| (item.spec.unwrap().key, item.state))
        .collect();
    let (done, skipped) = (item::State::Succeeded as i32, item::State::Skipped as i32);
    assert_eq!(states, [(wanted, done), ("none".to_owned(), skipped)]);
    assert_eq!(upstream.charts().len(), sent, "nothing was asked for");
    assert_eq!(names(&batches(&server, &format!("parent_batch = {name}"), "").await), [child.name.as_str()]);

    let none = RedecodeRequest {
        name: name.clone(),
        filter: "state = FAILED".to_owned(),
        ..RedecodeRequest::default()
    };
    for validate_only in [true, false] {
        let none = RedecodeRequest { validate_only, ..none.clone() };
        refused(server.stub().redecode(none).await, Code::FailedPrecondition, "NO_KEPT_BODIES");
    }
    let wrong =
        RedecodeRequest { name: name.clone(), filter: "key <".to_owned(), ..RedecodeRequest::default() };
    refused(server.stub().redecode(wrong).await, Code::InvalidArgument, "INVALID_FILTER");
    let said = server.haul(&["redecode", &name, "--filter", &filter, "--plan"]).await;
    assert!(said.status == 0 && said.out.contains("A plan"), "{}{}", said.out, said.err);
}
