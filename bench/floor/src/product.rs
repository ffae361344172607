//! One group: slices' leases, for each item its prices or its body and its row, then the order of results and the figures.

use std::{fmt::Write, sync::Arc, time::{SystemTime, UNIX_EPOCH}};

pub mod rusqlite;
pub mod sqlx;

const SCHEMA: &[&str] = include!(concat!(env!("OUT_DIR"), "/schema.rs"));
const BATCH: i64 = 1;
const SLICE_ITEMS: i64 = 100;
/// Most parameters of a statement.
const VARIABLES_MAX: usize = 32_766;

/// How rows are written.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rows of prices per statement.
    pub rows: usize,
    /// How rows become parameters.
    pub form: Form,
    /// INSERT OR REPLACE in place of the upsert. All columns are given, so it comes to the same; SQLite then writes without a look.
    pub replace: bool,
    /// sqlx: an item's statements go together, on one way to the engine's thread and back.
    pub one_way: bool,
    /// Rows that are there are read for the whole group at once.
    pub group_check: bool,
    /// Replies and kept bodies per INSERT, and items' rows per UPDATE; 0: each by itself.
    pub together: usize,
    /// Reads the rows that are there first, to tell which change.
    pub check: bool,
    /// Upserts only rows that differ.
    pub skip: bool,
    /// Drops the provisional bars of the window first.
    pub drop: bool,
    /// Prices in a table with row ids and an index, in place of WITHOUT ROWID.
    pub rowid: bool,
    pub sync: String,
    pub page: u32,
    pub checkpoint: u32,
    pub cache_kib: u32,
}

/// How rows become parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    /// What rows of an item share is bound once, in a CTE that is joined.
    Shared,
    /// The same, bound in the list of what is selected from the rows.
    Select,
    /// Every row has all of its columns; a statement may have rows of several items.
    Flat,
}

impl Default for Plan {
    fn default() -> Self {
        Self { rows: 128, form: Form::Shared, replace: false, one_way: false, group_check: false, together: 0, check: true, skip: false, drop: true, rowid: false, sync: "FULL".into(), page: 8192, checkpoint: 8_192, cache_kib: 65_536 }
    }
}

impl Plan {
    /// `shared,128,nocheck,...` over the defaults.
    pub fn parse(text: &str) -> Self {
        let mut plan = Self::default();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let number = |prefix: &str| word.strip_prefix(prefix).map(|n| n.parse().expect(word));
            match word {
                "shared" => plan.form = Form::Shared,
                "select" => plan.form = Form::Select,
                "flat" => plan.form = Form::Flat,
                "replace" => plan.replace = true,
                "oneway" => plan.one_way = true,
                "groupcheck" => plan.group_check = true,
                "nocheck" => plan.check = false,
                "skip" => plan.skip = true,
                "nodrop" => plan.drop = false,
                "rowid" => plan.rowid = true,
                _ => match (number("page"), number("ckpt"), number("cache"), number("together"), word.parse()) {
                    (Some(page), ..) => plan.page = page,
                    (_, Some(pages), ..) => plan.checkpoint = pages,
                    (_, _, Some(kib), ..) => plan.cache_kib = kib,
                    (_, _, _, Some(items), _) => plan.together = items as usize,
                    (.., Ok(rows)) => plan.rows = rows,
                    _ => panic!("{word}"),
                },
            }
        }
        plan
    }

    fn pragmas(&self) -> String {
        format!(
            "pragma page_size={}; pragma journal_mode=WAL; pragma synchronous={}; pragma cache_size=-{}; pragma wal_autocheckpoint={};",
            self.page, self.sync, self.cache_kib, self.checkpoint
        )
    }

    /// The schema with one running batch of these keys, all open.
    fn schema(&self, keys: usize) -> Vec<String> {
        let mut all: Vec<String> = SCHEMA.iter().map(|sql| (*sql).to_owned()).collect();
        if self.rowid {
            // The same table, but for the way that it is kept.
            all.push("alter table stock_prices rename to before;".into());
            all.push("create table stock_prices as select * from before where false; drop table before;
                create unique index stock_prices_key on stock_prices (code, interval, ts);".into());
        }
        all.push(format!(
            "insert into batch_executions (name, display_name, batch_type, kind, status, spec, as_of_at, zone, expanded, total_count, created_at, state_since_at)
             values ('bench-0001', 'bench', 'bench', 'FETCH', 'RUNNING', '{{}}', 0, 'UTC', 1, {keys}, 0, 0);"
        ));
        all
    }

    fn insert(&self, rows: usize) -> String {
        let verb = if self.replace { "INSERT OR REPLACE" } else { "INSERT" };
        let mut sql = String::new();
        match self.form {
            Form::Shared => {
                sql.push_str("WITH shared (code, interval, symbol, currency, batch_seq, fetched_at) AS (VALUES (?, ?, ?, ?, ?, ?)), \
                    bar (ts, session_date, open, high, low, close, adj_close, volume, provisional) AS (VALUES ");
                values(&mut sql, rows, BAR);
                write!(sql, ") {verb} INTO stock_prices ({COLUMNS}) SELECT shared.*, bar.* FROM bar CROSS JOIN shared WHERE true").unwrap();
            }
            Form::Select => {
                write!(sql, "{verb} INTO stock_prices ({COLUMNS}) SELECT ?, ?, ?, ?, ?, ?, bar.* FROM (VALUES ").unwrap();
                values(&mut sql, rows, BAR);
                sql.push_str(") bar WHERE true");
            }
            Form::Flat => {
                write!(sql, "{verb} INTO stock_prices ({COLUMNS}) VALUES ").unwrap();
                values(&mut sql, rows, SHARED + BAR);
            }
        }
        if self.replace {
            return sql;
        }
        sql.push_str(UPSERT);
        if self.skip {
            sql.push_str(" WHERE excluded.open IS NOT stock_prices.open OR excluded.high IS NOT stock_prices.high OR excluded.low IS NOT stock_prices.low \
                OR excluded.close IS NOT stock_prices.close OR excluded.adj_close IS NOT stock_prices.adj_close OR excluded.volume IS NOT stock_prices.volume \
                OR excluded.session_date IS NOT stock_prices.session_date OR excluded.provisional IS NOT stock_prices.provisional \
                OR excluded.symbol IS NOT stock_prices.symbol OR excluded.currency IS NOT stock_prices.currency");
        }
        sql
    }

    fn columns(&self) -> usize {
        if self.form == Form::Flat { SHARED + BAR } else { BAR }
    }

    /// Rows per statement, within what a statement may have.
    pub fn rows_per_statement(&self) -> usize {
        self.rows.min((VARIABLES_MAX - 12) / self.columns())
    }
}

const SHARED: usize = 6;
const BAR: usize = 9;
const COLUMNS: &str = "code, interval, symbol, currency, batch_seq, fetched_at, ts, session_date, open, high, low, close, adj_close, volume, provisional";
const UPSERT: &str = " ON CONFLICT (code, interval, ts) DO UPDATE SET symbol = excluded.symbol, currency = excluded.currency, \
    batch_seq = excluded.batch_seq, fetched_at = excluded.fetched_at, session_date = excluded.session_date, open = excluded.open, \
    high = excluded.high, low = excluded.low, close = excluded.close, adj_close = excluded.adj_close, volume = excluded.volume, \
    provisional = excluded.provisional";
const DROP_PROVISIONAL: &str = "DELETE FROM stock_prices WHERE code = ? AND interval = ? AND provisional = 1 AND session_date BETWEEN ? AND ? AND fetched_at <= ?";
const PRESENT: &str = "SELECT ts, session_date, symbol, currency, open, high, low, close, adj_close, volume, provisional FROM stock_prices \
    WHERE code = ? AND interval = ? AND ts BETWEEN ? AND ? ORDER BY ts";
const PRESENT_OF_GROUP: &str = "SELECT ts, session_date, symbol, currency, open, high, low, close, adj_close, volume, provisional FROM stock_prices \
    WHERE interval = ? AND ts BETWEEN ? AND ? AND code IN";
const KEPT: usize = 6;

/// Kept bodies in one statement.
fn keep_bodies(count: usize) -> String {
    let mut sql = String::from("INSERT OR REPLACE INTO kept_bodies (batch_seq, item_index, body, http_status, content_type, fetched_at) VALUES ");
    values(&mut sql, count, KEPT);
    sql
}

/// Whether a reply was there with other values.
const REPLY_CHANGES: &str = "SELECT http_status <> ? OR content_type <> ? OR sha256 <> ? OR (body IS NULL) <> ? FROM responses \
    WHERE item_key = ? AND as_of_at = ? AND method = ? AND url = ?";
const UPSERT_REPLY: &str = " ON CONFLICT (item_key, as_of_at, method, url) DO UPDATE SET http_status = excluded.http_status, \
    content_type = excluded.content_type, size_bytes = excluded.size_bytes, sha256 = excluded.sha256, body = excluded.body, batch_seq = excluded.batch_seq, \
    fetched_at = excluded.fetched_at";
const METHOD: &str = "GET";
const AS_OF: i64 = 1_730_174_400_000;
const LEASE: &str = "UPDATE batch_slices SET open_count = open_count - ?, status = CASE WHEN open_count = ? THEN 'DONE' ELSE 'LEASED' END, \
    owner = CASE WHEN open_count > ? THEN owner END, lease_until_at = CASE WHEN open_count > ? THEN ? END, lost_in_row = 0 \
    WHERE batch_seq = ? AND slice_no = ? AND epoch = ? AND owner = ? AND status = 'LEASED' RETURNING status, open_count";
const ITEM: &str = "UPDATE batch_execution_details SET status = ?, attempts = attempts + 1, http_status = ?, records_inserted = ?, records_changed = ?, \
    size_bytes = ?, sha256 = ?, content_type = ?, latency_ms = ?, rows_left_out = 0, node = ?, first_attempt_at = coalesce(first_attempt_at, ?), \
    last_attempt_at = ?, updated_at = ?, last_attempt_end_at = ?, bytes_received = ? \
    WHERE batch_seq = ? AND item_index = ? AND status = 'PENDING'";
/// Parameters of a reply, and of an item, that others do not share.
const REPLY: usize = 7;
const ITEM_OF_MANY: usize = 9;

/// Replies in one statement: what they share comes first.
fn replies(count: usize) -> String {
    let mut sql = String::from(
        "INSERT INTO responses (as_of_at, method, batch_seq, fetched_at, item_key, url, http_status, content_type, size_bytes, sha256, body) \
         SELECT ?, ?, ?, ?, reply.* FROM (VALUES ",
    );
    values(&mut sql, count, REPLY);
    sql + ") reply WHERE true" + UPSERT_REPLY
}

/// The same question as [`REPLY_CHANGES`] about many replies, of which each is the only one of its item, day and method.
fn replies_before(count: usize) -> String {
    let keys = vec!["?"; count].join(", ");
    format!("SELECT item_key, url, http_status, content_type, sha256, body IS NULL FROM responses WHERE as_of_at = ? AND method = ? AND item_key IN ({keys})")
}

/// Items' own rows in one statement: what they share comes first.
fn ended_many(count: usize) -> String {
    let mut sql = String::from(
        "WITH shared (node, now) AS (VALUES (?, ?)), \
         came (item_index, http_status, records, changed, size_bytes, sha256, content_type, latency_ms, started_at) AS (VALUES ",
    );
    values(&mut sql, count, ITEM_OF_MANY);
    sql + ") UPDATE batch_execution_details AS item SET status = 'SUCCEEDED', attempts = attempts + 1, http_status = came.http_status, \
        records_inserted = records, records_changed = changed, size_bytes = came.size_bytes, sha256 = came.sha256, content_type = came.content_type, \
        latency_ms = came.latency_ms, rows_left_out = 0, node = shared.node, first_attempt_at = coalesce(first_attempt_at, started_at), \
        last_attempt_at = started_at, updated_at = now, last_attempt_end_at = now, bytes_received = came.size_bytes \
        FROM came CROSS JOIN shared WHERE item.batch_seq = ? AND item.item_index = came.item_index AND item.status = 'PENDING'"
}

const RESULTS: &str = "INSERT INTO item_results (batch_seq, first_no, item_count, items) SELECT ?, \
    coalesce((SELECT first_no + item_count FROM item_results WHERE batch_seq = ? ORDER BY first_no DESC LIMIT 1), 1), ?, ?";
const TALLY: &str = "UPDATE batch_executions SET successful_count = successful_count + ?, records_count = records_count + ?, \
    records_changed = records_changed + ?, bytes_received = bytes_received + ?, requests_count = requests_count + ?, revision = revision + 1 \
    WHERE seq = ? RETURNING *";
const NODE: &str = "bench";
const INTERVAL: &str = "1d";
const CURRENCY: &str = "USD";
const CONTENT_TYPE: &str = "application/json";

fn values(sql: &mut String, rows: usize, columns: usize) {
    let row = format!("({})", vec!["?"; columns].join(", "));
    sql.push_str(&vec![row; rows].join(", "));
}

/// A bar.
#[derive(Clone, Debug)]
pub struct Price {
    pub ts: i64,
    pub date: Arc<str>,
    pub ohlca: [Option<f64>; 5],
    pub volume: Option<i64>,
    pub provisional: bool,
}

/// An item that was fetched.
#[derive(Clone, Debug, Default)]
pub struct Item {
    pub index: i64,
    pub key: String,
    pub size: i64,
    pub sha256: Vec<u8>,
    /// Kept beside the rows, compressed.
    pub body: Option<Vec<u8>>,
    /// The reply as a row: what was asked for, and the body, compressed, if it is stored.
    pub reply: Option<(String, Option<Vec<u8>>)>,
    pub prices: Vec<Price>,
}

impl Item {
    /// `payload`: ledger, raw, rows or rows-kept.
    pub fn of(payload: &str, index: i64, key: &str, url: String, body: &[u8], prices: Vec<Price>) -> Self {
        use sha2::Digest;
        let sha256 = sha2::Sha256::digest(body).to_vec();
        let zstd = |wanted: bool| wanted.then(|| zstd::bulk::compress(body, zstd::DEFAULT_COMPRESSION_LEVEL).unwrap());
        let reply = matches!(payload, "ledger" | "raw").then(|| (url, zstd(payload == "raw")));
        Self { index, key: key.to_owned(), size: body.len() as i64, sha256, body: zstd(payload == "rows-kept"), reply, prices }
    }
}

impl Item {
    /// Rows of datasets.
    fn records(&self) -> i64 {
        self.prices.len() as i64 + i64::from(self.reply.is_some())
    }
}

/// The day of a time, UTC, as text.
pub fn date(ts: i64) -> Arc<str> {
    let (z, era_days) = (ts.div_euclid(86_400) + 719_468, 146_097);
    let (era, doe) = (z.div_euclid(era_days), z.rem_euclid(era_days));
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    format!("{:04}-{:02}-{:02}", yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1).into()
}

pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// Items of each slice in a group.
fn slices(items: &[Item]) -> Vec<(i64, i64)> {
    let mut slices: Vec<(i64, i64)> = Vec::new();
    for item in items {
        let no = item.index / SLICE_ITEMS;
        match slices.iter_mut().find(|(slice, _)| *slice == no) {
            Some((_, count)) => *count += 1,
            None => slices.push((no, 1)),
        }
    }
    slices
}

fn indexes(items: &[Item]) -> String {
    let mut json = String::from("[");
    for (n, item) in items.iter().enumerate() {
        write!(json, "{}{}", if n == 0 { "" } else { "," }, item.index).unwrap();
    }
    json + "]"
}
