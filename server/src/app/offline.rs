//! Commands that work on the store while no server has it.

use super::{
    Failure,
    folder::{self, Folder},
    node::NodeError,
};
use crate::{
    config::{Config, Flags, ServeFlags},
    store::sqlite::{Limits, SqliteStore},
    telemetry,
};

/// The configuration, with little logged.
pub(super) fn configured(flags: &Flags) -> Result<Config, Failure> {
    let quiet = Config { log: "warn".to_owned(), ..Config::default() };
    let config = Config::read(quiet, flags, &ServeFlags::default()).map_err(Failure::usage)?;
    telemetry::begin(&config.log, config.log_format).map_err(Failure::usage)?;
    Ok(config)
}

/// The store, taken from everybody else as long as the folder is held.
pub(super) async fn open(config: &Config) -> Result<(Folder, SqliteStore), Failure> {
    let database = config.database().map_err(Failure::usage)?;
    let folder = folder::take_alone(database.clone())?;
    let store = SqliteStore::open(&database, Limits::default())
        .await
        .map_err(|source| NodeError::Store { database, source })?;
    Ok((folder, store))
}
