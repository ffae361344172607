//! Files that other programs wrote.

use sqlx::AssertSqlSafe;

use super::{Folder, execute};
use crate::store::{
    Store,
    sqlite::{MigrateError, overlap},
};

#[tokio::test]
async fn a_newer_schema_is_refused_with_both_versions() {
    let folder = Folder::new();
    let store = folder.open().await;
    let known = store.schema().await.unwrap().known;
    store.close().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (99, 'from the future', 1, x'00', 0)";
    execute(&mut folder.connect().await, newer).await;
    let error = folder.try_open().await.unwrap_err();
    assert!(matches!(error, MigrateError::Newer { store: 99, known: told } if told == known), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("version 99") && text.contains("newer hauld"), "{text}");
}

#[tokio::test]
async fn a_schema_of_another_build_is_refused() {
    let folder = Folder::new();
    folder.open().await.close().await;
    execute(&mut folder.connect().await, "UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1")
        .await;
    assert!(matches!(folder.try_open().await, Err(MigrateError::Differs(1))));
}

#[tokio::test]
async fn a_schema_is_brought_up_to_date_once() {
    let folder = Folder::new();
    let first = folder.open().await.schema().await.unwrap();
    assert_eq!(first.store, first.known);
    assert_eq!(folder.open().await.schema().await.unwrap(), first);
}

#[tokio::test]
async fn changes_of_a_list_are_found_by_keys_alone() {
    let folder = Folder::new();
    folder.open().await.close().await;
    let mut conn = folder.connect().await;
    for condition in ["from_list_date = '2023-09-29' AND to_list_date = '2023-10-31'", "is_next"] {
        let sql = format!("EXPLAIN QUERY PLAN SELECT * FROM listing_changes WHERE uri = 'u' AND {condition}");
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut conn).await.unwrap();
        let steps: Vec<&str> = plan.iter().map(|(.., step)| step.as_str()).collect();
        assert!(steps.iter().filter(|step| step.starts_with("SEARCH")).count() >= 12, "{steps:#?}");
        let whole = |step: &&str| {
            step.starts_with("SCAN") && *step != "SCAN listing_changes" || step.contains("AUTOMATIC")
        };
        assert!(!steps.iter().any(whole), "{steps:#?}");
        // What is looked up among issues is looked up by code.
        let by_code = steps.iter().filter(|step| step.contains("list_sha256=? AND code=?")).count();
        assert_eq!(by_code, 4, "{steps:#?}");
    }
}

#[tokio::test]
async fn the_next_batch_is_found_by_keys_alone() {
    let folder = Folder::new();
    folder.open().await.close().await;
    let plan: Vec<(i64, i64, i64, String)> =
        sqlx::query_as(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", overlap::NEXT)))
            .bind(0)
            .bind(100)
            .fetch_all(&mut folder.connect().await)
            .await
            .unwrap();
    let steps: Vec<&str> = plan.iter().map(|(.., step)| step.as_str()).collect();
    for index in ["batch_executions_queued", "batch_executions_slots", "batch_executions_overlap"] {
        assert!(steps.iter().any(|step| step.contains(index)), "{index} in {steps:#?}");
    }
    assert!(!steps.iter().any(|step| step.contains("TEMP B-TREE")), "{steps:#?}");
}
