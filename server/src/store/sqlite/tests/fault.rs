//! A file without room, without leave to write, or without sense.

use std::{
    io::{Seek, SeekFrom, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{Folder, execute, now, set, start};
use crate::{
    domain::{batch::Batch, id::NodeId},
    store::{
        BatchQuery, Commit, CreateError, LeasedSlice, Store, StoreError,
        conformance::fixture::{
            batch::{filed, inline, numbered},
            outcome, price,
            recording::Group,
        },
        sqlite::{MigrateError, SqliteStore},
    },
};

async fn claim(store: &SqliteStore, batch: &Batch, node: &NodeId) -> LeasedSlice {
    let until = now() + chrono::TimeDelta::seconds(30);
    store.claim_slice(batch.seq, node, now(), until).await.unwrap().slice.expect("it is fresh")
}

/// Many rows in one group.
fn bulk(batch: &Batch, slice: &LeasedSlice, node: &NodeId) -> Commit {
    let closes: Vec<f64> = (0..500).map(f64::from).collect();
    let group = Group::new()
        .with_bodies()
        .keep(slice)
        .add_all(slice, &outcome::success_with(price::closes(0, &closes)));
    group.into_commit(batch.seq, node, now())
}

/// Leaves no room for another page.
async fn fill(store: &SqliteStore) {
    // A limit below what is used is raised to that.
    set(store, "PRAGMA max_page_count = 1").await;
}

async fn make_room(store: &SqliteStore) {
    set(store, "PRAGMA max_page_count = 1000000").await;
}

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_is_lost() {
    let folder = Folder::new();
    let store = folder.open().await;
    let node = NodeId::generate();
    let batch = start(&store, numbered("batch-a", 50)).await.unwrap();
    let slice = claim(&store, &batch, &node).await;
    fill(&store).await;

    let commit = bulk(&batch, &slice, &node);
    let error = store.commit(&commit).await.unwrap_err();
    assert!(matches!(error, StoreError::Full(_)), "{error:?}");
    assert!(!error.is_transient());
    assert_eq!(error.pause_reason(), "DISK_FULL");
    assert_eq!(store.batch(&batch.id).await.unwrap(), Some(batch.clone()), "it can be read");
    let error = start(&store, numbered("batch-b", 5_000)).await.unwrap_err();
    assert!(matches!(error, CreateError::Store(StoreError::Full(_))), "{error:?}");
    let paused = store.fail_system(batch.seq, "DISK_FULL", "no room", now()).await;
    assert!(paused.is_ok(), "what takes no room is written: {paused:?}");

    make_room(&store).await;
    let committed = store.commit(&commit).await.unwrap();
    assert_eq!((committed.batch.counts.succeeded, committed.fenced), (50, Vec::new()));
    start(&store, numbered("batch-b", 5_000)).await.unwrap();
}

#[tokio::test]
async fn a_store_that_may_not_be_written_is_told() {
    let folder = Folder::new();
    let store = folder.open().await;
    let batch = start(&store, inline("batch-a", &["a"])).await.unwrap();
    set(&store, "PRAGMA query_only = 1").await;
    let error = start(&store, inline("batch-b", &["a"])).await.unwrap_err();
    let CreateError::Store(error) = error else { panic!("{error}") };
    assert!(matches!(error, StoreError::ReadOnly(_)), "{error:?}");
    assert_eq!(error.pause_reason(), "STORE_READ_ONLY");
    assert_eq!(store.batch(&batch.id).await.unwrap(), Some(batch));
    set(&store, "PRAGMA query_only = 0").await;
    start(&store, inline("batch-b", &["a"])).await.unwrap();
}

/// A commit that fails is rolled back by SQLite itself. It leaves nothing behind, not even a spec that is remembered
/// under a number that comes again, and the store goes on.
#[tokio::test]
async fn a_failed_commit_leaves_nothing_behind() {
    let folder = Folder::new();
    let store = folder.open().await;
    let fails = Arc::new(AtomicBool::new(true));
    let hook = Arc::clone(&fails);
    let mut writer = store.writer.turn().await.unwrap();
    writer.lock_handle().await.unwrap().set_commit_hook(move || !hook.load(Ordering::Relaxed));
    drop(writer);
    start(&store, filed("batch-a")).await.unwrap_err();
    fails.store(false, Ordering::Relaxed);
    let new = inline("batch-b", &["a"]);
    let spec = new.spec.clone();
    let batch = start(&store, new).await.unwrap();
    assert_eq!(*batch.spec, spec);
    let listed = store.list_batches(&BatchQuery::newest(10)).await.unwrap();
    assert_eq!(listed.into_iter().map(|(_, batch)| batch).collect::<Vec<_>>(), [batch]);
}

/// Nobody but the lease's owner ends an item. If it is ended all the same, nothing of the group is counted.
#[tokio::test]
async fn a_group_with_an_item_that_is_final_already_is_rolled_back() {
    let folder = Folder::new();
    let store = folder.open().await;
    let node = NodeId::generate();
    let batch = start(&store, numbered("batch-a", 50)).await.unwrap();
    let slice = claim(&store, &batch, &node).await;
    let end = "UPDATE batch_execution_details SET status = 'SUCCEEDED' WHERE item_index = 7";
    execute(&mut folder.connect().await, end).await;
    let error = store.commit(&bulk(&batch, &slice, &node)).await.unwrap_err();
    assert!(matches!(error, StoreError::Fault(_)), "{error}");
    let after = store.batch(&batch.id).await.unwrap().unwrap();
    assert_eq!(after, batch);
    // The connection goes on.
    start(&store, inline("batch-b", &["a"])).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_database_is_told() {
    let folder = Folder::new();
    std::fs::write(folder.file(), "this is a letter, not a database, and it is long enough. ".repeat(100))
        .unwrap();
    let error = folder.try_open().await.unwrap_err();
    assert!(matches!(error, MigrateError::Store(StoreError::Damaged(_))), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("damaged") && text.contains("not a database"), "{text}");
}

#[tokio::test]
async fn a_file_overwritten_in_the_middle_is_told() {
    let folder = Folder::new();
    let store = folder.open().await;
    start(&store, numbered("batch-a", 500)).await.unwrap();
    store.close().await;
    let mut file = std::fs::OpenOptions::new().write(true).open(folder.file()).unwrap();
    let length = file.metadata().unwrap().len();
    file.seek(SeekFrom::Start(4_096)).unwrap();
    file.write_all(&vec![0xAB; length as usize - 4_096]).unwrap();
    drop(file);
    let error = folder.try_open().await.unwrap_err();
    assert!(matches!(error, MigrateError::Store(StoreError::Damaged(_))), "{error:?}");
    assert!(error.to_string().contains("malformed"), "{error}");
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_told() {
    let folder = Folder::new();
    let nowhere = folder.file().join("further");
    std::fs::write(folder.file(), "").unwrap();
    let error = SqliteStore::open(&nowhere, crate::store::sqlite::Limits::default()).await.unwrap_err();
    assert!(matches!(error, MigrateError::Store(_)), "{error:?}");
}
