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

    /// From here on every state of a batch is written down, in table `committed`, by the transaction that commits it.
    pub(crate) async fn write_down_commits(&mut self) {
        self.run(
            "CREATE TABLE committed (name TEXT, revision INTEGER, status TEXT, total INTEGER, succeeded INTEGER,
               failed INTEGER, skipped INTEGER, canceled INTEGER, records INTEGER);
             CREATE TRIGGER committed_first AFTER INSERT ON batch_executions BEGIN
               INSERT INTO committed VALUES (new.name, new.revision, new.status, new.total_count,
                 new.successful_count, new.failed_count, new.skipped_count, new.canceled_count, new.records_count);
             END;
             CREATE TRIGGER committed_next AFTER UPDATE ON batch_executions BEGIN
               INSERT INTO committed VALUES (new.name, new.revision, new.status, new.total_count,
                 new.successful_count, new.failed_count, new.skipped_count, new.canceled_count, new.records_count);
             END",
        )
        .await;
    }

    /// Has what is not over have begun an hour earlier, while no server is there.
    pub(crate) async fn let_an_hour_pass(&mut self) {
        self.run(
            "UPDATE batch_executions SET created_at = created_at - 3600000, started_at = started_at - 3600000,
               state_since_at = state_since_at - 3600000, deadline_at = deadline_at - 3600000
             WHERE ended_at IS NULL",
        )
        .await;
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

    /// Leaves what a faulty decoder would have left: bars and events missing, wrong, and out of nothing. Answers with how
    /// many are wrong.
    pub(crate) async fn spoil_datasets(&mut self) -> u64 {
        self.run("DELETE FROM stock_prices WHERE ts / 86400 % 5 = 1").await;
        self.run("DELETE FROM stock_events WHERE code LIKE '%1'").await;
        let prices = self.run("UPDATE stock_prices SET close = close * 10 WHERE ts / 86400 % 3 = 0").await;
        let events = self.run("UPDATE stock_events SET amount = amount * 2 WHERE kind = 'DIVIDEND'").await;
        self.run(
            "INSERT INTO stock_prices
             SELECT code, interval, ts + 1, session_date, symbol, 1, 1, 1, 1, 1, 1, currency, 0, batch_seq, fetched_at
             FROM stock_prices WHERE ts / 86400 % 7 = 2
             UNION ALL
             SELECT code, interval, 0, '1970-01-01', symbol, 1, 1, 1, 1, 1, 1, currency, 0, batch_seq, fetched_at
             FROM stock_prices GROUP BY code",
        )
        .await;
        self.run(
            "INSERT INTO stock_events SELECT code, 'SPLIT', '1970-01-01', 0, symbol, NULL, 2, 1, currency, batch_seq, fetched_at
             FROM stock_prices GROUP BY code",
        )
        .await;
        prices + events
    }

    /// Has the newest batch's item of that index be kept with another body.
    pub(crate) async fn replace_body(&mut self, index: i64, body: Vec<u8>) {
        sqlx::query("UPDATE kept_bodies SET body = $2 WHERE item_index = $1")
            .bind(index)
            .bind(body)
            .execute(&mut self.0)
            .await
            .unwrap();
    }

    async fn run(&mut self, sql: &'static str) -> u64 {
        sqlx::query(sql).execute(&mut self.0).await.unwrap().rows_affected()
    }
}
