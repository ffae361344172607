//! The `meta` object of a chart, with the fields of late 2025.

use super::Series;
use super::json::Json;
use crate::calendar::{Calendar, EpochDay, JST_S};
use crate::market::{Bar, Instrument};

const VALID_RANGES: &str = r#"["1d","5d","1mo","3mo","6mo","1y","2y","5y","10y","ytd","max"]"#;

/// Appends the object.
pub(super) fn write(json: &mut Json, series: &Series, bars: &[Bar], calendar: &Calendar) {
    let (issue, view) = (&series.issue, &series.view);
    let latest_day = calendar.day(view.last);
    json.raw(r#"{"currency":"JPY","symbol":""#).raw(&issue.code);
    json.raw(r#".T","exchangeName":"JPX","fullExchangeName":"Tokyo","instrumentType":""#);
    json.raw(match issue.instrument {
        Instrument::Equity => "EQUITY",
        Instrument::Etf => "ETF",
    });
    json.raw(r#"","firstTradeDate":"#).integer(calendar.day(issue.first).open_s());
    json.raw(r#","regularMarketTime":"#).integer(latest_day.close_s());
    json.raw(r#","hasPrePostMarketData":false,"gmtoffset":"#).integer(JST_S);
    json.raw(r#","timezone":"JST","exchangeTimezoneName":"Asia/Tokyo","regularMarketPrice":"#)
        .price(view.latest.close);
    json.raw(r#","fiftyTwoWeekHigh":"#)
        .price(view.year_high)
        .raw(r#","fiftyTwoWeekLow":"#)
        .price(view.year_low);
    json.raw(r#","regularMarketDayHigh":"#).price(view.latest.high);
    json.raw(r#","regularMarketDayLow":"#).price(view.latest.low);
    json.raw(r#","regularMarketVolume":"#).integer(view.latest.volume);
    json.raw(r#","longName":"#).text(&issue.name).raw(r#","shortName":"#).text(&issue.name);
    json.raw(r#","chartPreviousClose":"#).price(close_before(series, bars));
    json.raw(r#","priceHint":2,"currentTradingPeriod":"#);
    trading_period(json, calendar, series.now_s);
    json.raw(r#","dataGranularity":""#).raw(series.query.interval);
    json.raw(r#"","range":"#).text(series.range());
    json.raw(r#","validRanges":"#).raw(VALID_RANGES).raw("}");
}

/// The close before the window, or the first open where there is none before.
fn close_before(series: &Series, bars: &[Bar]) -> f32 {
    let first = series.sessions.start.min(series.view.last + 1);
    if first > series.issue.first {
        return series.view.close(&series.issue, first - 1);
    }
    bars.first().and_then(|bar| bar.quote).map_or(series.view.latest.close, |quote| quote.open)
}

/// Today's session or the next one. Tokyo has nothing before and after: those periods are empty.
fn trading_period(json: &mut Json, calendar: &Calendar, now_s: i64) {
    let day = calendar.day(calendar.on_or_after(EpochDay::at(now_s)));
    let mut period = |name: &str, start_s: i64, end_s: i64| {
        json.raw(name).raw(r#"{"timezone":"JST","start":"#).integer(start_s);
        json.raw(r#","end":"#).integer(end_s).raw(r#","gmtoffset":"#).integer(JST_S).raw("}");
    };
    period(r#"{"pre":"#, day.open_s(), day.open_s());
    period(r#","regular":"#, day.open_s(), day.close_s());
    period(r#","post":"#, day.close_s(), day.close_s());
    json.raw("}");
}
