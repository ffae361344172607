//! Failure classes: picked here, from transport, status, body and the spec's rules, and nowhere else.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{FetchError, Verdict};
use crate::domain::{
    backoff::RETRY_AFTER_MAX,
    failure::{CREDENTIALS_REFUSED, Failure, FailureClass, NOT_FOUND},
    request::{Fault, Response},
};

mod rule;
#[cfg(test)]
mod tests;

pub use rule::{Rules, pattern, pointer};
#[cfg(test)]
pub(crate) use tests::told;

/// The failure that a missing reply is. Nothing where no request was sent because it was not to be.
pub fn transport(error: &FetchError) -> Option<Failure> {
    let (class, reason) = match error {
        FetchError::Held { .. } | FetchError::Withdrawn => return None,
        FetchError::Unsendable(_) => (FailureClass::Permanent, "UNSENDABLE"),
        FetchError::Forbidden(_) => (FailureClass::Permanent, "TARGET_FORBIDDEN"),
        FetchError::Dns(_) => (FailureClass::Temporary, "DNS_FAILURE"),
        FetchError::Connect(_) => (FailureClass::Temporary, "CONNECT_FAILED"),
        FetchError::Broken(_) => (FailureClass::Temporary, "CONNECTION_BROKEN"),
        FetchError::Truncated(_) => (FailureClass::Temporary, "TRUNCATED_BODY"),
        FetchError::Timeout(_) => (FailureClass::Temporary, "ATTEMPT_TIMEOUT"),
        FetchError::BodyTooLarge(_) => (FailureClass::Permanent, "BODY_TOO_LARGE"),
    };
    Some(Failure::new(class, reason, &error.to_string()))
}

/// What a reply to an item is: the first of the user's rules that it meets, else what `decode` finds in it.
pub fn read<T>(
    rules: &Rules,
    response: &Response,
    now: DateTime<Utc>,
    decode: impl FnOnce() -> Result<T, Fault>,
) -> Result<T, Failure> {
    match rules.first(response) {
        Some(met) => Err(ruled(&met, response, now)),
        None => decode().map_err(|fault| reply(&fault, response, now)),
    }
}

fn ruled(met: &rule::Match<'_>, response: &Response, now: DateTime<Utc>) -> Failure {
    let found = met.found.as_ref().map(|found| format!(" and {found:?}")).unwrap_or_default();
    let message = format!("HTTP {}{found}: fetch.rules[{}]", response.status, met.place);
    let mut failure = Failure::new(met.rule.class, &met.rule.reason, &message).with_status(response.status);
    if failure.class == FailureClass::Temporary {
        failure.push_back = met.rule.holds_gate;
        failure.retry_after = retry_after(response, now).or(met.rule.retry_after);
    }
    failure
}

/// The failure that a reply is in which the connector found `fault`.
pub fn reply(fault: &Fault, response: &Response, now: DateTime<Utc>) -> Failure {
    use FailureClass::{Permanent, System, Temporary};
    let status = response.status;
    let asked = retry_after(response, now);
    if status == 429 || status == 503 && asked.is_some() {
        let mut failure =
            Failure::new(Temporary, "RATE_LIMITED", &format!("HTTP {status}: asked to send less"));
        failure.retry_after = asked;
        failure.push_back = true;
        return failure.with_status(status);
    }
    if matches!(status, 401 | 403) {
        let mut failure = Failure::new(System, CREDENTIALS_REFUSED, &format!("HTTP {status}: refused"));
        failure.held_back = true;
        return failure.with_status(status);
    }
    // A status outside 2xx that is temporary stays so, whatever the body says.
    let temporary_status = is_temporary(status);
    let failure = match fault {
        Fault::Status if temporary_status => {
            Failure::new(Temporary, "HTTP_STATUS", &format!("HTTP {status}"))
        }
        Fault::Status if matches!(status, 404 | 410) => {
            Failure::new(Permanent, NOT_FOUND, &format!("HTTP {status}"))
        }
        Fault::Status => Failure::new(Permanent, "HTTP_STATUS", &format!("HTTP {status}")),
        Fault::NotFound(said) => Failure::new(Permanent, NOT_FOUND, said),
        Fault::Refused(said) => Failure::new(Permanent, "REFUSED", said),
        Fault::HtmlPage => Failure::new(Temporary, "HTML_PAGE", "an HTML page where data was asked for"),
        Fault::Garbage(what) => Failure::new(Temporary, "GARBAGE_BODY", what),
        Fault::Undecodable(what) => Failure::new(Permanent, "UNDECODABLE", what),
        Fault::TooLarge(bytes_max) => {
            Failure::new(Permanent, "BODY_TOO_LARGE", &FetchError::BodyTooLarge(*bytes_max).to_string())
        }
        Fault::GranularityMismatch { asked, got } => Failure::new(
            Permanent,
            "GRANULARITY_MISMATCH",
            &format!("asked for bars of {asked}, got bars of {got}"),
        ),
        Fault::SymbolMismatch { asked, got } => {
            Failure::new(Permanent, "SYMBOL_MISMATCH", &format!("asked for {asked}, got {got}"))
        }
    };
    let mut failure = failure.with_status(status);
    if temporary_status {
        failure.class = Temporary;
        failure.retry_after = asked;
    }
    failure
}

/// What a 401 or 403 is once others were answered: the item's own.
pub fn own_refusal() -> Failure {
    Failure::new(FailureClass::Permanent, "HTTP_STATUS", "refused, while others were answered")
}

/// A failure of an item that others tell nothing of, each having an upstream of its own: refused is refused.
pub fn of_its_item(failure: Failure) -> Failure {
    if !failure.held_back {
        return failure;
    }
    Failure { class: FailureClass::Permanent, reason: "HTTP_STATUS".to_owned(), held_back: false, ..failure }
}

/// What a missing reply says about the upstream; nothing where no request was made.
pub fn silence(error: &FetchError) -> Option<Verdict> {
    match error {
        FetchError::Held { .. }
        | FetchError::Withdrawn
        | FetchError::Unsendable(_)
        | FetchError::Forbidden(_) => None,
        FetchError::BodyTooLarge(_) => Some(Verdict::Alive),
        FetchError::Dns(_)
        | FetchError::Connect(_)
        | FetchError::Broken(_)
        | FetchError::Truncated(_)
        | FetchError::Timeout(_) => Some(Verdict::Failing),
    }
}

/// What a reply says about the upstream: it was a success, or this failure.
pub fn verdict(failure: Option<&Failure>) -> Verdict {
    match failure {
        Some(failure) if failure.push_back => Verdict::PushBack { retry_after: failure.retry_after },
        Some(failure) => match failure.class {
            FailureClass::Temporary => Verdict::Failing,
            FailureClass::Permanent => Verdict::Alive,
            FailureClass::System => Verdict::Refusing,
        },
        None => Verdict::Alive,
    }
}

fn is_temporary(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599)
}

/// Retry-After (RFC 9110, 10.2.3), in seconds or as a date, at most 24 h. Zero, or a date that is past by this
/// machine's clock, names no time: taken at its word it would have the same request sent again and again.
fn retry_after(response: &Response, now: DateTime<Utc>) -> Option<Duration> {
    let text = response.retry_after.as_deref()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let date: DateTime<Utc> = httpdate::parse_http_date(text).ok()?.into();
        (date - now).to_std().unwrap_or_default()
    };
    Some(wait.min(RETRY_AFTER_MAX)).filter(|wait| !wait.is_zero())
}
