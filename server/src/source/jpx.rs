//! The exchange's list of listed issues: one item per code.
//!
//! The newest version stored from the spec's address is read whose list date is not after `as_of`. The file is fetched, and stored as a version,
//! only if `as_of` was current when the batch was made; so a past date never reads a list that did not exist then.

use std::{collections::HashSet, path::Path};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{PAGE_ITEMS, Page, Source, SourceError, Tools};
use crate::{
    clock,
    domain::{
        failure::{Failure, FailureClass},
        item::NewItem,
        listing::{ListVersion, ListedIssue},
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
        Self { spec, include, exclude, as_of, tools }
    }

    async fn version(&self) -> Result<ListVersion, SourceError> {
        if self.spec.current {
            self.fetch().await?;
        }
        let date = self.as_of.date();
        if let Some(version) = self.tools.store.list_as_of(&self.spec.uri, date).await? {
            return Ok(version);
        }
        Err(SourceError::Unreadable(match self.tools.store.earliest_list(&self.spec.uri).await? {
            Some(earliest) => format!(
                "no list of {date} or before is stored from this address; the earliest is of {}",
                earliest.list_date
            ),
            None => {
                format!(
                    "no list of {date} or before is stored from this address, and as_of is not current, so none is fetched"
                )
            }
        }))
    }

    async fn fetch(&self) -> Result<(), SourceError> {
        let uri = &self.spec.uri;
        let file = if uri.starts_with("file:") {
            let path =
                self.tools.roots.resolve(uri).map_err(|error| SourceError::Unreadable(error.to_string()))?;
            let read = tokio::task::spawn_blocking(move || read_whole(&path)).await;
            let read = read.unwrap_or_else(|error| Err(std::io::Error::other(error)));
            read.map_err(|error| SourceError::Unreadable(format!("{uri}: {error}")))?.into()
        } else {
            let reply = self.tools.download.get(uri).await;
            reply.map_err(|failure| failed(uri, failure))?.body
        };
        let parsed = tokio::task::spawn_blocking(move || parse::parse(&file)).await;
        let list = match parsed {
            Ok(Ok(list)) => list,
            Ok(Err(error)) => return Err(SourceError::Unreadable(format!("{uri}: {error}"))),
            Err(error) => {
                return Err(SourceError::Unreadable(format!("{uri}: the list's reader failed: {error}")));
            }
        };
        Ok(self.tools.store.put_list(&list, uri, clock::now()).await?)
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
            let issues = self.tools.store.listed_issues(version, row, PAGE_ITEMS).await?;
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
        let issues = self.tools.store.listed_issues(&version, position.row, PAGE_ITEMS).await?;
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

/// A regular file of a list's size.
fn read_whole(path: &Path) -> std::io::Result<Vec<u8>> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    if metadata.len() > parse::FILE_BYTES_MAX as u64 {
        let problem = format!("it has {} bytes, more than {}", metadata.len(), parse::FILE_BYTES_MAX);
        return Err(std::io::Error::other(problem));
    }
    std::fs::read(path)
}

fn failed(uri: &str, failure: Failure) -> SourceError {
    match failure.class {
        FailureClass::Temporary => SourceError::Temporary(failure),
        FailureClass::Permanent | FailureClass::System => {
            SourceError::Unreadable(format!("{uri}: {}", failure.message))
        }
    }
}
