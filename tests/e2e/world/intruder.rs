//! Somebody else at the store: another process that has the file open and writes to it.

use std::time::Duration;

use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use super::Server;

/// Holds the store's lock, or has it refuse what the server writes.
pub(crate) struct Intruder(SqliteConnection);

impl Intruder {
    pub(crate) async fn at(server: &Server) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(server.data_dir().join("haul.db"))
            .busy_timeout(Duration::from_secs(30));
        Self(SqliteConnection::connect_with(&options).await.unwrap())
    }

    /// From here on nobody else writes.
    pub(crate) async fn lock(&mut self) {
        self.run("BEGIN IMMEDIATE").await;
    }

    pub(crate) async fn unlock(&mut self) {
        self.run("ROLLBACK").await;
    }

    /// From here on no lease is given back.
    pub(crate) async fn refuse_leases_given_back(&mut self) {
        self.run(
            "CREATE TRIGGER bad_luck BEFORE UPDATE ON batch_slices
             WHEN old.status = 'LEASED' AND new.status IN ('READY', 'CANCELED')
             BEGIN SELECT raise(ABORT, 'bad luck'); END",
        )
        .await;
    }

    /// From here on no item but the first 1,000 of a batch gets in.
    pub(crate) async fn refuse_second_page(&mut self) {
        self.run(
            "CREATE TRIGGER bad_luck BEFORE INSERT ON batch_execution_details WHEN new.item_index >= 1000
             BEGIN SELECT raise(ABORT, 'bad luck'); END",
        )
        .await;
    }

    /// What was refused is taken again.
    pub(crate) async fn relent(&mut self) {
        self.run("DROP TRIGGER bad_luck").await;
    }

    async fn run(&mut self, sql: &'static str) {
        sqlx::query(sql).execute(&mut self.0).await.unwrap();
    }
}
