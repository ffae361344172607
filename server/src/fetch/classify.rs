//! Failure classes: picked here, from transport, status and body, and nowhere else.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{FetchError, Verdict};
use crate::domain::{
    backoff::RETRY_AFTER_MAX,
    failure::{Failure, FailureClass},
    request::{Fault, Response},
};

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

/// The failure that a reply is in which the connector found `fault`.
pub fn reply(fault: &Fault, response: &Response, now: DateTime<Utc>) -> Failure {
    use FailureClass::{Permanent, Temporary};
    let status = response.status;
    if let Verdict::PushBack { retry_after } = status_verdict(response, now) {
        let mut failure =
            Failure::new(Temporary, "RATE_LIMITED", &format!("HTTP {status}: asked to send less"));
        failure.retry_after = retry_after;
        failure.push_back = true;
        return failure.with_status(status);
    }
    // A status outside 2xx that is temporary stays so, whatever the body says.
    let temporary_status = is_temporary(status);
    let failure = match fault {
        Fault::Status if temporary_status => {
            Failure::new(Temporary, "HTTP_STATUS", &format!("HTTP {status}"))
        }
        Fault::Status if matches!(status, 404 | 410) => {
            Failure::new(Permanent, "NOT_FOUND", &format!("HTTP {status}"))
        }
        Fault::Status => Failure::new(Permanent, "HTTP_STATUS", &format!("HTTP {status}")),
        Fault::NotFound(said) => Failure::new(Permanent, "NOT_FOUND", said),
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
        failure.retry_after = retry_after(response, now);
    }
    failure
}

/// What a request's end says about the upstream; nothing where no request was made.
pub fn verdict(reply: &Result<Response, FetchError>, now: DateTime<Utc>) -> Option<Verdict> {
    match reply {
        Ok(response) => Some(status_verdict(response, now)),
        Err(FetchError::BodyTooLarge(_)) => Some(Verdict::Alive),
        Err(
            FetchError::Held { .. }
            | FetchError::Withdrawn
            | FetchError::Unsendable(_)
            | FetchError::Forbidden(_),
        ) => None,
        Err(_) => Some(Verdict::Failing),
    }
}

/// What a reply's content says about the upstream: it was a success, or this failure.
pub fn content(failure: Option<&Failure>) -> Option<Verdict> {
    match failure {
        Some(failure) if failure.class == FailureClass::Temporary => {
            // The stack has told already what a status says.
            let by_status = failure.http_status.is_none_or(is_temporary);
            (!by_status).then_some(Verdict::Failing)
        }
        Some(_) | None => Some(Verdict::Alive),
    }
}

fn status_verdict(response: &Response, now: DateTime<Utc>) -> Verdict {
    let retry_after = retry_after(response, now);
    match response.status {
        429 => Verdict::PushBack { retry_after },
        503 if retry_after.is_some() => Verdict::PushBack { retry_after },
        status if is_temporary(status) => Verdict::Failing,
        _ => Verdict::Alive,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::request::FileHead;
    use proptest::prelude::*;

    fn response(status: u16, retry_after: Option<&str>) -> Response {
        Response {
            status,
            content_type: String::new(),
            retry_after: retry_after.map(str::to_owned),
            date: None,
            body: bytes::Bytes::new(),
            digest: None,
            bytes_received: 0,
            latency: Duration::ZERO,
            file: FileHead::default(),
        }
    }

    fn classified(fault: &Fault, status: u16) -> (FailureClass, String) {
        let failure = reply(fault, &response(status, None), DateTime::UNIX_EPOCH);
        assert_eq!(failure.http_status, Some(status));
        (failure.class, failure.reason)
    }

    #[test]
    fn statuses_have_the_contracts_classes() {
        use FailureClass::{Permanent, Temporary};
        for (status, class, reason) in [
            (408, Temporary, "HTTP_STATUS"),
            (425, Temporary, "HTTP_STATUS"),
            (429, Temporary, "RATE_LIMITED"),
            (500, Temporary, "HTTP_STATUS"),
            (502, Temporary, "HTTP_STATUS"),
            (503, Temporary, "HTTP_STATUS"),
            (599, Temporary, "HTTP_STATUS"),
            (301, Permanent, "HTTP_STATUS"),
            (400, Permanent, "HTTP_STATUS"),
            (401, Permanent, "HTTP_STATUS"),
            (403, Permanent, "HTTP_STATUS"),
            (404, Permanent, "NOT_FOUND"),
            (410, Permanent, "NOT_FOUND"),
            (422, Permanent, "HTTP_STATUS"),
        ] {
            assert_eq!(classified(&Fault::Status, status), (class, reason.to_owned()), "{status}");
        }
    }

    /// Faults in the words of the connector.
    #[test]
    fn every_failure_of_a_request_is_as_its_page_shows_it() {
        let said = |text: &str| text.to_owned();
        let transport = |error: FetchError| transport(&error).unwrap();
        let reply = |fault: Fault, status| reply(&fault, &response(status, None), DateTime::UNIX_EPOCH);
        let words = "Bad Request: 1m data not available for startTime=1 and endTime=2";
        for failure in [
            transport(FetchError::Dns(said("prices.example: Name or service not known"))),
            transport(FetchError::Connect(said("tcp connect error: Connection refused (os error 111)"))),
            transport(FetchError::Broken(said("connection closed before message completed"))),
            transport(FetchError::Truncated(said("end of file before message length reached"))),
            transport(FetchError::Timeout(Duration::from_secs(30))),
            transport(FetchError::BodyTooLarge(16 << 20)),
            transport(FetchError::Unsendable(said("URL has more than 8192 bytes"))),
            reply(Fault::Status, 503),
            reply(Fault::Status, 429),
            reply(Fault::HtmlPage, 200),
            reply(Fault::Garbage(said("the body is empty")), 200),
            reply(Fault::NotFound(said("9999.T has no data, symbol may be delisted")), 200),
            reply(Fault::Refused(said(words)), 422),
            reply(Fault::Undecodable(said("timestamp has 3 entries, close has 2")), 200),
            reply(Fault::GranularityMismatch { asked: said("1d"), got: said("1mo") }, 200),
            reply(Fault::SymbolMismatch { asked: said("7203.T"), got: said("TM") }, 200),
        ] {
            let status =
                failure.http_status.map(|status| format!("http_status: {status}\n")).unwrap_or_default();
            let (class, reason, message) = (failure.class.as_str(), &failure.reason, &failure.message);
            let shown = format!("failure_class: {class}\nreason: {reason}\n{status}message: {message}\n");
            crate::example::documented(reason, &shown);
        }
    }

    #[test]
    fn a_body_decides_only_where_the_status_does_not() {
        let garbage = Fault::Garbage("x".into());
        assert_eq!(classified(&garbage, 200), (FailureClass::Temporary, "GARBAGE_BODY".into()));
        assert_eq!(
            classified(&Fault::Undecodable("x".into()), 200),
            (FailureClass::Permanent, "UNDECODABLE".into())
        );
        assert_eq!(classified(&Fault::HtmlPage, 200), (FailureClass::Temporary, "HTML_PAGE".into()));
        assert_eq!(
            classified(&Fault::NotFound("gone".into()), 200),
            (FailureClass::Permanent, "NOT_FOUND".into())
        );
        let of_another = Fault::SymbolMismatch { asked: "7203.T".into(), got: "TM".into() };
        assert_eq!(classified(&of_another, 200), (FailureClass::Permanent, "SYMBOL_MISMATCH".into()));
        assert_eq!(classified(&Fault::Undecodable("x".into()), 502).0, FailureClass::Temporary);
    }

    #[test]
    fn a_429_and_a_503_that_names_a_time_are_push_backs() {
        let now = "2026-11-21T00:00:00Z".parse().unwrap();
        let push_back = |status, header| match verdict(&Ok(response(status, header)), now) {
            Some(Verdict::PushBack { retry_after }) => Some(retry_after.map(|wait| wait.as_secs())),
            Some(Verdict::Alive | Verdict::Failing) | None => None,
        };
        assert_eq!(push_back(429, None), Some(None));
        assert_eq!(push_back(429, Some("7")), Some(Some(7)));
        assert_eq!(push_back(429, Some("Sat, 21 Nov 2026 00:01:00 GMT")), Some(Some(60)));
        assert_eq!(push_back(429, Some("Fri, 20 Nov 2026 00:01:00 GMT")), Some(None));
        assert_eq!(push_back(429, Some("0")), Some(None));
        assert_eq!(push_back(503, Some("0")), None);
        assert_eq!(push_back(429, Some("99999999999999999999999")), Some(Some(86_400)));
        assert_eq!(push_back(429, Some("soon")), Some(None));
        assert_eq!(push_back(503, Some("7")), Some(Some(7)));
        assert_eq!(push_back(503, None), None);
        assert!(reply(&Fault::HtmlPage, &response(429, None), now).push_back);
    }

    #[test]
    fn what_was_not_sent_is_no_failure() {
        assert_eq!(transport(&FetchError::Withdrawn), None);
        assert_eq!(transport(&FetchError::Held { until: DateTime::UNIX_EPOCH }), None);
        let timeout = transport(&FetchError::Timeout(Duration::from_secs(30))).unwrap();
        assert_eq!((timeout.class, timeout.reason.as_str()), (FailureClass::Temporary, "ATTEMPT_TIMEOUT"));
    }

    #[test]
    fn a_reply_proves_life_by_what_is_in_it() {
        use FailureClass::{Permanent, Temporary};
        let failed = |class, status| content(Some(&Failure::new(class, "X", "x").with_status(status)));
        assert_eq!(failed(Permanent, 404), Some(Verdict::Alive));
        // "Will be right back", said with 200.
        assert_eq!(failed(Temporary, 200), Some(Verdict::Failing));
        // Told by the stack already.
        assert_eq!(failed(Temporary, 503), None);
        assert_eq!(content(None), Some(Verdict::Alive));
        assert_eq!(verdict(&Err(FetchError::Unsendable("x".into())), DateTime::UNIX_EPOCH), None);
    }

    proptest! {
        #[test]
        fn retry_after_never_exceeds_a_day(text in "\\PC*") {
            let wait = retry_after(&response(429, Some(&text)), DateTime::UNIX_EPOCH);
            prop_assert!(wait.is_none_or(|wait| wait <= RETRY_AFTER_MAX));
        }
    }
}
