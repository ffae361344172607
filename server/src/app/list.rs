//! `hauld list`

use std::{
    io::{self, Write},
    path::PathBuf,
};

use chrono::SecondsFormat;
use clap::{Args, Subcommand};

use super::{Failure, offline};
use crate::{clock, config::Flags, connector::Origin, source::jpx, store::Store};

/// The exchange's lists of listed issues that the store has
///
/// A batch for a past date reads the newest list of that date or before. The exchange publishes only the current one, so
/// older ones come from an archive: load them here. No server may have the store meanwhile.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct List {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Import(Import),
    Versions(Versions),
}

/// Store lists from files (.xls, .xlsx, .csv) as versions, each under the date that it names itself
///
/// All files are read before the first is stored: one that is no list stops all.
#[derive(Debug, Args)]
struct Import {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Address that batches name, whose lists these are [default: as for a server, the exchange's own]
    #[arg(long, value_name = "URI")]
    uri: Option<String>,
    #[command(flatten)]
    flags: Flags,
}

/// Show the versions: list date, issues, when fetched, SHA-256, address
#[derive(Debug, Args)]
struct Versions {
    #[command(flatten)]
    flags: Flags,
}

impl List {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        match self.command {
            Command::Import(import) => import.run().await,
            Command::Versions(versions) => versions.run().await,
        }
    }
}

impl Import {
    async fn run(self) -> Result<u8, Failure> {
        let config = offline::configured(&self.flags)?;
        let uri = self.uri.unwrap_or_else(|| config.list_uri.clone());
        if !uri.starts_with("file:") && Origin::of_url(&uri).is_none() {
            return Err(Failure::usage(format!("--uri {uri:?} is no http, https or file URI")));
        }
        let mut lists = Vec::new();
        for path in &self.files {
            let list = jpx::read(path);
            let refused = |error| format!("{} {error}; nothing is stored", path.display());
            lists.push((path, list.map_err(refused).map_err(Failure::usage)?));
        }
        let (_folder, store) = offline::open(&config).await?;
        let mut out = io::stdout();
        for (path, list) in lists {
            let is_new = store.put_list(&list, &uri, clock::now()).await.map_err(Failure::usage)?;
            let (date, issues) = (list.version.list_date, list.issues.len());
            let what = if is_new { "stored" } else { "was there already" };
            writeln!(out, "{}: the list of {date}, {issues} issues, {what} as one of {uri}", path.display())?;
        }
        store.close().await;
        Ok(0)
    }
}

impl Versions {
    async fn run(self) -> Result<u8, Failure> {
        let (_folder, store) = offline::open(&offline::configured(&self.flags)?).await?;
        let mut out = io::stdout();
        for list in store.list_versions().await.map_err(Failure::usage)? {
            let (date, sha256) = (list.version.list_date, &list.version.sha256);
            let fetched = list.fetched_at.to_rfc3339_opts(SecondsFormat::Secs, true);
            writeln!(out, "{date}  {:>6}  {fetched}  {sha256}  {}", list.issue_count, list.uri)?;
        }
        store.close().await;
        Ok(0)
    }
}
