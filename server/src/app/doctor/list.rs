//! Where the items come from: the exchange's list, a file of keys, or the spec itself.

use std::ops::Range;

use chrono::{DateTime, TimeDelta, Utc};
use haul_client::cli::number;

use super::{
    Finding, Group,
    clock::Dated,
    config::redacted,
    probe::{Probe, advice, said},
};
use crate::{
    config::Config,
    connector::Origin,
    domain::{
        request::{Fault, Request, Response},
        spec::{BatchSpec, FileSource, JpxListing, Source},
    },
    fetch::classify,
    source::{
        file::{Roots, read::FileReader, remote},
        jpx::{self, parse},
    },
};

const GROUP: Group = Group::List;
/// The exchange publishes one a month.
const AGE_MAX: TimeDelta = TimeDelta::days(62);
/// Asked for if it is listed.
const WELL_KNOWN: &str = "7203";
/// A look at a file of keys.
const KEYS_MAX: usize = 10;

/// Findings, and a key that is in the list.
pub(super) async fn check(
    spec: &BatchSpec,
    config: &Config,
    probe: &mut Probe<'_>,
    now: DateTime<Utc>,
    dates: &mut Vec<Dated>,
) -> (Vec<Finding>, Option<String>) {
    match &spec.source {
        Source::Inline { item_count } => {
            let items = number::plural(*item_count, "item is", "items are");
            (vec![GROUP.ok("items", format!("{items} in the spec"))], None)
        }
        Source::File(file) => keys(file, config, probe, now, dates).await,
        // No spec that a caller gives has it.
        Source::BatchItems { .. } => (Vec::new(), None),
        Source::Uploaded(_) => (vec![GROUP.ok("items", "come by upload")], None),
        Source::JpxListing(listing) => {
            let mut findings = Vec::new();
            let key = match fetch(listing, config, probe, now, dates, &mut findings).await {
                Ok(file) => parsed(file, now, &mut findings).await,
                Err(finding) => {
                    findings.push(finding);
                    None
                }
            };
            (findings, key)
        }
    }
}

async fn keys(
    file: &FileSource,
    config: &Config,
    probe: &mut Probe<'_>,
    now: DateTime<Utc>,
    dates: &mut Vec<Dated>,
) -> (Vec<Finding>, Option<String>) {
    let shown = remote::shown(&file.uri);
    let page = if let Some(origin) = Origin::of_url(&file.uri) {
        if let Some(held) = probe.held(GROUP, &origin, now) {
            return (vec![held], None);
        }
        match get(&file.uri, &shown, &origin, Some(remote::first_part()), probe, now, dates).await {
            Ok(reply) => remote::first_items(file, reply, KEYS_MAX).map_err(|error| error.to_string()),
            Err(finding) => return (vec![finding], None),
        }
    } else {
        let read = || {
            let roots = Roots::new(&config.file_roots).map_err(|error| error.to_string())?;
            let path = roots.resolve(&file.uri).map_err(|error| error.to_string())?;
            let mut reader = FileReader::open(&path, file, None).map_err(|error| error.to_string())?;
            reader.page(KEYS_MAX).map_err(|error| error.to_string())
        };
        read()
    };
    let page = match page {
        Ok(page) => page,
        Err(problem) => return (vec![GROUP.fail("file", problem, "correct the file or the spec")], None),
    };
    let key = page.items.first().map(|item| item.key.clone());
    let finding = match &key {
        Some(key) => GROUP.ok("file", format!("{shown} can be read, its first key is {key:?}")),
        None => GROUP.warn("file", format!("{shown} has no keys"), "a batch over it would end at once"),
    };
    (vec![finding], key)
}

/// The file, by whichever way it is read.
async fn fetch(
    listing: &JpxListing,
    config: &Config,
    probe: &mut Probe<'_>,
    now: DateTime<Utc>,
    dates: &mut Vec<Dated>,
    findings: &mut Vec<Finding>,
) -> Result<bytes::Bytes, Finding> {
    let uri = &listing.uri;
    let shown = redacted(uri);
    let Some(origin) = Origin::of_url(uri) else {
        let read = || {
            let roots = Roots::new(&config.file_roots).map_err(|error| error.to_string())?;
            let path = roots.resolve(uri).map_err(|error| error.to_string())?;
            jpx::read_whole(&path)
        };
        let file = read().map_err(|problem| {
            GROUP.fail(
                "reply",
                format!("{shown} {problem}"),
                "correct list_uri, or jpxListing.uri of the spec",
            )
        })?;
        findings.push(GROUP.ok("reply", format!("{shown}, {}", number::bytes(file.len() as i64))));
        return Ok(file.into());
    };
    if let Some(held) = probe.held(GROUP, &origin, now) {
        return Err(held);
    }
    let reply = get(uri, &shown, &origin, None, probe, now, dates).await?;
    let size = number::bytes(reply.body.len() as i64);
    findings.push(GROUP.ok("reply", format!("HTTP {} from {shown}, {size}", reply.status)));
    Ok(reply.body)
}

/// What is at an address, or a part of it.
async fn get(
    uri: &str,
    shown: &str,
    origin: &Origin,
    part: Option<Range<u64>>,
    probe: &mut Probe<'_>,
    now: DateTime<Utc>,
    dates: &mut Vec<Dated>,
) -> Result<Response, Finding> {
    let is_part = part.is_some();
    let request = Request { part, ..Request::get(uri.to_owned(), "*/*") };
    let reply = probe.get(origin, request, parse::FILE_BYTES_MAX as u64, dates).await.and_then(|reply| {
        if reply.status == 200 || is_part && reply.status == 206 {
            Ok(reply)
        } else {
            Err(classify::reply(&Fault::Status, &reply, now))
        }
    });
    reply.map_err(|failure| {
        probe.heed(origin, &failure, now);
        GROUP.fail("reply", format!("{shown}: {}", said(&failure)), advice(&failure))
    })
}

async fn parsed(file: bytes::Bytes, now: DateTime<Utc>, findings: &mut Vec<Finding>) -> Option<String> {
    let parsed = tokio::task::spawn_blocking(move || parse::parse(&file)).await;
    let list = match parsed {
        Ok(Ok(list)) => list,
        Ok(Err(error)) => {
            let fix =
                "open the address in a browser; set list_uri, or jpxListing.uri in the spec, to the list's";
            findings.push(GROUP.fail("content", format!("what came {error}"), fix));
            return None;
        }
        Err(error) => {
            findings.push(GROUP.fail("content", format!("the list's reader failed: {error}"), "report it"));
            return None;
        }
    };
    let date = list.version.list_date;
    let message = format!("{} issues, list of {date}", number::count(list.issues.len() as i64));
    findings.push(if now.date_naive() - date > AGE_MAX {
        GROUP.warn(
            "content",
            message,
            "it is more than two months old, and a new one comes each month: check list_uri",
        )
    } else {
        GROUP.ok("content", message)
    });
    let known = list.issues.iter().find(|issue| issue.code == WELL_KNOWN);
    known.or(list.issues.first()).map(|issue| issue.code.clone())
}
