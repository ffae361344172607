//! `hauld list`

use std::{
    collections::HashMap,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::SecondsFormat;
use clap::{Args, Subcommand};
use haul_client::cli::number;

use super::{
    Failure,
    folder::{self, Lock},
    node::NodeError,
    offline,
};
use crate::{
    clock,
    config::Flags,
    connector::Origin,
    domain::listing::{ListFile, ListVersion, ListedIssue},
    source::jpx,
    store::{
        Store,
        sqlite::{Found, Limits, SqliteStore, inspect},
    },
};

/// A list has at least so many of the codes of its neighbour in time.
const CODES_KEPT_MIN_PERCENT: usize = 80;
/// Of the codes that both have, so many have another name at most.
const RENAMED_MAX_PERCENT: usize = 20;
/// From so many issues on a neighbour is one to judge by.
const JUDGED_FROM: usize = 100;

/// The exchange's lists of listed issues that the store has
///
/// A batch for a past date reads the newest list of that date or before. The exchange publishes only the current one, so
/// older ones come from an archive: load them here.
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
/// No server may have the store meanwhile.
///
/// All files are read before the first is stored: one that is no list stops all. So does one that lacks more than a
/// fifth of the codes of its neighbour in time at the same address, or names more than a fifth of them otherwise.
#[derive(Debug, Args)]
struct Import {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Address that batches name, whose lists these are [default: as for a server, the exchange's own]
    #[arg(long, value_name = "URI")]
    uri: Option<String>,
    /// Store a list even if it is unlike its neighbour in time
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    flags: Flags,
}

/// Show the versions of each address; a server may run meanwhile
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
        lists.sort_by_key(|(_, list)| list.version.list_date);
        let (_folder, store) = offline::open(&config).await?;
        if !self.force {
            check(&lists, &uri, &store).await?;
        }
        let mut out = io::stdout();
        writeln!(out, "{uri}")?;
        let mut stored = 0;
        for (path, list) in &lists {
            let is_new = store.put_list(list, &uri, clock::now()).await.map_err(Failure::usage)?;
            stored += i64::from(is_new);
            let (date, issues) = (list.version.list_date, number::count(list.issues.len() as i64));
            let what = if is_new { "stored" } else { "was there already" };
            writeln!(out, "{}: the list of {date}, {issues} issues, {what}", path.display())?;
        }
        writeln!(out, "{stored} of {} stored", number::plural(lists.len() as i64, "list", "lists"))?;
        store.close().await;
        Ok(0)
    }
}

/// Refuses lists of which one is unlike its neighbour in time at the same address, stored or to be stored: half a file,
/// or one in another language, must not become the list of its date unnoticed.
async fn check(lists: &[(&PathBuf, ListFile)], uri: &str, store: &SqliteStore) -> Result<(), Failure> {
    let mut versions = store.list_versions().await.map_err(Failure::usage)?;
    versions.retain(|list| list.uri == uri);
    let mut known: Vec<ListVersion> = versions.into_iter().map(|list| list.version).collect();
    for (at, (path, list)) in lists.iter().enumerate() {
        if known.contains(&list.version) {
            continue;
        }
        let distance = |other: &&ListVersion| (other.list_date - list.version.list_date).abs();
        if let Some(neighbour) = known.iter().min_by_key(distance) {
            let issues = match lists[..at].iter().find(|(_, list)| list.version == *neighbour) {
                Some((_, list)) => list.issues.clone(),
                None => {
                    store.listed_issues(neighbour, 0, jpx::parse::ROWS_MAX).await.map_err(Failure::usage)?
                }
            };
            if let Some(unlike) = unlike(&list.issues, &issues) {
                return Err(Failure::usage(format!(
                    "{}: against the list of {} from {uri}, {unlike}; nothing is stored. A list in another language \
                     takes a --uri of its own; --force stores this one as it is",
                    path.display(),
                    neighbour.list_date
                )));
            }
        }
        known.push(list.version.clone());
    }
    Ok(())
}

/// What speaks against `new` being a list of the same issues as its neighbour. Names and codes only: segments were
/// replaced as a whole in 2022.
fn unlike(new: &[ListedIssue], neighbour: &[ListedIssue]) -> Option<String> {
    let names: HashMap<&str, &str> =
        new.iter().map(|issue| (issue.code.as_str(), issue.name.as_str())).collect();
    let common: Vec<bool> = neighbour
        .iter()
        .filter_map(|issue| names.get(issue.code.as_str()).map(|name| *name != issue.name))
        .collect();
    let (all, kept) = (neighbour.len(), common.len());
    let renamed = common.into_iter().filter(|differs| *differs).count();
    let is_like = kept * 100 >= all * CODES_KEPT_MIN_PERCENT && renamed * 100 <= kept * RENAMED_MAX_PERCENT;
    (all >= JUDGED_FROM && !is_like).then(|| {
        format!(
            "it has {} % of that one's codes (at least {CODES_KEPT_MIN_PERCENT} % are expected), and {} % of the \
             names they share differ (at most {RENAMED_MAX_PERCENT} %)",
            kept * 100 / all,
            (renamed * 100).div_ceil(kept.max(1))
        )
    })
}

impl Versions {
    async fn run(self) -> Result<u8, Failure> {
        let config = offline::configured(&self.flags)?;
        let database = config.database().map_err(Failure::usage)?;
        let mut out = io::stdout();
        let found = inspect(&database, is_held(&database)?, Some(Duration::ZERO)).await;
        let found = match found.map_err(Failure::usage)? {
            Found::Absent | Found::Empty => {
                writeln!(out, "no list: there is no store at {}", database.display())?;
                return Ok(0);
            }
            found => found,
        };
        // Beside a server nothing is brought up to date.
        let is_current = matches!(&found, Found::Store(found)
            if found.schema.store == found.schema.known && found.differs.is_none());
        let (_folder, store) = if is_current && is_held(&database)? {
            let opened = SqliteStore::open(&database, Limits::default()).await;
            (None, opened.map_err(|source| NodeError::Store { database, source })?)
        } else {
            let (folder, store) = offline::open(&config).await?;
            (Some(folder), store)
        };
        let lists = store.list_versions().await.map_err(Failure::usage)?;
        store.close().await;
        for lists in lists.chunk_by(|one, next| one.uri == next.uri) {
            writeln!(out, "{}", lists[0].uri)?;
            writeln!(out, "LIST DATE   ISSUES  FETCHED               SHA-256")?;
            for list in lists {
                let (date, sha256) = (list.version.list_date, &list.version.sha256);
                let fetched = list.fetched_at.to_rfc3339_opts(SecondsFormat::Secs, true);
                writeln!(out, "{date}  {:>6}  {fetched}  {sha256}", number::count(list.issue_count))?;
            }
            writeln!(out)?;
        }
        writeln!(out, "{}", number::plural(lists.len() as i64, "list", "lists"))?;
        Ok(0)
    }
}

fn is_held(database: &Path) -> io::Result<bool> {
    Ok(folder::look(database.to_owned())? != Lock::Free)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issues(count: usize, name: &str) -> Vec<ListedIssue> {
        let issue = |at| ListedIssue {
            code: format!("{at:04}"),
            name: format!("{name} {at}"),
            ..ListedIssue::default()
        };
        (0..count).map(issue).collect()
    }

    #[test]
    fn half_a_list_and_one_in_another_language_are_unlike_their_neighbour() {
        let neighbour = issues(100, "極洋");
        assert_eq!(unlike(&neighbour, &neighbour), None);
        assert_eq!(unlike(&issues(80, "極洋"), &neighbour), None);
        assert_eq!(unlike(&issues(200, "極洋"), &neighbour), None);
        for (new, words) in [
            (issues(79, "極洋"), ["it has 79 % of", "and 0 % of"]),
            (issues(0, ""), ["it has 0 % of", "and 0 % of"]),
            (issues(100, "KYOKUYO"), ["it has 100 % of", "and 100 % of"]),
        ] {
            let said = unlike(&new, &neighbour).unwrap();
            assert!(words.iter().all(|word| said.contains(word)), "{said}");
        }
        let few = issues(JUDGED_FROM - 1, "極洋");
        assert_eq!(unlike(&[], &few), None, "of a few nothing follows");
    }
}
