//! The clock: what day it is, by whom.

use std::{collections::HashSet, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use haul_client::cli::time;

use super::{Finding, Group};
use crate::config;

const GROUP: Group = Group::Clock;
const SET: &str = "set the clock, and have it kept by NTP";
/// Programs are not used for longer.
const AGE_MAX: TimeDelta = TimeDelta::days(20 * 365);
const SKEW_MAX: TimeDelta = TimeDelta::seconds(30);

/// What time it was at a host when it answered.
pub(super) struct Dated {
    pub(super) host: String,
    /// Its Date header, if it could be read.
    pub(super) date: Option<DateTime<Utc>>,
    /// When its answer was here.
    pub(super) received: DateTime<Utc>,
    pub(super) latency: Duration,
}

pub(super) fn check(now: DateTime<Utc>, zone: Tz, dates: &[Dated]) -> Vec<Finding> {
    let written: Option<DateTime<Utc>> = config::program_written().map(Into::into);
    let shown = now.format("%Y-%m-%d %H:%M:%S UTC");
    let mut findings = vec![match written {
        Some(written) if now < written - TimeDelta::days(1) => {
            let message = format!("{shown} is before this program was written ({})", written.date_naive());
            GROUP.fail("system", message, SET)
        }
        Some(written) if now > written + AGE_MAX => {
            let message =
                format!("{shown} is long after this program was written ({})", written.date_naive());
            GROUP.warn("system", message, SET)
        }
        Some(_) | None => GROUP.ok("system", shown.to_string()),
    }];
    let local = now.with_timezone(&zone).format("%Y-%m-%d %H:%M");
    findings.push(
        GROUP
            .ok("zone", format!("{zone}, where it is {local}; zones as of {}", chrono_tz::IANA_TZDB_VERSION)),
    );
    let mut seen = HashSet::new();
    findings.extend(dates.iter().filter(|dated| seen.insert(&dated.host)).map(skew));
    findings
}

fn skew(dated: &Dated) -> Finding {
    let host = &dated.host;
    let Some(date) = dated.date else {
        return GROUP.ok("skew", format!("{host} does not say what time it is there"));
    };
    // The date was written somewhere within the latency, in whole seconds.
    let latency = TimeDelta::from_std(dated.latency).unwrap_or_default();
    let skew = dated.received - date;
    if skew.abs() <= SKEW_MAX + latency {
        return GROUP.ok("skew", format!("as at {host}, within {} s", SKEW_MAX.num_seconds()));
    }
    let (by, direction) = (
        skew.abs().to_std().unwrap_or_default(),
        if skew < TimeDelta::zero() { "behind" } else { "ahead of" },
    );
    let message = format!("this clock is {} {direction} that of {host}", time::duration(by));
    let fix = "set the clock: dates in Retry-After and the day that a batch is for are read by it";
    GROUP.warn("skew", message, fix)
}
