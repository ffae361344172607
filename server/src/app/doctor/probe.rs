//! One request, sent once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use super::{Finding, Group, clock::Dated};
use crate::{
    clock,
    connector::Origin,
    domain::{
        failure::{Failure, FailureClass},
        request::{Request, Response},
        spec::FetchPolicy,
        upstream::HoldCause,
    },
    fetch::{Call, Denied, FetchError, Fetcher, Meter, Permit, Permits, Verdict, classify},
    store::sqlite::Hold,
};

/// What requests are made with.
pub(super) struct Probe<'a> {
    pub(super) fetcher: Fetcher,
    pub(super) fetch: &'a FetchPolicy,
    pub(super) holds: Vec<Hold>,
}

/// The check that says that nothing is sent now.
pub(super) const GATE: &str = "gate";

/// How long an upstream is left alone that asks for less and says no time.
const PATIENCE: Duration = Duration::from_mins(15);

/// One permit: the stack's quick try goes without.
struct Once(AtomicBool);

#[async_trait]
impl Permits for Once {
    async fn acquire(&self) -> Result<Permit, Denied> {
        if self.0.swap(true, Ordering::Relaxed) {
            Err(Denied { until: clock::now() })
        } else {
            Ok(Permit::new(()))
        }
    }

    async fn observe(&self, _: Verdict) {}
}

impl Probe<'_> {
    /// Why nothing is sent to an origin now, if its gate is held.
    pub(super) fn held(&self, group: Group, origin: &Origin, now: DateTime<Utc>) -> Option<Finding> {
        let upstream = origin.upstream();
        let lasts = |hold: &Hold| hold.until.is_none_or(|until| until > now);
        let hold = self.holds.iter().find(|hold| hold.upstream == upstream && lasts(hold))?;
        let why = match hold.cause {
            HoldCause::Breaker => "its breaker has tripped",
            HoldCause::RetryAfter => "it asked for less (429)",
            HoldCause::Operator => "an operator holds its gate",
        };
        let until = hold
            .until
            .map_or("it is released".to_owned(), |until| until.format("%Y-%m-%d %H:%M:%S UTC").to_string());
        let message = format!("{} is not asked until {until}: {why}; nothing is sent", origin.host);
        Some(group.warn(GATE, message, "wait: a server goes on by itself then"))
    }

    /// An origin that asked for less is not asked again.
    pub(super) fn heed(&mut self, origin: &Origin, failure: &Failure, now: DateTime<Utc>) {
        if failure.push_back {
            let upstream = origin.upstream();
            let until = now + failure.retry_after.unwrap_or(PATIENCE);
            self.holds.push(Hold { upstream, until: Some(until), cause: HoldCause::RetryAfter });
        }
    }

    /// Sends a request and reads the reply to its end.
    pub(super) async fn get(
        &self,
        origin: &Origin,
        request: Request,
        body_bytes_max: u64,
        dates: &mut Vec<Dated>,
    ) -> Result<Response, Failure> {
        let call = Call {
            request,
            user_agent: self.fetch.user_agent.as_str().into(),
            timeout: self.fetch.attempt_timeout,
            body_bytes_max,
            permits: Arc::new(Once(AtomicBool::new(false))),
            withdrawn: CancellationToken::new(),
            meter: Arc::new(Meter::default()),
        };
        let reply = self.fetcher.fetch(call).await.map_err(|error| match error {
            // The quick try alone asks for a second permit.
            FetchError::Held { .. } => FetchError::Broken("the other side closed it".to_owned()),
            error => error,
        });
        match reply {
            Ok(response) => {
                let date = response.date.as_deref().and_then(|date| httpdate::parse_http_date(date).ok());
                dates.push(Dated {
                    host: origin.host.clone(),
                    date: date.map(Into::into),
                    received: clock::now(),
                    latency: response.latency,
                });
                Ok(response)
            }
            Err(error) => Err(classify::transport(&error)
                .unwrap_or_else(|| Failure::new(FailureClass::System, "BUG", &error.to_string()))),
        }
    }
}

/// What a failure is, in words that follow the name of what failed.
pub(super) fn said(failure: &Failure) -> String {
    let asked =
        failure.retry_after.map(|wait| format!(", asks to wait {} s", wait.as_secs())).unwrap_or_default();
    format!("{} {}: {}{asked}", failure.class.as_str(), failure.reason, failure.message)
}

/// What to do about a failure.
pub(super) fn advice(failure: &Failure) -> &'static str {
    match (failure.reason.as_str(), failure.http_status) {
        ("RATE_LIMITED", _) => {
            "send nothing for at least 15 minutes, then ask for less: examples/tokyo-real.yaml has settings that are reported to last"
        }
        ("CREDENTIALS_REFUSED", _) => {
            "it turns this address or this User-Agent away: say who you are with user_agent, and see its terms of use"
        }
        ("HTTP_STATUS", Some(300..=399)) => "redirects are not followed: give the address that it leads to",
        ("HTTP_STATUS", Some(500..=599)) => "it is down or under load: try again later",
        ("TARGET_FORBIDDEN", _) => "check the address; where it is meant, allow it with --allow-target",
        ("NOT_FOUND", _) => "check the address and the code",
        ("DNS_FAILURE", _) => "check the name, and the resolver of this machine",
        ("CONNECT_FAILED", _) => {
            "check address, port and firewall (no proxy is used); for a certificate, the machine's CA certificates and clock"
        }
        ("CONNECTION_BROKEN" | "TRUNCATED_BODY", _) => {
            "something on the way closes connections: try again later, then look for a firewall"
        }
        ("ATTEMPT_TIMEOUT", _) => {
            "it is slow or out of reach: try again later, or raise fetch.attemptTimeout"
        }
        ("HTML_PAGE" | "GARBAGE_BODY", _) => {
            "an outage page, a consent page or a proxy's: open the address in a browser"
        }
        _ => "check that the address is the right one",
    }
}
