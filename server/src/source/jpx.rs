//! The exchange's list of listed issues: one item per code.
//!
//! The newest version stored from the spec's address is read whose list date is not after `as_of`. The file is fetched,
//! and stored as a version, only if `as_of` was current when the batch was made; so a past date never reads a list that
//! did not exist then, unless the spec allows the earliest one there is.

use std::{collections::HashSet, path::Path};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Fetched, PAGE_ITEMS, Page, Source, SourceError, Tools, failed};
use crate::{
    clock,
    domain::{
        failure::{Failure, FailureClass},
        item::NewItem,
        listing::{ListFile, ListVersion, ListedIssue},
        spec::{AsOf, JpxListing},
    },
};

pub mod parse;

/// The list, narrowed.
pub struct Listing {
    spec: JpxListing,
    include: HashSet<String>,
    exclude: HashSet<String>,
    as_of: AsOf,
    tools: Tools,
    /// A list that was fetched and is not stored.
    dropped: Option<ListFile>,
}

#[derive(Serialize, Deserialize)]
struct Position {
    version: ListVersion,
    row: i64,
}

impl Listing {
    pub(super) fn new(spec: JpxListing, as_of: AsOf, tools: Tools) -> Self {
        let include = spec.include_codes.iter().cloned().collect();
        let exclude = spec.exclude_codes.iter().cloned().collect();
        Self { spec, include, exclude, as_of, tools, dropped: None }
    }

    async fn version(&mut self) -> Result<ListVersion, SourceError> {
        let uri = &self.spec.uri;
        if self.spec.current {
            let list = self.fetch().await?;
            match self.tools.fetched {
                Fetched::Kept => drop(self.tools.store.put_list(&list, uri, clock::now()).await?),
                Fetched::Dropped => self.dropped = Some(list),
            }
        }
        let date = self.as_of.date();
        let dropped = self.dropped.as_ref().map(|list| &list.version);
        let stored = self.tools.store.list_as_of(uri, date).await?;
        // Of two files for one day the one fetched last is the correction.
        let newest = dropped
            .filter(|list| list.list_date <= date)
            .filter(|list| stored.as_ref().is_none_or(|stored| stored.list_date <= list.list_date));
        if let Some(version) = newest.cloned().or(stored) {
            return Ok(version);
        }
        let stored = self.tools.store.earliest_list(uri).await?;
        let earliest = stored.iter().chain(dropped).min_by_key(|list| list.list_date);
        match earliest {
            Some(earliest) if self.spec.allow_later_list => Ok(earliest.clone()),
            _ => Err(SourceError::NoList {
                uri: uri.clone(),
                date,
                earliest: earliest.map(|list| list.list_date),
            }),
        }
    }

    /// Rows of a version from `from` on, at most [`PAGE_ITEMS`].
    async fn issues(&self, version: &ListVersion, from: i64) -> Result<Vec<ListedIssue>, SourceError> {
        match &self.dropped {
            Some(list) if list.version == *version => {
                Ok(list.issues.iter().skip(from as usize).take(PAGE_ITEMS).cloned().collect())
            }
            _ => Ok(self.tools.store.listed_issues(version, from, PAGE_ITEMS).await?),
        }
    }

    async fn fetch(&self) -> Result<ListFile, SourceError> {
        let uri = &self.spec.uri;
        let list = if uri.starts_with("file:") {
            let path =
                self.tools.roots.resolve(uri).map_err(|error| SourceError::Unreadable(error.to_string()))?;
            tokio::task::spawn_blocking(move || read(&path)).await
        } else {
            let reply = self.tools.download.get(uri, None).await;
            let file = reply.map_err(|failure| failed(uri, failure))?.body;
            tokio::task::spawn_blocking(move || parse::parse(&file).map_err(|error| error.to_string())).await
        };
        list.unwrap_or_else(|error| Err(format!("makes the list's reader fail: {error}")))
            .map_err(|error| SourceError::Unreadable(format!("{uri} {error}")))
    }

    fn takes(&self, issue: &ListedIssue) -> bool {
        let segments = &self.spec.segments;
        (segments.is_empty() || issue.segment.is_some_and(|segment| segments.contains(&segment)))
            && (self.include.is_empty() || self.include.contains(&issue.code))
            && !self.exclude.contains(&issue.code)
    }

    /// The wanted codes that the list lacks: each becomes a failed item, so that the hole shows.
    async fn not_listed(&self, version: &ListVersion) -> Result<Vec<NewItem>, SourceError> {
        let mut missing: Vec<&String> = self.spec.include_codes.iter().collect();
        missing.retain(|code| !self.exclude.contains(*code));
        let mut row = 0;
        while !missing.is_empty() {
            let issues = self.issues(version, row).await?;
            row += issues.len() as i64;
            let listed: HashSet<&String> = issues.iter().map(|issue| &issue.code).collect();
            missing.retain(|code| !listed.contains(code));
            if issues.len() < PAGE_ITEMS {
                break;
            }
        }
        let failure = |code: &String| {
            let message = format!("code {code} is not in the list of {}", version.list_date);
            Failure::new(FailureClass::Permanent, "CODE_NOT_LISTED", &message)
        };
        Ok(missing
            .into_iter()
            .map(|code| NewItem { failure: Some(failure(code)), ..NewItem::keyed(code) })
            .collect())
    }
}

#[async_trait]
impl Source for Listing {
    async fn page(&mut self, position: Option<&str>) -> Result<Page, SourceError> {
        let position = match position {
            Some(text) => serde_json::from_str(text)
                .map_err(|error| SourceError::Unreadable(format!("stored position {text:?}: {error}")))?,
            None => Position { version: self.version().await?, row: 0 },
        };
        let version = position.version;
        let issues = self.issues(&version, position.row).await?;
        let row = position.row + issues.len() as i64;
        let over = issues.len() < PAGE_ITEMS;
        let mut items: Vec<NewItem> =
            issues.into_iter().filter(|issue| self.takes(issue)).map(item).collect();
        if over {
            items.extend(self.not_listed(&version).await?);
        }
        let next = (!over).then(|| json!(Position { version: version.clone(), row }).to_string());
        Ok(Page { items, next, list: Some(version) })
    }
}

fn item(issue: ListedIssue) -> NewItem {
    let columns = json!({
        "name": issue.name,
        "market": issue.market,
        "segment": issue.segment,
        "industry33_code": issue.industry33_code,
        "industry33": issue.industry33,
        "industry17_code": issue.industry17_code,
        "industry17": issue.industry17,
        "scale_code": issue.scale_code,
        "scale": issue.scale,
    });
    NewItem { columns: Some(columns.to_string()), ..NewItem::keyed(issue.code) }
}

/// The list in a local file, or what is wrong with it in words that follow its name.
pub fn read(path: &Path) -> Result<ListFile, String> {
    let file = read_whole(path)?;
    parse::parse(&file).map_err(|error| error.to_string())
}

/// Reads a regular file of a list's size, or says what is wrong with it in words that follow its name.
pub fn read_whole(path: &Path) -> Result<Vec<u8>, String> {
    let unread = |error| format!("cannot be read: {error}");
    let metadata = std::fs::metadata(path).map_err(unread)?;
    if !metadata.is_file() {
        return Err("is no regular file".to_owned());
    }
    if metadata.len() > parse::FILE_BYTES_MAX as u64 {
        return Err(format!("has {} bytes, more than {}", metadata.len(), parse::FILE_BYTES_MAX));
    }
    std::fs::read(path).map_err(unread)
}
