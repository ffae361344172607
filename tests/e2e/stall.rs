//! A batch that stands still, as the store says it and whoever reads it: `server/src/engine/tests/stall.rs` makes one.

use haul_proto::v1::batch::State;
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::world::{
    Server, Upstream, program,
    spec::{paced, prices},
};

#[tokio::test(flavor = "multi_thread")]
async fn what_stood_still_when_its_server_died_is_said_by_the_doctor_and_moves_with_the_next_one() {
    let (mut server, upstream) = tokio::join!(Server::start([]), Upstream::healthy());
    let name = server.start_batch(prices(50, &upstream, paced(2.0, 1))).await;
    server.batch_processed(&name, 1).await;
    server.kill().await;
    let file = SqliteConnectOptions::new().filename(server.data_dir().join("haul.db"));
    let mut conn = SqliteConnection::connect_with(&file).await.unwrap();
    sqlx::query("UPDATE batch_executions SET stalled_at = 1700000000000, revision = revision + 1")
        .execute(&mut conn)
        .await
        .unwrap();
    conn.close().await.unwrap();

    let data = server.data_dir();
    let asked = ["doctor", "--offline", "--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()];
    let said = program::run("hauld", asked).await;
    assert_eq!(said.status, 0, "a server that is started anew is what helps: {}", said.out);
    let line = said.out.lines().find(|line| line.contains("stalled")).unwrap();
    assert!(line.to_lowercase().contains("warn") && line.contains(&name), "{line}");

    server.start_again().await;
    let moves = server
        .batch_when(&name, "moves", |batch| {
            batch.progress.as_ref().is_some_and(|progress| progress.stall_time.is_none())
        })
        .await;
    assert_eq!(moves.state(), State::Running);
    let before = moves.progress.unwrap().processed_items;
    server.batch_processed(&name, before + 1).await;
}
