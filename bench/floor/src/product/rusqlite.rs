//! The stretch floor: rusqlite on a thread of its own.

use ::rusqlite::{CachedStatement, Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::*;

pub struct Store {
    conn: Connection,
    plan: Plan,
    inserts: Vec<String>,
    reply: String,
    keep: String,
    changed: i64,
}

impl Store {
    /// A fresh store of these keys.
    pub fn create(path: &str, plan: Plan, keys: &[String]) -> Self {
        let conn = Connection::open(path).unwrap();
        conn.execute_batch(&plan.pragmas()).unwrap();
        conn.set_prepared_statement_cache_capacity(2_000);
        for sql in plan.schema(keys.len()) {
            conn.execute_batch(&sql).unwrap();
        }
        let tx = conn.unchecked_transaction().unwrap();
        {
            let mut slice = tx.prepare("insert into batch_slices (batch_seq, slice_no, first_index, end_index, status, owner, epoch, lease_until_at, open_count) values (?, ?, ?, ?, 'LEASED', ?, 1, 0, ?)").unwrap();
            let mut item = tx.prepare("insert into batch_execution_details (batch_seq, item_index, item_key, slice_no) values (?, ?, ?, ?)").unwrap();
            for (no, some) in keys.chunks(SLICE_ITEMS as usize).enumerate() {
                let first = no as i64 * SLICE_ITEMS;
                slice.execute(params![BATCH, no as i64, first, first + some.len() as i64, NODE, some.len() as i64]).unwrap();
                for (n, key) in some.iter().enumerate() {
                    item.execute(params![BATCH, first + n as i64, key, no as i64]).unwrap();
                }
            }
        }
        tx.commit().unwrap();
        conn.execute_batch("pragma wal_checkpoint(truncate)").unwrap();
        let inserts = (0..=plan.rows_per_statement()).map(|rows| plan.insert(rows)).collect();
        Self { conn, plan, inserts, reply: replies(1), keep: keep_bodies(1), changed: 0 }
    }

    /// Makes all items open again, with the rows that there are.
    pub fn reopen(&mut self) {
        self.conn
            .execute_batch(
                "update batch_execution_details set status = 'PENDING';
                 update batch_slices set status = 'LEASED', owner = 'bench', lease_until_at = 0, open_count = end_index - first_index;
                 update batch_executions set successful_count = 0; pragma wal_checkpoint(truncate)",
            )
            .unwrap();
    }

    pub fn commit(&mut self, items: &[Item]) {
        let at = now();
        let tx = Transaction::new(&mut self.conn, TransactionBehavior::Immediate).unwrap();
        {
            let mut lease = tx.prepare_cached(LEASE).unwrap();
            for (no, count) in slices(items) {
                let open: i64 = lease.query_row(params![count, count, count, count, at + 10_000, BATCH, no, 1, NODE], |row| row.get(1)).unwrap();
                assert!(open >= 0);
            }
            let mut row = tx.prepare_cached(ITEM).unwrap();
            let mut keep = tx.prepare_cached(&self.keep).unwrap();
            let (mut bytes, mut records, mut changed) = (0, 0, 0);
            if self.plan.form != Form::Flat {
                for item in items {
                    changed += prices(&tx, &self.plan, &self.inserts, item, at);
                }
            } else {
                changed += flat(&tx, &self.plan, &self.inserts, items, at);
            }
            for item in items {
                if let Some(body) = &item.body {
                    keep.execute(params![BATCH, item.index, body, 200, CONTENT_TYPE, at]).unwrap();
                }
                if let Some((url, body)) = &item.reply {
                    let mut before = tx.prepare_cached(REPLY_CHANGES).unwrap();
                    let differs = before.query_row(params![200, CONTENT_TYPE, item.sha256, body.is_none(), item.key, AS_OF, METHOD, url], |row| row.get::<_, i64>(0));
                    changed += differs.optional().unwrap().unwrap_or(0);
                    let mut reply = tx.prepare_cached(&self.reply).unwrap();
                    reply.execute(params![AS_OF, METHOD, BATCH, at, item.key, url, 200, CONTENT_TYPE, item.size, item.sha256, body]).unwrap();
                }
                let written = row
                    .execute(params!["SUCCEEDED", 200, item.records(), 0, item.size, item.sha256, CONTENT_TYPE, 1, NODE, at, at, at, at, item.size, BATCH, item.index])
                    .unwrap();
                assert_eq!(written, 1);
                bytes += item.size;
                records += item.records();
            }
            tx.prepare_cached(RESULTS).unwrap().execute(params![BATCH, BATCH, items.len() as i64, indexes(items)]).unwrap();
            let n = items.len() as i64;
            tx.prepare_cached(TALLY).unwrap().query_row(params![n, records, changed, bytes, n, BATCH], |_| Ok(())).unwrap();
            self.changed += changed;
        }
        tx.commit().unwrap();
    }

    pub fn count(&self, table: &str) -> i64 {
        self.conn.query_row(&format!("select count(*) from {table}"), [], |row| row.get(0)).unwrap()
    }
}

/// Rows that are there with other values, and the provisional ones dropped.
fn before(tx: &Transaction, plan: &Plan, item: &Item, at: i64) -> i64 {
    let (Some(first), Some(last)) = (item.prices.first(), item.prices.last()) else { return 0 };
    let mut changed = 0;
    if plan.check {
        let mut present = tx.prepare_cached(PRESENT).unwrap();
        let mut rows = present.query(params![item.key, INTERVAL, first.ts, last.ts]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let ts: i64 = row.get(0).unwrap();
            let Ok(n) = item.prices.binary_search_by_key(&ts, |price| price.ts) else { continue };
            let price = &item.prices[n];
            let differs = (0..5).any(|n| row.get::<_, Option<f64>>(4 + n).unwrap() != price.ohlca[n])
                || row.get::<_, Option<i64>>(9).unwrap() != price.volume
                || row.get_ref(1).unwrap().as_str().unwrap() != &*price.date
                || row.get_ref(2).unwrap().as_str().unwrap() != item.key
                || row.get::<_, bool>(10).unwrap() != price.provisional;
            changed += i64::from(differs);
        }
    }
    if plan.drop {
        tx.prepare_cached(DROP_PROVISIONAL).unwrap().execute(params![item.key, INTERVAL, &*first.date, &*last.date, at]).unwrap();
    }
    changed
}

fn prices(tx: &Transaction, plan: &Plan, inserts: &[String], item: &Item, at: i64) -> i64 {
    let changed = before(tx, plan, item, at);
    for some in item.prices.chunks(inserts.len() - 1) {
        let mut insert = tx.prepare_cached(&inserts[some.len()]).unwrap();
        let mut to = 1;
        shared(&mut insert, &mut to, item, at);
        for price in some {
            bar(&mut insert, &mut to, price);
        }
        insert.raw_execute().unwrap();
    }
    changed
}

/// Statements that may hold rows of several items.
fn flat(tx: &Transaction, plan: &Plan, inserts: &[String], items: &[Item], at: i64) -> i64 {
    let changed = items.iter().map(|item| before(tx, plan, item, at)).sum();
    let mut rows = items.iter().flat_map(|item| item.prices.iter().map(move |price| (item, price)));
    let mut left: usize = items.iter().map(|item| item.prices.len()).sum();
    while left > 0 {
        let n = left.min(inserts.len() - 1);
        let mut insert = tx.prepare_cached(&inserts[n]).unwrap();
        let mut to = 1;
        for (item, price) in rows.by_ref().take(n) {
            shared(&mut insert, &mut to, item, at);
            bar(&mut insert, &mut to, price);
        }
        insert.raw_execute().unwrap();
        left -= n;
    }
    changed
}

fn shared(insert: &mut CachedStatement, to: &mut usize, item: &Item, at: i64) {
    insert.raw_bind_parameter(*to, &item.key).unwrap();
    insert.raw_bind_parameter(*to + 1, INTERVAL).unwrap();
    insert.raw_bind_parameter(*to + 2, &item.key).unwrap();
    insert.raw_bind_parameter(*to + 3, CURRENCY).unwrap();
    insert.raw_bind_parameter(*to + 4, BATCH).unwrap();
    insert.raw_bind_parameter(*to + 5, at).unwrap();
    *to += SHARED;
}

fn bar(insert: &mut CachedStatement, to: &mut usize, price: &Price) {
    insert.raw_bind_parameter(*to, price.ts).unwrap();
    insert.raw_bind_parameter(*to + 1, &*price.date).unwrap();
    for (n, value) in price.ohlca.iter().enumerate() {
        insert.raw_bind_parameter(*to + 2 + n, value).unwrap();
    }
    insert.raw_bind_parameter(*to + 7, price.volume).unwrap();
    insert.raw_bind_parameter(*to + 8, price.provisional).unwrap();
    *to += BAR;
}
