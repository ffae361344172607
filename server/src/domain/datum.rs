//! Records: what replies are decoded into, typed. Each kind is a table that outlives the batches that wrote it.

use chrono::{DateTime, NaiveDate, Utc};

use super::request::Method;

/// One bar of an issue's price history, a row of `stock_prices`. Its natural key is code, interval and `ts`.
#[derive(Debug, Clone, PartialEq)]
pub struct Price {
    /// Start of the bar, epoch seconds UTC, as the upstream stamps it.
    pub ts: i64,
    /// The day that the bar belongs to in the exchange's zone.
    pub session_date: NaiveDate,
    /// First price, in the currency's units, adjusted for splits. Likewise the next three.
    pub open: Option<f64>,
    /// Highest price.
    pub high: Option<f64>,
    /// Lowest price.
    pub low: Option<f64>,
    /// Last price.
    pub close: Option<f64>,
    /// Last price, adjusted for dividends too.
    pub adj_close: Option<f64>,
    /// Shares traded.
    pub volume: Option<i64>,
    /// The session was not over when the reply was made: the bar will change.
    pub provisional: bool,
}

/// Price history of one issue.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PriceHistory {
    /// The upstream's name of it, such as `7203.T`.
    pub symbol: String,
    /// Bar length, such as `1d`.
    pub interval: String,
    /// Currency of the prices, such as `JPY`, where the upstream says it.
    pub currency: Option<String>,
    /// Bars in rising order of time, each time once.
    pub prices: Vec<Price>,
    /// Events in the window.
    pub events: Vec<StockEvent>,
    /// What the reply held beside them.
    pub left_out: LeftOut,
}

/// What a reply held that became no record of its own, by reason: together with the records it is the whole reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeftOut {
    /// Rows null in all four prices: pauses and holidays.
    pub null_rows: usize,
    /// Rows outside the asked window.
    pub outside_rows: usize,
    /// Rows of a time that a later row has too.
    pub repeated_rows: usize,
    /// Events of an asked kind outside the asked window.
    pub outside_events: usize,
    /// Events that were joined with another of their kind and day.
    pub merged_events: usize,
    /// Events of an asked kind that lack what makes them one: a date, an amount, the shares of a split.
    pub void_events: usize,
}

impl LeftOut {
    /// All of it.
    pub fn total(&self) -> usize {
        let Self { null_rows, outside_rows, repeated_rows, outside_events, merged_events, void_events } =
            self;
        null_rows + outside_rows + repeated_rows + outside_events + merged_events + void_events
    }
}

/// What happened to a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// Money per share.
    Dividend,
    /// `numerator` new shares for `denominator` old ones.
    Split,
    /// Money per fund unit.
    CapitalGain,
}

impl EventKind {
    /// The word in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dividend => "DIVIDEND",
            Self::Split => "SPLIT",
            Self::CapitalGain => "CAPITAL_GAIN",
        }
    }
}

/// A row of `stock_events`. Its natural key is code, kind and date.
#[derive(Debug, Clone, PartialEq)]
pub struct StockEvent {
    /// What happened.
    pub kind: EventKind,
    /// The day, in the exchange's zone.
    pub date: NaiveDate,
    /// The instant as the upstream stamps it, epoch seconds UTC.
    pub ts: i64,
    /// Money per share, of dividends and capital gains.
    pub amount: Option<f64>,
    /// New shares, of splits.
    pub numerator: Option<f64>,
    /// Old shares, of splits.
    pub denominator: Option<f64>,
}

/// One reply as it came, a row of `responses`. Its natural key is the item's key, `as_of`, method and URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResponse {
    /// The batch's logical date.
    pub as_of: DateTime<Utc>,
    /// How it was asked for.
    pub method: Method,
    /// What was asked for.
    pub url: String,
    /// HTTP status.
    pub http_status: u16,
    /// Content-Type as received.
    pub content_type: String,
    /// Body bytes after decompression.
    pub size_bytes: i64,
    /// SHA-256 of the body.
    pub sha256: [u8; 32],
    /// The body, compressed with zstd, where it is stored.
    pub zstd: Option<Vec<u8>>,
}

/// What one reply holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Records {
    /// Into `stock_prices` and `stock_events`.
    PriceHistory(PriceHistory),
    /// Into `responses`.
    Response(Box<StoredResponse>),
}

impl Records {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::PriceHistory(history) => history.prices.len() + history.events.len(),
            Self::Response(_) => 1,
        }
    }

    /// How much more the reply held.
    pub fn left_out(&self) -> usize {
        match self {
            Self::PriceHistory(history) => history.left_out.total(),
            Self::Response(_) => 0,
        }
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
