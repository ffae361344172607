//! `hauld migrate`

use std::io::{self, Write};

use clap::Args;

use super::{Failure, folder, node::NodeError};
use crate::{
    config::{Config, Flags, ServeFlags},
    store::{
        Store,
        sqlite::{Limits, SqliteStore},
    },
    telemetry,
};

/// Bring the store's schema up to date, and make the store if it is not there
///
/// `hauld serve` does the same when it starts; this is for doing it beforehand.
#[derive(Debug, Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    flags: Flags,
}

impl Migrate {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        let quiet = Config { log: "warn".to_owned(), ..Config::default() };
        let config = Config::read(quiet, &self.flags, &ServeFlags::default()).map_err(Failure::usage)?;
        telemetry::begin(&config.log, config.log_format).map_err(Failure::usage)?;
        let database = config.database().map_err(Failure::usage)?;
        let _folder = folder::take_alone(database.clone())?;
        let store = SqliteStore::open(&database, Limits::default())
            .await
            .map_err(|source| NodeError::Store { database: database.clone(), source })?;
        let schema = store.schema().await.map_err(Failure::usage)?;
        store.close().await;
        writeln!(io::stdout(), "{}: schema version {}, up to date", database.display(), schema.store)?;
        Ok(0)
    }
}
