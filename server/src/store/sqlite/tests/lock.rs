//! Two that want to write one file.

use super::{Folder, execute, start};
use crate::store::{CreateError, StoreError, conformance::fixture::batch::inline};

#[tokio::test]
async fn a_writer_waits_for_another() {
    let folder = Folder::new();
    let store = folder.open().await;
    let mut other = folder.connect().await;
    execute(&mut other, "BEGIN IMMEDIATE").await;
    // The start is on its way before the other lets go.
    let (started, ()) =
        tokio::join!(start(&store, inline("batch-a", &["a"])), execute(&mut other, "ROLLBACK"));
    started.unwrap();
}

#[tokio::test]
async fn a_lock_held_too_long_is_unavailability() {
    let folder = Folder::new();
    let store = folder.open().await;
    let mut other = folder.connect().await;
    execute(&mut other, "BEGIN IMMEDIATE").await;
    let Err(CreateError::Store(error)) = start(&store, inline("batch-a", &["a"])).await else {
        panic!("it is locked")
    };
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(error.is_transient());
    execute(&mut other, "ROLLBACK").await;
    start(&store, inline("batch-a", &["a"])).await.unwrap();
}

#[tokio::test]
async fn two_stores_on_one_file_take_turns() {
    let folder = Folder::new();
    let (one, other) = (folder.open().await, folder.open().await);
    let starts = (0..20).map(|n| {
        let store = if n % 2 == 0 { &one } else { &other };
        start(store, inline(&format!("batch-{n}"), &["a"]))
    });
    let started = futures::future::try_join_all(starts).await.unwrap();
    assert_eq!(started.len(), 20);
}
