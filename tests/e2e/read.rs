//! What is read of batches and items.

use haul_proto::v1::{ListBatchesRequest, ListItemsRequest, item};
use tonic::Code;

use crate::world::{
    Server, Upstream,
    spec::{fast, prices},
    status::{fields, refused},
};

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_batches_and_items_leave_nothing_out_and_double_nothing() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let mut names = Vec::new();
    for _ in 0..5 {
        names.push(server.start_batch(prices(7, &upstream, fast())).await);
    }
    let mut stub = server.stub();
    let mut listed = Vec::new();
    let mut page = ListBatchesRequest { page_size: 2, ..ListBatchesRequest::default() };
    loop {
        let answer = stub.list_batches(page.clone()).await.unwrap().into_inner();
        assert!(answer.batches.len() <= 2);
        listed.extend(answer.batches.into_iter().map(|batch| batch.name));
        if answer.next_page_token.is_empty() {
            break;
        }
        page.page_token = answer.next_page_token;
    }
    names.reverse();
    assert_eq!(listed, names, "newest first");

    let mut indexes = Vec::new();
    let mut page = ListItemsRequest { parent: names[0].clone(), page_size: 3, ..ListItemsRequest::default() };
    loop {
        let answer = stub.list_items(page.clone()).await.unwrap().into_inner();
        indexes.extend(answer.items.into_iter().map(|item| item.index));
        if answer.next_page_token.is_empty() {
            break;
        }
        page.page_token = answer.next_page_token;
    }
    assert_eq!(indexes, [0, 1, 2, 3, 4, 5, 6]);

    let foreign = ListItemsRequest { parent: names[1].clone(), ..page };
    refused(stub.list_items(foreign).await, Code::InvalidArgument, "INVALID_PAGE_TOKEN");
    let garbage = ListBatchesRequest { page_token: "garbage".to_owned(), ..ListBatchesRequest::default() };
    refused(stub.list_batches(garbage).await, Code::InvalidArgument, "INVALID_PAGE_TOKEN");
    let negative = ListBatchesRequest { page_size: -1, ..ListBatchesRequest::default() };
    let details = refused(stub.list_batches(negative).await, Code::InvalidArgument, "INVALID_FIELD");
    assert_eq!(fields(&details), ["page_size"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_shows_what_was_fetched() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(1, &upstream, fast())).await;
    server.batch_ended(&name).await;
    let item = server.items(&name).await.remove(0);
    assert_eq!((item.state(), item.attempt_count), (item::State::Succeeded, 1));
    assert!(item.records_written > 10, "a month has more than ten sessions: {}", item.records_written);
    let result = item.result.unwrap();
    assert_eq!((result.http_status, result.sha256.len()), (200, 32));
    assert!(result.size_bytes > 0 && result.content_type.contains("json"));
    assert!(item.last_attempt_node.starts_with("nodes/"));
    assert!(item.first_attempt_time.is_some() && item.update_time.is_some() && item.error.is_none());
}
