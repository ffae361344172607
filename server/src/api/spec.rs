//! Specs: what callers send, checked and with defaults filled in; and back. All violations are found at once.

use std::{fmt::Display, ops::RangeInclusive, sync::Arc, time::Duration};

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use chrono_tz::Tz;
use haul_proto::v1;
use prost::Message;
use url::Url;

use super::{
    status::{ApiError, Violation},
    time,
};
use crate::{
    connector::Origin,
    control,
    domain::{
        item::{COLUMNS_BYTES_MAX, COLUMNS_MAX, NewItem, key_fault},
        listing::{ListVersion, Segment},
        spec::{
            AsOf, BatchSpec, ChartEvent, Connector, FailurePolicy, FetchPolicy, FileFormat, FileSource,
            JpxListing, OutagePolicy, OverlapPolicy, Placement, Source, UploadedItems, Window, YahooChart,
        },
        window::{self, DAYS_MAX, Range},
    },
    fetch::Outbound,
    source::file::{PathError, Roots},
};

mod fetch;
mod http;
mod item;
mod policy;
mod render;

pub(super) use item::{columns, uploaded};
pub(super) use render::render;

/// What absent fields take, as the server's configuration has it.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// Zone of logical dates.
    pub zone: Tz,
    /// The exchange's list.
    pub list_uri: String,
    /// User-Agent header.
    pub user_agent: String,
    /// Folders that files may be read from.
    pub roots: Arc<Roots>,
    /// Where requests may go.
    pub outbound: Outbound,
}

/// Largest spec without items.
const SPEC_BYTES_MAX: usize = 1 << 20;
const DISPLAY_NAME_CHARS_MAX: usize = 256;
const CODES_MAX: usize = 10_000;
const CODE_BYTES_MAX: usize = 16;
const SUFFIX_BYTES_MAX: usize = 32;
const YAHOO: &str = "https://query1.finance.yahoo.com";
const INTERVALS: [&str; 14] =
    ["1m", "2m", "5m", "15m", "30m", "60m", "90m", "1h", "4h", "1d", "5d", "1wk", "1mo", "3mo"];

/// Collects what is wrong.
#[derive(Default)]
struct Faults(Vec<Violation>);

impl Faults {
    fn add(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.0.push(Violation::new(field, problem));
    }

    /// A URL must not lead to where no request goes.
    fn target(&mut self, field: &str, url: &str, outbound: &Outbound) {
        if let Some(Err(forbidden)) = Url::parse(url).ok().map(|url| outbound.check(&url)) {
            self.0.push(Violation::target_forbidden(field, forbidden.to_string()));
        }
    }

    /// The value, or its default where it is absent, or a fault where it is out of range.
    fn number<T: PartialOrd + Copy + Display>(
        &mut self,
        field: &str,
        value: Option<T>,
        default: T,
        range: RangeInclusive<T>,
    ) -> T {
        let value = value.unwrap_or(default);
        self.bounded(field, value, &range, default);
        value
    }

    /// A fault where the value is out of range.
    fn bounded<T: PartialOrd + Display>(
        &mut self,
        field: &str,
        value: T,
        range: &RangeInclusive<T>,
        default: impl Display,
    ) {
        if !range.contains(&value) {
            let problem = format!("{value} is not {} to {} (default {default})", range.start(), range.end());
            self.add(field, problem);
        }
    }

    fn duration(
        &mut self,
        field: &str,
        value: Option<&prost_types::Duration>,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let Some(value) = value else { return default };
        self.span(field, value, range, in_seconds(default)).unwrap_or(default)
    }

    /// Nothing, and a fault, where the value is out of range.
    fn span(
        &mut self,
        field: &str,
        value: &prost_types::Duration,
        range: RangeInclusive<Duration>,
        default: impl Display,
    ) -> Option<Duration> {
        let span = time::span(value).filter(|span| range.contains(span));
        if span.is_none() {
            let shown = f64::from(value.nanos) / 1e9 + value.seconds as f64;
            let (from, to) = (in_seconds(*range.start()), in_seconds(*range.end()));
            self.add(field, format!("{shown}s is not {from} to {to} (default {default})"));
        }
        span
    }
}

/// A duration as a spec file writes it, a long one in days too: `30s`, `2592000s = 30 d`.
fn in_seconds(span: Duration) -> String {
    const DAY_S: u64 = 86_400;
    let days = match span.as_secs() {
        ..DAY_S => String::new(),
        seconds => format!(" = {} d", seconds / DAY_S),
    };
    format!("{}s{days}", span.as_secs_f64())
}

/// A checked spec and its inline items.
pub(super) fn parse(
    spec: Option<v1::BatchSpec>,
    defaults: &Defaults,
    now: DateTime<Utc>,
) -> Result<(BatchSpec, Option<Vec<NewItem>>), ApiError> {
    let Some(mut spec) = spec else {
        return Err(ApiError::Invalid(vec![Violation::new("spec", "is required")]));
    };
    let mut faults = Faults::default();
    let items = item::take(&mut spec, &mut faults);
    if spec.encoded_len() > SPEC_BYTES_MAX {
        faults.add(
            "spec",
            format!("has {} bytes without items, more than {SPEC_BYTES_MAX}", spec.encoded_len()),
        );
    }
    let display_name_chars = spec.display_name.chars().count();
    if display_name_chars > DISPLAY_NAME_CHARS_MAX {
        let problem = format!("has {display_name_chars} characters, more than {DISPLAY_NAME_CHARS_MAX}");
        faults.add("spec.display_name", problem);
    }
    if !spec.batch_type.is_empty() && !policy::is_word(&spec.batch_type) {
        faults.add("spec.batch_type", format!("{:?} is not [a-z][a-z0-9_]{{0,62}}", spec.batch_type));
    }
    policy::labels(&spec.labels, &mut faults);
    let as_of = as_of(spec.as_of.as_ref(), defaults.zone, now, &mut faults);
    let items = items.map(|items| item::parse(items, &mut faults));
    let item_count = items.as_ref().map_or(0, Vec::len) as i64;
    let source = source(spec.source, item_count, defaults, &as_of, now, &mut faults);
    let connector = connector(spec.connector, defaults, &mut faults);
    let fetch = spec.fetch.unwrap_or_default();
    let fetch = fetch::parse(fetch, &defaults.user_agent, keep_bodies(connector.as_ref()), &mut faults);
    let outage = fetch::outage(spec.outage.unwrap_or_default(), &mut faults);
    let failure = policy::failure(&spec.failure.unwrap_or_default(), &mut faults);
    let overlap = policy::overlap(&spec.overlap_key, spec.overlap_policy, &mut faults);
    let priority = policy::priority(spec.priority, &mut faults);
    let not_before = policy::not_before(spec.not_before.as_ref(), &mut faults);
    let max_duration = policy::max_duration(spec.max_duration.as_ref(), &mut faults);
    let retention = policy::retention(spec.retention.as_ref(), &mut faults);
    match (source, connector) {
        (Some(source), Some(connector)) if faults.0.is_empty() => {
            let spec = BatchSpec {
                display_name: spec.display_name,
                batch_type: spec.batch_type,
                labels: spec.labels,
                as_of,
                source,
                connector,
                fetch,
                outage,
                failure,
                overlap,
                priority,
                not_before,
                max_duration,
                retention,
            };
            Ok((spec, items))
        }
        _ => Err(ApiError::Invalid(faults.0)),
    }
}

/// Checks a spec as `StartBatch` does, and starts nothing. Says everything that is wrong, a line each.
pub fn check(spec: v1::BatchSpec, defaults: &Defaults, now: DateTime<Utc>) -> Result<BatchSpec, Vec<String>> {
    let line = |violation: Violation| format!("{}: {}", violation.field, violation.problem);
    parse(Some(spec), defaults, now).map(|(spec, _)| spec).map_err(|error| match error {
        ApiError::Invalid(violations) => violations.into_iter().map(line).collect(),
        other => vec![tonic::Status::from(other).message().to_owned()],
    })
}

fn as_of(given: Option<&v1::AsOf>, default_zone: Tz, now: DateTime<Utc>, faults: &mut Faults) -> AsOf {
    use v1::as_of::Moment;
    let mut zone = default_zone;
    if let Some(name) = given.map(|given| given.time_zone.as_str()).filter(|name| !name.is_empty()) {
        match name.parse() {
            Ok(known) => zone = known,
            Err(_) => faults
                .add("spec.as_of.time_zone", format!("{name:?} is no IANA zone, such as \"Asia/Tokyo\"")),
        }
    }
    let (field, time) = match given.and_then(|given| given.moment.as_ref()) {
        None => ("spec.as_of", Some(now)),
        Some(Moment::Time(timestamp)) => ("spec.as_of.time", time::instant(timestamp)),
        Some(Moment::Date(date)) => {
            let date = date.parse::<NaiveDate>().ok().filter(|parsed| parsed.to_string() == *date);
            ("spec.as_of.date", date.map(|date| window::midnight(date, zone)))
        }
    };
    let Some(time) = time.filter(in_range) else {
        faults.add(field, "is not an instant or a date such as \"2026-02-28\" from 1900 to 9999");
        return AsOf { time: now, zone };
    };
    AsOf { time, zone }
}

fn in_range(time: &DateTime<Utc>) -> bool {
    (1900..=9999).contains(&time.year())
}

fn source(
    source: Option<v1::batch_spec::Source>,
    item_count: i64,
    defaults: &Defaults,
    as_of: &AsOf,
    now: DateTime<Utc>,
    faults: &mut Faults,
) -> Option<Source> {
    use v1::batch_spec::Source as Given;
    match source {
        None => {
            faults
                .add("spec.source", "one of inline_items, uploaded_items, jpx_listing and file is required");
            None
        }
        Some(Given::BatchItems(_)) => {
            faults.add("spec.batch_items", "is set by the server only: Redecode makes such a batch");
            None
        }
        Some(Given::InlineItems(_)) => Some(Source::Inline { item_count }),
        Some(Given::UploadedItems(uploaded)) => Some(Source::Uploaded(policy::uploaded(&uploaded, faults))),
        Some(Given::JpxListing(listing)) => {
            Some(Source::JpxListing(jpx_listing(listing, defaults, control::is_current(as_of, now), faults)))
        }
        Some(Given::File(file)) => Some(Source::File(file_source(file, defaults, faults))),
    }
}

fn jpx_listing(given: v1::JpxListing, defaults: &Defaults, current: bool, faults: &mut Faults) -> JpxListing {
    const URI: &str = "spec.jpx_listing.uri";
    let uri = if given.uri.is_empty() { defaults.list_uri.clone() } else { given.uri };
    address(URI, &uri, defaults, faults);
    let mut segments = Vec::new();
    for (n, number) in given.segments.iter().enumerate() {
        match v1::jpx_listing::Segment::try_from(*number).ok().and_then(segment) {
            Some(segment) => segments.push(segment),
            None => faults.add(format!("spec.jpx_listing.segments[{n}]"), format!("{number} is no segment")),
        }
    }
    codes("spec.jpx_listing.include_codes", &given.include_codes, faults);
    codes("spec.jpx_listing.exclude_codes", &given.exclude_codes, faults);
    JpxListing {
        uri,
        segments,
        include_codes: given.include_codes,
        exclude_codes: given.exclude_codes,
        allow_later_list: given.allow_later_list,
        current,
    }
}

fn codes(field: &str, codes: &[String], faults: &mut Faults) {
    if codes.len() > CODES_MAX {
        faults.add(field, format!("has {} codes, more than {CODES_MAX}", codes.len()));
    }
    for (n, code) in codes.iter().enumerate() {
        let well_formed =
            (1..=CODE_BYTES_MAX).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric());
        if !well_formed {
            faults.add(
                format!("{field}[{n}]"),
                format!("{code:?} is no security code, such as \"1301\" or \"130A\""),
            );
        }
    }
}

fn segment(segment: v1::jpx_listing::Segment) -> Option<Segment> {
    segment.as_str_name().strip_prefix("SEGMENT_").and_then(Segment::parse)
}

fn file_source(given: v1::FileSource, defaults: &Defaults, faults: &mut Faults) -> FileSource {
    use v1::file_source::Format;
    const URI: &str = "spec.file.uri";
    if has_user(&given.uri) {
        let way_out = "leave it out, the server sends none: a token may stand in the query";
        faults.add(URI, format!("has a user name or password in it: {way_out}"));
    } else {
        address(URI, &given.uri, defaults, faults);
    }
    let name = given.uri.split(['?', '#']).next().unwrap_or_default();
    let by_name = || match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("csv") => FileFormat::Csv,
        Some("ndjson" | "jsonl") => FileFormat::Ndjson,
        _ => FileFormat::Lines,
    };
    let format = match Format::try_from(given.format) {
        Ok(Format::Unspecified) => by_name(),
        Ok(Format::Lines) => FileFormat::Lines,
        Ok(Format::Csv) => FileFormat::Csv,
        Ok(Format::Ndjson) => FileFormat::Ndjson,
        Err(_) => {
            faults.add("spec.file.format", format!("{} is no format", given.format));
            FileFormat::Lines
        }
    };
    let or = |text: String, default: &str| if text.is_empty() { default.to_owned() } else { text };
    let encoding = or(given.encoding, "utf-8");
    let is_known = encoding_rs::Encoding::for_label(encoding.as_bytes())
        .is_some_and(encoding_rs::Encoding::is_ascii_compatible);
    if !is_known {
        faults.add(
            "spec.file.encoding",
            format!("{encoding:?} is no encoding label, such as \"utf-8\" or \"shift_jis\""),
        );
    }
    FileSource { uri: given.uri, format, key_column: or(given.key_column, "key"), encoding }
}

/// Where a source's file is.
fn address(field: &str, uri: &str, defaults: &Defaults, faults: &mut Faults) {
    if uri.starts_with("file:") {
        readable(field, uri, &defaults.roots, faults);
    } else if Origin::of_url(uri).is_none() {
        faults.add(field, format!("{uri:?} is no http, https or file URI"));
    } else {
        faults.target(field, uri, &defaults.outbound);
    }
}

fn has_user(uri: &str) -> bool {
    Url::parse(uri).is_ok_and(|url| !url.username().is_empty() || url.password().is_some())
}

/// A file that may be read now.
fn readable(field: &str, uri: &str, roots: &Roots, faults: &mut Faults) {
    match roots.resolve(uri) {
        Ok(_) => {}
        Err(error @ PathError::Outside { .. }) => {
            faults.0.push(Violation::target_forbidden(field, error.to_string()));
        }
        Err(error) => faults.add(field, error.to_string()),
    }
}

fn connector(
    connector: Option<v1::batch_spec::Connector>,
    defaults: &Defaults,
    faults: &mut Faults,
) -> Option<Connector> {
    match connector {
        None => {
            faults.add("spec.connector", "one of yahoo_chart and http_fetch is required");
            None
        }
        Some(v1::batch_spec::Connector::HttpFetch(http)) => {
            Some(Connector::HttpFetch(http::parse(http, defaults, faults)))
        }
        Some(v1::batch_spec::Connector::YahooChart(chart)) => {
            Some(Connector::YahooChart(yahoo_chart(chart, defaults, faults)))
        }
    }
}

/// How long bodies are kept where nothing is said.
fn keep_bodies(connector: Option<&Connector>) -> Duration {
    match connector {
        Some(Connector::HttpFetch(http)) if http.placement == Placement::Discard => Duration::ZERO,
        _ => FetchPolicy::KEEP_BODIES,
    }
}

fn yahoo_chart(given: v1::YahooChart, defaults: &Defaults, faults: &mut Faults) -> YahooChart {
    use v1::yahoo_chart::Event;
    let interval = if given.interval.is_empty() { "1d".to_owned() } else { given.interval };
    if !INTERVALS.contains(&interval.as_str()) {
        faults
            .add("spec.yahoo_chart.interval", format!("{interval:?} is not one of {}", INTERVALS.join(" ")));
    }
    let mut events = Vec::new();
    for (n, number) in given.events.iter().enumerate() {
        match Event::try_from(*number) {
            Ok(Event::Dividends) => events.push(ChartEvent::Dividends),
            Ok(Event::Splits) => events.push(ChartEvent::Splits),
            Ok(Event::CapitalGains) => events.push(ChartEvent::CapitalGains),
            Ok(Event::Unspecified) | Err(_) => {
                faults.add(format!("spec.yahoo_chart.events[{n}]"), format!("{number} is no event"));
            }
        }
    }
    if events.is_empty() {
        events = vec![ChartEvent::Dividends, ChartEvent::Splits, ChartEvent::CapitalGains];
    }
    events.sort_unstable();
    events.dedup();
    let symbol_suffix = given.symbol_suffix.unwrap_or_else(|| ".T".to_owned());
    if symbol_suffix.len() > SUFFIX_BYTES_MAX || !symbol_suffix.bytes().all(|b| b.is_ascii_graphic()) {
        let problem = format!("{symbol_suffix:?} is not at most {SUFFIX_BYTES_MAX} visible ASCII characters");
        faults.add("spec.yahoo_chart.symbol_suffix", problem);
    }
    let base_url = if given.base_url.is_empty() { YAHOO.to_owned() } else { given.base_url };
    let bare = base_url.strip_suffix('/').unwrap_or(&base_url);
    let after_scheme = bare.split_once("://").map_or("", |(_, rest)| rest);
    if Origin::of_url(bare).is_none() || after_scheme.contains(['/', '?', '#', '@']) {
        faults.add(
            "spec.yahoo_chart.base_url",
            format!("{base_url:?} is not http(s)://host[:port] without a path"),
        );
    } else {
        faults.target("spec.yahoo_chart.base_url", bare, &defaults.outbound);
    }
    YahooChart {
        interval,
        window: chart_window(given.window, faults),
        events,
        symbol_suffix,
        base_url: bare.to_owned(),
    }
}

fn chart_window(window: Option<v1::yahoo_chart::Window>, faults: &mut Faults) -> Window {
    use v1::yahoo_chart::Window as Given;
    const YEAR: Window = Window::Range(Range::Months(12));
    match window {
        None => YEAR,
        Some(Given::Range(text)) => Range::parse(&text).map_or_else(
            || {
                faults.add("spec.yahoo_chart.range", format!("{text:?} is not {}", Range::PATTERN));
                YEAR
            },
            Window::Range,
        ),
        Some(Given::RelativeWindow(window)) => {
            let mut days = |field: &str, value: i32, least: i32| {
                let max = DAYS_MAX as i32;
                if (least..=max).contains(&value) {
                    return value as u32;
                }
                let field = format!("spec.yahoo_chart.relative_window.{field}");
                faults.add(field, format!("{value} is not {least} to {max}"));
                1
            };
            Window::Days {
                days: days("days", window.days, 1),
                offset_days: days("offset_days", window.offset_days, 0),
            }
        }
    }
}
