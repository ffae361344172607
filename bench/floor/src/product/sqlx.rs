//! The floor that the product is held against: sqlx, whose connection is a thread of its own behind a channel.

use std::collections::HashMap;

use ::sqlx::{Arguments, ConnectOptions, Connection, Row, SqliteConnection, sqlite::{SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqliteRow}};

use super::*;

pub struct Store {
    conn: SqliteConnection,
    plan: Plan,
    /// By rows, and whether the provisional ones are dropped and the item's own row is written on the same way.
    texts: HashMap<(usize, bool, bool), &'static str>,
    sqls: Texts,
}

/// Statements about many items, by how many, each made once.
#[derive(Default)]
struct Texts {
    replies: HashMap<usize, &'static str>,
    before: HashMap<usize, &'static str>,
    ended: HashMap<usize, &'static str>,
    keep: HashMap<usize, &'static str>,
}

impl Texts {
    fn replies(&mut self, count: usize) -> &'static str {
        self.replies.entry(count).or_insert_with(|| replies(count).leak())
    }

    fn before(&mut self, count: usize) -> &'static str {
        self.before.entry(count).or_insert_with(|| replies_before(count).leak())
    }

    fn keep(&mut self, count: usize) -> &'static str {
        self.keep.entry(count).or_insert_with(|| keep_bodies(count).leak())
    }

    fn ended(&mut self, count: usize) -> &'static str {
        self.ended.entry(count).or_insert_with(|| ended_many(count).leak())
    }
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
        Self { conn: options.connect().await.unwrap(), plan, texts: HashMap::new(), sqls: Texts::default() }
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
        let mut changed = changed;
        let size = self.plan.together.max(1);
        for some in items.chunks(size) {
            if some[0].body.is_some() {
                ::sqlx::query_with(self.sqls.keep(some.len()), kept_args(some, at)).execute(&mut *tx).await.unwrap();
            }
            if let Some(text) = some[0].reply.as_ref().map(|_| self.sqls.replies(some.len())) {
                changed += replied(&mut tx, &self.plan, &mut self.sqls, some).await;
                ::sqlx::query_with(text, replied_args(some, at)).execute(&mut *tx).await.unwrap();
            }
            if some[0].prices.is_empty() || !self.plan.one_way {
                let written = if self.plan.together == 0 {
                    let mut args = reserved(16);
                    ended(&mut args, &some[0], at);
                    ::sqlx::query_with(ITEM, args).execute(&mut *tx).await.unwrap()
                } else {
                    ::sqlx::query_with(self.sqls.ended(some.len()), ended_args(some, at)).execute(&mut *tx).await.unwrap()
                };
                assert_eq!(written.rows_affected(), some.len() as u64);
            }
        }
        let bytes: i64 = items.iter().map(|item| item.size).sum();
        let records: i64 = items.iter().map(Item::records).sum();
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

/// How many replies were there with other values.
async fn replied(conn: &mut SqliteConnection, plan: &Plan, sqls: &mut Texts, items: &[Item]) -> i64 {
    if plan.together == 0 {
        let item = &items[0];
        let Some((url, body)) = &item.reply else { return 0 };
        let before = ::sqlx::query(REPLY_CHANGES).bind(200).bind(CONTENT_TYPE).bind(item.sha256.as_slice()).bind(body.is_none());
        let row = before.bind(&item.key).bind(AS_OF).bind(METHOD).bind(url).fetch_optional(conn).await.unwrap();
        return row.map_or(0, |row| row.get(0));
    }
    let mut before = ::sqlx::query(sqls.before(items.len())).bind(AS_OF).bind(METHOD);
    for item in items {
        before = before.bind(&item.key);
    }
    let rows = before.fetch_all(conn).await.unwrap();
    let by_key: HashMap<&str, &Item> = items.iter().map(|item| (item.key.as_str(), item)).collect();
    let changes = |row: &&SqliteRow| {
        let Some((item, (url, body))) = by_key.get(row.get::<&str, _>(0)).and_then(|item| Some((item, item.reply.as_ref()?))) else { return false };
        row.get::<&str, _>(1) == url
            && (row.get::<i64, _>(2) != 200 || row.get::<&str, _>(3) != CONTENT_TYPE || row.get::<&[u8], _>(4) != item.sha256 || row.get::<bool, _>(5) != body.is_none())
    };
    rows.iter().filter(changes).count() as i64
}

fn replied_args(items: &[Item], at: i64) -> SqliteArguments {
    let mut args = reserved(4 + items.len() * REPLY);
    args.add(AS_OF).unwrap();
    args.add(METHOD).unwrap();
    args.add(BATCH).unwrap();
    args.add(at).unwrap();
    for item in items {
        let (url, body) = item.reply.as_ref().unwrap();
        args.add(&item.key).unwrap();
        args.add(url).unwrap();
        args.add(200).unwrap();
        args.add(CONTENT_TYPE).unwrap();
        args.add(item.size).unwrap();
        args.add(item.sha256.as_slice()).unwrap();
        args.add(body.as_deref()).unwrap();
    }
    args
}

fn kept_args(items: &[Item], at: i64) -> SqliteArguments {
    let mut args = reserved(items.len() * KEPT);
    for item in items {
        args.add(BATCH).unwrap();
        args.add(item.index).unwrap();
        args.add(item.body.as_deref()).unwrap();
        args.add(200).unwrap();
        args.add(CONTENT_TYPE).unwrap();
        args.add(at).unwrap();
    }
    args
}

fn ended_args(items: &[Item], at: i64) -> SqliteArguments {
    let mut args = reserved(3 + items.len() * ITEM_OF_MANY);
    args.add(NODE).unwrap();
    args.add(at).unwrap();
    for item in items {
        for number in [item.index, 200, item.records(), 0, item.size] {
            args.add(number).unwrap();
        }
        args.add(item.sha256.as_slice()).unwrap();
        args.add(CONTENT_TYPE).unwrap();
        args.add(1).unwrap();
        args.add(at).unwrap();
    }
    args.add(BATCH).unwrap();
    args
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
    for number in [200, item.records(), 0, item.size] {
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
