//! What uploads cost at most.

use haul_proto::v1::{StopRequest, batch::State};
use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};
use tokio::task::JoinSet;
use tonic::Code;

use super::{ONE, TWO, begin, chunk, committed, header, named, sent};
use crate::world::{
    Server,
    database::Database,
    eventually,
    status::{fields, refused},
    watching::watch,
};

const CHUNKS: i64 = 450;

/// A stream of chunks of one item.
fn one_by_one(name: &str) -> Vec<haul_proto::v1::UploadItemsRequest> {
    let chunks = (0..CHUNKS).map(|n| chunk(n, [super::key(n as usize)], false));
    std::iter::once(header(name, ONE)).chain(chunks).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_of_one_item_cost_no_slice_each_and_go_once_the_batch_is_over() {
    let mut server = Server::start([]).await;
    let name = begin(&server).await;
    let uploaded = sent(&server, one_by_one(&name)).await.unwrap();
    assert_eq!(uploaded.committed_items, CHUNKS);
    let database = Database::of(&server).await;
    assert_eq!(database.number("SELECT count(*) FROM batch_slices").await, 5);
    assert_eq!(database.number("SELECT count(*) FROM upload_chunks").await, CHUNKS);
    let stop = StopRequest { name: name.clone(), ..StopRequest::default() };
    server.stub().stop(stop).await.unwrap();
    let stopped = server.batch_in(&name, State::Stopped).await;
    assert_eq!(stopped.progress.unwrap().canceled_items, CHUNKS);
    assert_eq!(database.number("SELECT count(*) FROM item_results").await, 5);
    let said = server.haul(&["results", &name]).await;
    assert_eq!((said.status, said.out.lines().count() as i64), (0, CHUNKS), "{}", said.err);
    // A server that starts does not wait a minute before it looks for what may go.
    server.kill().await;
    server.start_again().await;
    eventually("its chunks are gone", || async {
        (database.number("SELECT count(*) FROM upload_chunks").await == 0).then_some(())
    })
    .await;
    database.assert_recount().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_takes_ten_thousand_uploads_and_says_so() {
    let server = Server::start([]).await;
    let name = begin(&server).await;
    sent(&server, [header(&name, ONE), chunk(0, named(&["a"]), false)]).await.unwrap();
    let file = SqliteConnectOptions::new().filename(server.data_dir().join("haul.db"));
    let mut conn = file.connect().await.unwrap();
    let others = "WITH RECURSIVE n(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM n WHERE n < 10000)
                  INSERT INTO uploads (batch_seq, upload_id) SELECT seq, n FROM n, batch_executions";
    sqlx::query(others).execute(&mut conn).await.unwrap();
    let above = sent(&server, [header(&name, TWO)]).await;
    let text = above.as_ref().unwrap_err().message().to_owned();
    let details = refused(above, Code::InvalidArgument, "INVALID_FIELD");
    assert_eq!(fields(&details), ["header.upload_id"]);
    assert!(text.contains("10000 uploads feed the batch already: go on with one of them"), "{text}");
    let one = sent(&server, [header(&name, ONE), chunk(1, named(&["b"]), false)]).await.unwrap();
    assert_eq!(one.committed_items, 2, "those that are there go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_one_call_to_the_rate_of_the_api_however_long_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("haul.toml");
    std::fs::write(&config, "api_rate = 20\n").unwrap();
    let server = Server::start(["--config", config.to_str().unwrap()]).await;
    let name = begin(&server).await;
    let uploaded = sent(&server, one_by_one(&name)).await.unwrap();
    assert_eq!(uploaded.committed_items, CHUNKS, "far more chunks than calls are let in meanwhile");
    // Each stream is one all the same.
    let mut tasks = JoinSet::new();
    for _ in 0..300 {
        let (mut stub, watch) = (server.stub(), watch(&name));
        tasks.spawn(async move { stub.watch_progress(watch).await });
    }
    let (opened, limited): (Vec<_>, Vec<_>) = tasks.join_all().await.into_iter().partition(Result::is_ok);
    assert!(!opened.is_empty() && limited.len() > 20, "{} and {}", opened.len(), limited.len());
    for answer in limited {
        let details = refused(answer, Code::ResourceExhausted, "API_RATE_LIMIT");
        assert!(details.retry_info().is_some());
    }
    eventually("the upload's status is told", || async {
        Some(committed(&server, &name, ONE).await).filter(|items| *items == CHUNKS)
    })
    .await;
}
