//! Datasets: the tables of records that batches write to, and what is remembered of keys that are not there.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::spec::Connector;

/// A table of records. Batches go, what they wrote stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dataset {
    /// Lists of issues.
    ListedIssues,
    /// Replies as they came.
    Responses,
    /// Dividends, splits, capital gains.
    StockEvents,
    /// Bars.
    StockPrices,
}

impl Dataset {
    /// All of them, by name.
    pub const ALL: [Self; 4] = [Self::ListedIssues, Self::Responses, Self::StockEvents, Self::StockPrices];

    /// The name of its table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ListedIssues => "listed_issues",
            Self::Responses => "responses",
            Self::StockEvents => "stock_events",
            Self::StockPrices => "stock_prices",
        }
    }

    /// The dataset of that name.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dataset| dataset.as_str() == word)
    }
}

/// Where a key is asked for. One that is not there may well be somewhere else, which writes to the same dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The first one of the connector.
    pub dataset: Dataset,
    /// Of what makes an address of a key.
    pub sha256: [u8; 32],
}

impl Address {
    /// Where a connector asks.
    pub fn of(connector: &Connector) -> Self {
        let (dataset, parts) = match connector {
            Connector::YahooChart(chart) => (Dataset::StockPrices, [&chart.base_url, &chart.symbol_suffix]),
            Connector::HttpFetch(http) => (Dataset::Responses, [&http.url_template, &String::new()]),
        };
        let [first, second] = parts;
        let hash = Sha256::new_with_prefix(first).chain_update([0]).chain_update(second);
        Self { dataset, sha256: hash.finalize().into() }
    }
}

/// A key that the upstream said does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingKey {
    /// Of the remembrance: of two addresses that were asked for one key each has its own.
    pub number: i64,
    /// The item's key.
    pub key: String,
    /// The failure's reason.
    pub reason: String,
    /// HTTP status, where a reply came.
    pub http_status: Option<u16>,
    /// The logical date of the batch that found out: it is skipped from then on.
    pub as_of: DateTime<Utc>,
    /// From then on it is asked for again.
    pub expires_at: DateTime<Utc>,
    /// Name of the batch that found out; it may be gone.
    pub batch: String,
}

/// A place in the order of missing keys: by key, then number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingPlace {
    /// Number of the last one before it.
    pub number: i64,
    /// The key of that one, or how it begins: asked for where it was forgotten meanwhile.
    pub key: String,
}
