//! The store's file: what it is, whether it is sound, what waits in it.

use std::{path::Path, time::Duration};

use chrono::{DateTime, Utc};
use haul_client::cli::{number, time};

use super::{Finding, Group};
use crate::store::sqlite::{Found, Hold, Inspection, Paused, inspect};

const GROUP: Group = Group::Store;
const ANOTHER: &str = "give another with --data-dir or --store";

/// Findings, and until when which upstreams are not to be asked.
pub(super) async fn check(
    database: &Path,
    held: bool,
    check_max: Option<Duration>,
    now: DateTime<Utc>,
) -> (Vec<Finding>, Vec<Hold>) {
    let shown = database.display();
    let finding = match inspect(database, held, check_max).await {
        Ok(Found::Store(found)) => {
            let mut findings =
                vec![GROUP.ok("file", format!("{shown}, {}", number::bytes(found.bytes as i64)))];
            findings.extend(inside(&found, now));
            return (findings, found.holds);
        }
        Ok(Found::Absent) => GROUP.ok("file", format!("{shown} is not there yet; hauld serve makes it")),
        Ok(Found::Empty) => GROUP.ok("file", format!("{shown} is empty; hauld serve makes the store in it")),
        Ok(Found::NoDatabase) => GROUP.fail("file", format!("{shown} is no SQLite database"), ANOTHER),
        Ok(Found::Foreign) => {
            GROUP.fail("file", format!("{shown} is a database of another program"), ANOTHER)
        }
        Err(error) => GROUP.fail(
            "file",
            format!("{shown}: {error}"),
            "put a sound copy of it back, or let the account that hauld runs as read it",
        ),
    };
    (vec![finding], Vec::new())
}

fn inside(found: &Inspection, now: DateTime<Utc>) -> Vec<Finding> {
    let mut findings = vec![schema(found)];
    findings.push(if found.wal {
        GROUP.ok("journal", "WAL: readers and the writer do not wait for each other")
    } else {
        GROUP.warn("journal", "not WAL", "hauld serve sets it when it opens the store")
    });
    findings.push(match found.faults.as_deref() {
        Some([]) => GROUP.ok("pages", "PRAGMA quick_check finds nothing"),
        Some(faults) => GROUP.fail(
            "pages",
            format!("PRAGMA quick_check: {}", faults.join("; ")),
            "keep a copy of the file as it is, and put back a sound one or begin with a fresh folder",
        ),
        None => GROUP.skipped("pages", "the check was given up after 10 s; --thorough takes its time"),
    });
    let is_sound = found.faults.as_ref().is_none_or(Vec::is_empty);
    if !is_sound || found.schema.store > found.schema.known {
        return findings;
    }
    let live: Vec<(i64, &str)> = found.live.iter().map(|(state, count)| (*count, state.as_str())).collect();
    findings.push(match number::tally(&live) {
        none if none.is_empty() => GROUP.ok("batches", "none is live"),
        tally => GROUP.ok("batches", format!("live: {tally}")),
    });
    findings.extend(found.paused.as_ref().map(|batch| paused(batch, now)));
    findings.extend(found.stalled.as_ref().map(|(id, since)| {
        let ago = time::duration((now - since).to_std().unwrap_or_default());
        let message = format!("batches/{id} stands still for {ago}, though nothing is in its way");
        GROUP.warn(
            "stalled",
            message,
            "look for action=stall in the server's log, and start the server anew: nothing is lost",
        )
    }));
    findings
}

fn schema(found: &Inspection) -> Finding {
    let (store, known) = (found.schema.store, found.schema.known);
    if store > known {
        let message =
            format!("the store's schema is version {store}, this hauld knows versions up to {known}");
        return GROUP.fail("schema", message, "use the newer hauld that wrote it, or another store");
    }
    if let Some(version) = found.differs {
        let message = format!("the store's schema version {version} is not the one this hauld knows");
        return GROUP.fail("schema", message, "use the build that made it, or another store");
    }
    if store < known {
        let message = format!("version {store}, this hauld has {known}");
        let fix = "hauld serve brings it up to date, or hauld migrate beforehand; there is no way back without a copy";
        return GROUP.warn("schema", message, fix);
    }
    GROUP.ok("schema", format!("version {store}, up to date"))
}

fn paused(batch: &Paused, now: DateTime<Utc>) -> Finding {
    let Paused { id, cause, reason, since } = batch;
    let ago = time::duration((now - since).to_std().unwrap_or_default());
    let message = format!("batches/{id} is paused for {ago}, {cause} ({reason})");
    let fix = match cause.as_str() {
        "SYSTEM_FAILURE" => format!("repair what the message says, then haul resume {id}"),
        "UPSTREAM_OUTAGE" => {
            format!(
                "it goes on when the upstream answers again; haul resume {id}, as soon as its hold is over"
            )
        }
        _ => format!("haul resume {id}, or haul stop {id}"),
    };
    GROUP.warn("paused", message, fix)
}
