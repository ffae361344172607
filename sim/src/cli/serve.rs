//! `haul-sim serve`.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::NaiveDate;
use clap::Args;
use haul_sim::{Outage, RateLimit, Refuse, RetryAfter, SERVED_DATE, Sim, SimConfig, SimError, form};
use tokio::signal::unix::{SignalKind, signal};

use super::Unusable;

/// Serve the simulated upstreams until SIGTERM or SIGINT.
///
/// Prints one line with the base URL and the list's URL once it listens.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Never failing, on a free port:
    haul-sim serve

  20 requests a second with bursts of 5, a tenth of them failing in passing, logged:
    haul-sim serve --listen 127.0.0.1:8090 --rate 20 --burst 5 --faults 0.1 --log requests.jsonl

  A short list, two in a hundred codes dead, five seconds of outage after ten:
    haul-sim serve --items 100 --permanent 0.02 --outage 10s+5s:503

  An edge that blocks an address for 15 minutes after 40 requests in 40 minutes:
    haul-sim serve --refuse after:40/40m/15m

  A credential that is no good for half a minute:
    haul-sim serve --refuse deny:401@30s

  For a script, which reads the port from a file:
    haul-sim serve --port-file sim.port")]
pub(super) struct Serve {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Decides every price and every fault
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Serve only the first N issues of the list [default: all, about 4,400]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    items: Option<u32>,
    /// Share of chart requests that fail in passing, at most twice for each symbol
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = form::share, allow_negative_numbers = true)]
    faults: f64,
    /// Share of codes that always fail
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = form::share, allow_negative_numbers = true)]
    permanent: f64,
    /// Chart requests a second for each client address; above it the answer is 429 [default: no limit]
    #[arg(long, value_name = "PER_S", value_parser = form::rate, allow_negative_numbers = true)]
    rate: Option<f64>,
    /// Requests that may come at once
    #[arg(long, value_name = "N", default_value_t = 1, requires = "rate", value_parser = clap::value_parser!(u32).range(1..))]
    burst: u32,
    /// Retry-After of every 429: seconds, date:SECONDS, alternate:SECONDS (both by turns), or none
    #[arg(long, value_name = "FORM", default_value = "1", value_parser = form::retry_after)]
    retry_after: RetryAfter,
    /// Wait before each answer
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = form::duration)]
    latency: Duration,
    /// Random wait on top of it, from nothing to this
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = form::duration)]
    jitter: Duration,
    /// How long a stalled request hangs before its connection is closed
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = form::duration)]
    stall: Duration,
    /// The chart endpoint is down from START after the start for LENGTH; KIND is 503, html or reset (repeatable)
    #[arg(long = "outage", value_name = "START+LENGTH:KIND", value_parser = form::outage)]
    outages: Vec<Outage>,
    /// How the edge refuses until POST /_sim/refuse?how=none lifts it: all; after:N/WINDOW/HOLD, which is 429 for HOLD
    /// to who sends more than N in WINDOW; down:KIND; deny:STATUS, which is 401 or 403, for some codes (deny:403/1301+1332)
    /// or a time (deny:401@30s)
    #[arg(long, value_name = "HOW", value_parser = form::refuse)]
    refuse: Option<Refuse>,
    /// Answer 429 to the agents that HTTP libraries send by themselves, and to requests without one
    #[arg(long)]
    refuse_libraries: bool,
    /// The day that the list says it is of [default: 2026-10-31]
    #[arg(long, value_name = "YYYY-MM-DD")]
    list_date: Option<NaiveDate>,
    /// Append a JSON line for each request
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Write the port number here once bound
    #[arg(long, value_name = "FILE")]
    port_file: Option<PathBuf>,
}

impl Serve {
    pub(super) async fn run(self) -> Result<(), Unusable> {
        // Before the port is told to anybody, so that no signal is missed.
        let (mut terminate, mut interrupt) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
        let port_file = self.port_file.clone();
        let sim = haul_sim::start(self.into_config()).await.map_err(unusable)?;
        if let Some(path) = port_file {
            write_port(&path, &sim)?;
        }
        let line = format!("listening on {}, list at {}", sim.base_url(), sim.list_url());
        // Whoever closed standard output does not want to read it.
        let _ = writeln!(std::io::stdout(), "{line}");
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        sim.shutdown().await;
        Ok(())
    }

    fn into_config(self) -> SimConfig {
        let burst = self.burst;
        SimConfig {
            listen: self.listen,
            seed: self.seed,
            items: self.items.map(|items| items as usize),
            faults: self.faults,
            permanent: self.permanent,
            limit: self.rate.map(|rate_per_s| RateLimit { rate_per_s, burst }),
            retry_after: self.retry_after,
            latency: self.latency,
            latency_jitter: self.jitter,
            stall: self.stall,
            outages: self.outages,
            refuse: self.refuse,
            refuse_libraries: self.refuse_libraries,
            list_date: self.list_date.map_or(SERVED_DATE, Into::into),
            log: self.log,
        }
    }
}

fn on(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Unusable> {
    signal(kind).map_err(|error| Unusable {
        flag: "serve",
        value: "signals".to_owned(),
        problem: error.to_string(),
    })
}

/// Complete or not there: written beside and moved.
fn write_port(path: &Path, sim: &Sim) -> Result<(), Unusable> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let beside = PathBuf::from(beside);
    let written = std::fs::write(&beside, format!("{}\n", sim.addr().port()))
        .and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|error| Unusable {
        flag: "--port-file",
        value: path.display().to_string(),
        problem: format!(
            "cannot be written ({error}): choose a file in a folder that exists and can be written"
        ),
    })
}

fn unusable(error: SimError) -> Unusable {
    match error {
        SimError::Bind { addr, source } => Unusable {
            flag: "--listen",
            value: addr.to_string(),
            problem: format!(
                "cannot be listened on ({source}): choose another address, or port 0 for any free one"
            ),
        },
        SimError::Log { path, source } => Unusable {
            flag: "--log",
            value: path.display().to_string(),
            problem: format!(
                "cannot be written ({source}): choose a file in a folder that exists and can be written"
            ),
        },
        SimError::Setting { name, value, way_out } => {
            Unusable { flag: "setting", value: format!("{name} {value}"), problem: way_out.to_owned() }
        }
        SimError::List(source) => {
            Unusable { flag: "serve", value: "list".to_owned(), problem: format!("cannot be made: {source}") }
        }
    }
}
