//! The simulator, and what arrived at it.

use std::{net::SocketAddr, time::Duration};

use haul_sim::{Refuse, Sim, SimConfig};
use serde::Deserialize;
use tempfile::TempDir;

/// An upstream, in this process.
pub(crate) struct Upstream {
    sim: Sim,
    folder: TempDir,
}

/// One request, as the simulator wrote it down when it came.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Arrival {
    pub(crate) at_us: u64,
    pub(crate) key: Option<String>,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) user_agent: String,
    pub(crate) endpoint: String,
    pub(crate) status: u16,
    pub(crate) fault: Option<String>,
    pub(crate) permanent: bool,
}

impl Arrival {
    pub(crate) fn key(&self) -> &str {
        self.key.as_deref().expect("it asks for a chart")
    }
}

impl Upstream {
    /// Starts one that behaves as told.
    pub(crate) async fn start(config: SimConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = Some(folder.path().join("requests.jsonl"));
        let sim = haul_sim::start(SimConfig { log, ..config }).await.unwrap();
        Self { sim, folder }
    }

    /// Starts one that never fails.
    pub(crate) async fn healthy() -> Self {
        Self::start(SimConfig::default()).await
    }

    /// Starts one that never fails and takes its time.
    pub(crate) async fn slow(latency_ms: u64) -> Self {
        Self::start(SimConfig { latency: Duration::from_millis(latency_ms), ..SimConfig::default() }).await
    }

    /// Starts one at an address.
    pub(crate) async fn at(listen: SocketAddr) -> Self {
        Self::start(SimConfig { listen, ..SimConfig::default() }).await
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        self.sim.base_url()
    }

    /// Refuses from now on, or no more.
    pub(crate) fn refuse(&self, refuse: Option<Refuse>) {
        self.sim.refuse(refuse);
    }

    /// Where the exchange's list is.
    pub(crate) fn list_url(&self) -> String {
        self.sim.list_url()
    }

    /// Takes it away.
    pub(crate) async fn leave(self) {
        self.sim.shutdown().await;
    }

    /// Everything that arrived.
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        let text = std::fs::read_to_string(self.folder.path().join("requests.jsonl")).unwrap();
        // A line that is being written is none yet.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The requests for charts that arrived.
    pub(crate) fn charts(&self) -> Vec<Arrival> {
        let mut arrivals = self.arrivals();
        arrivals.retain(|arrival| arrival.endpoint == "chart");
        arrivals
    }
}

/// Asserts that no window of the log holds more than `rate` and `burst` allow.
#[track_caller]
pub(crate) fn assert_never_faster(charts: &[Arrival], rate_per_s: f64, burst: f64) {
    for (first, from) in charts.iter().enumerate() {
        for (count, to) in (1..).zip(&charts[first..]) {
            let window_s = (to.at_us - from.at_us) as f64 / 1e6;
            let allowed = rate_per_s * window_s + burst;
            assert!(
                f64::from(count) <= allowed + 1e-6,
                "{count} requests within {window_s} s, allowed {allowed}"
            );
        }
    }
}
