//! Making a batch.

use chrono::{DateTime, Utc};
use sqlx::SqliteConnection;

use super::{SqliteStore, error, ms, overlap, purge, query, request, skip, source};
use crate::{
    domain::{
        batch::{Batch, Kind, State},
        filter::Filter,
        id::BatchSeq,
        overlap::Meeting,
        skip::settings_sha256,
        spec::Source,
    },
    failpoint,
    store::{Checked, CreateError, Created, InTheWay, NewBatch, StartOutcome, StoreError},
};

pub(super) async fn create(
    store: &SqliteStore,
    new: NewBatch,
    now: DateTime<Utc>,
) -> Result<Created, CreateError> {
    let items = match &new.items {
        Some(items) => Some(skip::decided(&store.readers, &new.spec, items.into()).await?),
        None => None,
    };
    let mut tx = store.begin().await?;
    let Anew { seq, outcome, mut changed } = match begin(store, &mut tx, &new, now).await?.0 {
        Begun::Anew(anew) => anew,
        Begun::Other(outcome, seq) => {
            let batch = store.load(&mut tx, seq).await?;
            return Ok(Created { outcome, batch, changed: Vec::new() });
        }
    };
    if let Some(items) = &items {
        source::append(&mut tx, seq, items, now).await.map_err(error::store)?;
        sqlx::query("UPDATE batch_executions SET expanded = 1 WHERE seq = $1")
            .bind(seq.0)
            .execute(&mut *tx)
            .await
            .map_err(error::store)?;
    }
    if let Some(key) = &new.request {
        request::remember(&mut tx, key, &new.id).await?;
    }
    changed.extend(overlap::admit(&mut tx, store.limits.running_batches, now).await.map_err(error::store)?);
    changed.retain(|other| *other != seq);
    let batch = store.load(&mut tx, seq).await?;
    store.forget(seq);
    let changed = store.load_all(&mut tx, &changed).await?;
    failpoint::tried("create.written").await.map_err(StoreError::from)?;
    tx.commit().await.map_err(error::store)?;
    failpoint::reached("create.done").await;
    Ok(Created { outcome, batch, changed })
}

/// The same up to where a start can still be refused, and taken back.
pub(super) async fn check(
    store: &SqliteStore,
    new: &NewBatch,
    now: DateTime<Utc>,
) -> Result<Checked, CreateError> {
    let mut tx = store.begin().await?;
    let (begun, in_the_way) = begin(store, &mut tx, new, now).await?;
    let made_before = match begun {
        Begun::Other(StartOutcome::Replayed, seq) => Some(store.load(&mut tx, seq).await?.id),
        Begun::Other(..) | Begun::Anew(_) => None,
    };
    // Nothing is committed.
    Ok(Checked { made_before, in_the_way })
}

enum Begun {
    Anew(Anew),
    /// Nothing is made: this batch is answered with.
    Other(StartOutcome, BatchSeq),
}

struct Anew {
    seq: BatchSeq,
    outcome: StartOutcome,
    /// Batches that were stopped for it.
    changed: Vec<BatchSeq>,
}

/// The batch's row, or why there is none; and what is live of its overlap key.
async fn begin(
    store: &SqliteStore,
    conn: &mut SqliteConnection,
    new: &NewBatch,
    now: DateTime<Utc>,
) -> Result<(Begun, Vec<InTheWay>), CreateError> {
    if let Some(key) = &new.request
        && let Some(before) = request::before(conn, key, now).await?
    {
        if !before.is_same {
            return Err(CreateError::RequestIdReused(key.id.clone()));
        }
        return Ok((Begun::Other(StartOutcome::Replayed, before.batch), Vec::new()));
    }
    let seq = insert(conn, new, now).await?;
    if let Some(parent) = new.kind.parent() {
        check_parent(store, conn, parent, new, now).await?;
    }
    let mut anew = Anew { seq, outcome: StartOutcome::Started, changed: Vec::new() };
    let mut in_the_way = Vec::new();
    if let Some(overlap) = &new.spec.overlap {
        let (others, meeting) = overlap::others(conn, seq, overlap).await.map_err(error::store)?;
        in_the_way.extend(others.iter().map(|other| other.in_the_way(meeting)));
        match meeting {
            Meeting::Start => {}
            Meeting::Wait => anew.outcome = StartOutcome::Buffered,
            Meeting::Skip => {
                return Ok((Begun::Other(StartOutcome::Skipped, others[0].seq), in_the_way));
            }
            Meeting::Full => return Err(overlap::full(overlap)),
            Meeting::Replace => {
                if overlap::replace(conn, &others, &new.id, now).await.map_err(error::store)? {
                    anew.outcome = StartOutcome::Buffered;
                }
                anew.changed.extend(others.iter().map(|other| other.seq));
            }
        }
    }
    let live: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM batch_executions WHERE status NOT IN ('COMPLETED', 'FAILED', 'STOPPED')",
    )
    .fetch_one(conn)
    .await
    .map_err(error::store)?;
    // The new one is among them; it goes with the transaction.
    if live > store.limits.live_batches as i64 {
        return Err(CreateError::Quota { limit: store.limits.live_batches });
    }
    Ok((Begun::Anew(anew), in_the_way))
}

async fn insert(
    conn: &mut SqliteConnection,
    new: &NewBatch,
    now: DateTime<Utc>,
) -> Result<BatchSeq, CreateError> {
    let spec = serde_json::to_string(&new.spec).map_err(|e| StoreError::Fault(format!("spec: {e}")))?;
    let (first, deadline_at) = match &new.spec.source {
        Source::Uploaded(uploaded) => (State::Open, Some(now + uploaded.open_ttl)),
        Source::Inline { .. } | Source::JpxListing(_) | Source::File(_) | Source::BatchItems { .. } => {
            (State::Queued, None)
        }
    };
    let inserted = sqlx::query_scalar(
        "INSERT INTO batch_executions
           (name, display_name, batch_type, status, spec, as_of_at, zone, created_at, state_since_at, kind, parent_seq,
            overlap_key, overlap_policy, priority, not_before_at, deadline_at, settings_sha256, revision)
         VALUES ($1, $2, $3, $10, $4, $5, $6, $7, $7, $8, $9, $11, $12, $13, $14, $15, $16,
           1 + coalesce((SELECT max(revision) FROM purged_batches WHERE name = $1), 0)) RETURNING seq",
    )
    .bind(new.id.as_str())
    .bind(&new.spec.display_name)
    .bind(&new.spec.batch_type)
    .bind(spec)
    .bind(ms(new.spec.as_of.time))
    .bind(new.spec.as_of.zone.name())
    .bind(ms(now))
    .bind(new.kind.as_str())
    .bind(new.kind.parent().map(|parent| parent.0))
    .bind(first.as_str())
    .bind(new.spec.overlap.as_ref().map(|overlap| overlap.key.as_str()))
    .bind(new.spec.overlap.as_ref().map(|overlap| overlap.policy.as_str()))
    .bind(new.spec.priority)
    .bind(new.spec.not_before.map(ms))
    .bind(deadline_at.map(ms))
    .bind(settings_sha256(&new.spec.connector).as_slice())
    .fetch_one(conn)
    .await;
    match inserted {
        Ok(seq) => Ok(BatchSeq(seq)),
        Err(e) if error::is_unique_violation(&e) => Err(CreateError::BatchExists(new.id.clone())),
        Err(e) => Err(error::store(e).into()),
    }
}

/// Whether a child may be made from a batch.
async fn check_parent(
    store: &SqliteStore,
    conn: &mut SqliteConnection,
    parent: BatchSeq,
    new: &NewBatch,
    now: DateTime<Utc>,
) -> Result<(), CreateError> {
    let Source::BatchItems { batch: name, filter, .. } = &new.spec.source else { return Ok(()) };
    let row = sqlx::query("SELECT * FROM batch_executions WHERE seq = $1")
        .bind(parent.0)
        .fetch_optional(&mut *conn)
        .await
        .map_err(error::store)?;
    let Some(row) = row else {
        // It was there when the caller read it.
        let gone = purge::purged_batch(conn, parent).await.map_err(error::store)?;
        return Err(gone.map_or_else(|| CreateError::NoParent(name.clone()), CreateError::ParentPurged));
    };
    let batch = store.decode(&row)?;
    if !batch.state.is_terminal() {
        return Err(CreateError::ParentNotTerminal { id: batch.id, state: batch.state });
    }
    match new.kind {
        Kind::Retry { .. } => check_items(conn, batch, filter, now).await,
        Kind::Redecode { .. } | Kind::Fetch => check_bodies(conn, batch, filter, now).await,
    }
}

/// Whether there is something to fetch again.
async fn check_items(
    conn: &mut SqliteConnection,
    parent: Batch,
    filter: &str,
    now: DateTime<Utc>,
) -> Result<(), CreateError> {
    let filter = Filter::retried(filter).map_err(|e| StoreError::Fault(format!("filter of a retry: {e}")))?;
    if query::is_any(conn, parent.seq, &filter, now).await.map_err(error::store)? {
        return Ok(());
    }
    Err(CreateError::NoFailedItems(parent.id))
}

/// Whether there is something to decode anew.
async fn check_bodies(
    conn: &mut SqliteConnection,
    batch: Batch,
    filter: &str,
    now: DateTime<Utc>,
) -> Result<(), CreateError> {
    let filter = Filter::parse(filter).map_err(|e| StoreError::Fault(format!("filter: {e}")))?;
    let in_time: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM batch_executions WHERE seq = $1 AND bodies_expire_at > $2)",
    )
    .bind(batch.seq.0)
    .bind(ms(now))
    .fetch_one(&mut *conn)
    .await
    .map_err(error::store)?;
    if in_time && query::is_any_kept(conn, batch.seq, &filter).await.map_err(error::store)? {
        return Ok(());
    }
    let origin = if batch.kind.is_fetched() { None } else { batch.parent().cloned() };
    Err(CreateError::NoKeptBodies { origin, id: batch.id })
}
