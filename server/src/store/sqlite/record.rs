//! Datasets: rows upserted by natural key, and the bodies that they came from.

use std::{collections::HashSet, sync::LazyLock};

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, Utc};
use sqlx::{Row, Sqlite, SqliteConnection, query::Query, sqlite::SqliteArguments};

use super::{ms, response};
use crate::domain::{
    datum::{Price, PriceHistory, Records},
    id::BatchSeq,
    item::KeptBody,
};

/// Writes an item's records. Answers how many, and how many of them existed before with other values.
pub(super) async fn write(
    conn: &mut SqliteConnection,
    batch: BatchSeq,
    key: &str,
    records: &Records,
    fetched_at: DateTime<Utc>,
) -> Result<(i64, i64), sqlx::Error> {
    let history = match records {
        Records::PriceHistory(history) => history,
        Records::Response(response) => {
            return response::write(conn, batch, key, response, fetched_at).await;
        }
    };
    let changed = changed_prices(conn, key, history).await? + changed_events(conn, key, history).await?;
    write_prices(conn, batch, key, history, fetched_at, None).await?;
    write_events(conn, batch, key, history, fetched_at).await?;
    Ok((records.len() as i64, changed))
}

/// Writes the records of a kept body that `batch` decoded anew, as if they had been written when the body came: they
/// take the place of all that the body's batch and its other children wrote for the item, and what a later fetch wrote
/// stays. Answers as [`write`] does.
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
            return response::write(conn, batch, key, response, fetched_at).await;
        }
    };
    let rest = without_later(conn, key, history, fetched_at).await?;
    let changed = changed_prices(conn, key, &rest).await? + changed_events(conn, key, &rest).await?;
    retract(conn, batch, key, fetched_at).await?;
    drop_provisional(conn, key, history, fetched_at).await?;
    write_prices(conn, batch, key, &rest, fetched_at, Some(fetched_at)).await?;
    write_events(conn, batch, key, &rest, fetched_at).await?;
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

/// Rows per statement. Each statement is a way to the engine's thread and back, which costs more than a few rows do.
const PRICES_PER_INSERT: usize = 128;

/// Drops the provisional bars of some days, fetched until some time.
///
/// Parameters have no names in this file's longer statements: sqlx asks for the name of each, and SQLite walks through all
/// of them to find it, which at some hundred parameters took a third of the server's time.
const DROP_PROVISIONAL: &str = "DELETE FROM stock_prices WHERE code = ? AND interval = ? AND provisional = 1
    AND session_date BETWEEN ? AND ? AND fetched_at <= ?";

/// The statement for one to [`PRICES_PER_INSERT`] rows. Its text is made once, so that the engine prepares it once.
static INSERT_PRICES: LazyLock<Vec<String>> = LazyLock::new(|| {
    (0..=PRICES_PER_INSERT)
        .map(|rows| {
            format!(
                "WITH shared (code, interval, symbol, currency, batch_seq, fetched_at) AS (VALUES (?, ?, ?, ?, ?, ?)), \
                 bar (ts, session_date, open, high, low, close, adj_close, volume, provisional) AS (VALUES {}) \
                 INSERT INTO stock_prices (code, interval, symbol, currency, batch_seq, fetched_at, ts, session_date, \
                 open, high, low, close, adj_close, volume, provisional) \
                 SELECT shared.*, bar.* FROM bar CROSS JOIN shared WHERE true \
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

/// The same after [`DROP_PROVISIONAL`], both on one way to the engine's thread.
static REPLACE_PRICES: LazyLock<Vec<String>> =
    LazyLock::new(|| INSERT_PRICES.iter().map(|insert| format!("{DROP_PROVISIONAL}; {insert}")).collect());

/// Writes the bars in the place of those that were provisional.
async fn write_prices(
    conn: &mut SqliteConnection,
    batch: BatchSeq,
    code: &str,
    history: &PriceHistory,
    fetched_at: DateTime<Utc>,
    fetched_until: Option<DateTime<Utc>>,
) -> Result<(), sqlx::Error> {
    for (n, prices) in history.prices.chunks(PRICES_PER_INSERT).enumerate() {
        let mut write = if n == 0 {
            dropping(sqlx::query(REPLACE_PRICES[prices.len()].as_str()), code, history, fetched_until)
        } else {
            sqlx::query(INSERT_PRICES[prices.len()].as_str())
        };
        write = write
            .bind(code)
            .bind(&history.interval)
            .bind(&history.symbol)
            .bind(&history.currency)
            .bind(batch.0)
            .bind(ms(fetched_at));
        for price in prices {
            write = write
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
        write.execute(&mut *conn).await?;
    }
    Ok(())
}

/// Bars that are there with other values. Most batches write new ones, and then this reads nothing.
async fn changed_prices(
    conn: &mut SqliteConnection,
    code: &str,
    history: &PriceHistory,
) -> Result<i64, sqlx::Error> {
    let (Some(first), Some(last)) = (history.prices.first(), history.prices.last()) else { return Ok(0) };
    let present = sqlx::query(
        "SELECT ts, session_date, symbol, currency, open, high, low, close, adj_close, volume, provisional FROM stock_prices
         WHERE code = $1 AND interval = $2 AND ts BETWEEN $3 AND $4 ORDER BY ts",
    )
    .bind(code)
    .bind(&history.interval)
    .bind(first.ts)
    .bind(last.ts)
    .fetch_all(conn)
    .await?;
    let differs = |price: &Price| {
        let Ok(at) = present.binary_search_by_key(&price.ts, |row| row.get("ts")) else { return false };
        let row = &present[at];
        let values: [(&str, Option<f64>); 5] = [
            ("open", price.open),
            ("high", price.high),
            ("low", price.low),
            ("close", price.close),
            ("adj_close", price.adj_close),
        ];
        values.into_iter().any(|(column, value)| row.get::<Option<f64>, _>(column) != value)
            || row.get::<Option<i64>, _>("volume") != price.volume
            || row.get::<NaiveDate, _>("session_date") != price.session_date
            || row.get::<bool, _>("provisional") != price.provisional
            || row.get::<&str, _>("symbol") != history.symbol
            || row.get::<Option<&str>, _>("currency") != history.currency.as_deref()
    };
    Ok(history.prices.iter().filter(|price| differs(price)).count() as i64)
}

/// A bar of a session that was not over may be stamped with the last trade, and the final one with the session's open:
/// what was provisional gives way to whatever the upstream says of those days now. The last bar speaks of all days of its
/// week or months, and the provisional one may be stamped with any of them.
async fn drop_provisional(
    conn: &mut SqliteConnection,
    code: &str,
    history: &PriceHistory,
    fetched_until: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    if !history.prices.is_empty() {
        let drop = dropping(sqlx::query(DROP_PROVISIONAL), code, history, Some(fetched_until));
        drop.execute(conn).await?;
    }
    Ok(())
}

type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// Binds what [`DROP_PROVISIONAL`] asks for of a history that has bars.
fn dropping<'q>(
    statement: Statement<'q>,
    code: &'q str,
    history: &'q PriceHistory,
    fetched_until: Option<DateTime<Utc>>,
) -> Statement<'q> {
    let (Some(first), Some(last)) = (history.prices.first(), history.prices.last()) else { return statement };
    statement
        .bind(code)
        .bind(&history.interval)
        .bind(first.session_date.to_string())
        .bind(last_day(&history.interval, last.session_date).to_string())
        .bind(fetched_until.map_or(i64::MAX, ms))
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

async fn write_events(
    conn: &mut SqliteConnection,
    batch: BatchSeq,
    code: &str,
    history: &PriceHistory,
    fetched_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    for event in &history.events {
        sqlx::query(
            "INSERT INTO stock_events (code, kind, date, ts, symbol, amount, numerator, denominator, currency, batch_seq,
               fetched_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
             ON CONFLICT (code, kind, date) DO UPDATE SET ts = excluded.ts, symbol = excluded.symbol,
               amount = excluded.amount, numerator = excluded.numerator, denominator = excluded.denominator,
               currency = excluded.currency, batch_seq = excluded.batch_seq, fetched_at = excluded.fetched_at",
        )
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
        .bind(ms(fetched_at))
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

async fn changed_events(
    conn: &mut SqliteConnection,
    code: &str,
    history: &PriceHistory,
) -> Result<i64, sqlx::Error> {
    let mut changed = 0;
    for event in &history.events {
        let differs: Option<bool> = sqlx::query_scalar(
            "SELECT amount IS NOT $4 OR numerator IS NOT $5 OR denominator IS NOT $6 OR ts <> $7 OR symbol <> $8
               OR currency IS NOT $9 FROM stock_events
             WHERE code = $1 AND kind = $2 AND date = $3",
        )
        .bind(code)
        .bind(event.kind.as_str())
        .bind(event.date.to_string())
        .bind(event.amount)
        .bind(event.numerator)
        .bind(event.denominator)
        .bind(event.ts)
        .bind(&history.symbol)
        .bind(&history.currency)
        .fetch_optional(&mut *conn)
        .await?;
        changed += i64::from(differs.unwrap_or(false));
    }
    Ok(changed)
}

pub(super) async fn keep_body(
    conn: &mut SqliteConnection,
    batch: BatchSeq,
    index: i64,
    body: &KeptBody,
    fetched_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT OR REPLACE INTO kept_bodies (batch_seq, item_index, body, http_status, content_type, fetched_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(batch.0)
    .bind(index)
    .bind(body.zstd.as_slice())
    .bind(i64::from(body.http_status))
    .bind(&body.content_type)
    .bind(ms(fetched_at))
    .execute(conn)
    .await?;
    Ok(())
}
