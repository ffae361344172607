use chrono::DateTime;

use super::*;
use crate::{
    domain::{
        batch::State,
        id::{BatchId, UploadId},
    },
    example::documented_status,
};

fn nightly() -> BatchId {
    BatchId::chosen("nightly").unwrap()
}

fn upload() -> UploadId {
    UploadId::parse("0190b6f0-7c1e-7d3a-9d2f-2f6f0b3c9a12").unwrap()
}

/// Errors that nobody can bring about from outside, or only with much ado. The others are in `tests/e2e/refusal.rs`,
/// each from a real server.
fn rows() -> Vec<(&'static str, ApiError)> {
    vec![
        ("WATCH_LIMIT", ApiError::WatchLimit { limit: 10_000 }),
        ("STORE_FULL", StoreError::Full("database or disk is full".to_owned()).into()),
        ("BATCH_PURGED", DeleteError::Purged(Purged { id: nightly(), at: DateTime::UNIX_EPOCH }).into()),
        (
            "OVERLAP_BUFFER_FULL",
            CreateError::OverlapBufferFull { key: "prices".to_owned(), limit: 100 }.into(),
        ),
        ("UPLOAD_SUPERSEDED", UploadError::Superseded { batch: nightly(), upload: upload() }.into()),
        ("SLOW_CONSUMER", ApiError::SlowConsumer),
        ("INTERNAL", ApiError::Panicked("index out of bounds".to_owned())),
        ("SERVER_DRAINING", ApiError::Draining),
        (
            "API_RATE_LIMIT",
            ApiError::ApiRate {
                limit_per_s: 50.0,
                caller: "192.0.2.7".to_owned(),
                wait: Duration::from_millis(20),
            },
        ),
    ]
}

#[test]
fn each_is_as_its_page_shows_it() {
    for (reason, error) in rows() {
        documented_status(reason, &error.into());
    }
}

#[test]
fn violations_are_counted_and_the_first_twenty_listed_within_four_kib() {
    let violations: Vec<Violation> = (0..100)
        .map(|n| Violation::new(format!("spec.inline_items.items[{n}].key"), "x".repeat(5_000)))
        .collect();
    let status = Status::from(ApiError::Invalid(violations));
    let details = status.get_error_details();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(details.bad_request().unwrap().field_violations.len(), 20);
    let info = details.error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("INVALID_FIELD", "haul.v1"));
    assert_eq!(info.metadata["violations_total"], "100");
    assert!(status.details().len() <= 4 * 1024, "{}", status.details().len());
}

/// Texts as long as they can be, in the letters that take most room.
#[test]
fn no_error_has_more_than_four_kib_of_details() {
    let long = "語".repeat(2_000);
    let forbidden = Violation::target_forbidden(long.clone(), long.clone());
    for error in [
        ApiError::Invalid(vec![Violation::new(long.clone(), long.clone())]),
        ApiError::Invalid(vec![forbidden; 50]),
        ApiError::Source(SourceError::Unreadable(long.clone())),
        StoreError::Fault(long.clone()).into(),
        ApiError::Panicked(long.clone()),
        CreateError::RequestIdReused("0".repeat(36)).into(),
        CreateError::NoKeptBodies { id: nightly(), origin: Some(nightly()) }.into(),
        CreateError::ParentNotTerminal { id: nightly(), state: State::Running }.into(),
        CreateError::OverlapBufferFull { key: long.clone(), limit: 100 }.into(),
        ReadError::NoItem { batch: nightly(), key: long.clone() }.into(),
    ] {
        let text = format!("{error:?}").chars().take(60).collect::<String>();
        let status = Status::from(error);
        assert!(status.details().len() <= 4 * 1024, "{text}: {}", status.details().len());
    }
}

#[test]
fn violations_of_one_sort_have_its_reason_and_a_mixture_has_the_plain_one() {
    let field = Violation::new("spec.fetch.workers", "0 is not 1 to 10000");
    let target = Violation::target_forbidden("spec.jpx_listing.uri", "is this machine");
    let reason = |violations: &[&Violation]| {
        let violations = violations.iter().map(|violation| (*violation).clone()).collect();
        let details = Status::from(ApiError::Invalid(violations)).get_error_details();
        let listed = details.bad_request().unwrap().field_violations.len();
        (details.error_info().unwrap().reason.clone(), listed)
    };
    assert_eq!(reason(&[&field, &field]), ("INVALID_FIELD".to_owned(), 2));
    assert_eq!(reason(&[&target, &target]), ("TARGET_FORBIDDEN".to_owned(), 2));
    assert_eq!(reason(&[&target, &field]), ("INVALID_FIELD".to_owned(), 2));
}

#[test]
fn internal_errors_tell_nothing_but_their_incident() {
    for error in
        [ApiError::from(StoreError::Fault("secret path /x".into())), ApiError::Panicked("secret".into())]
    {
        let status = Status::from(error);
        assert_eq!(status.code(), Code::Internal);
        assert!(!status.message().contains("secret"));
        assert!(status.get_error_details().error_info().unwrap().metadata.contains_key("incident"));
    }
}
