//! Batches that go, by a wish or in time, and what is known of them then.

use haul_proto::v1::{
    DeleteBatchRequest, GetBatchRequest, GetReportRequest, ListItemsRequest, PauseRequest, RedecodeRequest,
    RetryFailedRequest, batch::State,
};
use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};
use tonic::Code;

use crate::world::{
    Server, Upstream,
    database::Database,
    eventually,
    spec::{fast, paced, prices},
    status::refused,
};

const PARTS: &str = "SELECT (SELECT count(*) FROM batch_execution_details) + (SELECT count(*) FROM batch_slices)
  + (SELECT count(*) FROM item_attempts) + (SELECT count(*) FROM kept_bodies) + (SELECT count(*) FROM requests)";

/// Asserts that nobody finds it, and that its records are there.
async fn assert_gone(server: &Server, name: &str, prices: i64) {
    let mut stub = server.stub();
    let answers = [
        stub.get_batch(GetBatchRequest { name: name.to_owned(), ..Default::default() }).await.map(drop),
        stub.list_items(ListItemsRequest { parent: name.to_owned(), ..Default::default() }).await.map(drop),
        stub.get_report(GetReportRequest { name: name.to_owned() }).await.map(drop),
        stub.pause(PauseRequest { name: name.to_owned(), ..Default::default() }).await.map(drop),
        stub.redecode(RedecodeRequest { name: name.to_owned(), ..Default::default() }).await.map(drop),
        stub.delete_batch(DeleteBatchRequest { name: name.to_owned(), ..Default::default() }).await.map(drop),
    ];
    for answer in answers {
        let details = refused(answer, Code::NotFound, "BATCH_PURGED");
        let info = details.error_info().unwrap();
        assert!(info.metadata["purge_time"].ends_with('Z'), "{:?}", info.metadata);
        assert_eq!(details.resource_info().unwrap().resource_name, name);
    }
    assert_eq!(server.client().await.list_batches(10).await.unwrap(), []);
    let database = Database::of(server).await;
    assert_eq!(database.number("SELECT count(*) FROM stock_prices").await, prices);
    assert_eq!(database.number("SELECT count(*) FROM batch_progress").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_deleted_when_it_has_ended_and_not_before() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(20, &upstream, fast())).await;
    let ended = server.batch_ended(&name).await;
    let kept_s = ended.purge_time.unwrap().seconds - ended.end_time.unwrap().seconds;
    assert_eq!(kept_s, 30 * 86_400);
    let prices_stored = Database::of(&server).await.number("SELECT count(*) FROM stock_prices").await;
    assert!(prices_stored > 0);

    let mut stub = server.stub();
    let stale = DeleteBatchRequest { name: name.clone(), etag: "\"0-0\"".to_owned(), allow_missing: true };
    let details = refused(stub.delete_batch(stale).await, Code::Aborted, "ETAG_MISMATCH");
    let info = details.error_info().unwrap();
    assert_eq!(info.metadata["current_state"], "COMPLETED");
    let etag = info.metadata["current_etag"].clone();
    stub.delete_batch(DeleteBatchRequest { name: name.clone(), etag, allow_missing: false }).await.unwrap();
    assert_gone(&server, &name, prices_stored).await;
    let repeat = DeleteBatchRequest { name: name.clone(), allow_missing: true, ..Default::default() };
    stub.delete_batch(repeat).await.unwrap();

    let live = server.start_batch(prices(20, &upstream, paced(1.0, 1))).await;
    stub.pause(PauseRequest { name: live.clone(), ..Default::default() }).await.unwrap();
    let early = stub.delete_batch(DeleteBatchRequest { name: live, ..Default::default() }).await;
    let details = refused(early, Code::FailedPrecondition, "BATCH_NOT_TERMINAL");
    assert_eq!(details.error_info().unwrap().metadata["allowed"], "Stop");
    let unknown = DeleteBatchRequest { name: "batches/unknown".to_owned(), ..Default::default() };
    refused(stub.delete_batch(unknown).await, Code::NotFound, "BATCH_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_goes_by_itself_when_its_retention_ends() {
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(20, &upstream, fast())).await;
    server.batch_in(&name, State::Completed).await;
    let prices_stored = Database::of(&server).await.number("SELECT count(*) FROM stock_prices").await;
    server.kill().await;
    // A month goes by.
    let file = SqliteConnectOptions::new().filename(server.data_dir().join("haul.db"));
    let mut conn = file.connect().await.unwrap();
    sqlx::query("UPDATE batch_executions SET purge_at = ended_at").execute(&mut conn).await.unwrap();
    drop(conn);
    server.start_again().await;
    let database = Database::of(&server).await;
    eventually("all that it had is gone", || async { (database.number(PARTS).await == 0).then_some(()) })
        .await;
    assert_gone(&server, &name, prices_stored).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_reads_its_parent_to_the_end_though_its_retention_is_over() {
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let other = server.start_batch(prices(3, &upstream, fast())).await;
    server.batch_ended(&other).await;
    let parent = server.start_batch(prices(30, &upstream, paced(10.0, 1))).await;
    let client = server.client().await;
    client.stop(&parent, "").await.unwrap();
    server.batch_in(&parent, State::Stopped).await;
    let retry = RetryFailedRequest { name: parent.clone(), ..Default::default() };
    let child = client.retry_failed(retry).await.unwrap().batch.unwrap().name;
    client.pause(&child, "").await.unwrap();
    server.batch_in(&child, State::Paused).await;
    server.kill().await;
    // A month goes by.
    let file = SqliteConnectOptions::new().filename(server.data_dir().join("haul.db"));
    let mut conn = file.connect().await.unwrap();
    let month = "UPDATE batch_executions SET purge_at = ended_at WHERE ended_at IS NOT NULL";
    sqlx::query(month).execute(&mut conn).await.unwrap();
    drop(conn);
    server.start_again().await;
    let client = server.client().await;
    eventually("the other one is gone", || async { client.get_batch(&other).await.err() }).await;
    assert_eq!(client.get_batch(&parent).await.unwrap().state(), State::Stopped, "it is still needed");
    client.resume(&child, "").await.unwrap();
    let ended = server.batch_in(&child, State::Completed).await.progress.unwrap();
    assert!(ended.succeeded_items == ended.total_items && ended.total_items > 0, "{ended:?}");
    server.kill().await;
    server.start_again().await;
    eventually("then it goes too", || async { client.get_batch(&parent).await.err() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haul_deletes_what_it_is_told_to() {
    let (server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(5, &upstream, fast())).await;
    server.batch_ended(&name).await;
    let said = server.haul(&["delete", &name]).await;
    assert_eq!((said.status, said.out), (0, format!("{name}  deleted\n")), "{}", said.err);
    let said = server.haul(&["delete", &name, "--yes"]).await;
    assert_eq!(said.status, 1);
    assert!(said.err.contains("was deleted at 2"), "{}", said.err);
    let said = server.haul(&["delete", &name, "--allow-missing", "-o", "json"]).await;
    assert_eq!(said.status, 0, "{}", said.err);
    let deleted: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(deleted, serde_json::json!({ "name": name, "deleted": false }));
    let said = server.haul(&["delete", &name, "--allow-missing"]).await;
    assert!(said.out.starts_with(&format!("{name}  was not there: it was deleted at 2")), "{}", said.out);
    let said = server.haul(&["delete", "unknown", "--allow-missing"]).await;
    assert_eq!((said.status, said.out.as_str()), (0, "batches/unknown  was not there\n"));

    let live = server.start_batch(prices(20, &upstream, paced(1.0, 1))).await;
    let said = server.haul(&["delete", &live]).await;
    assert_eq!((said.status, said.out.as_str()), (1, ""));
    assert!(said.err.contains("BATCH_NOT_TERMINAL"), "{}", said.err);
}
