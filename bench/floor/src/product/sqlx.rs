//! The floor that the product is held against: sqlx, whose connection is a thread of its own behind a channel.

use ::sqlx::{Connection, ConnectOptions, Row, Sqlite, SqliteConnection, query::Query, sqlite::{SqliteArguments, SqliteConnectOptions, SqliteJournalMode}};

use super::*;

pub struct Store {
    conn: SqliteConnection,
    plan: Plan,
    inserts: Vec<&'static str>,
    dropping: Vec<&'static str>,
}

type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

impl Store {
    /// Opens a store that the other library has made.
    pub async fn open(path: &str, plan: Plan) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .statement_cache_capacity(1_000)
            .pragma("synchronous", plan.sync.clone())
            .pragma("cache_size", format!("-{}", plan.cache_kib))
            .pragma("wal_autocheckpoint", plan.checkpoint.to_string())
            .disable_statement_logging();
        let insert = |rows| -> &'static str { Box::leak(plan.insert(rows).into_boxed_str()) };
        let inserts: Vec<_> = (0..=plan.rows_per_statement()).map(insert).collect();
        let with_drop = |insert: &&str| -> &'static str { Box::leak(format!("{DROP_PROVISIONAL}; {insert}").into_boxed_str()) };
        let dropping = inserts.iter().map(with_drop).collect();
        Self { conn: options.connect().await.unwrap(), plan, inserts, dropping }
    }

    pub async fn commit(&mut self, items: &[Item]) {
        let at = now();
        let mut tx = self.conn.begin_with("BEGIN IMMEDIATE").await.unwrap();
        for (no, count) in slices(items) {
            let lease = ::sqlx::query(LEASE).bind(count).bind(count).bind(count).bind(count).bind(at + 10_000).bind(BATCH).bind(no).bind(1).bind(NODE);
            assert!(lease.fetch_one(&mut *tx).await.unwrap().get::<i64, _>(1) >= 0);
        }
        let (mut bytes, mut records, mut changed) = (0, 0, 0);
        for item in items {
            changed += present(&mut tx, &self.plan, item).await;
        }
        if self.plan.shared {
            for item in items {
                for (n, some) in item.prices.chunks(self.inserts.len() - 1).enumerate() {
                    let dropping = n == 0 && self.plan.drop;
                    let mut insert = ::sqlx::query(if dropping { self.dropping[some.len()] } else { self.inserts[some.len()] });
                    if dropping {
                        insert = drop_provisional(insert, item, at);
                    }
                    insert = shared(insert, item, at);
                    for price in some {
                        insert = bar(insert, price);
                    }
                    insert.execute(&mut *tx).await.unwrap();
                }
            }
        } else {
            if self.plan.drop {
                for item in items.iter().filter(|item| !item.prices.is_empty()) {
                    drop_provisional(::sqlx::query(DROP_PROVISIONAL), item, at).execute(&mut *tx).await.unwrap();
                }
            }
            let mut rows: Vec<(&Item, &Price)> = Vec::new();
            for item in items {
                rows.extend(item.prices.iter().map(|price| (item, price)));
            }
            for some in rows.chunks(self.inserts.len() - 1) {
                let mut insert = ::sqlx::query(self.inserts[some.len()]);
                for (item, price) in some {
                    insert = bar(shared(insert, item, at), price);
                }
                insert.execute(&mut *tx).await.unwrap();
            }
        }
        for item in items {
            if let Some(body) = &item.body {
                let keep = ::sqlx::query(KEEP_BODY).bind(BATCH).bind(item.index).bind(body.as_slice()).bind(200).bind(CONTENT_TYPE).bind(at);
                keep.execute(&mut *tx).await.unwrap();
            }
            let row = ::sqlx::query(ITEM)
                .bind("SUCCEEDED").bind(200).bind(item.prices.len() as i64).bind(0).bind(item.size).bind(item.sha256.as_slice()).bind(CONTENT_TYPE).bind(1)
                .bind(NODE).bind(at).bind(at).bind(at).bind(at).bind(item.size).bind(BATCH).bind(item.index);
            assert_eq!(row.execute(&mut *tx).await.unwrap().rows_affected(), 1);
            bytes += item.size;
            records += item.prices.len() as i64;
        }
        let n = items.len() as i64;
        ::sqlx::query(RESULTS).bind(BATCH).bind(BATCH).bind(n).bind(indexes(items)).execute(&mut *tx).await.unwrap();
        ::sqlx::query(TALLY).bind(n).bind(records).bind(changed).bind(bytes).bind(n).bind(BATCH).fetch_one(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub async fn close(self) {
        self.conn.close().await.unwrap();
    }
}

async fn present(conn: &mut SqliteConnection, plan: &Plan, item: &Item) -> i64 {
    let (true, Some(first), Some(last)) = (plan.check, item.prices.first(), item.prices.last()) else { return 0 };
    let rows = ::sqlx::query(PRESENT).bind(&item.key).bind(INTERVAL).bind(first.ts).bind(last.ts).fetch_all(conn).await.unwrap();
    let differs = |row: &::sqlx::sqlite::SqliteRow| {
        let Ok(n) = item.prices.binary_search_by_key(&row.get(0), |price| price.ts) else { return false };
        let price = &item.prices[n];
        (0..5).any(|n| row.get::<Option<f64>, _>(4 + n) != price.ohlca[n])
            || row.get::<Option<i64>, _>(9) != price.volume
            || row.get::<&str, _>(1) != price.date
            || row.get::<&str, _>(2) != item.key
            || row.get::<bool, _>(10) != price.provisional
    };
    rows.iter().filter(|row| differs(row)).count() as i64
}

fn drop_provisional<'q>(delete: Statement<'q>, item: &'q Item, at: i64) -> Statement<'q> {
    let (first, last) = (&item.prices[0], &item.prices[item.prices.len() - 1]);
    delete.bind(&item.key).bind(INTERVAL).bind(&first.date).bind(&last.date).bind(at)
}

fn shared<'q>(insert: Statement<'q>, item: &'q Item, at: i64) -> Statement<'q> {
    insert.bind(&item.key).bind(INTERVAL).bind(&item.key).bind(CURRENCY).bind(BATCH).bind(at)
}

fn bar<'q>(mut insert: Statement<'q>, price: &'q Price) -> Statement<'q> {
    insert = insert.bind(price.ts).bind(&price.date);
    for value in price.ohlca {
        insert = insert.bind(value);
    }
    insert.bind(price.volume).bind(price.provisional)
}
