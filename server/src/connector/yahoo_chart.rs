//! Price history from Yahoo Finance's chart endpoint.
//!
//! Promised: a history holds only bars and events inside the asked window, of the asked bar length, in rising order, each
//! time once, dated by the exchange's own zone. A reply that cannot be read with certainty is a fault, never a guess.
//!
//! The endpoint has no published description. What is known of it comes from recordings, other clients' sources and
//! users' reports; where a rule rests on one, the rule's comment says what was seen.

mod advice;
mod bar;
mod body;
mod decode;
mod event;
mod request;
mod session;

use chrono::{DateTime, Utc};

use super::{Connector, Origin};
use crate::domain::{
    datum::Records,
    failure::Failure,
    item::Subject,
    request::{Fault, Request, Response},
    spec::{self, AsOf, ChartEvent, FetchPolicy},
    window,
};

/// The chart endpoint with a batch's settings.
#[derive(Debug)]
pub struct YahooChart {
    origin: Origin,
    base_url: String,
    symbol_suffix: String,
    asked: Asked,
}

/// What every request of a batch asks for, and what a reply is measured by.
#[derive(Debug, Clone)]
struct Asked {
    /// Bar length, such as `1d`.
    interval: String,
    /// First instant of the window, epoch seconds.
    start_s: i64,
    /// First instant after it, epoch seconds.
    end_s: i64,
    /// Kinds of events, each once.
    events: Vec<ChartEvent>,
}

impl Asked {
    /// The time lies inside the window.
    fn covers(&self, ts: i64) -> bool {
        (self.start_s..self.end_s).contains(&ts)
    }
}

impl YahooChart {
    /// The connector of these settings; its window is resolved here and stays. A `base_url` that is no http(s) URL gives
    /// an empty origin, and every request fails for good.
    pub fn new(settings: &spec::YahooChart, as_of: &AsOf) -> Self {
        let window = window::resolve(settings.window, as_of);
        let mut events = settings.events.clone();
        events.sort_unstable();
        events.dedup();
        let no_origin = Origin { scheme: String::new(), host: String::new(), port: 0 };
        Self {
            origin: Origin::of_url(&settings.base_url).unwrap_or(no_origin),
            base_url: settings.base_url.trim_end_matches('/').to_owned(),
            symbol_suffix: settings.symbol_suffix.clone(),
            asked: Asked {
                interval: settings.interval.clone(),
                start_s: window.start.timestamp(),
                end_s: window.end.timestamp(),
                events,
            },
        }
    }

    fn symbol(&self, key: &str) -> String {
        format!("{key}{}", self.symbol_suffix)
    }
}

impl Connector for YahooChart {
    fn origin(&self) -> Option<&Origin> {
        Some(&self.origin)
    }

    fn request(&self, item: Subject<'_>) -> Result<Request, Failure> {
        request::of(self, item.key)
    }

    fn advice(&self, fetch: &FetchPolicy, requests: i64, now: DateTime<Utc>) -> Vec<String> {
        advice::of(self, fetch, requests, now)
    }

    fn decode(&self, item: Subject<'_>, _: &Request, response: &Response) -> Result<Records, Fault> {
        decode::history(&self.asked, &self.symbol(item.key), response).map(Records::PriceHistory)
    }
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod recorded;
