//! The chart endpoint's JSON, as far as it is read. Fields come and go between months, so few are required and unknown
//! ones are passed over; a field that is there must have its type.

use std::{collections::HashMap, fmt};

use serde::{Deserialize, Deserializer, de};

#[derive(Debug, Deserialize)]
pub(super) struct Envelope {
    pub(super) chart: Option<Chart>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Chart {
    pub(super) result: Option<Vec<Series>>,
    pub(super) error: Option<ChartError>,
}

/// The envelope with nothing but its error, for a reply whose status tells of one: a result, if any, is not read.
#[derive(Debug, Deserialize)]
pub(super) struct ErrorEnvelope {
    pub(super) chart: Option<ErrorChart>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ErrorChart {
    pub(super) error: Option<ChartError>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ChartError {
    #[serde(default)]
    pub(super) code: Option<String>,
    #[serde(default)]
    pub(super) description: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Series {
    pub(super) meta: Meta,
    pub(super) timestamp: Option<Vec<i64>>,
    pub(super) events: Option<Events>,
    #[serde(default)]
    pub(super) indicators: Indicators,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Meta {
    pub(super) currency: Option<String>,
    pub(super) symbol: Option<String>,
    pub(super) exchange_name: Option<String>,
    pub(super) instrument_type: Option<String>,
    pub(super) first_trade_date: Option<i64>,
    pub(super) regular_market_time: Option<i64>,
    pub(super) exchange_timezone_name: Option<String>,
    pub(super) current_trading_period: Option<TradingPeriods>,
    pub(super) data_granularity: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct TradingPeriods {
    pub(super) regular: Option<Period>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Period {
    pub(super) start: i64,
    pub(super) end: i64,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Indicators {
    pub(super) quote: Option<Vec<Quote>>,
    pub(super) adjclose: Option<Vec<AdjustedClose>>,
}

/// Column arrays; any entry may be null.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Quote {
    pub(super) open: Option<Vec<Option<f64>>>,
    pub(super) high: Option<Vec<Option<f64>>>,
    pub(super) low: Option<Vec<Option<f64>>>,
    pub(super) close: Option<Vec<Option<f64>>>,
    pub(super) volume: Option<Vec<Option<Volume>>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct AdjustedClose {
    pub(super) adjclose: Option<Vec<Option<f64>>>,
}

/// Events by the time of the bar that they fall into, which is not their own: the keys are not read.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Events {
    pub(super) dividends: Option<HashMap<String, Payment>>,
    pub(super) splits: Option<HashMap<String, Split>>,
    pub(super) capital_gains: Option<HashMap<String, Payment>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Payment {
    pub(super) date: i64,
    pub(super) amount: f64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Split {
    pub(super) date: i64,
    pub(super) numerator: f64,
    pub(super) denominator: f64,
}

/// A whole number that may be written as a float.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Volume(pub(super) i64);

impl<'de> Deserialize<'de> for Volume {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VolumeVisitor)
    }
}

struct VolumeVisitor;

impl de::Visitor<'_> for VolumeVisitor {
    type Value = Volume;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number of shares")
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Volume, E> {
        Ok(Volume(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Volume, E> {
        let unexpected = || E::invalid_value(de::Unexpected::Unsigned(value), &self);
        i64::try_from(value).map(Volume).map_err(|_| unexpected())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Volume, E> {
        // Floats are whole numbers of which the last digits are certain up to here.
        const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
        if value.fract() == 0.0 && value.abs() <= WHOLE_MAX {
            Ok(Volume(value as i64))
        } else {
            Err(E::invalid_value(de::Unexpected::Float(value), &self))
        }
    }
}
