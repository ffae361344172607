//! Messages of proto/haul/v1, numbers and names from there.

#[derive(Clone, PartialEq, prost::Message)]
pub struct StartBatchRequest {
    #[prost(message, optional, tag = "2")]
    pub spec: Option<BatchSpec>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct StartBatchResponse {
    #[prost(message, optional, tag = "1")]
    pub batch: Option<Batch>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct BatchSpec {
    #[prost(message, optional, tag = "4")]
    pub as_of: Option<AsOf>,
    #[prost(message, optional, tag = "7")]
    pub inline_items: Option<InlineItems>,
    #[prost(message, optional, tag = "13")]
    pub yahoo_chart: Option<YahooChart>,
    #[prost(message, optional, tag = "18")]
    pub fetch: Option<FetchPolicy>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AsOf {
    #[prost(string, tag = "2")]
    pub date: String,
    #[prost(string, tag = "3")]
    pub time_zone: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct InlineItems {
    #[prost(message, repeated, tag = "1")]
    pub items: Vec<ItemSpec>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ItemSpec {
    #[prost(string, tag = "1")]
    pub key: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct YahooChart {
    #[prost(string, optional, tag = "5")]
    pub symbol_suffix: Option<String>,
    #[prost(string, tag = "7")]
    pub base_url: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct FetchPolicy {
    #[prost(double, optional, tag = "7")]
    pub requests_per_second: Option<f64>,
    #[prost(int32, optional, tag = "8")]
    pub burst: Option<i32>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WatchProgressRequest {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "4")]
    pub min_interval: Option<Interval>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Interval {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct WatchProgressResponse {
    #[prost(message, optional, tag = "1")]
    pub snapshot: Option<Batch>,
    #[prost(message, optional, tag = "2")]
    pub update: Option<Batch>,
    #[prost(message, optional, tag = "3")]
    pub terminal: Option<Batch>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Batch {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(int32, tag = "3")]
    pub state: i32,
    #[prost(message, optional, tag = "10")]
    pub progress: Option<Progress>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Progress {
    #[prost(int64, tag = "4")]
    pub succeeded_items: i64,
}

include!(concat!(env!("OUT_DIR"), "/haul.v1.HaulService.rs"));
