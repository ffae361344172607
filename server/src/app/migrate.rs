//! `hauld migrate`

use std::io::{self, Write};

use clap::Args;

use super::{Failure, offline};
use crate::{config::Flags, store::Store};

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
        let config = offline::configured(&self.flags)?;
        let (folder, store) = offline::open(&config).await?;
        let schema = store.schema().await.map_err(Failure::usage)?;
        store.close().await;
        let database = folder.database.display();
        writeln!(io::stdout(), "{database}: schema version {}, up to date", schema.store)?;
        Ok(0)
    }
}
