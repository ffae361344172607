//! Versions of the exchange's list.

use chrono::NaiveDate;

use super::{fixture::list, harness::Harness};
use crate::domain::listing::{ListFile, ListVersion, ListedIssue, StoredList};

const URI: &str = "https://example.test/list.xls";

async fn as_of(h: &Harness, date: &str) -> Option<ListVersion> {
    h.list_as_of(URI, date.parse::<NaiveDate>().unwrap()).await.unwrap()
}

async fn put(h: &Harness, date: &str, content: &str) -> ListVersion {
    let file = list::file(date, content, &["1301", "130A"]);
    h.put_list(&file, URI, h.now).await.unwrap();
    file.version
}

pub(super) async fn a_version_comes_back_in_the_files_order(mut h: Harness) {
    let codes: Vec<String> = (0..450).rev().map(|n| format!("{n:04}")).collect();
    let file = list::file("2026-01-31", "a", &codes.iter().map(String::as_str).collect::<Vec<_>>());
    h.put_list(&file, "file:///list.xls", h.now).await.unwrap();
    h.reopen().await;
    assert_eq!(h.listed_issues(&file.version, 0, 1_000).await.unwrap(), file.issues);
    assert_eq!(h.listed_issues(&file.version, 199, 2).await.unwrap(), file.issues[199..201]);
    assert!(h.listed_issues(&file.version, 450, 2).await.unwrap().is_empty());
    let unknown = list::version("2026-01-31", "b");
    assert!(h.listed_issues(&unknown, 0, 10).await.unwrap().is_empty());
}

pub(super) async fn the_newest_version_not_after_the_date_is_taken(h: Harness) {
    assert_eq!(as_of(&h, "2026-02-28").await, None);
    assert_eq!(h.earliest_list(URI).await.unwrap(), None);
    // Fetched out of order.
    let february = put(&h, "2026-02-28", "b").await;
    let january = put(&h, "2026-01-31", "a").await;
    assert_eq!(as_of(&h, "2026-01-30").await, None);
    assert_eq!(as_of(&h, "2026-01-31").await, Some(january.clone()));
    assert_eq!(as_of(&h, "2026-02-27").await, Some(january.clone()));
    assert_eq!(as_of(&h, "2026-02-28").await, Some(february.clone()));
    assert_eq!(as_of(&h, "2030-01-01").await, Some(february));
    assert_eq!(h.earliest_list(URI).await.unwrap(), Some(january));
}

pub(super) async fn the_later_file_of_a_day_is_the_correction(mut h: Harness) {
    let first = put(&h, "2026-02-28", "f").await;
    h.pass(60);
    let correction = put(&h, "2026-02-28", "c").await;
    assert_eq!(as_of(&h, "2026-02-28").await, Some(correction.clone()));
    assert_eq!(h.earliest_list(URI).await.unwrap(), Some(correction.clone()));
    h.pass(60);
    put(&h, "2026-02-28", "f").await;
    assert_eq!(as_of(&h, "2026-02-28").await, Some(correction), "a repeat is no correction");
    assert_eq!(h.listed_issues(&first, 0, 10).await.unwrap().len(), 2, "the first file is kept");
}

pub(super) async fn a_version_is_stored_once(h: Harness) {
    let version = put(&h, "2026-02-28", "f").await;
    put(&h, "2026-02-28", "f").await;
    assert_eq!(h.listed_issues(&version, 0, 10).await.unwrap().len(), 2);
}

pub(super) async fn another_address_is_another_list(h: Harness) {
    let ours = put(&h, "2026-01-31", "a").await;
    let file = list::file("2026-02-28", "b", &["9999"]);
    h.put_list(&file, "https://other.test/list.xls", h.now).await.unwrap();
    assert_eq!(as_of(&h, "2030-01-01").await, Some(ours.clone()));
    assert_eq!(h.earliest_list("https://nowhere.test/").await.unwrap(), None);

    // The same file from both: one set of rows, known by both addresses.
    let date = "2030-01-01".parse().unwrap();
    h.put_list(&file, URI, h.now).await.unwrap();
    assert_eq!(as_of(&h, "2030-01-01").await, Some(file.version.clone()));
    assert_eq!(h.list_as_of("https://other.test/list.xls", date).await.unwrap(), Some(file.version.clone()));
    assert_eq!(h.listed_issues(&file.version, 0, 10).await.unwrap().len(), 1);
}

pub(super) async fn all_versions_are_told_with_whether_one_was_new(mut h: Harness) {
    assert!(h.list_versions().await.unwrap().is_empty());
    let file = list::file("2026-02-28", "f", &["1301", "130A"]);
    let first = h.now;
    assert!(h.put_list(&file, URI, first).await.unwrap());
    h.pass(60);
    assert!(!h.put_list(&file, URI, h.now).await.unwrap(), "it was there");
    assert!(h.put_list(&file, "https://other.test/list.xls", h.now).await.unwrap(), "another address");
    let january = list::file("2026-01-31", "a", &["1301"]);
    assert!(h.put_list(&january, URI, h.now).await.unwrap());
    let stored = |uri: &str, file: &ListFile, fetched_at| StoredList {
        uri: uri.to_owned(),
        version: file.version.clone(),
        fetched_at,
        issue_count: file.issues.len() as i64,
    };
    let expected = [
        stored(URI, &january, h.now),
        stored(URI, &file, first),
        stored("https://other.test/list.xls", &file, h.now),
    ];
    assert_eq!(h.list_versions().await.unwrap(), expected);
}

pub(super) async fn changes_from_a_version_to_any_later_one_of_its_address_are_seen(mut h: Harness) {
    let issue = |code: &str, name: &str, market: &str| ListedIssue {
        code: code.to_owned(),
        name: name.to_owned(),
        market: market.to_owned(),
        ..ListedIssue::default()
    };
    let file = |date: &str, content: &str, issues: &[ListedIssue]| ListFile {
        version: list::version(date, content),
        issues: issues.to_vec(),
    };
    let january = file(
        "2026-01-31",
        "a",
        &[
            issue("1301", "極洋", "P"),
            issue("1302", "二", "P"),
            issue("1303", "三", "S"),
            issue("130A", "甲", "G"),
        ],
    );
    // One goes, one comes, one moves, one is renamed and moves.
    let february = file(
        "2026-02-28",
        "b",
        &[
            issue("1301", "極洋", "S"),
            issue("1303", "参", "P"),
            issue("130A", "甲", "G"),
            issue("131A", "乙", "G"),
        ],
    );
    // The first file of February was wrong about one.
    let correction = file("2026-02-28", "c", &[&february.issues[..], &[issue("1302", "二", "P")]].concat());
    for file in [&january, &february, &correction] {
        h.put_list(file, URI, h.now).await.unwrap();
        h.pass(60);
    }
    let elsewhere = file("2026-03-31", "d", &[]);
    h.put_list(&elsewhere, "https://other.test/list.xls", h.now).await.unwrap();
    let changes = h
        .texts(
            "SELECT substr(from_sha256, 1, 1) || substr(to_sha256, 1, 1) || is_next || ' ' || change || ' ' || code || ' '
               || coalesce(old_value, '-') || ' ' || coalesce(new_value, '-')
             FROM listing_changes WHERE uri = 'https://example.test/list.xls' ORDER BY 1",
        )
        .await;
    let both = ["MOVED 1301 P S", "MOVED 1303 S P", "NEW 131A - 乙", "RENAMED 1303 三 参"];
    let first = ["GONE 1302 二 -"].iter().chain(&both).map(|change| format!("ab1 {change}"));
    let skipping = both.iter().map(|change| format!("ac0 {change}"));
    let expected: Vec<String> = first.chain(skipping).chain(["bc1 NEW 1302 - 二".to_owned()]).collect();
    assert_eq!(changes, expected);
    assert_eq!(h.texts("SELECT DISTINCT uri FROM listing_changes").await, [URI]);
}
