//! What to start, put together field by field. What is not set takes the server's default.

use std::time::{Duration, SystemTime};

use haul_proto::v1::{
    self,
    as_of::Moment,
    batch_spec::{Connector, Source},
    jpx_listing::Segment,
    yahoo_chart::{Event, Window},
};

/// A batch to start or to plan.
///
/// One of the sources is needed: [`items`](Self::items), [`jpx_listing`](Self::jpx_listing) or [`file`](Self::file); the
/// last one given counts. Values are checked by the server, which names everything that is wrong at once.
///
/// ```
/// use std::time::Duration;
/// use haul_client::{StartBatch, YahooChart};
///
/// let start = StartBatch::yahoo_chart(YahooChart::range("1y"))
///     .items(["7203", "6758", "285A"])
///     .as_of_date("2026-01-30")
///     .time_zone("Asia/Tokyo")
///     .rate(0.5, 2)
///     .attempt_timeout(Duration::from_secs(10))
///     .id("three-codes");
/// ```
///
/// A whole spec, such as one that was read from a file, is a start as well; the rest of the contract's fields are
/// within reach of [`spec`](Self::spec):
///
/// ```
/// use haul_client::{StartBatch, v1};
///
/// let start = StartBatch::from(v1::BatchSpec::default()).spec(|spec| {
///     spec.outage.get_or_insert_default().auto_resume = Some(false);
/// });
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "nothing is started until it is given to Client::start"]
pub struct StartBatch {
    spec: v1::BatchSpec,
    batch_id: String,
    request_id: String,
}

impl StartBatch {
    /// Price history from the chart endpoint.
    pub fn yahoo_chart(chart: impl Into<YahooChart>) -> Self {
        let YahooChart(chart) = chart.into();
        Self::default().spec(|spec| spec.connector = Some(Connector::YahooChart(chart)))
    }

    /// A request to any HTTP API for each item, made of a template such as
    /// `https://api.example.com/v1/{{ item.key }}`; the rest of it is within reach of [`spec`](Self::spec).
    pub fn http_fetch(url_template: impl Into<String>) -> Self {
        let http = v1::HttpFetch { url_template: url_template.into(), ..v1::HttpFetch::default() };
        Self::default().spec(|spec| spec.connector = Some(Connector::HttpFetch(http)))
    }

    /// The items themselves, by key: at most 10,000, and 2 MiB in all.
    pub fn items<K: Into<String>>(self, keys: impl IntoIterator<Item = K>) -> Self {
        let items = keys.into_iter().map(|key| v1::ItemSpec { key: key.into(), columns: None }).collect();
        self.source(Source::InlineItems(v1::InlineItems { items, item_count: 0 }))
    }

    /// The Tokyo exchange's list, one item per code of these segments; of all, if none is given.
    pub fn jpx_listing(self, segments: impl IntoIterator<Item = Segment>) -> Self {
        let segments = segments.into_iter().map(Into::into).collect();
        self.source(Source::JpxListing(v1::JpxListing { segments, ..v1::JpxListing::default() }))
    }

    /// A file of keys below a folder that the server was told of, such as `file:///srv/keys/codes.csv`. Its name's ending
    /// says how it is laid out.
    pub fn file(self, uri: impl Into<String>) -> Self {
        self.source(Source::File(v1::FileSource { uri: uri.into(), ..v1::FileSource::default() }))
    }

    /// Any source of the contract's, with all that it has.
    pub fn source(self, source: Source) -> Self {
        self.spec(|spec| spec.source = Some(source))
    }

    /// The day that the batch is for, such as `2026-02-28`: every window ends with its close. Default: today.
    pub fn as_of_date(self, date: impl Into<String>) -> Self {
        self.moment(Moment::Date(date.into()))
    }

    /// The instant that the batch is for, in place of a day.
    pub fn as_of_time(self, time: SystemTime) -> Self {
        self.moment(Moment::Time(time.into()))
    }

    fn moment(self, moment: Moment) -> Self {
        self.spec(|spec| spec.as_of.get_or_insert_default().moment = Some(moment))
    }

    /// The zone that dates are of, such as `Asia/Tokyo`. Default: the server's.
    pub fn time_zone(self, zone: impl Into<String>) -> Self {
        self.spec(|spec| spec.as_of.get_or_insert_default().time_zone = zone.into())
    }

    /// Most requests per second to an upstream, and how many may go at once after idleness. Defaults: 5 and 20.
    pub fn rate(self, requests_per_second: f64, burst: i32) -> Self {
        self.fetch(|fetch| {
            fetch.requests_per_second = Some(requests_per_second);
            fetch.burst = Some(burst);
        })
    }

    /// Attempts in flight at once. Default 10.
    pub fn workers(self, workers: i32) -> Self {
        self.fetch(|fetch| fetch.workers = Some(workers))
    }

    /// Attempts per item that count against it, the first included. Default 4.
    pub fn max_attempts(self, attempts: i32) -> Self {
        self.fetch(|fetch| fetch.max_attempts = Some(attempts))
    }

    /// One request, to the last byte received. Default 30 s.
    pub fn attempt_timeout(self, timeout: Duration) -> Self {
        self.fetch(|fetch| fetch.attempt_timeout = Some(duration(timeout)))
    }

    /// How long replies are kept for a redecode after the end. Default 7 days; zero keeps none.
    pub fn keep_bodies(self, time: Duration) -> Self {
        self.fetch(|fetch| fetch.keep_bodies = Some(duration(time)))
    }

    /// Leaves out what succeeded before by the same settings, for the same day.
    pub fn skip_fetched(self) -> Self {
        self.spec(|spec| spec.skip.get_or_insert_default().skip_fetched = true)
    }

    /// Remembers for so long, counted from the batch's day, which keys do not exist, and leaves out those that are
    /// remembered. At most 365 days; zero does neither.
    pub fn skip_missing(self, time_to_live: Duration) -> Self {
        self.spec(|spec| spec.skip.get_or_insert_default().negative_cache_ttl = Some(duration(time_to_live)))
    }

    /// What the requests say who they come from. Default: the server's.
    pub fn user_agent(self, user_agent: impl Into<String>) -> Self {
        self.fetch(|fetch| fetch.user_agent = user_agent.into())
    }

    fn fetch(self, change: impl FnOnce(&mut v1::FetchPolicy)) -> Self {
        self.spec(|spec| change(spec.fetch.get_or_insert_default()))
    }

    /// A title, for people.
    pub fn display_name(self, name: impl Into<String>) -> Self {
        self.spec(|spec| spec.display_name = name.into())
    }

    /// A label, kept with the batch.
    pub fn label(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.spec(|spec| {
            spec.labels.insert(key.into(), value.into());
        })
    }

    /// Changes whatever else the contract's spec has.
    pub fn spec(mut self, change: impl FnOnce(&mut v1::BatchSpec)) -> Self {
        change(&mut self.spec);
        self
    }

    /// An id for the batch, 4 to 63 of `a-z`, `0-9` and `-`. Default: made by the server. Taken: reason `BATCH_EXISTS`.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.batch_id = id.into();
        self
    }

    /// A key, UUID text, that makes this one start however often and from wherever it is sent. Default: a new one.
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = id.into();
        self
    }
}

impl From<v1::BatchSpec> for StartBatch {
    fn from(spec: v1::BatchSpec) -> Self {
        Self { spec, ..Self::default() }
    }
}

impl From<StartBatch> for v1::StartBatchRequest {
    fn from(start: StartBatch) -> Self {
        let StartBatch { spec, batch_id, request_id } = start;
        Self { batch_id, spec: Some(spec), request_id, validate_only: false }
    }
}

/// Which prices: the connector `yahoo_chart`.
///
/// ```
/// use haul_client::{YahooChart, v1::yahoo_chart::Event};
///
/// let weekly = YahooChart::range("5y").interval("1wk").events([Event::Dividends]);
/// let last_week = YahooChart::days(7, 1);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct YahooChart(v1::YahooChart);

impl YahooChart {
    /// As far back as `range` says: a number with `d`, `wk`, `mo` or `y`, or `ytd`, or `max`.
    pub fn range(range: impl Into<String>) -> Self {
        Self::window(Window::Range(range.into()))
    }

    /// So many days, ending `offset` days before the batch's own.
    pub fn days(days: i32, offset: i32) -> Self {
        Self::window(Window::RelativeWindow(v1::RelativeWindow { days, offset_days: offset }))
    }

    fn window(window: Window) -> Self {
        Self(v1::YahooChart { window: Some(window), ..v1::YahooChart::default() })
    }

    /// Length of a bar: `1m`, `1h`, `1d`, `1wk`, ... Default `1d`.
    #[must_use]
    pub fn interval(mut self, interval: impl Into<String>) -> Self {
        self.0.interval = interval.into();
        self
    }

    /// What else to fetch. Default: dividends, splits and capital gains.
    #[must_use]
    pub fn events(mut self, events: impl IntoIterator<Item = Event>) -> Self {
        self.0.events = events.into_iter().map(Into::into).collect();
        self
    }

    /// What the upstream's names have after the key; may be empty. Default `.T`.
    #[must_use]
    pub fn symbol_suffix(mut self, suffix: impl Into<String>) -> Self {
        self.0.symbol_suffix = Some(suffix.into());
        self
    }

    /// Another host that answers like the upstream, such as a simulator: scheme and host, no path.
    #[must_use]
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.0.base_url = url.into();
        self
    }
}

impl From<v1::YahooChart> for YahooChart {
    fn from(chart: v1::YahooChart) -> Self {
        Self(chart)
    }
}

/// One that the wire cannot carry is longer than any that the server takes, and so is the longest that it can.
fn duration(duration: Duration) -> prost_types::Duration {
    let longest = prost_types::Duration { seconds: i64::MAX, nanos: 0 };
    prost_types::Duration::try_from(duration).unwrap_or(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_is_left_to_the_server() {
        let request =
            v1::StartBatchRequest::from(StartBatch::yahoo_chart(YahooChart::default()).items(["1301"]));
        let spec = request.spec.unwrap();
        assert_eq!((spec.fetch, spec.as_of, spec.outage), (None, None, None));
        assert_eq!(spec.connector, Some(Connector::YahooChart(v1::YahooChart::default())));
        let http =
            v1::HttpFetch { url_template: "http://h.test/{{ item.key }}".to_owned(), ..Default::default() };
        let start = StartBatch::http_fetch("http://h.test/{{ item.key }}");
        assert_eq!(start.spec.connector, Some(Connector::HttpFetch(http)));
    }

    #[test]
    fn what_is_set_is_where_the_contract_has_it() {
        let start = StartBatch::yahoo_chart(YahooChart::days(7, 1).interval("1h").symbol_suffix(""))
            .jpx_listing([Segment::Prime])
            .time_zone("Asia/Tokyo")
            .as_of_date("2026-01-30")
            .rate(2.5, 4)
            .attempt_timeout(Duration::from_millis(1500))
            .skip_fetched()
            .skip_missing(Duration::from_hours(24))
            .label("team", "research")
            .id("nightly");
        let spec = v1::BatchSpec {
            labels: [("team".to_owned(), "research".to_owned())].into(),
            as_of: Some(v1::AsOf {
                moment: Some(Moment::Date("2026-01-30".to_owned())),
                time_zone: "Asia/Tokyo".to_owned(),
                ..v1::AsOf::default()
            }),
            source: Some(Source::JpxListing(v1::JpxListing {
                segments: vec![Segment::Prime.into()],
                ..v1::JpxListing::default()
            })),
            connector: Some(Connector::YahooChart(v1::YahooChart {
                interval: "1h".to_owned(),
                symbol_suffix: Some(String::new()),
                window: Some(Window::RelativeWindow(v1::RelativeWindow { days: 7, offset_days: 1 })),
                ..v1::YahooChart::default()
            })),
            skip: Some(v1::SkipPolicy {
                skip_fetched: true,
                negative_cache_ttl: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
            }),
            fetch: Some(v1::FetchPolicy {
                requests_per_second: Some(2.5),
                burst: Some(4),
                attempt_timeout: Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }),
                ..v1::FetchPolicy::default()
            }),
            ..v1::BatchSpec::default()
        };
        let expected = v1::StartBatchRequest {
            batch_id: "nightly".to_owned(),
            spec: Some(spec),
            ..v1::StartBatchRequest::default()
        };
        assert_eq!(v1::StartBatchRequest::from(start), expected);
    }
}
