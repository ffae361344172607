//! What is set, where, and whether it can be.

use std::path::Path;

use chrono::{DateTime, Utc};
use haul_client::cli::spec;
use haul_proto::v1;
use tokio::net::TcpListener;

use super::{Finding, Group};
use crate::{
    api,
    app::folder::Lock,
    config::{self, Config, ConfigError, Flags, ServeFlags},
    domain::{spec::BatchSpec, text},
    source::file::Roots,
    telemetry,
};

const GROUP: Group = Group::Configuration;

/// The file and every setting that was made, valid or not.
pub(super) fn check(flags: &Flags, serve: &ServeFlags) -> Vec<Finding> {
    let mut findings = Vec::new();
    // A file that is not there is said with the other errors of the configuration.
    let settings = config::settings(flags, serve);
    if settings.is_ok() {
        findings.push(match config::file(flags) {
            Some(path) => GROUP.ok("file", path.display().to_string()),
            None => GROUP.ok("file", "none: neither --config nor HAUL_CONFIG names one"),
        });
    }
    for made in settings.unwrap_or_default() {
        let message = format!("{}, set by {}: {}", redacted(&made.value), made.place, made.meaning);
        findings.push(GROUP.ok(made.key, message));
    }
    for name in config::unknown_variables() {
        let message = "is set, and no setting has that name";
        findings.push(GROUP.warn(&name, message, "see hauld serve --help for the names, or unset it"));
    }
    findings
}

/// The error that keeps the configuration from being read.
pub(super) fn unreadable(error: &ConfigError) -> Finding {
    GROUP.fail("settings", redacted(&text::message(&error.to_string())), "correct it where it is set")
}

/// What of the values only a try can tell.
pub(super) async fn values(config: &Config, holder: Option<Lock>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(error) = telemetry::filter(&config.log) {
        findings.push(GROUP.fail("log", error, "correct it where it is set"));
    }
    findings.push(match holder {
        Some(Lock::Held(Some(address))) if address == config.listen => {
            GROUP.ok("port", format!("{address}, where the server that holds the store listens"))
        }
        // Bound and given back at once: nothing is accepted.
        _ => match TcpListener::bind(config.listen).await {
            Ok(_) if config.listen.port() == 0 => {
                GROUP.ok("port", format!("any free port of {}", config.listen.ip()))
            }
            Ok(_) => GROUP.ok("port", format!("{} is free", config.listen)),
            Err(error) => GROUP.fail(
                "port",
                format!("{} cannot be listened on: {error}", config.listen),
                "end what listens there, or give another with --listen (port 0 takes a free one)",
            ),
        },
    });
    findings
}

/// The spec that is tried, checked as `StartBatch` does, and the first key that it names itself. Without a file, it is
/// the exchange's list with the connector's defaults.
pub(super) fn spec(
    path: Option<&Path>,
    config: &Config,
    now: DateTime<Utc>,
    findings: &mut Vec<Finding>,
) -> Option<(BatchSpec, Option<String>)> {
    let given = match path.map(spec::read) {
        None => v1::BatchSpec {
            source: Some(v1::batch_spec::Source::JpxListing(v1::JpxListing::default())),
            connector: Some(v1::batch_spec::Connector::YahooChart(v1::YahooChart::default())),
            ..v1::BatchSpec::default()
        },
        Some(Ok(spec)) => spec,
        Some(Err(error)) => {
            findings.push(GROUP.fail("spec", with_causes(&error), "correct the file"));
            return None;
        }
    };
    let key = match &given.source {
        Some(v1::batch_spec::Source::InlineItems(inline)) => {
            inline.items.first().map(|item| item.key.clone())
        }
        Some(v1::batch_spec::Source::JpxListing(listing)) => listing.include_codes.first().cloned(),
        Some(
            v1::batch_spec::Source::UploadedItems(_)
            | v1::batch_spec::Source::File(_)
            | v1::batch_spec::Source::BatchItems(_),
        )
        | None => None,
    };
    let defaults = api::Defaults {
        zone: config.time_zone,
        list_uri: config.list_uri.clone(),
        user_agent: config.user_agent.clone(),
        // Folders that cannot be read are findings of their own.
        roots: Roots::new(&config.file_roots).unwrap_or_default().into(),
        outbound: config.outbound().unwrap_or_default(),
    };
    match api::check_spec(given, &defaults, now) {
        Ok(spec) => {
            if let Some(path) = path {
                findings.push(GROUP.ok("spec", format!("{} would be taken", path.display())));
            }
            Some((spec, key))
        }
        Err(problems) => {
            let (name, fix) = match path {
                Some(_) => ("spec", "correct the spec"),
                None => ("settings", "correct it where it is set"),
            };
            findings.extend(problems.iter().map(|problem| GROUP.fail(name, redacted(problem), fix)));
            None
        }
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string);
    causes.collect::<Vec<_>>().join(": ").lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

/// A text in which no URL shows a user's name or password.
pub(super) fn redacted(text: &str) -> String {
    let ends_url = |c: char| c.is_whitespace() || "\"'`,;()[]{}<>".contains(c);
    let shown = |part: &str| {
        let (scheme, rest) = part.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        let (user, _) = authority.rsplit_once('@')?;
        Some(format!("{scheme}://***{}", &rest[user.len()..]))
    };
    text.split_inclusive(ends_url).map(|part| shown(part).unwrap_or_else(|| part.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::redacted;

    #[test]
    fn a_user_and_a_password_never_show() {
        for (text, shown) in [
            ("https://user:word@host/x?y@z", "https://***@host/x?y@z"),
            ("bad \"http://user@host:80\", twice", "bad \"http://***@host:80\", twice"),
            ("http://u:p@ss@host", "http://***@host"),
            ("https://host/a@b and mail@host", "https://host/a@b and mail@host"),
            ("plain", "plain"),
        ] {
            assert_eq!(redacted(text), shown, "{text}");
        }
    }
}
