//! `hauld demo`: the Tokyo job end to end, against the simulator.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use haul_client::{
    Client,
    cli::{
        exit,
        output::{Format, Output},
        progress::{ProgressMode, follow},
    },
};
use haul_proto::v1;
use haul_sim::{RetryAfter, Sim, SimConfig};
use serde_json::json;

use super::{Failure, folder, node::Node};
use crate::{
    config::{Config, temporary_folder},
    shutdown, telemetry,
};

/// Fetch a year of prices of every issue of the Tokyo exchange, with nothing installed
///
/// Starts a simulator of the upstream and a server on SQLite in a fresh folder, sends one batch through the client, shows
/// its progress, prints its report and where the data is.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Exit status: 0 when the batch completed, though some codes failed for good as they were meant to; 4 when it did not.

Examples:
  hauld demo
  hauld demo --items 200 --rate 20 --burst 5
  hauld demo --faults 0.05 --seed 7 -o json > result.json")]
pub(super) struct Demo {
    /// Issues to fetch, the first of the list [default: all, about 4,400]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    items: Option<u32>,
    /// Requests per second
    #[arg(long, value_name = "R", default_value_t = 200.0, allow_negative_numbers = true, value_parser = rate)]
    rate: f64,
    /// Requests at once after idleness
    #[arg(long, value_name = "B", default_value_t = 50, allow_negative_numbers = true,
        value_parser = clap::value_parser!(i32).range(1..=100_000))]
    burst: i32,
    /// Attempts in flight at once
    #[arg(long, value_name = "W", default_value_t = 32, allow_negative_numbers = true,
        value_parser = clap::value_parser!(i32).range(1..=10_000))]
    workers: i32,
    /// Share of requests that fail in passing; a fifth of it is the share of codes that fail for good
    #[arg(long, value_name = "P", default_value_t = 0.01, allow_negative_numbers = true, value_parser = share)]
    faults: f64,
    /// Seed of prices and faults: the same seed, the same story
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Folder of the store [default: a new one in the folder for temporary files]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Leave simulator and server up at the end, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// How the result is printed; progress goes to standard error
    #[arg(short = 'o', long, value_enum, default_value = "table")]
    output: Shape,
}

/// How the result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shape {
    Table,
    Json,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=1_000_000.0).contains(&rate) => Ok(rate),
        _ => Err("a rate is a number of requests per second from 0.001 to 1000000".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a share is a number from 0 to 1, such as 0.05".to_owned()),
    }
}

/// A simulated stall is given up after that.
const ATTEMPT_TIMEOUT_S: i64 = 3;
const LATENCY: Duration = Duration::from_millis(15);
const LATENCY_JITTER: Duration = Duration::from_millis(10);

impl Demo {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        let data_dir = match &self.data_dir {
            Some(folder) => folder.clone(),
            None => {
                fresh_folder().map_err(|error| Failure::usage(format!("no temporary folder: {error}")))?
            }
        };
        let config = Config {
            data_dir: data_dir.clone(),
            listen: ([127, 0, 0, 1], 0).into(),
            log: "error".to_owned(),
            // The simulator's.
            allow_targets: vec!["127.0.0.1".to_owned()],
            ..Config::default()
        };
        telemetry::begin(&config.log, config.log_format).map_err(Failure::usage)?;
        let database = config.database().map_err(Failure::usage)?;
        if database.exists() {
            let message =
                format!("{} is there already: the demo begins with a fresh folder", database.display());
            return Err(Failure::usage(message));
        }
        let folder = folder::take_alone(database.clone())?;
        let sim = haul_sim::start(self.simulator(&data_dir)).await.map_err(Failure::usage)?;
        let node = Node::start(&config, folder).await?;
        let result = self.fetch(&sim, &node, &data_dir, &database).await;
        if self.keep && result.is_ok() {
            say(&format!(
                "hauld listens on {0}, the simulator on {1}, until Ctrl-C. Try: haul --server {0} list",
                node.address(),
                sim.base_url(),
            ))?;
            shutdown::requested().await;
        }
        node.shutdown().await;
        sim.shutdown().await;
        result
    }

    fn simulator(&self, data_dir: &Path) -> SimConfig {
        SimConfig {
            seed: self.seed,
            items: self.items.map(|items| items as usize),
            faults: self.faults,
            permanent: self.faults / 5.0,
            retry_after: RetryAfter::Seconds(1),
            latency: LATENCY,
            latency_jitter: LATENCY_JITTER,
            log: Some(data_dir.join("simulator.jsonl")),
            ..SimConfig::default()
        }
    }

    fn spec(&self, sim: &Sim) -> v1::BatchSpec {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        v1::BatchSpec {
            display_name: "Tokyo, one year of daily prices".to_owned(),
            batch_type: "all_stocks".to_owned(),
            as_of: Some(v1::AsOf { time_zone: "Asia/Tokyo".to_owned(), ..v1::AsOf::default() }),
            source: Some(v1::batch_spec::Source::JpxListing(v1::JpxListing {
                uri: sim.list_url(),
                ..v1::JpxListing::default()
            })),
            connector: Some(v1::batch_spec::Connector::YahooChart(v1::YahooChart {
                base_url: sim.base_url(),
                ..v1::YahooChart::default()
            })),
            fetch: Some(v1::FetchPolicy {
                workers: Some(self.workers),
                requests_per_second: Some(self.rate),
                burst: Some(self.burst),
                // Its push-backs are drawn, whatever the rate is: a slower pace meets as many.
                adaptive_pace: Some(false),
                attempt_timeout: seconds(ATTEMPT_TIMEOUT_S),
                initial_backoff: seconds(1),
                ..v1::FetchPolicy::default()
            }),
            // Nobody is bothered by being asked often.
            outage: Some(v1::OutagePolicy { probe_interval: seconds(1), ..v1::OutagePolicy::default() }),
            ..v1::BatchSpec::default()
        }
    }

    async fn fetch(&self, sim: &Sim, node: &Node, data_dir: &Path, database: &Path) -> Result<u8, Failure> {
        say(
            "The upstream and its list are simulated, prices and names invented. For the real one: hauld serve, then \
             haul start -f examples/tokyo-real.yaml --watch",
        )?;
        let client = Client::connect(&node.address().to_string()).await?;
        let begun = Instant::now();
        let request =
            v1::StartBatchRequest { spec: Some(self.spec(sim)), ..v1::StartBatchRequest::default() };
        let name = client.start_batch(request).await?.batch.unwrap_or_default().name;
        let batch = tokio::select! {
            batch = follow(&client, &name, ProgressMode::Auto) => batch?,
            signal = shutdown::requested() => {
                let message = format!("interrupted; what was fetched is in {}", database.display());
                return Err(Failure { message, status: u8::try_from(128 + signal).unwrap_or(exit::INTERRUPTED) });
            }
        };
        let elapsed_s = begun.elapsed().as_secs_f64();
        let report = client.get_report(&name).await?;
        let mut out = io::stdout().lock();
        if self.output == Shape::Table {
            Output::new(Format::Table).end(&batch, &report, &mut out)?;
            writeln!(out, "\nData       {}", database.display())?;
            writeln!(out, "Try        {}", query(database))?;
        } else {
            let progress = batch.progress.clone().unwrap_or_default();
            let result = json!({
                "batch": batch.name,
                "state": batch.state().as_str_name().trim_start_matches("STATE_"),
                "total": progress.total_items,
                "succeeded": progress.succeeded_items,
                "failed": progress.failed_items,
                "skipped": progress.skipped_items,
                "canceled": progress.canceled_items,
                "records": progress.records_written,
                "requests": report.requests_sent,
                "elapsed_s": (elapsed_s * 1_000.0).round() / 1_000.0,
                "store": format!("sqlite:{}", database.display()),
                "simulator_log": data_dir.join("simulator.jsonl"),
            });
            writeln!(out, "{result}")?;
        }
        out.flush()?;
        // Some codes fail for good because the simulator has them so: then the demo went as it should.
        Ok(if batch.state() == v1::batch::State::Completed { 0 } else { exit::code(&batch) })
    }
}

/// Says something beside the result.
fn say(text: &str) -> io::Result<()> {
    writeln!(io::stderr(), "{text}")
}

fn fresh_folder() -> io::Result<PathBuf> {
    let folder = temporary_folder().join(format!("haul-demo-{}", uuid::Uuid::now_v7().simple()));
    std::fs::create_dir(&folder)?;
    Ok(folder)
}

fn query(database: &Path) -> String {
    format!(
        "sqlite3 {} \"SELECT session_date, close, volume FROM stock_prices WHERE code = '1301' ORDER BY ts DESC LIMIT 5\"",
        database.display()
    )
}
