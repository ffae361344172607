//! `hauld serve`

use clap::Args;

use super::{Failure, folder, node::Node};
use crate::{
    config::{Config, Flags, ServeFlags},
    shutdown, telemetry,
};

/// Serve the control plane and work on its batches
///
/// Batches that were running when the last server on this data folder ended, in whatever way, go on by themselves.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  hauld serve
  hauld serve --data-dir /var/lib/haul --listen 127.0.0.1:50051
  hauld serve --store sqlite:prices.db --listen 127.0.0.1:0 --port-file port

Every setting may also stand in a TOML file (--config) or in the environment: data_dir, HAUL_DATA_DIR.
  Only there: list_uri, user_agent, time_zone, live_batches, allowed_origins, connection_age_s, api_rate,
  stall_after_s.")]
pub(super) struct Serve {
    #[command(flatten)]
    serve: ServeFlags,
    #[command(flatten)]
    flags: Flags,
}

impl Serve {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        let config = Config::read(Config::default(), &self.flags, &self.serve).map_err(Failure::usage)?;
        telemetry::begin(&config.log, config.log_format).map_err(Failure::usage)?;
        #[cfg(feature = "failpoints")]
        crate::failpoint::set(&crate::config::fail_points()).map_err(Failure::usage)?;
        let database = config.database().map_err(Failure::usage)?;
        let folder = folder::take_alone(database.clone())?;
        let node = Node::start(&config, folder).await?;
        let signal = shutdown::requested().await;
        tracing::info!(signal, "ending");
        node.shutdown().await;
        Ok(0)
    }
}
