//! The simulator over real sockets, as a client sees it.

#![allow(clippy::unwrap_used, reason = "a test may panic, and so may its bench")]

mod cli;
mod fault;
mod limit;
mod list;
mod log;
mod refuse;
mod session;
mod shutdown;

use std::path::Path;

use haul_sim::{Sim, SimConfig, start};
use reqwest::{Client, Response};
use serde_json::Value;

/// A simulator, its client and its log.
struct Bench {
    sim: Sim,
    client: Client,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn new(config: SimConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = Some(folder.path().join("requests.jsonl"));
        let sim = start(SimConfig { log, ..config }).await.unwrap();
        Self { sim, client: Client::builder().no_proxy().build().unwrap(), folder }
    }

    async fn chart(&self, code: &str) -> reqwest::Result<Response> {
        let url = format!("{}/v8/finance/chart/{code}.T?range=3mo&interval=1d", self.sim.base_url());
        self.client.get(url).send().await
    }

    fn log(&self) -> Vec<Value> {
        read_log(&self.folder.path().join("requests.jsonl"))
    }
}

fn read_log(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
