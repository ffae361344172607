//! Reading a source: its lease, and what was read.

use std::{borrow::Cow, collections::HashSet};

use chrono::{DateTime, Utc};
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::{
    SqliteStore, error, ms, result,
    script::Script,
    skip,
    transition::{self, Why},
};
use crate::{
    domain::{
        batch::{Input, State},
        failure::FailureClass,
        id::{BatchSeq, Epoch, NodeId},
        item::NewItem,
    },
    failpoint,
    store::{Changed, Expanded, PageRead, SLICE_ITEMS, SourceLease, SourcePage, StoreError},
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
    let expanded = expand_in(&mut tx, page, &items, now).await.map_err(error::store)?;
    let (mut over, mut admitted, mut script) = (true, Vec::new(), Script::default());
    // Who reads under a lease that was lost changes nothing.
    if let Some((is_over, written, found)) = expanded {
        over = is_over;
        let slots = store.limits.running_batches;
        let settled = transition::settled(&mut tx, written, page.batch, found, slots, now);
        (admitted, script) = settled.await.map_err(error::store)?;
    }
    failpoint::tried("source.written").await?;
    let Changed { batch, admitted } = store.commit_change(tx, script, page.batch, &admitted).await?;
    Ok(Expanded { batch, admitted, over })
}

/// Whether the reading is over, what is yet to be run, and what was found.
type Read<'a> = (bool, Script, Option<(Input, Why<'a>)>);

/// `items` are those of the page, decided. Answers nothing if the lease is another one's.
async fn expand_in<'a>(
    conn: &mut SqliteConnection,
    page: &'a SourcePage,
    items: &[NewItem],
    now: DateTime<Utc>,
) -> Result<Option<Read<'a>>, sqlx::Error> {
    let seq = page.batch;
    let status: Option<String> = sqlx::query_scalar(
        "SELECT status FROM batch_executions WHERE seq = $1 AND source_epoch = $2 AND source_lease_at IS NOT NULL",
    )
    .bind(seq.0)
    .bind(page.epoch.0)
    .fetch_optional(&mut *conn)
    .await?;
    let Some(status) = status else { return Ok(None) };
    // A batch on its way to an end takes nothing in any more.
    let read = if status == State::Stopping.as_str() { &PageRead::Release } else { &page.read };
    let brings = match read {
        PageRead::Items { items, next, list } => !items.is_empty() || next.is_none() || list.is_some(),
        PageRead::Unreadable(_) | PageRead::Release => false,
    };
    let is_visible = brings || page.requests > 0 || page.bytes_received > 0;
    let mut script = Script::default();
    let (mut found, mut over) = (None, true);
    match read {
        PageRead::Items { next, list, .. } => {
            over = next.is_none();
            let place = Place::after(conn, seq, items).await?;
            (script, _) = append(conn, seq, place, items, now).await?;
            script
                .add(
                    "UPDATE batch_executions SET expanded = ?, source_position = ?, source_lease_at = ?,
                       list_date = coalesce(?, list_date), list_sha256 = coalesce(?, list_sha256)
                     WHERE seq = ?",
                )
                .bind(over)
                .bind(next.as_deref())
                .bind((!over).then(|| ms(page.lease_until)))
                .bind(list.as_ref().map(|list| list.list_date.to_string()))
                .bind(list.as_ref().map(|list| list.sha256.as_str()))
                .bind(seq.0);
        }
        PageRead::Unreadable(message) => {
            release(&mut script, seq);
            found = Some((Input::SourceUnreadable, Why::event("", message)));
        }
        PageRead::Release => release(&mut script, seq),
    }
    script
        .add(
            "UPDATE batch_executions SET requests_count = requests_count + ?, bytes_received = bytes_received + ?,
               revision = revision + ? WHERE seq = ?",
        )
        .bind(page.requests)
        .bind(page.bytes_received)
        .bind(is_visible)
        .bind(seq.0);
    Ok(Some((over, script, found)))
}

fn release(script: &mut Script, seq: BatchSeq) {
    script.add("UPDATE batch_executions SET source_lease_at = NULL WHERE seq = ?").bind(seq.0);
}

/// Rows per statement; each binds ten values, of the 32,766 that SQLite takes.
const ROWS_PER_INSERT: usize = 200;

/// Where items go, and what is there already. By default: into a batch that has none.
#[derive(Default)]
pub(super) struct Place {
    first_index: i64,
    first_slice: i64,
    /// Items in that slice.
    filled: i64,
    /// Keys of the items to come that are in the batch.
    known: HashSet<String>,
}

impl Place {
    /// After those that are there. Nobody can have claimed a slice of an OPEN batch, so its last one is filled up first:
    /// however small its chunks are, the slices are not.
    pub(super) async fn after(
        conn: &mut SqliteConnection,
        seq: BatchSeq,
        items: &[NewItem],
    ) -> Result<Self, sqlx::Error> {
        let known = known(conn, seq, items).await?;
        let row = sqlx::query(
            "SELECT b.total_count, s.slice_no,
               CASE WHEN b.status = 'OPEN' AND s.status = 'READY' THEN s.end_index - s.first_index END AS filled
             FROM batch_executions b LEFT JOIN batch_slices s ON s.batch_seq = b.seq
               AND s.slice_no = (SELECT max(slice_no) FROM batch_slices WHERE batch_seq = $1)
             WHERE b.seq = $1",
        )
        .bind(seq.0)
        .fetch_one(conn)
        .await?;
        let last: Option<i64> = row.get("slice_no");
        let (first_slice, filled) = match (last, row.get("filled")) {
            (Some(last), Some(filled)) => (last, filled),
            _ => (last.map_or(0, |last| last + 1), 0),
        };
        Ok(Self { first_index: row.get("total_count"), first_slice, filled, known })
    }
}

/// Adds items, in slices. The first of a key wins, repeats are counted: answers with how many there were, and before that
/// with what is yet to be run.
pub(super) async fn append(
    conn: &mut SqliteConnection,
    seq: BatchSeq,
    place: Place,
    items: &[NewItem],
    now: DateTime<Utc>,
) -> Result<(Script, i64), sqlx::Error> {
    let Place { first_index, first_slice, filled, known: mut seen } = place;
    let fresh: Vec<&NewItem> = items.iter().filter(|item| seen.insert(item.key.clone())).collect();
    let indexed: Vec<(i64, i64, &NewItem)> = (0i64..)
        .zip(&fresh)
        .map(|(n, item)| (first_index + n, first_slice + (filled + n) / SLICE_ITEMS as i64, *item))
        .collect();
    let mut script = Script::default();
    for rows in indexed.chunks(ROWS_PER_INSERT) {
        insert(&mut script, seq, rows, now);
        if rows.len() == ROWS_PER_INSERT {
            // By itself, since its text is always the same.
            std::mem::take(&mut script).run(conn).await?;
        }
    }
    let slices: Vec<(i64, i64, i64, i64)> = indexed
        .chunk_by(|(_, one, _), (_, other, _)| one == other)
        .map(|slice| {
            let (first, no, _) = slice[0];
            let open = slice.iter().filter(|(.., item)| item.is_open()).count() as i64;
            (no, first, first + slice.len() as i64, open)
        })
        .collect();
    script
        .add(
            "INSERT INTO batch_slices (batch_seq, slice_no, first_index, end_index, open_count, status)
             SELECT ?, value ->> 0, value ->> 1, value ->> 2, value ->> 3,
               CASE WHEN value ->> 3 = 0 THEN 'DONE' ELSE 'READY' END
             FROM json_each(?) WHERE true
             ON CONFLICT (batch_seq, slice_no) DO UPDATE SET
               end_index = excluded.end_index, open_count = open_count + excluded.open_count",
        )
        .bind(seq.0)
        .bind(result::json(&slices));
    let finals: Vec<i64> =
        indexed.iter().filter(|(.., item)| !item.is_open()).map(|(index, ..)| *index).collect();
    result::append(&mut script, seq, &finals);
    let failed = |class: FailureClass| {
        fresh
            .iter()
            .filter(|item| item.failure.as_ref().is_some_and(|failure| failure.class == class))
            .count() as i64
    };
    let by_class = FailureClass::ALL.map(failed);
    let skipped = fresh.iter().filter(|item| item.failure.is_none() && !item.is_open()).count() as i64;
    let duplicates = (items.len() - fresh.len()) as i64;
    script
        .add(
            "UPDATE batch_executions SET total_count = total_count + ?, duplicate_count = duplicate_count + ?,
               failed_count = failed_count + ?, temporary_items = temporary_items + ?,
               permanent_items = permanent_items + ?, system_items = system_items + ?, skipped_count = skipped_count + ?
             WHERE seq = ?",
        )
        .bind(fresh.len() as i64)
        .bind(duplicates)
        .bind(by_class.iter().sum::<i64>())
        .bind(by_class[0])
        .bind(by_class[1])
        .bind(by_class[2])
        .bind(skipped)
        .bind(seq.0);
    Ok((script, duplicates))
}

/// Adds items with their indexes and slices.
fn insert(script: &mut Script, seq: BatchSeq, rows: &[(i64, i64, &NewItem)], now: DateTime<Utc>) {
    let values = vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"; rows.len()].join(", ");
    script
        .add(
            "INSERT INTO batch_execution_details
               (batch_seq, item_index, item_key, columns, slice_no, status, error_class, error_reason, error_message, updated_at)
             VALUES ",
        )
        .then(&values);
    for (index, slice, item) in rows {
        let failure = item.failure.as_ref();
        let status = match (failure, item.skip_reason) {
            (Some(_), _) => "FAILED",
            (None, Some(_)) => "SKIPPED",
            (None, None) => "PENDING",
        };
        script
            .bind(seq.0)
            .bind(*index)
            .bind(item.key.as_str())
            .bind(item.columns.as_deref())
            .bind(*slice)
            .bind(status)
            .bind(failure.map(|failure| failure.class.as_str()))
            .bind(failure.map_or(item.skip_reason, |failure| Some(failure.reason.as_str())))
            .bind(failure.map(|failure| failure.message.as_str()))
            .bind((!item.is_open()).then(|| ms(now)));
    }
}

/// The keys of items that are in the batch.
async fn known(
    conn: &mut SqliteConnection,
    seq: BatchSeq,
    items: &[NewItem],
) -> Result<HashSet<String>, sqlx::Error> {
    let mut known = HashSet::new();
    // In the order of the index, so that each page of it is read once.
    let mut keys: Vec<&str> = items.iter().map(|item| item.key.as_str()).collect();
    keys.sort_unstable();
    for some in keys.chunks(500) {
        let mut select: QueryBuilder<Sqlite> =
            QueryBuilder::new("SELECT item_key FROM batch_execution_details WHERE batch_seq = ");
        select.push_bind(seq.0).push(" AND item_key IN (");
        let mut list = select.separated(", ");
        for key in some {
            list.push_bind(*key);
        }
        select.push(")");
        known.extend(select.build_query_scalar::<String>().fetch_all(&mut *conn).await?);
    }
    Ok(known)
}
