//! `hauld doctor`: what stands between this machine and a run.
//!
//! It changes nothing: no file, no folder, nothing in the store. It sends at most two requests, one for the list and
//! one for a chart, repeats none, and sends nothing to an upstream whose gate the store says is held.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use haul_client::cli::exit;
use serde::Serialize;
use serde_json::json;

use super::{Failure, folder as lock};
use crate::{
    clock as wall,
    config::{Config, Flags, ServeFlags},
    fetch::Fetcher,
};

mod clock;
mod config;
mod folder;
mod list;
mod probe;
mod store;
mod upstream;

/// Say what stands between this machine and a run, and what to do about it
///
/// Checks the configuration, the data folder, the store, the clock, the exchange's list and the upstream, a line each.
/// It changes nothing and sends at most two requests: one for the list, one for a chart. They are not counted by the
/// limiter of a server that runs meanwhile.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Exit status: 0 nothing stands in the way, though there may be warnings; 1 the list or the
upstream does, or its gate is held; 2 the configuration, the data folder, the store or the
clock does.

Examples:
  hauld doctor
  hauld doctor --data-dir /var/lib/haul --spec nightly.yaml
  hauld doctor --offline -o json")]
pub(super) struct Doctor {
    #[command(flatten)]
    serve: ServeFlags,
    #[command(flatten)]
    flags: Flags,
    /// Spec that is to be run, YAML or JSON; its list, upstream and User-Agent are tried
    #[arg(long, value_name = "SPEC")]
    spec: Option<PathBuf>,
    /// Send nothing: leave out the list and the upstream
    #[arg(long)]
    offline: bool,
    /// Check the whole store, however long it takes; otherwise it is given up after 10 s
    #[arg(long)]
    thorough: bool,
    /// How the findings are printed
    #[arg(short = 'o', long, value_enum, default_value = "table")]
    output: Shape,
}

/// How the findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shape {
    Table,
    Json,
}

/// What a check is about, in the order of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Group {
    Configuration,
    Folders,
    Store,
    Clock,
    List,
    Upstream,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Status {
    Ok,
    Warn,
    Fail,
    Skipped,
}

/// What one check found.
#[derive(Debug, Serialize)]
struct Finding {
    group: Group,
    name: String,
    status: Status,
    /// What is.
    message: String,
    /// What to do, where something is to be done.
    fix: Option<String>,
}

impl Group {
    const ALL: [Self; 6] =
        [Self::Configuration, Self::Folders, Self::Store, Self::Clock, Self::List, Self::Upstream];

    fn label(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Folders => "folders",
            Self::Store => "store",
            Self::Clock => "clock",
            Self::List => "list",
            Self::Upstream => "upstream",
        }
    }

    fn ok(self, name: &str, message: impl Into<String>) -> Finding {
        self.found(Status::Ok, name, message.into(), None)
    }

    fn warn(self, name: &str, message: impl Into<String>, fix: impl Into<String>) -> Finding {
        self.found(Status::Warn, name, message.into(), Some(fix.into()))
    }

    fn fail(self, name: &str, message: impl Into<String>, fix: impl Into<String>) -> Finding {
        self.found(Status::Fail, name, message.into(), Some(fix.into()))
    }

    fn skipped(self, name: &str, message: impl Into<String>) -> Finding {
        self.found(Status::Skipped, name, message.into(), None)
    }

    fn found(self, status: Status, name: &str, message: String, fix: Option<String>) -> Finding {
        Finding { group: self, name: name.to_owned(), status, message, fix }
    }
}

/// The check of the store's pages is given up after that.
const CHECK_MAX: Duration = Duration::from_secs(10);

impl Doctor {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        let mut findings = self.look().await;
        findings.sort_by_key(|finding| finding.group as u8);
        let mut out = io::stdout().lock();
        match self.output {
            Shape::Table => table(&findings, io::stdout().is_terminal(), &mut out)?,
            Shape::Json => writeln!(out, "{}", json!({"checks": findings, "ok": status(&findings) == 0}))?,
        }
        out.flush()?;
        Ok(status(&findings))
    }

    async fn look(&self) -> Vec<Finding> {
        let now = wall::now();
        let mut findings = config::check(&self.flags, &self.serve);
        let read = Config::read(Config::default(), &self.flags, &self.serve);
        let database = read.and_then(|config| Ok((config.database()?, config)));
        let (database, config) = match database {
            Ok(found) => found,
            Err(error) => {
                // Which of them the error is about is in its words; none was tried.
                for setting in findings.iter_mut().filter(|finding| finding.name != "file") {
                    if setting.status == Status::Ok {
                        setting.status = Status::Skipped;
                    }
                }
                findings.push(config::unreadable(&error));
                let rest = Group::ALL.into_iter().skip(1);
                findings.extend(rest.map(|group| group.skipped("all", "the configuration comes first")));
                return findings;
            }
        };
        let holder = lock::look(database.clone());
        findings.extend(config::values(&config, holder.as_ref().ok().copied()).await);
        let spec = config::spec(self.spec.as_deref(), &config, now, &mut findings);
        let folders = folder::check(&config, &database, &holder);
        let usable = status(&folders) == 0 || database.exists();
        findings.extend(folders);
        let mut holds = Vec::new();
        if usable {
            let check_max = (!self.thorough).then_some(CHECK_MAX);
            let held = matches!(holder, Ok(lock::Lock::Held(_)));
            let (found, held) = store::check(&database, held, check_max, now).await;
            findings.extend(found);
            holds = held;
        } else {
            findings.push(Group::Store.skipped("all", "the folders come first"));
        }

        let mut dates = Vec::new();
        match (&spec, config.outbound().map(Fetcher::new)) {
            _ if self.offline => {
                for group in [Group::List, Group::Upstream] {
                    findings.push(group.skipped("all", "--offline: nothing is sent"));
                }
            }
            (None, _) => {
                for group in [Group::List, Group::Upstream] {
                    findings.push(group.skipped("all", "the spec comes first"));
                }
            }
            (Some(_), Ok(Err(error))) => findings.push(Group::Upstream.fail(
                "client",
                error.to_string(),
                "install the machine's CA certificates (package ca-certificates)",
            )),
            // The configuration was read, so the policy is sound.
            (Some(_), Err(error)) => findings.push(config::unreadable(&error)),
            (Some((spec, key)), Ok(Ok(fetcher))) => {
                let mut probe = probe::Probe { fetcher, fetch: &spec.fetch, holds };
                let (found, listed) = list::check(spec, &config, &mut probe, now, &mut dates).await;
                findings.extend(found);
                let key = key.clone().or(listed);
                findings.extend(upstream::check(spec, key, &probe, now, &mut dates).await);
            }
        }
        let zone = spec.as_ref().map_or(config.time_zone, |(spec, _)| spec.as_of.zone);
        findings.extend(clock::check(now, zone, &dates));
        findings
    }
}

/// Nothing is sent now to an upstream that a run asks: it would wait.
fn is_held(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.status == Status::Warn && finding.name == probe::GATE)
}

/// 2 if anything of this machine is in the way, 1 if only others are.
fn status(findings: &[Finding]) -> u8 {
    let of_others = |group| matches!(group, Group::List | Group::Upstream);
    let failed = || findings.iter().filter(|finding| finding.status == Status::Fail);
    if failed().any(|finding| !of_others(finding.group)) {
        exit::USAGE
    } else if failed().next().is_some() || is_held(findings) {
        exit::CALL
    } else {
        0
    }
}

fn table(findings: &[Finding], colour: bool, out: &mut impl Write) -> io::Result<()> {
    let width = findings.iter().map(|finding| finding.name.chars().count()).max().unwrap_or_default();
    let mut last = None;
    for finding in findings {
        if last != Some(finding.group) {
            writeln!(out, "{}", finding.group.label())?;
            last = Some(finding.group);
        }
        let (word, code) = match finding.status {
            Status::Ok => ("ok  ", 32),
            Status::Warn => ("warn", 33),
            Status::Fail => ("FAIL", 31),
            Status::Skipped => ("-   ", 2),
        };
        let word = if colour { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_owned() };
        let fix = finding.fix.as_deref().map(|fix| format!("; {fix}")).unwrap_or_default();
        writeln!(out, "  {:width$}  {word}  {}{fix}", finding.name, finding.message)?;
    }
    let count = |status| findings.iter().filter(|finding| finding.status == status).count();
    let (failed, warned) = (count(Status::Fail), count(Status::Warn));
    let verdict = match failed {
        0 if is_held(findings) => "a run would wait",
        0 => "ready",
        _ => "not ready",
    };
    writeln!(out, "{verdict}: {failed} failed, {warned} to look at")
}
