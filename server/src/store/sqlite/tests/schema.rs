//! Files that other programs wrote.

use sqlx::AssertSqlSafe;

use super::{Folder, execute, now, start};
use crate::{
    domain::{
        batch::{Command, DrainMode},
        id::NodeId,
        item::Item,
    },
    store::{
        Guard, Store,
        conformance::fixture::{batch::numbered, outcome, recording::Group},
        sqlite::{MigrateError, overlap},
    },
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
async fn what_was_final_before_there_was_an_order_has_one() {
    let folder = Folder::new();
    let store = folder.open().await;
    let batch = start(&store, numbered("batch-a", 250)).await.unwrap();
    let node = NodeId::generate();
    let slice = store.claim_slice(batch.seq, &node, now(), now()).await.unwrap().slice.expect("one is free");
    let group =
        Group::new().release(&slice).add(&slice, 9, outcome::success()).add(&slice, 3, outcome::success());
    store.commit(&group.into_commit(batch.seq, &node, now())).await.unwrap();
    let stop = Command::Stop { reason: String::new(), drain: DrainMode::Finish };
    store.command(&batch.id, &stop, &Guard::default(), now()).await.unwrap();
    let keys = |results: Vec<(i64, Item)>| -> Vec<(i64, String)> {
        results.into_iter().map(|(no, item)| (no, item.key)).collect()
    };
    let before = keys(store.results(batch.seq, 0, 1_000).await.unwrap());
    assert_eq!(before.len(), 250);
    store.close().await;

    let statements = include_str!("../migration/0006_reads.sql");
    let fills = &statements[statements.find("WITH past").expect("it fills what was there")..];
    let mut conn = folder.connect().await;
    execute(&mut conn, "DELETE FROM item_results").await;
    sqlx::raw_sql(AssertSqlSafe(fills)).execute(&mut conn).await.unwrap();
    let store = folder.open().await;
    let mut after = keys(store.results(batch.seq, 0, 1_000).await.unwrap());
    // Of one moment it knows no order but that of the indexes.
    after.swap(0, 1);
    (after[0].0, after[1].0) = (1, 2);
    assert_eq!(after, before);
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
