//! Stored specs as they are shown: defaults filled in, as much of them as was asked for.

use haul_proto::v1;

use super::{
    AsOf, BatchSpec, ChartEvent, Connector, FailurePolicy, FetchPolicy, FileFormat, FileSource, JpxListing,
    ListVersion, OutagePolicy, OverlapPolicy, Segment, Source, UploadedItems, Window, YahooChart, time,
};

/// Version of the zone data that this build has (IANA tz database).
const ZONE_DATA_VERSION: &str = chrono_tz::IANA_TZDB_VERSION;

/// `list` is the one that was read, where the source is one.
pub(in crate::api) fn render(
    spec: &BatchSpec,
    list: Option<&ListVersion>,
    view: v1::BatchView,
) -> v1::BatchSpec {
    let full = view == v1::BatchView::Full;
    v1::BatchSpec {
        display_name: spec.display_name.clone(),
        batch_type: spec.batch_type.clone(),
        labels: spec.labels.clone(),
        as_of: Some(as_of(&spec.as_of)),
        source: Some(source(spec, list, full)),
        connector: Some(connector(&spec.connector, full)),
        fetch: Some(fetch(&spec.fetch)),
        outage: Some(outage(&spec.outage)),
        failure: Some(failure(&spec.failure)),
        overlap_key: spec.overlap.as_ref().map(|overlap| overlap.key.clone()).unwrap_or_default(),
        overlap_policy: spec
            .overlap
            .as_ref()
            .map(|overlap| overlap_policy(overlap.policy))
            .unwrap_or_default()
            .into(),
        priority: spec.priority,
        not_before: spec.not_before.map(time::timestamp),
        max_duration: spec.max_duration.map(time::duration),
        retention: Some(time::duration(spec.retention)),
    }
}

fn as_of(as_of: &AsOf) -> v1::AsOf {
    v1::AsOf {
        moment: Some(v1::as_of::Moment::Time(time::timestamp(as_of.time))),
        time_zone: as_of.zone.name().to_owned(),
        zone_data_version: ZONE_DATA_VERSION.to_owned(),
    }
}

fn source(spec: &BatchSpec, list: Option<&ListVersion>, full: bool) -> v1::batch_spec::Source {
    use v1::batch_spec::Source as Shown;
    match &spec.source {
        Source::Inline { item_count } => Shown::InlineItems(v1::InlineItems {
            items: Vec::new(),
            item_count: if full { *item_count } else { 0 },
        }),
        Source::Uploaded(uploaded) => {
            Shown::UploadedItems(if full { uploaded_items(uploaded) } else { v1::UploadedItems::default() })
        }
        Source::JpxListing(listing) => {
            Shown::JpxListing(if full { jpx_listing(listing, list) } else { v1::JpxListing::default() })
        }
        Source::BatchItems { batch, filter, .. } if full => {
            Shown::BatchItems(v1::BatchItems { name: batch.name(), filter: filter.clone() })
        }
        Source::BatchItems { .. } => Shown::BatchItems(v1::BatchItems::default()),
        Source::File(file) => Shown::File(if full { file_source(file) } else { v1::FileSource::default() }),
    }
}

fn jpx_listing(listing: &JpxListing, list: Option<&ListVersion>) -> v1::JpxListing {
    v1::JpxListing {
        uri: listing.uri.clone(),
        segments: listing.segments.iter().map(|segment| shown_segment(*segment).into()).collect(),
        include_codes: listing.include_codes.clone(),
        exclude_codes: listing.exclude_codes.clone(),
        allow_later_list: listing.allow_later_list,
        list_date: list.map(|list| list.list_date.to_string()).unwrap_or_default(),
        list_sha256: list.map(|list| unhex(&list.sha256)).unwrap_or_default(),
    }
}

fn shown_segment(segment: Segment) -> v1::jpx_listing::Segment {
    v1::jpx_listing::Segment::from_str_name(&format!("SEGMENT_{}", segment.as_str())).unwrap_or_default()
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..text.len()).step_by(2).filter_map(byte).collect()
}

fn file_source(file: &FileSource) -> v1::FileSource {
    let format = match file.format {
        FileFormat::Lines => v1::file_source::Format::Lines,
        FileFormat::Csv => v1::file_source::Format::Csv,
        FileFormat::Ndjson => v1::file_source::Format::Ndjson,
    };
    v1::FileSource {
        uri: file.uri.clone(),
        format: format.into(),
        key_column: file.key_column.clone(),
        encoding: file.encoding.clone(),
    }
}

fn connector(connector: &Connector, full: bool) -> v1::batch_spec::Connector {
    match connector {
        Connector::YahooChart(chart) => v1::batch_spec::Connector::YahooChart(if full {
            yahoo_chart(chart)
        } else {
            v1::YahooChart::default()
        }),
        Connector::HttpFetch(http) => v1::batch_spec::Connector::HttpFetch(if full {
            super::http::render(http)
        } else {
            v1::HttpFetch::default()
        }),
    }
}

fn yahoo_chart(chart: &YahooChart) -> v1::YahooChart {
    let event = |event: &ChartEvent| match event {
        ChartEvent::Dividends => v1::yahoo_chart::Event::Dividends,
        ChartEvent::Splits => v1::yahoo_chart::Event::Splits,
        ChartEvent::CapitalGains => v1::yahoo_chart::Event::CapitalGains,
    };
    let window = match chart.window {
        Window::Range(range) => v1::yahoo_chart::Window::Range(range.to_string()),
        Window::Days { days, offset_days } => v1::yahoo_chart::Window::RelativeWindow(v1::RelativeWindow {
            days: days as i32,
            offset_days: offset_days as i32,
        }),
    };
    v1::YahooChart {
        interval: chart.interval.clone(),
        window: Some(window),
        events: chart.events.iter().map(|kind| event(kind).into()).collect(),
        symbol_suffix: Some(chart.symbol_suffix.clone()),
        base_url: chart.base_url.clone(),
    }
}

fn fetch(fetch: &FetchPolicy) -> v1::FetchPolicy {
    v1::FetchPolicy {
        workers: Some(fetch.workers as i32),
        attempt_timeout: Some(time::duration(fetch.attempt_timeout)),
        max_attempts: Some(fetch.attempts_max as i32),
        initial_backoff: Some(time::duration(fetch.initial_backoff)),
        backoff_multiplier: Some(fetch.backoff_multiplier),
        max_backoff: Some(time::duration(fetch.max_backoff)),
        requests_per_second: Some(fetch.rate_per_s),
        burst: Some(fetch.burst as i32),
        max_body_bytes: Some(fetch.body_bytes_max as i64),
        commit_group_size: Some(fetch.commit_group_size as i32),
        commit_group_interval: Some(time::duration(fetch.commit_group_interval)),
        user_agent: fetch.user_agent.clone(),
        keep_bodies: Some(time::duration(fetch.keep_bodies)),
        probe_items: Some(fetch.probe_items as i32),
        item_deadline: Some(time::duration(fetch.item_deadline)),
    }
}

fn outage(outage: &OutagePolicy) -> v1::OutagePolicy {
    v1::OutagePolicy {
        hold: Some(time::duration(outage.hold)),
        auto_resume: Some(outage.auto_resume),
        probe_interval: Some(time::duration(outage.probe_interval)),
    }
}

fn failure(failure: &FailurePolicy) -> v1::FailurePolicy {
    v1::FailurePolicy {
        max_failed_items: failure.failed_items_max,
        max_failed_ratio: failure.failed_ratio_max,
        min_processed_items: Some(failure.processed_items_min),
    }
}

fn overlap_policy(policy: OverlapPolicy) -> v1::OverlapPolicy {
    match policy {
        OverlapPolicy::Skip => v1::OverlapPolicy::Skip,
        OverlapPolicy::BufferOne => v1::OverlapPolicy::BufferOne,
        OverlapPolicy::BufferAll => v1::OverlapPolicy::BufferAll,
        OverlapPolicy::CancelOther => v1::OverlapPolicy::CancelOther,
        OverlapPolicy::AllowAll => v1::OverlapPolicy::AllowAll,
    }
}

fn uploaded_items(uploaded: &UploadedItems) -> v1::UploadedItems {
    v1::UploadedItems {
        expected_items: uploaded.expected_items,
        open_ttl: Some(time::duration(uploaded.open_ttl)),
    }
}
