//! Reading a source: its lease, and what was read.

use std::{borrow::Cow, collections::HashSet};

use chrono::{DateTime, Utc};
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::{SqliteStore, error, ms, overlap, result, script::Script, skip, transition};
use crate::{
    domain::{
        batch::{Input, State},
        failure::FailureClass,
        id::{BatchSeq, Epoch, NodeId},
        item::NewItem,
    },
    failpoint,
    store::{Expanded, PageRead, SLICE_ITEMS, SourceLease, SourcePage, StoreError},
};

pub(super) async fn claim(
    store: &SqliteStore,
    batch: BatchSeq,
    node: &NodeId,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Option<SourceLease>, StoreError> {
    let mut conn = store.writer.turn().await.map_err(error::store)?;
    let row = sqlx::query(
        "UPDATE batch_executions SET source_owner = $2, source_epoch = source_epoch + 1, source_lease_at = $4
         WHERE seq = $1 AND status = 'RUNNING' AND expanded = 0
           AND (source_lease_at IS NULL OR source_lease_at <= $3)
         RETURNING source_epoch, source_position",
    )
    .bind(batch.0)
    .bind(node.as_str())
    .bind(ms(now))
    .bind(ms(until))
    .fetch_optional(&mut *conn)
    .await
    .map_err(error::store)?;
    Ok(row.map(|row| SourceLease {
        epoch: Epoch(row.get("source_epoch")),
        position: row.get("source_position"),
    }))
}

pub(super) async fn expand(
    store: &SqliteStore,
    page: &SourcePage,
    now: DateTime<Utc>,
) -> Result<Expanded, StoreError> {
    let items = match &page.read {
        PageRead::Items { items, .. } => skip::decided_of(store, page.batch, items).await?,
        PageRead::Unreadable(_) | PageRead::Release => Cow::default(),
    };
    let mut tx = store.begin().await?;
    let over = expand_in(&mut tx, page, &items, now).await.map_err(error::store)?;
    let admitted = overlap::admit_after(&mut tx, page.batch, store.limits.running_batches, now)
        .await
        .map_err(error::store)?;
    let batch = store.load(&mut tx, page.batch).await?;
    let admitted = store.load_all(&mut tx, &admitted).await?;
    failpoint::tried("source.written").await?;
    tx.commit().await.map_err(error::store)?;
    Ok(Expanded { batch, admitted, over })
}

/// `items` are those of the page, decided.
async fn expand_in(
    conn: &mut SqliteConnection,
    page: &SourcePage,
    items: &[NewItem],
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let seq = page.batch;
    let status: Option<String> = sqlx::query_scalar(
        "SELECT status FROM batch_executions WHERE seq = $1 AND source_epoch = $2 AND source_lease_at IS NOT NULL",
    )
    .bind(seq.0)
    .bind(page.epoch.0)
    .fetch_optional(&mut *conn)
    .await?;
    let Some(status) = status else { return Ok(true) };
    // A batch on its way to an end takes nothing in any more.
    let read = if status == State::Stopping.as_str() { &PageRead::Release } else { &page.read };
    let brings = match read {
        PageRead::Items { items, next, list } => !items.is_empty() || next.is_none() || list.is_some(),
        PageRead::Unreadable(_) | PageRead::Release => false,
    };
    let is_visible = brings || page.requests > 0 || page.bytes_received > 0;
    sqlx::query(
        "UPDATE batch_executions SET requests_count = requests_count + $2, bytes_received = bytes_received + $3,
           revision = revision + $4 WHERE seq = $1",
    )
    .bind(seq.0)
    .bind(page.requests)
    .bind(page.bytes_received)
    .bind(is_visible)
    .execute(&mut *conn)
    .await?;
    let mut found = None;
    let over = match read {
        PageRead::Items { next, list, .. } => {
            append(conn, seq, items, now).await?;
            sqlx::query(
                "UPDATE batch_executions SET expanded = $2, source_position = $3,
                   source_lease_at = CASE WHEN $2 THEN NULL ELSE $4 END,
                   list_date = coalesce($5, list_date), list_sha256 = coalesce($6, list_sha256)
                 WHERE seq = $1",
            )
            .bind(seq.0)
            .bind(next.is_none())
            .bind(next)
            .bind(ms(page.lease_until))
            .bind(list.as_ref().map(|list| list.list_date.to_string()))
            .bind(list.as_ref().map(|list| &list.sha256))
            .execute(&mut *conn)
            .await?;
            next.is_none()
        }
        PageRead::Unreadable(message) => {
            release(conn, seq).await?;
            found = Some((Input::SourceUnreadable, transition::Why::event("", message)));
            true
        }
        PageRead::Release => {
            release(conn, seq).await?;
            true
        }
    };
    transition::settle(conn, seq, found, now).await?;
    Ok(over)
}

async fn release(conn: &mut SqliteConnection, seq: BatchSeq) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE batch_executions SET source_lease_at = NULL WHERE seq = $1")
        .bind(seq.0)
        .execute(conn)
        .await?;
    Ok(())
}

/// Rows per statement; each binds at most nine values, of the 32,766 that SQLite takes.
const ROWS_PER_INSERT: usize = 200;

/// Adds items after those that are there, in slices. The first of a key wins, repeats are counted: answers with how many
/// there were. Nobody can have claimed a slice of an OPEN batch, so its last one is filled up first: however small its
/// chunks are, the slices are not.
pub(super) async fn append(
    conn: &mut SqliteConnection,
    seq: BatchSeq,
    items: &[NewItem],
    now: DateTime<Utc>,
) -> Result<i64, sqlx::Error> {
    let fresh = without_known(conn, seq, items).await?;
    let row = sqlx::query(
        "SELECT b.total_count, s.slice_no,
           CASE WHEN b.status = 'OPEN' AND s.status = 'READY' THEN s.end_index - s.first_index END AS filled
         FROM batch_executions b LEFT JOIN batch_slices s ON s.batch_seq = b.seq
           AND s.slice_no = (SELECT max(slice_no) FROM batch_slices WHERE batch_seq = $1)
         WHERE b.seq = $1",
    )
    .bind(seq.0)
    .fetch_one(&mut *conn)
    .await?;
    let first_index: i64 = row.get("total_count");
    let last: Option<i64> = row.get("slice_no");
    let (first_slice, filled) = match (last, row.get("filled")) {
        (Some(last), Some(filled)) => (last, filled),
        _ => (last.map_or(0, |last| last + 1), 0),
    };

    let indexed: Vec<(i64, i64, &NewItem)> = (0i64..)
        .zip(&fresh)
        .map(|(n, item)| (first_index + n, first_slice + (filled + n) / SLICE_ITEMS as i64, *item))
        .collect();
    for rows in indexed.chunks(ROWS_PER_INSERT) {
        let mut insert: QueryBuilder<Sqlite> = QueryBuilder::new(
            "INSERT INTO batch_execution_details
               (batch_seq, item_index, item_key, columns, slice_no, status, error_class, error_reason, error_message, updated_at) ",
        );
        insert.push_values(rows, |mut row, (index, slice, item)| {
            let failure = item.failure.as_ref();
            let status = match (failure, item.skip_reason) {
                (Some(_), _) => "FAILED",
                (None, Some(_)) => "SKIPPED",
                (None, None) => "PENDING",
            };
            row.push_bind(seq.0)
                .push_bind(*index)
                .push_bind(item.key.as_str())
                .push_bind(item.columns.as_deref())
                .push_bind(*slice)
                .push_bind(status)
                .push_bind(failure.map(|failure| failure.class.as_str()))
                .push_bind(failure.map_or(item.skip_reason, |failure| Some(failure.reason.as_str())))
                .push_bind(failure.map(|failure| failure.message.as_str()))
                .push_bind((!item.is_open()).then(|| ms(now)));
        });
        insert.build().execute(&mut *conn).await?;
    }
    for slice in indexed.chunk_by(|(_, one, _), (_, other, _)| one == other) {
        let (first, no, _) = slice[0];
        let open = slice.iter().filter(|(.., item)| item.is_open()).count() as i64;
        sqlx::query(
            "INSERT INTO batch_slices (batch_seq, slice_no, first_index, end_index, open_count, status)
             VALUES ($1, $2, $3, $4, $5, CASE WHEN $5 = 0 THEN 'DONE' ELSE 'READY' END)
             ON CONFLICT (batch_seq, slice_no) DO UPDATE SET
               end_index = excluded.end_index, open_count = open_count + excluded.open_count",
        )
        .bind(seq.0)
        .bind(no)
        .bind(first)
        .bind(first + slice.len() as i64)
        .bind(open)
        .execute(&mut *conn)
        .await?;
    }
    let finals: Vec<i64> =
        indexed.iter().filter(|(.., item)| !item.is_open()).map(|(index, ..)| *index).collect();
    let mut script = Script::default();
    result::append(&mut script, seq, &finals);
    script.run(conn).await?;
    let failed = |class: FailureClass| {
        fresh
            .iter()
            .filter(|item| item.failure.as_ref().is_some_and(|failure| failure.class == class))
            .count() as i64
    };
    let by_class = FailureClass::ALL.map(failed);
    let skipped = fresh.iter().filter(|item| item.failure.is_none() && !item.is_open()).count() as i64;
    let duplicates = (items.len() - fresh.len()) as i64;
    sqlx::query(
        "UPDATE batch_executions SET total_count = total_count + $2, duplicate_count = duplicate_count + $3,
           failed_count = failed_count + $4, temporary_items = temporary_items + $5,
           permanent_items = permanent_items + $6, system_items = system_items + $7, skipped_count = skipped_count + $8
         WHERE seq = $1",
    )
    .bind(seq.0)
    .bind(fresh.len() as i64)
    .bind(duplicates)
    .bind(by_class.iter().sum::<i64>())
    .bind(by_class[0])
    .bind(by_class[1])
    .bind(by_class[2])
    .bind(skipped)
    .execute(conn)
    .await?;
    Ok(duplicates)
}

/// The items whose key is neither in the batch nor earlier among them.
async fn without_known<'a>(
    conn: &mut SqliteConnection,
    seq: BatchSeq,
    items: &'a [NewItem],
) -> Result<Vec<&'a NewItem>, sqlx::Error> {
    let mut seen: HashSet<String> = HashSet::new();
    // In the order of the index, so that each page of it is read once.
    let mut keys: Vec<&str> = items.iter().map(|item| item.key.as_str()).collect();
    keys.sort_unstable();
    for some in keys.chunks(500) {
        let mut known: QueryBuilder<Sqlite> =
            QueryBuilder::new("SELECT item_key FROM batch_execution_details WHERE batch_seq = ");
        known.push_bind(seq.0).push(" AND item_key IN (");
        let mut list = known.separated(", ");
        for key in some {
            list.push_bind(*key);
        }
        known.push(")");
        seen.extend(known.build_query_scalar::<String>().fetch_all(&mut *conn).await?);
    }
    Ok(items.iter().filter(|item| seen.insert(item.key.clone())).collect())
}
