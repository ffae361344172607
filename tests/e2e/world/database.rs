//! The tables, read beside the server.

use std::{collections::HashSet, path::Path};

use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

use super::Server;

/// Reads and nothing else.
pub(crate) struct Database(pub(crate) SqlitePool);

impl Database {
    /// The store of a server, which may run or not.
    pub(crate) async fn of(server: &Server) -> Self {
        Self::at(&server.data_dir().join("haul.db")).await
    }

    /// A store's file.
    pub(crate) async fn at(file: &Path) -> Self {
        let options = SqliteConnectOptions::new().filename(file).read_only(true);
        Self(SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap())
    }

    /// One number.
    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.0).await.unwrap()
    }

    /// Every row of prices and events, but for who wrote it last.
    pub(crate) async fn datasets(&self) -> Vec<String> {
        let rows = "
            SELECT json_array(code, interval, ts, session_date, symbol, open, high, low, close, adj_close, volume,
              currency, provisional, fetched_at) FROM stock_prices
            UNION ALL
            SELECT json_array(code, kind, date, ts, symbol, amount, numerator, denominator, currency, fetched_at)
              FROM stock_events ORDER BY 1";
        sqlx::query_scalar(rows).fetch_all(&self.0).await.unwrap()
    }

    /// What the limiter remembers.
    pub(crate) async fn upstreams(&self) -> Vec<String> {
        let rows =
            "SELECT json_array(upstream, host, rate_per_s, burst, held_until_at, push_backs) FROM upstreams";
        sqlx::query_scalar(rows).fetch_all(&self.0).await.unwrap()
    }

    /// The keys that have succeeded.
    pub(crate) async fn succeeded_keys(&self) -> HashSet<String> {
        let sql = "SELECT item_key FROM batch_execution_details WHERE status = 'SUCCEEDED'";
        let keys: Vec<String> = sqlx::query_scalar(sql).fetch_all(&self.0).await.unwrap();
        keys.into_iter().collect()
    }

    /// Asserts that a folder's only batch ended with every item final once, its rows in the datasets once, and
    /// counters that a recount confirms.
    pub(crate) async fn assert_exactly_once(&self, items: i64) {
        let open = "SELECT count(*) FROM batch_items WHERE status IN ('PENDING', 'RUNNING')";
        assert_eq!(self.number(open).await, 0, "items are open");
        let leased = "SELECT count(*) FROM batch_slices WHERE status = 'LEASED'";
        assert_eq!(self.number(leased).await, 0, "slices are leased");
        let kept = "SELECT count(*) FROM batch_execution_details";
        assert_eq!(self.number(kept).await, items, "items in the table");
        let distinct = "SELECT count(DISTINCT item_key) FROM batch_execution_details";
        assert_eq!(self.number(distinct).await, items, "distinct keys");
        let records = "SELECT total(records_inserted) FROM batch_execution_details";
        let records: f64 = sqlx::query_scalar(records).fetch_one(&self.0).await.unwrap();
        let rows = self
            .number("SELECT (SELECT count(*) FROM stock_prices) + (SELECT count(*) FROM stock_events)")
            .await;
        assert_eq!(records as i64, rows, "records of the items against rows of the datasets");
        self.assert_recount().await;
    }

    /// Asserts that every batch's counters are what a recount of its items gives.
    pub(crate) async fn assert_recount(&self) {
        let wrong = "
            SELECT count(*) FROM batch_executions b WHERE
              (total_count, successful_count, failed_count, skipped_count, canceled_count, records_count) IS NOT (
                SELECT count(*), count(*) FILTER (WHERE status = 'SUCCEEDED'), count(*) FILTER (WHERE status = 'FAILED'),
                  count(*) FILTER (WHERE status = 'SKIPPED'), count(*) FILTER (WHERE status = 'CANCELED'),
                  coalesce(sum(records_inserted), 0)
                FROM batch_items i WHERE i.batch_seq = b.seq)";
        assert_eq!(self.number(wrong).await, 0, "batches whose counters differ from a recount");
    }
}
