//! The order in which items become final. Each transaction that makes items final appends one run with their numbers,
//! so the order costs a row a commit and no index on items; what a cancel takes is one run per slice.

use std::collections::HashMap;

use futures::TryStreamExt;
use sqlx::{Row, SqlitePool};

use super::{error, query, script::Script};
use crate::{
    domain::{id::BatchSeq, item::Item},
    store::StoreError,
};

/// Items of one run at most.
const RUN_ITEMS: usize = 1_000;

/// Adds runs to the order: these items become final, in this order.
pub(super) fn append(script: &mut Script, batch: BatchSeq, indexes: &[i64]) {
    for run in indexes.chunks(RUN_ITEMS) {
        script
            .add(
                "INSERT INTO item_results (batch_seq, first_no, item_count, items)
                 SELECT ?, coalesce((SELECT first_no + item_count FROM item_results WHERE batch_seq = ?
                                     ORDER BY first_no DESC LIMIT 1), 1), ?, ?",
            )
            .bind(batch.0)
            .bind(batch.0)
            .bind(run.len() as i64)
            .bind(json(run));
    }
}

/// Adds to the order what is canceled with slices: the caller adds the query for number and open items of each, which
/// are bound after this, and the closing bracket.
pub(super) fn append_canceled(script: &mut Script, batch: BatchSeq) -> &mut Script {
    script
        .add(
            "WITH past (next) AS (SELECT coalesce((SELECT first_no + item_count FROM item_results WHERE batch_seq = ?
                                                   ORDER BY first_no DESC LIMIT 1), 1))
             INSERT INTO item_results (batch_seq, first_no, item_count, slice_no)
             SELECT ?, next + sum(open) OVER (ORDER BY no ROWS UNBOUNDED PRECEDING) - open, open, no
             FROM past CROSS JOIN (SELECT NULL AS no, NULL AS open WHERE false UNION ALL ",
        )
        .bind(batch.0)
        .bind(batch.0)
}

/// Final items behind a number, in order, each with its own.
pub(super) async fn list(
    pool: &SqlitePool,
    batch: BatchSeq,
    after: i64,
    limit: usize,
) -> Result<Vec<(i64, Item)>, StoreError> {
    let numbered = numbered(pool, batch, after, limit).await.map_err(error::store)?;
    let indexes: Vec<i64> = numbered.iter().map(|(_, index)| *index).collect();
    let items = query::at(pool, batch, &json(&indexes)).await?;
    let mut items: HashMap<i64, Item> = items.into_iter().map(|item| (item.index, item)).collect();
    Ok(numbered.into_iter().filter_map(|(no, index)| Some((no, items.remove(&index)?))).collect())
}

/// Numbers and indexes.
async fn numbered(
    pool: &SqlitePool,
    batch: BatchSeq,
    after: i64,
    limit: usize,
) -> Result<Vec<(i64, i64)>, sqlx::Error> {
    let mut numbered: Vec<(i64, i64)> = Vec::with_capacity(limit);
    let mut conn = pool.acquire().await?;
    let mut canceled = Vec::new();
    {
        // The first one is the run that holds the next number.
        let mut runs = sqlx::query(
            "SELECT first_no, item_count, slice_no, items FROM item_results WHERE batch_seq = $1 AND first_no >= coalesce(
               (SELECT max(first_no) FROM item_results WHERE batch_seq = $1 AND first_no <= $2), 0)
             ORDER BY first_no",
        )
        .bind(batch.0)
        .bind(after.saturating_add(1))
        .fetch(&mut *conn);
        while numbered.len() < limit {
            let Some(run) = runs.try_next().await? else { break };
            let (first, count): (i64, i64) = (run.get("first_no"), run.get("item_count"));
            let indexes = if let Some(items) = run.get::<Option<&str>, _>("items") {
                serde_json::from_str(items).map_err(|e| sqlx::Error::Decode(e.into()))?
            } else {
                canceled.push((first, run.get::<i64, _>("slice_no")));
                vec![-1; count as usize]
            };
            let behind = (first..).zip(indexes).filter(|(no, _)| *no > after);
            numbered.extend(behind.take(limit - numbered.len()));
        }
    }
    for (first, slice) in canceled {
        let open: Vec<i64> = sqlx::query_scalar(
            "SELECT d.item_index FROM batch_slices s JOIN batch_execution_details d
               ON d.batch_seq = s.batch_seq AND d.item_index >= s.first_index AND d.item_index < s.end_index
             WHERE s.batch_seq = $1 AND s.slice_no = $2 AND d.status = 'PENDING' ORDER BY d.item_index",
        )
        .bind(batch.0)
        .bind(slice)
        .fetch_all(&mut *conn)
        .await?;
        let end = first + open.len() as i64;
        for (no, index) in numbered.iter_mut().filter(|(no, _)| (first..end).contains(no)) {
            *index = open[(*no - first) as usize];
        }
    }
    Ok(numbered)
}

pub(super) fn json(list: &[impl serde::Serialize]) -> String {
    serde_json::json!(list).to_string()
}
