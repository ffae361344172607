//! The writer alone: no HTTP and no JSON, items of 250 rows from memory into haul's tables. key=value arguments:
//!   lib=rusqlite|sqlx  plan=shared,128,...  n=1000  rows=250  batch=50  db=FILE  passes=1  mode=again|changed
//!   payload=rows|ledger|raw: prices, or the reply's row without and with a body of 4 KB
//! A second pass writes the same rows again, or rows with other values. Prints one JSON line a pass.
use std::{collections::HashMap, time::Instant};

use floor::product::{Item, Plan, Price, date, rusqlite, sqlx};

fn cpu() -> f64 {
    // SAFETY: a struct of plain numbers, filled in by the call.
    unsafe {
        let mut r: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut r);
        let s = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
        s(r.ru_utime) + s(r.ru_stime)
    }
}

fn key(mut i: usize) -> String {
    let mut letters = [0u8; 4];
    for letter in letters.iter_mut().rev() {
        *letter = b'A' + (i % 26) as u8;
        i /= 26;
    }
    String::from_utf8(letters.to_vec()).unwrap() + ".T"
}

fn item(index: usize, payload: &str, rows: usize, pass: usize) -> Item {
    let mut x = index as u64 * 7_919 + pass as u64 * 104_729 + 1;
    let mut random = || {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (x >> 40) as f64 / (1u64 << 24) as f64
    };
    let rows = if payload == "rows" { rows } else { 0 };
    let reply = (payload != "rows").then(|| {
        let body: Vec<u8> = (0..4_096).map(|_| (random() * 256.0) as u8).collect();
        (format!("http://127.0.0.1:18080/v8/finance/chart/{}?range=1y&interval=1d", key(index)), (payload == "raw").then_some(body))
    });
    let prices = (0..rows)
        .map(|n| {
            let ts = 1_700_000_000 - 1_700_000_000 % 86_400 + 52_200 + (n + 2 * (n / 5)) as i64 * 86_400;
            let close = (random() * 1e9).round() / 1e6;
            Price { ts, date: date(ts), ohlca: [1.0, 1.004, 0.996, 1.001, 0.997].map(|x| Some(close * x)), volume: Some((random() * 9e7) as i64), provisional: n + 1 == rows }
        })
        .collect();
    Item { index: index as i64, key: key(index), size: 19_500, sha256: vec![7; 32], body: None, reply, prices }
}

fn main() {
    let a: HashMap<String, String> = std::env::args().skip(1).filter_map(|s| s.split_once('=').map(|(k, v)| (k.into(), v.into()))).collect();
    let get = |k: &str, d: &str| a.get(k).cloned().unwrap_or_else(|| d.into());
    let number = |k: &str, d: &str| get(k, d).parse::<usize>().unwrap();
    let (n, rows, batch, passes) = (number("n", "1000"), number("rows", "250"), number("batch", "50"), number("passes", "1"));
    let payload = get("payload", "rows");
    let (lib, plan, mode, db) = (get("lib", "rusqlite"), Plan::parse(&get("plan", "")), get("mode", "again"), get("db", "rows.db"));
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{db}{suffix}"));
    }
    let keys: Vec<String> = (0..n).map(key).collect();
    let mut store = rusqlite::Store::create(&db, plan.clone(), &keys);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for pass in 0..passes {
        let variant = if mode == "changed" { pass } else { 0 };
        let groups: Vec<Vec<Item>> =
            (0..n).step_by(batch).map(|first| (first..(first + batch).min(n)).map(|index| item(index, &payload, rows, variant)).collect()).collect();
        if pass > 0 {
            store.reopen();
        }
        let (c0, t0) = (cpu(), Instant::now());
        if lib == "rusqlite" {
            groups.iter().for_each(|group| store.commit(group));
        } else {
            runtime.block_on(async {
                let mut store = sqlx::Store::open(&db, plan.clone()).await;
                for group in &groups {
                    store.commit(group).await;
                }
                store.close().await;
            });
        }
        let (wall, cpu) = (t0.elapsed().as_secs_f64(), cpu() - c0);
        println!(
            "{{\"lib\":\"{lib}\",\"plan\":\"{}\",\"pass\":{pass},\"items_s\":{:.0},\"cpu_us_item\":{:.1},\"rows\":{}}}",
            get("plan", ""), n as f64 / wall, cpu * 1e6 / n as f64, store.count(if payload == "rows" { "stock_prices" } else { "responses" })
        );
    }
}
