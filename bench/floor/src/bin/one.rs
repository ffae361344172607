//! What the control plane adds to one item: batches of one item, one after the other, on an idle server. key=value arguments:
//!   addr=127.0.0.1:50051  base=http://127.0.0.1:18080  key=AAAA  date=2024-10-29  n=200
//! From before StartBatch is sent to the told end of the batch, which comes after the commit that ended it.
use std::{collections::HashMap, time::Instant};

use floor::haul::{AsOf, BatchSpec, FetchPolicy, InlineItems, ItemSpec, StartBatchRequest, WatchProgressRequest, YahooChart, haul_service_client::HaulServiceClient};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let a: HashMap<String, String> = std::env::args().skip(1).filter_map(|s| s.split_once('=').map(|(k, v)| (k.into(), v.into()))).collect();
    let get = |k: &str, d: &str| a.get(k).cloned().unwrap_or_else(|| d.into());
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", get("addr", "127.0.0.1:50051")))?.tcp_nodelay(true).connect().await?;
    let mut client = HaulServiceClient::new(channel);
    let spec = BatchSpec {
        as_of: Some(AsOf { date: get("date", "2024-10-29"), time_zone: "America/New_York".into() }),
        inline_items: Some(InlineItems { items: vec![ItemSpec { key: get("key", "AAAA") }] }),
        yahoo_chart: Some(YahooChart { symbol_suffix: Some(String::new()), base_url: get("base", "http://127.0.0.1:18080") }),
        fetch: Some(FetchPolicy { requests_per_second: Some(1e6), burst: Some(100_000) }),
    };
    let mut took = Vec::new();
    for n in 0..get("n", "200").parse::<usize>()? + 10 {
        let began = Instant::now();
        let batch = client.start_batch(StartBatchRequest { spec: Some(spec.clone()) }).await?.into_inner().batch.unwrap_or_default();
        let mut events = client.watch_progress(WatchProgressRequest { name: batch.name, min_interval: None }).await?.into_inner();
        let end = loop {
            let event = events.message().await?.ok_or("the stream ended before the batch")?;
            // A batch that was over before it was asked for has one event.
            if let Some(end) = event.terminal.or(event.snapshot.filter(|batch| batch.state >= 7)) {
                break end;
            }
        };
        let ended = end.progress.map_or(0, |progress| progress.succeeded_items);
        if end.state != 7 || ended != 1 {
            return Err(format!("a batch came to state {} with {ended} items", end.state).into());
        }
        // The first ones make connections and prepare statements.
        if n >= 10 {
            took.push(began.elapsed().as_secs_f64() * 1000.0);
        }
    }
    took.sort_by(f64::total_cmp);
    let q = |p: f64| took[((took.len() - 1) as f64 * p) as usize];
    println!("{{\"batches\":{},\"p50_ms\":{:.3},\"p90_ms\":{:.3},\"p99_ms\":{:.3},\"max_ms\":{:.3}}}", took.len(), q(0.5), q(0.9), q(0.99), q(1.0));
    Ok(())
}
