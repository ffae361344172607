//! The floor that the product is held against: sqlx, whose connection is a thread of its own behind a channel.

use std::collections::HashMap;

use ::sqlx::{Arguments, ConnectOptions, Connection, Row, SqliteConnection, sqlite::{SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqliteRow}};

use super::*;

pub struct Store {
    conn: SqliteConnection,
    plan: Plan,
    /// By rows, and whether the provisional ones are dropped and the item's own row is written on the same way.
    texts: HashMap<(usize, bool, bool), &'static str>,
}

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
        Self { conn: options.connect().await.unwrap(), plan, texts: HashMap::new() }
    }

    /// A statement's text, made once, so that it is prepared once.
    fn text(&mut self, rows: usize, drops: bool, with_item: bool) -> &'static str {
        let plan = &self.plan;
        self.texts.entry((rows, drops, with_item)).or_insert_with(|| {
            let drop = if drops { format!("{DROP_PROVISIONAL}; ") } else { String::new() };
            let item = if with_item { format!("; {ITEM}") } else { String::new() };
            Box::leak(format!("{drop}{}{item}", plan.insert(rows)).into_boxed_str())
        })
    }

    pub async fn commit(&mut self, items: &[Item]) {
        let at = now();
        let size = self.plan.rows_per_statement();
        // Parameters are made before the transaction, which then only waits for the engine.
        let mut writes: Vec<(&'static str, SqliteArguments)> = Vec::new();
        if self.plan.form == Form::Flat {
            let mut rows: Vec<(&Item, &Price)> = Vec::new();
            for item in items {
                rows.extend(item.prices.iter().map(|price| (item, price)));
                if self.plan.drop && !item.prices.is_empty() {
                    writes.push((DROP_PROVISIONAL, drop_provisional(item, at, 5)));
                }
            }
            for some in rows.chunks(size) {
                let mut args = reserved(some.len() * (SHARED + BAR));
                for (item, price) in some {
                    shared(&mut args, item, at);
                    bar(&mut args, price);
                }
                writes.push((self.text(some.len(), false, false), args));
            }
        } else {
            for item in items {
                let chunks = item.prices.chunks(size).len();
                for (n, some) in item.prices.chunks(size).enumerate() {
                    let (drops, with_item) = (n == 0 && self.plan.drop, n + 1 == chunks && self.plan.one_way);
                    let room = some.len() * BAR + SHARED + 21;
                    let mut args = if drops { drop_provisional(item, at, room) } else { reserved(room) };
                    shared(&mut args, item, at);
                    for price in some {
                        bar(&mut args, price);
                    }
                    if with_item {
                        ended(&mut args, item, at);
                    }
                    writes.push((self.text(some.len(), drops, with_item), args));
                }
            }
        }
        let mut tx = self.conn.begin_with("BEGIN IMMEDIATE").await.unwrap();
        for (no, count) in slices(items) {
            let lease = ::sqlx::query(LEASE).bind(count).bind(count).bind(count).bind(count).bind(at + 10_000).bind(BATCH).bind(no).bind(1).bind(NODE);
            assert!(lease.fetch_one(&mut *tx).await.unwrap().get::<i64, _>(1) >= 0);
        }
        let changed = if self.plan.group_check {
            present_of_group(&mut tx, items).await
        } else {
            let mut changed = 0;
            for item in items {
                changed += present(&mut tx, &self.plan, item).await;
            }
            changed
        };
        for (sql, args) in writes {
            ::sqlx::query_with(sql, args).execute(&mut *tx).await.unwrap();
        }
        let (mut bytes, mut records) = (0, 0);
        for item in items {
            if let Some(body) = &item.body {
                let keep = ::sqlx::query(KEEP_BODY).bind(BATCH).bind(item.index).bind(body.as_slice()).bind(200).bind(CONTENT_TYPE).bind(at);
                keep.execute(&mut *tx).await.unwrap();
            }
            if let Some((url, body)) = &item.reply {
                let reply = ::sqlx::query(REPLY).bind(&item.key).bind(AS_OF).bind(url).bind(200).bind(CONTENT_TYPE).bind(item.size);
                reply.bind(item.sha256.as_slice()).bind(body.as_deref()).bind(BATCH).bind(at).execute(&mut *tx).await.unwrap();
            }
            if !self.plan.one_way || item.prices.is_empty() {
                let mut args = reserved(16);
                ended(&mut args, item, at);
                assert_eq!(::sqlx::query_with(ITEM, args).execute(&mut *tx).await.unwrap().rows_affected(), 1);
            }
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

fn differs(row: &SqliteRow, item: &Item) -> bool {
    let Ok(n) = item.prices.binary_search_by_key(&row.get(0), |price| price.ts) else { return false };
    let price = &item.prices[n];
    (0..5).any(|n| row.get::<Option<f64>, _>(4 + n) != price.ohlca[n])
        || row.get::<Option<i64>, _>(9) != price.volume
        || row.get::<&str, _>(1) != &*price.date
        || row.get::<bool, _>(10) != price.provisional
}

async fn present(conn: &mut SqliteConnection, plan: &Plan, item: &Item) -> i64 {
    let (true, Some(first), Some(last)) = (plan.check, item.prices.first(), item.prices.last()) else { return 0 };
    let rows = ::sqlx::query(PRESENT).bind(&item.key).bind(INTERVAL).bind(first.ts).bind(last.ts).fetch_all(conn).await.unwrap();
    rows.iter().filter(|row| differs(row, item)).count() as i64
}

/// The same of all items at once.
async fn present_of_group(conn: &mut SqliteConnection, items: &[Item]) -> i64 {
    let times = || items.iter().flat_map(|item| item.prices.first().into_iter().chain(item.prices.last())).map(|price| price.ts);
    let (Some(first), Some(last)) = (times().min(), times().max()) else { return 0 };
    let sql = format!("{PRESENT_OF_GROUP} ({})", vec!["?"; items.len()].join(", "));
    let mut query = ::sqlx::query(::sqlx::AssertSqlSafe(sql)).bind(INTERVAL).bind(first).bind(last);
    for item in items {
        query = query.bind(&item.key);
    }
    let rows = query.fetch_all(conn).await.unwrap();
    let by_key: HashMap<&str, &Item> = items.iter().map(|item| (item.key.as_str(), item)).collect();
    rows.iter().filter(|row| by_key.get(row.get::<&str, _>(2)).is_some_and(|item| differs(row, item))).count() as i64
}

fn reserved(len: usize) -> SqliteArguments {
    let mut args = SqliteArguments::default();
    args.reserve(len, 0);
    args
}

fn drop_provisional(item: &Item, at: i64, room: usize) -> SqliteArguments {
    let (first, last) = (&item.prices[0], &item.prices[item.prices.len() - 1]);
    let mut args = reserved(room);
    args.add(&item.key).unwrap();
    args.add(INTERVAL).unwrap();
    args.add(Arc::clone(&first.date)).unwrap();
    args.add(Arc::clone(&last.date)).unwrap();
    args.add(at).unwrap();
    args
}

fn shared(args: &mut SqliteArguments, item: &Item, at: i64) {
    args.add(&item.key).unwrap();
    args.add(INTERVAL).unwrap();
    args.add(&item.key).unwrap();
    args.add(CURRENCY).unwrap();
    args.add(BATCH).unwrap();
    args.add(at).unwrap();
}

fn bar(args: &mut SqliteArguments, price: &Price) {
    args.add(price.ts).unwrap();
    args.add(Arc::clone(&price.date)).unwrap();
    for value in price.ohlca {
        args.add(value).unwrap();
    }
    args.add(price.volume).unwrap();
    args.add(price.provisional).unwrap();
}

/// The item's own row.
fn ended(args: &mut SqliteArguments, item: &Item, at: i64) {
    args.add("SUCCEEDED").unwrap();
    for number in [200, item.prices.len() as i64, 0, item.size] {
        args.add(number).unwrap();
    }
    args.add(item.sha256.as_slice()).unwrap();
    args.add(CONTENT_TYPE).unwrap();
    args.add(1).unwrap();
    args.add(NODE).unwrap();
    for number in [at, at, at, at, item.size, BATCH, item.index] {
        args.add(number).unwrap();
    }
}
