//! Fetch and persistence floor. Arguments are key=value:
//!   base=http://127.0.0.1:18080  keys=FILE  n=3800  conc=64  rt=2 (worker threads; 0 = current-thread)
//!   client=reqwest|hyper|gen     (gen: no HTTP at all, the body comes from body=FILE)
//!   sink=none|parse|sqlx|rusqlite|pg   payload=ledger|raw|rows   ins=row|multi|json|unnest|copy
//!   sink=product-sqlx|product-rusqlite payload=ledger|raw|rows|rows-kept   plan=WAY   (haul's own tables and rows; see product.rs)
//!   batch=K items per transaction      sync=NORMAL|FULL|OFF      db=FILE or postgres URL   writers=1 (pg)
//! One JSON line on stdout: figures up to the last durable commit, then a row count as proof.
use bytes::Bytes;
use floor::product;
use http_body_util::{BodyExt, Empty};
use serde::Deserialize;
use std::{collections::HashMap, sync::{atomic::{AtomicUsize, Ordering::Relaxed}, Arc}, time::Instant};
use tokio::sync::{mpsc, Mutex};

#[derive(Clone, Copy)]
struct Row { ts: i64, o: f64, h: f64, l: f64, c: f64, a: f64, v: i64 }
struct Item { id: i64, key: String, status: i64, body: Bytes, rows: Vec<Row>, product: Option<product::Item> }

#[derive(Deserialize)]
struct Doc { chart: Chart }
#[derive(Deserialize)]
struct Chart { result: Vec<Res> }
#[derive(Deserialize)]
struct Res { timestamp: Vec<i64>, indicators: Ind }
#[derive(Deserialize)]
struct Ind { quote: Vec<Quote>, adjclose: Vec<Adj> }
#[derive(Deserialize)]
struct Quote { open: Vec<Option<f64>>, high: Vec<Option<f64>>, low: Vec<Option<f64>>, close: Vec<Option<f64>>, volume: Vec<Option<i64>> }
#[derive(Deserialize)]
struct Adj { adjclose: Vec<Option<f64>> }

fn parse(b: &[u8]) -> Vec<Row> {
    let d: Doc = serde_json::from_slice(b).expect("chart json");
    let r = &d.chart.result[0];
    let (q, a) = (&r.indicators.quote[0], &r.indicators.adjclose[0].adjclose);
    let f = |v: &Vec<Option<f64>>, i: usize| v[i].unwrap_or(f64::NAN);
    (0..r.timestamp.len())
        .map(|i| Row { ts: r.timestamp[i], o: f(&q.open, i), h: f(&q.high, i), l: f(&q.low, i), c: f(&q.close, i), a: f(a, i), v: q.volume[i].unwrap_or(0) })
        .collect()
}

const SCHEMA: &str = "
create table item(id integer primary key, key text not null, status integer not null, attempts integer not null, bytes integer not null, at integer not null);
create table raw(id integer primary key, body blob not null);
create table price(id integer not null, ts integer not null, o real, h real, l real, c real, a real, v integer, primary key(id, ts)) without rowid;";
const PG_SCHEMA: &str = "drop table if exists item, raw, price;
create table item(id bigint primary key, key text not null, status bigint not null, attempts bigint not null, bytes bigint not null, at bigint not null);
create table raw(id bigint primary key, body bytea not null);
create table price(id bigint not null, ts bigint not null, o float8, h float8, l float8, c float8, a float8, v bigint, primary key(id, ts));";
const INS_ITEM: &str = "insert into item values(?1,?2,?3,1,?4,?5)";
const INS_RAW: &str = "insert into raw values(?1,?2)";
const INS_PRICE: &str = "insert into price values(?1,?2,?3,?4,?5,?6,?7,?8)";
const INS_JSON: &str = "insert into price select ?1, value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6 from json_each(?2)";
const CHUNK: usize = 50;

fn multi_sql(n: usize) -> &'static str {
    let mut s = String::from("insert into price values");
    for i in 0..n {
        if i > 0 { s.push(','); }
        s.push_str("(?,?,?,?,?,?,?,?)");
    }
    Box::leak(s.into_boxed_str())
}
fn rows_json(rows: &[Row]) -> String {
    use std::fmt::Write;
    let mut s = String::with_capacity(rows.len() * 80);
    s.push('[');
    for (i, r) in rows.iter().enumerate() {
        if i > 0 { s.push(','); }
        write!(s, "[{},{},{},{},{},{},{}]", r.ts, r.o, r.h, r.l, r.c, r.a, r.v).unwrap();
    }
    s.push(']');
    s
}
fn now() -> i64 { std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64 }
fn usage() -> (f64, f64) {
    unsafe {
        let mut r: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut r);
        let s = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
        // ru_maxrss survives exec and would show the launcher's peak; VmHWM is this program's own
        let st = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let hwm: f64 = st.lines().find(|l| l.starts_with("VmHWM")).and_then(|l| l.split_whitespace().nth(1)).map_or(0., |x| x.parse().unwrap());
        (s(r.ru_utime) + s(r.ru_stime), hwm / 1024.)
    }
}

#[derive(Clone)]
struct Cfg { sink: String, payload: String, ins: String, sync: String, db: String, batch: usize, plan: product::Plan }

/// The item as haul's tables have it.
fn product_item(payload: &str, id: i64, key: &str, url: String, body: &Bytes, rows: &[Row]) -> product::Item {
    let number = |x: f64| (!x.is_nan()).then_some(x);
    let prices = rows.iter().enumerate().map(|(n, r)| product::Price {
        ts: r.ts, date: product::date(r.ts), ohlca: [r.o, r.h, r.l, r.c, r.a].map(number), volume: Some(r.v), provisional: n + 1 == rows.len(),
    });
    product::Item::of(payload, id, key, url, body, prices.collect())
}

fn product_rusqlite(batch: usize, mut store: product::rusqlite::Store, mut rx: mpsc::Receiver<Item>) {
    loop {
        let group: Vec<_> = std::iter::from_fn(|| rx.blocking_recv()).take(batch).filter_map(|i| i.product).collect();
        if group.is_empty() { break; }
        store.commit(&group);
    }
}

async fn product_sqlx(batch: usize, mut store: product::sqlx::Store, mut rx: mpsc::Receiver<Item>) {
    let mut group = Vec::new();
    loop {
        group.clear();
        while group.len() < batch {
            match rx.recv().await { Some(i) => group.extend(i.product), None => break }
        }
        if group.is_empty() { break; }
        store.commit(&group).await;
    }
    store.close().await;
}

fn rusqlite_writer(c: Cfg, mut rx: mpsc::Receiver<Item>) {
    let mut cn = rusqlite::Connection::open(&c.db).unwrap();
    cn.execute_batch(&format!("pragma journal_mode=WAL; pragma synchronous={}; pragma cache_size=-65536; pragma temp_store=MEMORY;{SCHEMA}", c.sync)).unwrap();
    cn.set_prepared_statement_cache_capacity(16);
    let msql = multi_sql(CHUNK);
    let mut buf = Vec::new();
    loop {
        buf.clear();
        while buf.len() < c.batch {
            match rx.blocking_recv() { Some(i) => buf.push(i), None => break }
        }
        if buf.is_empty() { break; }
        let tx = cn.transaction().unwrap();
        {
            let mut it = tx.prepare_cached(INS_ITEM).unwrap();
            let mut raw = tx.prepare_cached(INS_RAW).unwrap();
            let mut pr = tx.prepare_cached(INS_PRICE).unwrap();
            for i in &buf {
                it.execute(rusqlite::params![i.id, i.key, i.status, i.body.len() as i64, now()]).unwrap();
                match (c.payload.as_str(), c.ins.as_str()) {
                    ("raw", _) => { raw.execute(rusqlite::params![i.id, &i.body[..]]).unwrap(); }
                    ("rows", "row") => for r in &i.rows {
                        pr.execute(rusqlite::params![i.id, r.ts, r.o, r.h, r.l, r.c, r.a, r.v]).unwrap();
                    },
                    ("rows", "multi") => for ch in i.rows.chunks(CHUNK) {
                        if ch.len() < CHUNK {
                            for r in ch { pr.execute(rusqlite::params![i.id, r.ts, r.o, r.h, r.l, r.c, r.a, r.v]).unwrap(); }
                            continue;
                        }
                        let mut st = tx.prepare_cached(msql).unwrap();
                        let mut p = 1;
                        for r in ch {
                            st.raw_bind_parameter(p, i.id).unwrap();
                            st.raw_bind_parameter(p + 1, r.ts).unwrap();
                            for (k, x) in [r.o, r.h, r.l, r.c, r.a].into_iter().enumerate() { st.raw_bind_parameter(p + 2 + k, x).unwrap(); }
                            st.raw_bind_parameter(p + 7, r.v).unwrap();
                            p += 8;
                        }
                        st.raw_execute().unwrap();
                    },
                    ("rows", "json") => { tx.prepare_cached(INS_JSON).unwrap().execute(rusqlite::params![i.id, rows_json(&i.rows)]).unwrap(); }
                    _ => {}
                }
            }
        }
        tx.commit().unwrap();
    }
}

async fn sqlx_writer(c: Cfg, mut rx: mpsc::Receiver<Item>) {
    use sqlx::{sqlite::*, ConnectOptions, Connection};
    let o = SqliteConnectOptions::new().filename(&c.db).create_if_missing(true).journal_mode(SqliteJournalMode::Wal)
        .synchronous(match c.sync.as_str() { "FULL" => SqliteSynchronous::Full, "OFF" => SqliteSynchronous::Off, _ => SqliteSynchronous::Normal })
        .pragma("cache_size", "-65536").pragma("temp_store", "MEMORY").disable_statement_logging();
    let mut cn = o.connect().await.unwrap();
    sqlx::raw_sql(SCHEMA).execute(&mut cn).await.unwrap();
    let msql = multi_sql(CHUNK);
    let mut buf = Vec::new();
    loop {
        buf.clear();
        while buf.len() < c.batch {
            match rx.recv().await { Some(i) => buf.push(i), None => break }
        }
        if buf.is_empty() { break; }
        let mut tx = cn.begin().await.unwrap();
        for i in &buf {
            sqlx::query(INS_ITEM).bind(i.id).bind(&i.key).bind(i.status).bind(i.body.len() as i64).bind(now()).execute(&mut *tx).await.unwrap();
            match (c.payload.as_str(), c.ins.as_str()) {
                ("raw", _) => { sqlx::query(INS_RAW).bind(i.id).bind(&i.body[..]).execute(&mut *tx).await.unwrap(); }
                ("rows", "json") => { sqlx::query(INS_JSON).bind(i.id).bind(rows_json(&i.rows)).execute(&mut *tx).await.unwrap(); }
                ("rows", m) => for ch in i.rows.chunks(if m == "multi" { CHUNK } else { 1 }) {
                    let sql = if ch.len() == CHUNK { msql } else if ch.len() == 1 { INS_PRICE } else { multi_sql(ch.len()) };
                    let mut q = sqlx::query(sql);
                    for r in ch { q = q.bind(i.id).bind(r.ts).bind(r.o).bind(r.h).bind(r.l).bind(r.c).bind(r.a).bind(r.v); }
                    q.execute(&mut *tx).await.unwrap();
                },
                _ => {}
            }
        }
        tx.commit().await.unwrap();
    }
    cn.close().await.unwrap();
}

async fn pg_writer(c: Cfg, rx: Arc<Mutex<mpsc::Receiver<Item>>>) {
    use sqlx::{postgres::*, ConnectOptions, Connection};
    let mut cn = c.db.parse::<PgConnectOptions>().unwrap().disable_statement_logging().connect().await.unwrap();
    sqlx::raw_sql(if c.sync == "OFF" { "set synchronous_commit=off" } else { "set synchronous_commit=on" }).execute(&mut cn).await.unwrap();
    let mut buf = Vec::new();
    loop {
        buf.clear();
        {
            let mut rx = rx.lock().await;
            while buf.len() < c.batch {
                match rx.recv().await { Some(i) => buf.push(i), None => break }
            }
        }
        if buf.is_empty() { break; }
        let mut tx = cn.begin().await.unwrap();
        let ids: Vec<i64> = buf.iter().map(|i| i.id).collect();
        let at = now();
        sqlx::query("insert into item select u.id,u.k,u.s,1,u.b,$5 from unnest($1::bigint[],$2::text[],$3::bigint[],$4::bigint[]) u(id,k,s,b)")
            .bind(&ids).bind(buf.iter().map(|i| i.key.as_str()).collect::<Vec<_>>()).bind(buf.iter().map(|i| i.status).collect::<Vec<_>>())
            .bind(buf.iter().map(|i| i.body.len() as i64).collect::<Vec<_>>()).bind(at).execute(&mut *tx).await.unwrap();
        match (c.payload.as_str(), c.ins.as_str()) {
            ("raw", _) => {
                sqlx::query("insert into raw select * from unnest($1::bigint[],$2::bytea[])").bind(&ids)
                    .bind(buf.iter().map(|i| &i.body[..]).collect::<Vec<_>>()).execute(&mut *tx).await.unwrap();
            }
            ("rows", "row") => for i in &buf { for r in &i.rows {
                sqlx::query("insert into price values($1,$2,$3,$4,$5,$6,$7,$8)").bind(i.id).bind(r.ts).bind(r.o).bind(r.h).bind(r.l).bind(r.c).bind(r.a).bind(r.v)
                    .execute(&mut *tx).await.unwrap();
            } },
            ("rows", "unnest") => {
                let n = buf.iter().map(|i| i.rows.len()).sum();
                let (mut id, mut ts, mut v) = (Vec::with_capacity(n), Vec::with_capacity(n), Vec::with_capacity(n));
                let mut f: [Vec<f64>; 5] = std::array::from_fn(|_| Vec::with_capacity(n));
                for i in &buf { for r in &i.rows {
                    id.push(i.id); ts.push(r.ts); v.push(r.v);
                    for (k, x) in [r.o, r.h, r.l, r.c, r.a].into_iter().enumerate() { f[k].push(x); }
                } }
                let [o, h, l, cl, a] = f;
                sqlx::query("insert into price select * from unnest($1::bigint[],$2::bigint[],$3::float8[],$4::float8[],$5::float8[],$6::float8[],$7::float8[],$8::bigint[])")
                    .bind(id).bind(ts).bind(o).bind(h).bind(l).bind(cl).bind(a).bind(v).execute(&mut *tx).await.unwrap();
            }
            ("rows", "copy") => {
                let mut w = tx.copy_in_raw("copy price from stdin (format binary)").await.unwrap();
                let mut b: Vec<u8> = Vec::with_capacity(1 << 20);
                b.extend_from_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
                for i in &buf { for r in &i.rows {
                    b.extend_from_slice(&8i16.to_be_bytes());
                    for x in [i.id.to_be_bytes(), r.ts.to_be_bytes(), r.o.to_be_bytes(), r.h.to_be_bytes(), r.l.to_be_bytes(), r.c.to_be_bytes(), r.a.to_be_bytes(), r.v.to_be_bytes()] {
                        b.extend_from_slice(&8i32.to_be_bytes());
                        b.extend_from_slice(&x);
                    }
                } }
                b.extend_from_slice(&(-1i16).to_be_bytes());
                w.send(b).await.unwrap();
                w.finish().await.unwrap();
            }
            _ => {}
        }
        tx.commit().await.unwrap();
    }
}

enum Cl { R(reqwest::Client), H(hyper_util::client::legacy::Client<hyper_util::client::legacy::connect::HttpConnector, Empty<Bytes>>), G(Bytes) }

async fn run(a: HashMap<String, String>) {
    let get = |k: &str, d: &str| a.get(k).cloned().unwrap_or_else(|| d.into());
    let n: usize = get("n", "3800").parse().unwrap();
    let conc: usize = get("conc", "64").parse().unwrap();
    let (base, client) = (get("base", "http://127.0.0.1:18080"), get("client", "reqwest"));
    let range = get("range", "1y");
    let keys: Arc<Vec<String>> = Arc::new(match a.get("keys") {
        Some(f) => std::fs::read_to_string(f).unwrap().lines().take(n).map(String::from).collect(),
        None => (0..n).map(|i| format!("K{i:06}")).collect(),
    });
    let n = keys.len();
    let c = Cfg { sink: get("sink", "none"), payload: get("payload", "rows"), ins: get("ins", "row"), sync: get("sync", "NORMAL"), db: get("db", "floor.db"), batch: get("batch", "50").parse().unwrap(),
        plan: product::Plan { sync: get("sync", "FULL"), ..product::Plan::parse(&get("plan", "")) } };
    let cl = Arc::new(match client.as_str() {
        "hyper" => Cl::H(hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).pool_max_idle_per_host(conc).build_http()),
        "gen" => Cl::G(Bytes::from(std::fs::read(get("body", "body.json")).unwrap())),
        _ => Cl::R(reqwest::Client::builder().pool_max_idle_per_host(conc).build().unwrap()),
    });
    if c.sink.ends_with("sqlx") || c.sink.ends_with("rusqlite") {
        for s in ["", "-wal", "-shm"] { let _ = std::fs::remove_file(format!("{}{s}", c.db)); }
    }
    if c.sink == "pg" {
        use sqlx::{ConnectOptions, Connection};
        let mut cn = c.db.parse::<sqlx::postgres::PgConnectOptions>().unwrap().connect().await.unwrap();
        sqlx::raw_sql(PG_SCHEMA).execute(&mut cn).await.unwrap();
        sqlx::raw_sql("checkpoint").execute(&mut cn).await.unwrap();
        cn.close().await.unwrap();
    }
    // Made before the clock starts: what is measured is fetching and recording.
    let made = c.sink.starts_with("product").then(|| product::rusqlite::Store::create(&c.db, c.plan.clone(), &keys));
    let opened = if c.sink == "product-sqlx" { Some(product::sqlx::Store::open(&c.db, c.plan.clone()).await) } else { None };
    let (u0, t0) = (usage().0, Instant::now());
    let (tx, rx) = mpsc::channel::<Item>(256);
    let mut ws = vec![];
    match c.sink.as_str() {
        "sqlx" => { let c = c.clone(); ws.push(tokio::spawn(sqlx_writer(c, rx))) }
        "rusqlite" => { let c = c.clone(); ws.push(tokio::task::spawn_blocking(move || rusqlite_writer(c, rx))) }
        "pg" => {
            let rx = Arc::new(Mutex::new(rx));
            for _ in 0..get("writers", "1").parse().unwrap() { ws.push(tokio::spawn(pg_writer(c.clone(), rx.clone()))) }
        }
        "product-sqlx" => { let batch = c.batch; drop(made); ws.push(tokio::spawn(product_sqlx(batch, opened.unwrap(), rx))) }
        "product-rusqlite" => { let batch = c.batch; ws.push(tokio::task::spawn_blocking(move || product_rusqlite(batch, made.unwrap(), rx))) }
        _ => drop(rx),
    }
    let idx = Arc::new(AtomicUsize::new(0));
    let mut hs = vec![];
    for _ in 0..conc {
        let (idx, keys, cl, c, tx, base, range) = (idx.clone(), keys.clone(), cl.clone(), c.clone(), tx.clone(), base.clone(), range.clone());
        hs.push(tokio::spawn(async move {
            let (mut ok, mut bytes, mut rows) = (0usize, 0usize, 0usize);
            loop {
                let i = idx.fetch_add(1, Relaxed);
                if i >= keys.len() { break; }
                let key = &keys[i];
                let url = format!("{base}/v8/finance/chart/{key}?range={range}&interval=1d");
                let (status, body) = match &*cl {
                    Cl::R(r) => match r.get(&url).send().await {
                        Ok(r) => { let s = r.status().as_u16(); (s, r.bytes().await.unwrap_or_default()) }
                        Err(_) => (0, Bytes::new()),
                    },
                    Cl::H(h) => match h.get(url.parse().unwrap()).await {
                        Ok(r) => { let s = r.status().as_u16(); (s, r.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default()) }
                        Err(_) => (0, Bytes::new()),
                    },
                    Cl::G(b) => { if i % 64 == 0 { tokio::task::yield_now().await; } (200, b.clone()) }
                };
                if status != 200 { continue; }
                ok += 1;
                bytes += body.len();
                if c.sink == "none" { continue; }
                let r = if c.sink == "parse" || c.payload.starts_with("rows") { parse(&body) } else { vec![] };
                rows += r.len();
                if c.sink != "parse" {
                    let product = c.sink.starts_with("product").then(|| product_item(&c.payload, i as i64, key, url, &body, &r));
                    tx.send(Item { id: i as i64, key: key.clone(), status: 200, body, rows: r, product }).await.ok().unwrap();
                }
            }
            (ok, bytes, rows)
        }));
    }
    drop(tx);
    let (mut ok, mut bytes, mut rows) = (0, 0, 0);
    for h in hs { let (o, b, r) = h.await.unwrap(); ok += o; bytes += b; rows += r; }
    for w in ws { w.await.unwrap(); }
    let (wall, (u1, rss)) = (t0.elapsed().as_secs_f64(), usage());
    let q = match c.payload.as_str() { "raw" => "select count(*) from raw", "rows" => "select count(*) from price", _ => "select count(*) from item" };
    let stored: i64 = match c.sink.as_str() {
        s if s.starts_with("product") => {
            let q = match c.payload.as_str() { "raw" => "responses", "ledger" => "batch_execution_details where status = 'SUCCEEDED'", _ => "stock_prices" };
            rusqlite::Connection::open(&c.db).unwrap().query_row(&format!("select count(*) from {q}"), [], |r| r.get(0)).unwrap()
        }
        "sqlx" | "rusqlite" => rusqlite::Connection::open(&c.db).unwrap().query_row(q, [], |r| r.get(0)).unwrap(),
        "pg" => {
            use sqlx::{ConnectOptions, Row};
            let mut cn = c.db.parse::<sqlx::postgres::PgConnectOptions>().unwrap().connect().await.unwrap();
            sqlx::raw_sql(q).fetch_one(&mut cn).await.unwrap().get(0)
        }
        _ => 0,
    };
    println!("{{\"items\":{n},\"ok\":{ok},\"bytes\":{bytes},\"rows\":{rows},\"stored\":{stored},\"wall\":{wall:.4},\"items_s\":{:.0},\"cpu\":{:.4},\"cpu_per_k\":{:.4},\"rss_mb\":{rss:.1}}}", ok as f64 / wall, u1 - u0, (u1 - u0) * 1000. / n as f64);
}

fn main() {
    let a: HashMap<String, String> = std::env::args().skip(1).filter_map(|s| s.split_once('=').map(|(k, v)| (k.into(), v.into()))).collect();
    let w: usize = a.get("rt").map_or(2, |s| s.parse().unwrap());
    let mut b = if w == 0 { tokio::runtime::Builder::new_current_thread() } else { tokio::runtime::Builder::new_multi_thread() };
    if w > 0 { b.worker_threads(w); }
    b.enable_all().build().unwrap().block_on(run(a));
}
