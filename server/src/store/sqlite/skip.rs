//! What need not be fetched: decided of the items of a page, before it is taken in.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use sqlx::SqlitePool;

use super::{SqliteStore, error, ms, result};
use crate::{
    domain::{
        dataset::Address,
        id::BatchSeq,
        item::NewItem,
        skip::{ALREADY_FETCHED, KNOWN_MISSING, SkipRule},
        spec::BatchSpec,
    },
    store::StoreError,
};

/// Batches of the same settings and logical date that are looked through, the newest first.
const BATCHES_MAX: i64 = 1_000;

/// The items of a batch that is there, decided by its policy. Read beside the writer, which goes on meanwhile: what is
/// fetched in the moment between is fetched twice.
pub(super) async fn decided_of<'a>(
    store: &SqliteStore,
    batch: BatchSeq,
    items: &'a [NewItem],
) -> Result<Cow<'a, [NewItem]>, StoreError> {
    let row = sqlx::query("SELECT * FROM batch_executions WHERE seq = $1")
        .bind(batch.0)
        .fetch_optional(&store.readers)
        .await
        .map_err(error::store)?;
    let Some(row) = row else { return Ok(Cow::Borrowed(items)) };
    let batch = store.decode(&row)?;
    decided(&store.readers, &batch.spec, Cow::Borrowed(items)).await
}

/// The items, SKIPPED from the start those that the spec's policy leaves out.
pub(super) async fn decided<'a>(
    readers: &SqlitePool,
    spec: &BatchSpec,
    mut items: Cow<'a, [NewItem]>,
) -> Result<Cow<'a, [NewItem]>, StoreError> {
    let Some(rule) = SkipRule::of(spec) else { return Ok(items) };
    let skipped = skipped(readers, &rule, &items).await.map_err(error::store)?;
    if skipped.is_empty() {
        return Ok(items);
    }
    for item in items.to_mut().iter_mut().filter(|item| item.is_open()) {
        item.skip_reason = skipped.get(&item.key).copied();
    }
    Ok(items)
}

/// Why keys are left out.
async fn skipped(
    readers: &SqlitePool,
    rule: &SkipRule,
    items: &[NewItem],
) -> Result<HashMap<String, &'static str>, sqlx::Error> {
    // In the order of the indexes, so that each page of them is read once.
    let mut keys: Vec<&str> =
        items.iter().filter(|item| item.is_open()).map(|item| item.key.as_str()).collect();
    keys.sort_unstable();
    let mut skipped = HashMap::new();
    if let Some(settings) = &rule.fetched {
        let fetched = fetched(readers, settings, ms(rule.as_of), &keys).await?;
        skipped.extend(fetched.into_iter().map(|key| (key, ALREADY_FETCHED)));
    }
    if let Some(address) = &rule.missing {
        keys.retain(|key| !skipped.contains_key(*key));
        let missing = missing(readers, address, ms(rule.as_of), &keys).await?;
        skipped.extend(missing.into_iter().map(|key| (key, KNOWN_MISSING)));
    }
    Ok(skipped)
}

/// Those of the keys that succeeded before. The newest batch that says something of a key has the last word: one that
/// decoded its body anew and failed has taken its records away.
async fn fetched(
    readers: &SqlitePool,
    settings: &[u8; 32],
    as_of_at: i64,
    keys: &[&str],
) -> Result<Vec<String>, sqlx::Error> {
    let batches: Vec<(i64, bool)> = sqlx::query_as(
        "SELECT seq, kind = 'REDECODE' FROM batch_executions WHERE settings_sha256 = $1 AND as_of_at = $2
         ORDER BY seq DESC LIMIT $3",
    )
    .bind(settings.as_slice())
    .bind(as_of_at)
    .bind(BATCHES_MAX)
    .fetch_all(readers)
    .await?;
    let (mut open, mut fetched) = (keys.to_vec(), Vec::new());
    for (batch, takes_away) in batches {
        if open.is_empty() {
            break;
        }
        let told = told(readers, batch, takes_away, &open).await?;
        let judged: HashSet<&str> = told.iter().map(|(key, _)| key.as_str()).collect();
        open.retain(|key| !judged.contains(key));
        fetched.extend(told.into_iter().filter(|(_, is_there)| *is_there).map(|(key, _)| key));
    }
    Ok(fetched)
}

/// What a batch says of keys: whether the records of each are there. They are of one that succeeded, and of one that had
/// succeeded before: the batch in which it did may be gone. The join is CROSS for each key to be looked up in the index:
/// left to itself, the engine reads through the batch.
async fn told(
    readers: &SqlitePool,
    batch: i64,
    takes_away: bool,
    keys: &[&str],
) -> Result<Vec<(String, bool)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT item_key, status <> 'FAILED' FROM json_each($2)
           CROSS JOIN batch_execution_details ON batch_seq = $1 AND item_key = value
         WHERE status = 'SUCCEEDED' OR status = 'SKIPPED' AND error_reason = $3 OR status = 'FAILED' AND $4",
    )
    .bind(batch)
    .bind(result::json(keys))
    .bind(ALREADY_FETCHED)
    .bind(takes_away)
    .fetch_all(readers)
    .await
}

/// Those of the keys that are remembered as missing.
async fn missing(
    readers: &SqlitePool,
    address: &Address,
    as_of_at: i64,
    keys: &[&str],
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT item_key FROM json_each($2) CROSS JOIN missing_keys
           ON dataset = $1 AND item_key = value AND address_sha256 = $3
         WHERE as_of_at <= $4 AND expire_at > $4",
    )
    .bind(address.dataset.as_str())
    .bind(result::json(keys))
    .bind(address.sha256.as_slice())
    .bind(as_of_at)
    .fetch_all(readers)
    .await
}
