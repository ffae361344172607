//! Bounds of uploads that a test cannot fill by uploading.

use super::{Folder, execute, now, start};
use crate::{
    domain::{id::UploadId, item::NewItem},
    store::{
        BATCH_ITEMS_MAX, Store, UPLOADS_MAX, UploadChunk, UploadError, conformance::fixture::batch::opened,
    },
};

#[tokio::test]
async fn a_batch_has_a_bound_of_items_and_of_uploads() {
    let folder = Folder::new();
    let store = folder.open().await;
    let batch = start(&store, opened("uploaded")).await.unwrap();
    let id = UploadId::parse("00000000-0000-0000-0000-000000000001").unwrap();
    let epoch = store.open_upload(&batch.id, &id).await.unwrap().epoch;
    let mut conn = folder.connect().await;
    execute(&mut conn, &format!("UPDATE batch_executions SET total_count = {BATCH_ITEMS_MAX} - 1")).await;
    let upload = id.clone();
    let chunk = |keys: &[&str]| {
        let items = keys.iter().map(|key| NewItem::keyed(*key)).collect();
        UploadChunk { batch: batch.seq, upload: upload.clone(), epoch, first_offset: 0, items, seal: false }
    };
    let above = store.append_upload(&chunk(&["a", "b"]), now()).await.unwrap_err();
    assert!(matches!(above, UploadError::TooManyItems), "{above:?}");
    assert_eq!(store.append_upload(&chunk(&["a"]), now()).await.unwrap().batch.counts.total, BATCH_ITEMS_MAX);

    execute(
        &mut conn,
        &format!(
            "WITH RECURSIVE n(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM n WHERE n < {UPLOADS_MAX})
             INSERT INTO uploads (batch_seq, upload_id) SELECT {}, n FROM n",
            batch.seq.0
        ),
    )
    .await;
    store.open_upload(&batch.id, &id).await.expect("one that is there goes on");
    let other = UploadId::parse("00000000-0000-0000-0000-000000000002").unwrap();
    let above = store.open_upload(&batch.id, &other).await.unwrap_err();
    assert!(matches!(above, UploadError::TooManyUploads), "{above:?}");
}
