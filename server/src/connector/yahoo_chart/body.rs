//! The chart endpoint's JSON, as far as it is read. Fields come and go between months, so few are required and unknown
//! ones are passed over; a field that is there must have its type.

use std::{fmt, marker::PhantomData};

use serde::{Deserialize, Deserializer, de};

#[derive(Debug, Deserialize)]
pub(super) struct Envelope {
    pub(super) chart: Option<Chart>,
    /// Where the upstream's other endpoints, and what stands before all of them, put their errors.
    pub(super) finance: Option<ErrorChart>,
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
    pub(super) timestamp: Option<Vec<Whole>>,
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
    pub(super) first_trade_date: Option<Whole>,
    pub(super) regular_market_time: Option<Whole>,
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
    pub(super) start: Whole,
    pub(super) end: Whole,
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
    pub(super) volume: Option<Vec<Option<Whole>>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct AdjustedClose {
    pub(super) adjclose: Option<Vec<Option<f64>>>,
}

/// Events by the time of the bar that they fall into, which is not their own: the keys are not read.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Events {
    pub(super) dividends: Option<Entries<Payment>>,
    pub(super) splits: Option<Entries<Split>>,
    pub(super) capital_gains: Option<Entries<Payment>>,
}

impl Events {
    pub(super) fn is_empty(&self) -> bool {
        let payments = [&self.dividends, &self.capital_gains];
        payments.into_iter().flatten().all(|entries| entries.0.is_empty())
            && self.splits.iter().all(|entries| entries.0.is_empty())
    }
}

/// The values of an object, also where it has a key twice: a map would lose the first of them. Some writers of JSON
/// have a list for an object without members, or with keys that count.
#[derive(Debug)]
pub(super) struct Entries<T>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntriesVisitor(PhantomData))
    }
}

struct EntriesVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> de::Visitor<'de> for EntriesVisitor<T> {
    type Value = Entries<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of events")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Entries<T>, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element()? {
            values.push(value);
        }
        Ok(Entries(values))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
        let mut values = Vec::new();
        while let Some((_, value)) = map.next_entry::<de::IgnoredAny, T>()? {
            values.push(value);
        }
        Ok(Entries(values))
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Payment {
    pub(super) date: Option<Whole>,
    pub(super) amount: Option<f64>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Split {
    pub(super) date: Option<Whole>,
    pub(super) numerator: Option<f64>,
    pub(super) denominator: Option<f64>,
}

/// A whole number that may be written as a float.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole(pub(super) i64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WholeVisitor)
    }
}

struct WholeVisitor;

impl de::Visitor<'_> for WholeVisitor {
    type Value = Whole;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Whole, E> {
        Ok(Whole(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Whole, E> {
        let unexpected = || E::invalid_value(de::Unexpected::Unsigned(value), &self);
        i64::try_from(value).map(Whole).map_err(|_| unexpected())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Whole, E> {
        // Floats are whole numbers of which the last digits are certain up to here.
        const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
        if value.fract() == 0.0 && value.abs() <= WHOLE_MAX {
            Ok(Whole(value as i64))
        } else {
            Err(E::invalid_value(de::Unexpected::Float(value), &self))
        }
    }
}
