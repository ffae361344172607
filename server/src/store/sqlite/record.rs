//! Datasets: rows upserted by natural key, and the bodies that they came from.

use std::{collections::HashSet, sync::LazyLock};

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, Utc};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    ms,
    response::{self, Came},
    script::{Ran, Script},
};
use crate::domain::{
    datum::{Price, PriceHistory, Records, StockEvent},
    id::BatchSeq,
    item::KeptBody,
};

/// Adds an item's prices and events to a script, which begins with that: see [`changed`].
pub(super) fn write(
    script: &mut Script,
    batch: BatchSeq,
    key: &str,
    history: &PriceHistory,
    fetched_at: DateTime<Utc>,
) {
    present(script, key, history);
    write_history(script, batch, key, history, fetched_at, None);
}

/// Writes the records of a kept body that `batch` decoded anew, as if they had been written when the body came: they
/// take the place of all that the body's batch and its other children wrote for the item, and what a later fetch wrote
/// stays. Answers how many it wrote, and how many of them were there before with other values.
pub(super) async fn rewrite(
    conn: &mut SqliteConnection,
    batch: BatchSeq,
    key: &str,
    records: &Records,
    fetched_at: DateTime<Utc>,
) -> Result<(i64, i64), sqlx::Error> {
    let history = match records {
        Records::PriceHistory(history) => history,
        Records::Response(response) => {
            let is_over = response::has_later(conn, key, response, fetched_at).await?;
            retract(conn, batch, key, fetched_at).await?;
            if is_over {
                return Ok((0, 0));
            }
            let changed = response::write(conn, batch, &[Came { key, response, fetched_at }]).await?;
            return Ok((1, i64::from(changed == [true])));
        }
    };
    let rest = without_later(conn, key, history, fetched_at).await?;
    let mut script = Script::default();
    present(&mut script, key, &rest);
    let changed = changed(&rest, &script.run(conn).await?);
    retract(conn, batch, key, fetched_at).await?;
    let mut script = Script::default();
    drop_provisional(&mut script, key, history, Some(fetched_at));
    write_history(&mut script, batch, key, &rest, fetched_at, Some(fetched_at));
    script.run(conn).await?;
    Ok((Records::PriceHistory(rest).len() as i64, changed))
}

/// Deletes what the body's batch and its children wrote for an item, `batch` being one of them, and nobody later.
pub(super) async fn retract(
    conn: &mut SqliteConnection,
    batch: BatchSeq,
    key: &str,
    fetched_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    for delete in RETRACT.iter() {
        sqlx::query(delete.as_str()).bind(key).bind(ms(fetched_at)).bind(batch.0).execute(&mut *conn).await?;
    }
    Ok(())
}

static RETRACT: LazyLock<[String; 3]> = LazyLock::new(|| {
    [("stock_prices", "code"), ("stock_events", "code"), ("responses", "item_key")].map(|(table, key)| {
        format!(
            "DELETE FROM {table} WHERE {key} = $1 AND fetched_at <= $2 AND batch_seq IN (
               SELECT parent_seq FROM batch_executions WHERE seq = $3
               UNION ALL SELECT seq FROM batch_executions WHERE kind = 'REDECODE'
                 AND parent_seq = (SELECT parent_seq FROM batch_executions WHERE seq = $3)
               UNION ALL SELECT seq FROM purged_batches
                 WHERE redecoded_seq = (SELECT parent_seq FROM batch_executions WHERE seq = $3))"
        )
    })
});

/// A history but for what a later fetch has written: the same bars and events, and bars that were provisional of days
/// that it covers.
async fn without_later(
    conn: &mut SqliteConnection,
    code: &str,
    history: &PriceHistory,
    fetched_at: DateTime<Utc>,
) -> Result<PriceHistory, sqlx::Error> {
    let bars: Vec<(i64, i64, NaiveDate)> = sqlx::query_as(
        "SELECT ts, fetched_at, session_date FROM stock_prices
         WHERE code = $1 AND interval = $2 AND fetched_at > $3 ORDER BY fetched_at, ts",
    )
    .bind(code)
    .bind(&history.interval)
    .bind(ms(fetched_at))
    .fetch_all(&mut *conn)
    .await?;
    let events: Vec<(String, String)> =
        sqlx::query_as("SELECT kind, date FROM stock_events WHERE code = $1 AND fetched_at > $2")
            .bind(code)
            .bind(ms(fetched_at))
            .fetch_all(conn)
            .await?;
    let times: HashSet<i64> = bars.iter().map(|(ts, ..)| *ts).collect();
    let is_covered = |day: NaiveDate| {
        let mut fetches = bars.chunk_by(|(_, one, _), (_, other, _)| one == other);
        fetches.any(|bars| bars[0].2 <= day && day <= last_day(&history.interval, bars[bars.len() - 1].2))
    };
    let mut rest = history.clone();
    rest.prices
        .retain(|price| !(times.contains(&price.ts) || price.provisional && is_covered(price.session_date)));
    rest.events.retain(|event| {
        let date = event.date.to_string();
        !events.iter().any(|(kind, day)| *kind == event.kind.as_str() && *day == date)
    });
    Ok(rest)
}

/// Rows per statement.
const PRICES_PER_INSERT: usize = 128;
const EVENTS_PER_INSERT: usize = 32;

const PRESENT_PRICES: &str =
    "SELECT ts, session_date, symbol, currency, open, high, low, close, adj_close, volume, provisional FROM stock_prices
     WHERE code = ? AND interval = ? AND ts BETWEEN ? AND ? ORDER BY ts";
const PRESENT_EVENTS: &str =
    "SELECT kind, date, ts, symbol, amount, numerator, denominator, currency FROM stock_events
     WHERE code = ? AND date BETWEEN ? AND ?";

/// Adds what reads bars and events of the same days and kinds. Most batches write new ones, and then this reads nothing.
fn present(script: &mut Script, code: &str, history: &PriceHistory) {
    if let (Some(first), Some(last)) = (history.prices.first(), history.prices.last()) {
        script.add(PRESENT_PRICES).bind(code).bind(&history.interval).bind(first.ts).bind(last.ts);
    }
    let dates = history.events.iter().map(|event| event.date);
    if let (Some(first), Some(last)) = (dates.clone().min(), dates.max()) {
        script.add(PRESENT_EVENTS).bind(code).bind(first.to_string()).bind(last.to_string());
    }
}

/// Of what [`present`] read: how many are there with other values.
pub(super) fn changed(history: &PriceHistory, ran: &[Ran]) -> i64 {
    let mut ran = ran.iter();
    let mut changed = 0;
    if !history.prices.is_empty() {
        changed += ran.next().map_or(0, |present| changed_prices(history, present));
    }
    if !history.events.is_empty() {
        changed += ran.next().map_or(0, |present| changed_events(history, present));
    }
    changed as i64
}

fn changed_prices(history: &PriceHistory, present: &[SqliteRow]) -> usize {
    let differs = |price: &&Price| {
        // Columns by their place in `PRESENT_PRICES`: a name is looked up for each value.
        let Ok(at) = present.binary_search_by_key(&price.ts, |row| row.get(0)) else { return false };
        let row = &present[at];
        let values = [price.open, price.high, price.low, price.close, price.adj_close];
        (4..).zip(values).any(|(column, value)| row.get::<Option<f64>, usize>(column) != value)
            || row.get::<Option<i64>, _>(9) != price.volume
            || row.get::<NaiveDate, _>(1) != price.session_date
            || row.get::<bool, _>(10) != price.provisional
            || row.get::<&str, _>(2) != history.symbol
            || row.get::<Option<&str>, _>(3) != history.currency.as_deref()
    };
    history.prices.iter().filter(differs).count()
}

fn changed_events(history: &PriceHistory, present: &[SqliteRow]) -> usize {
    let differs = |event: &&StockEvent| {
        let is_it = |row: &&SqliteRow| {
            row.get::<&str, _>("kind") == event.kind.as_str() && row.get::<NaiveDate, _>("date") == event.date
        };
        present.iter().find(is_it).is_some_and(|row| {
            let values: [(&str, Option<f64>); 3] = [
                ("amount", event.amount),
                ("numerator", event.numerator),
                ("denominator", event.denominator),
            ];
            values.into_iter().any(|(column, value)| row.get::<Option<f64>, _>(column) != value)
                || row.get::<i64, _>("ts") != event.ts
                || row.get::<&str, _>("symbol") != history.symbol
                || row.get::<Option<&str>, _>("currency") != history.currency.as_deref()
        })
    };
    history.events.iter().filter(differs).count()
}

/// The statement for one to [`PRICES_PER_INSERT`] rows. Its text is made once.
static INSERT_PRICES: LazyLock<Vec<String>> = LazyLock::new(|| {
    (0..=PRICES_PER_INSERT)
        .map(|rows| {
            format!(
                "INSERT INTO stock_prices (code, interval, symbol, currency, batch_seq, fetched_at, ts, session_date, \
                 open, high, low, close, adj_close, volume, provisional) \
                 SELECT ?, ?, ?, ?, ?, ?, bar.* FROM (VALUES {}) AS bar WHERE true \
                 ON CONFLICT (code, interval, ts) DO UPDATE SET symbol = excluded.symbol, currency = excluded.currency, \
                 batch_seq = excluded.batch_seq, fetched_at = excluded.fetched_at, \
                 session_date = excluded.session_date, open = excluded.open, high = excluded.high, low = excluded.low, \
                 close = excluded.close, adj_close = excluded.adj_close, volume = excluded.volume, \
                 provisional = excluded.provisional",
                vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?)"; rows].join(", ")
            )
        })
        .collect()
});

static INSERT_EVENTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    (0..=EVENTS_PER_INSERT)
        .map(|rows| {
            format!(
                "INSERT INTO stock_events (code, kind, date, ts, symbol, amount, numerator, denominator, currency, \
                 batch_seq, fetched_at) VALUES {} \
                 ON CONFLICT (code, kind, date) DO UPDATE SET ts = excluded.ts, symbol = excluded.symbol, \
                 amount = excluded.amount, numerator = excluded.numerator, denominator = excluded.denominator, \
                 currency = excluded.currency, batch_seq = excluded.batch_seq, fetched_at = excluded.fetched_at",
                vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"; rows].join(", ")
            )
        })
        .collect()
});

/// Adds the writing of bars, in the place of those that were provisional and fetched until some time, and of events.
fn write_history(
    script: &mut Script,
    batch: BatchSeq,
    code: &str,
    history: &PriceHistory,
    fetched_at: DateTime<Utc>,
    fetched_until: Option<DateTime<Utc>>,
) {
    drop_provisional(script, code, history, fetched_until);
    for prices in history.prices.chunks(PRICES_PER_INSERT) {
        script
            .add(&INSERT_PRICES[prices.len()])
            .bind(code)
            .bind(&history.interval)
            .bind(&history.symbol)
            .bind(&history.currency)
            .bind(batch.0)
            .bind(ms(fetched_at));
        for price in prices {
            script
                .bind(price.ts)
                .bind(price.session_date.to_string())
                .bind(price.open)
                .bind(price.high)
                .bind(price.low)
                .bind(price.close)
                .bind(price.adj_close)
                .bind(price.volume)
                .bind(price.provisional);
        }
    }
    for events in history.events.chunks(EVENTS_PER_INSERT) {
        script.add(&INSERT_EVENTS[events.len()]);
        for event in events {
            script
                .bind(code)
                .bind(event.kind.as_str())
                .bind(event.date.to_string())
                .bind(event.ts)
                .bind(&history.symbol)
                .bind(event.amount)
                .bind(event.numerator)
                .bind(event.denominator)
                .bind(&history.currency)
                .bind(batch.0)
                .bind(ms(fetched_at));
        }
    }
}

/// A bar of a session that was not over may be stamped with the last trade, and the final one with the session's open:
/// what was provisional gives way to whatever the upstream says of those days now. The last bar speaks of all days of its
/// week or months, and the provisional one may be stamped with any of them.
fn drop_provisional(
    script: &mut Script,
    code: &str,
    history: &PriceHistory,
    fetched_until: Option<DateTime<Utc>>,
) {
    let (Some(first), Some(last)) = (history.prices.first(), history.prices.last()) else { return };
    script
        .add(
            "DELETE FROM stock_prices WHERE code = ? AND interval = ? AND provisional = 1
             AND session_date BETWEEN ? AND ? AND fetched_at <= ?",
        )
        .bind(code)
        .bind(&history.interval)
        .bind(first.session_date.to_string())
        .bind(last_day(&history.interval, last.session_date).to_string())
        .bind(fetched_until.map_or(i64::MAX, ms));
}

/// The last day of the bar of that length that begins on a day, or is of it.
fn last_day(interval: &str, day: NaiveDate) -> NaiveDate {
    let end = match interval {
        "5d" | "1wk" => day.checked_add_days(Days::new(6)),
        "1mo" => month_end(day, 1),
        "3mo" => month_end(day, 3),
        _ => None,
    };
    end.unwrap_or(day)
}

/// The last day of the so manieth month from that of a day on, itself the first.
fn month_end(day: NaiveDate, months: u32) -> Option<NaiveDate> {
    day.with_day(1)?.checked_add_months(Months::new(months))?.pred_opt()
}

/// Adds the keeping of an item's body.
pub(super) fn keep_body(
    script: &mut Script,
    batch: BatchSeq,
    index: i64,
    body: &KeptBody,
    fetched_at: DateTime<Utc>,
) {
    script
        .add(
            "INSERT OR REPLACE INTO kept_bodies (batch_seq, item_index, body, http_status, content_type, fetched_at)
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(batch.0)
        .bind(index)
        .bind(body.zstd.as_slice())
        .bind(i64::from(body.http_status))
        .bind(&body.content_type)
        .bind(ms(fetched_at));
}
