//! Bars: column arrays to rows.

use super::{
    Asked,
    body::{Series, Whole},
    decode::undecodable,
    session::Session,
};
use crate::domain::{
    datum::{LeftOut, Price},
    request::Fault,
};

/// The arrays of a series, all of one length.
pub(super) struct Columns<'a> {
    times: &'a [Whole],
    open: &'a [Option<f64>],
    high: &'a [Option<f64>],
    low: &'a [Option<f64>],
    close: &'a [Option<f64>],
    adj_close: &'a [Option<f64>],
    volume: &'a [Option<Whole>],
}

impl<'a> Columns<'a> {
    /// Checks the lengths. A column that is missing stands for nulls, but closes must be there where times are: a reply
    /// with times alone is a broken one.
    pub(super) fn of(series: &'a Series) -> Result<Self, Fault> {
        let times = series.timestamp.as_deref().unwrap_or_default();
        let quote = series.indicators.quote.as_deref().and_then(|quotes| quotes.first());
        let adjusted = series.indicators.adjclose.as_deref().and_then(|columns| columns.first());
        let rows = times.len();
        let columns = Self {
            times,
            open: column("open", quote.and_then(|quote| quote.open.as_deref()), rows)?,
            high: column("high", quote.and_then(|quote| quote.high.as_deref()), rows)?,
            low: column("low", quote.and_then(|quote| quote.low.as_deref()), rows)?,
            close: column("close", quote.and_then(|quote| quote.close.as_deref()), rows)?,
            adj_close: column("adjclose", adjusted.and_then(|column| column.adjclose.as_deref()), rows)?,
            volume: column("volume", quote.and_then(|quote| quote.volume.as_deref()), rows)?,
        };
        if rows > 0 && columns.close.is_empty() {
            return Err(undecodable(&format!("{rows} timestamps, but no close")));
        }
        Ok(columns)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Rows of which none lies inside the window are not what was asked for: times in another unit, say. Two may be: a
    /// period that began before the window, and a newest price after its end.
    fn check_window(&self, asked: &Asked) -> Result<(), Fault> {
        let (Some(first), Some(last)) = (self.times.first(), self.times.last()) else { return Ok(()) };
        if self.times.len() <= 2 || self.times.iter().any(|ts| asked.covers(ts.0)) {
            return Ok(());
        }
        Err(undecodable(&format!(
            "{} rows, none of them inside the window that was asked for: their times go from {} to {}, the window from \
             {} to {}, epoch seconds",
            self.times.len(),
            first.0,
            last.0,
            asked.start_s,
            asked.end_s
        )))
    }

    /// Rows inside the window, in order, each time once. Left out, and counted, are rows null in all four prices (pauses and
    /// holidays come as such rows), a newest price that the upstream may append after the window's end, and of rows of one
    /// time all but the last.
    pub(super) fn prices(
        &self,
        asked: &Asked,
        session: &Session,
        left_out: &mut LeftOut,
    ) -> Result<Vec<Price>, Fault> {
        self.check_window(asked)?;
        let mut prices = Vec::with_capacity(self.times.len());
        let mut is_rising = true;
        for (row, &Whole(ts)) in self.times.iter().enumerate() {
            let [open, high, low, close] =
                [self.open, self.high, self.low, self.close].map(|column| at(column, row));
            if [open, high, low, close].iter().all(Option::is_none) {
                left_out.null_rows += 1;
                continue;
            }
            if !asked.covers(ts) {
                left_out.outside_rows += 1;
                continue;
            }
            let day = session.day(ts).ok_or_else(|| undecodable(&format!("timestamp {ts} is no time")))?;
            let volume = at(self.volume, row).map(|volume| volume.0);
            if let Some(volume) = volume.filter(|volume| *volume < 0) {
                return Err(undecodable(&format!("a volume of {volume} at {ts}")));
            }
            is_rising &= prices.last().is_none_or(|last: &Price| last.ts < ts);
            prices.push(Price {
                ts,
                session_date: day,
                open,
                high,
                low,
                close,
                adj_close: at(self.adj_close, row),
                volume,
                provisional: session.is_provisional(ts, day, volume),
            });
        }
        if !is_rising {
            let rows = prices.len();
            // The sort is stable, so of two rows of one time the reply's later one is the later one here too.
            prices.sort_by_key(|price| price.ts);
            prices.reverse();
            prices.dedup_by_key(|price| price.ts);
            prices.reverse();
            left_out.repeated_rows = rows - prices.len();
        }
        Ok(prices)
    }
}

fn column<'a, T>(name: &str, values: Option<&'a [T]>, rows: usize) -> Result<&'a [T], Fault> {
    match values {
        Some(values) if values.len() != rows => {
            Err(undecodable(&format!("{} values of {name} for {rows} timestamps", values.len())))
        }
        values => Ok(values.unwrap_or_default()),
    }
}

fn at<T: Copy>(column: &[Option<T>], row: usize) -> Option<T> {
    column.get(row).copied().flatten()
}
