//! Making a batch.

use chrono::{DateTime, Utc};
use sqlx::{Row, SqliteConnection};

use super::{
    SqliteStore, error, ms, overlap, purge, query, request,
    script::Script,
    skip,
    source::{self, Place},
    writer::Tx,
};
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
    store::{Changed, Checked, CreateError, Created, InTheWay, NewBatch, StartOutcome, StoreError},
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
    let (mut tx, begun, _) = begin(store, &new, now).await?;
    let Anew { seq, outcome, mut changed } = match begun {
        Begun::Anew(anew) => anew,
        Begun::Other(outcome, seq) => {
            let batch = store.load(&mut tx, seq).await?;
            return Ok(Created { outcome, batch, changed: Vec::new() });
        }
    };
    let mut script = Script::default();
    if let Some(items) = &items {
        (script, _) =
            source::append(&mut tx, seq, Place::default(), items, now).await.map_err(error::store)?;
        script.add("UPDATE batch_executions SET expanded = 1 WHERE seq = ?").bind(seq.0);
    }
    if let Some(key) = &new.request {
        request::remember(&mut script, key, &new.id);
    }
    let slots = store.limits.running_batches;
    let (admitted, script) = overlap::admit(&mut tx, script, slots, now).await.map_err(error::store)?;
    changed.extend(admitted);
    changed.retain(|other| *other != seq);
    failpoint::tried("create.written").await.map_err(StoreError::from)?;
    let Changed { batch, admitted: changed } = store.commit_change(tx, script, seq, &changed).await?;
    failpoint::reached("create.done").await;
    Ok(Created { outcome, batch, changed })
}

/// The same up to where a start can still be refused, and taken back.
pub(super) async fn check(
    store: &SqliteStore,
    new: &NewBatch,
    now: DateTime<Utc>,
) -> Result<Checked, CreateError> {
    let (mut tx, begun, in_the_way) = begin(store, new, now).await?;
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

/// The batch's row, or why there is none; and what is live of its overlap key. All that is asked takes one way.
async fn begin(
    store: &SqliteStore,
    new: &NewBatch,
    now: DateTime<Utc>,
) -> Result<(Tx, Begun, Vec<InTheWay>), CreateError> {
    let mut script = Script::default();
    if let Some(key) = &new.request {
        request::ask(&mut script, key, now);
    }
    insert(&mut script, new, now)?;
    if let Some(overlap) = &new.spec.overlap {
        overlap::ask(&mut script, &new.id, overlap);
    }
    script.add(
        "SELECT count(*) AS live FROM batch_executions WHERE status NOT IN ('COMPLETED', 'FAILED', 'STOPPED')",
    );
    let (mut tx, ran) = store.begin_with(script).await?;
    let mut ran = ran.into_iter();
    let mut rows = || ran.next().unwrap_or_default();

    if let Some(key) = &new.request
        && let Some(before) = request::answer(&rows(), key)
    {
        if !before.is_same {
            return Err(CreateError::RequestIdReused(key.id.clone()));
        }
        return Ok((tx, Begun::Other(StartOutcome::Replayed, before.batch), Vec::new()));
    }
    let inserted = rows();
    let row = inserted.first().ok_or_else(|| CreateError::BatchExists(new.id.clone()))?;
    let seq = BatchSeq(row.get("seq"));
    if let Some(parent) = new.kind.parent() {
        check_parent(store, &mut tx, parent, new, now).await?;
    }
    let mut anew = Anew { seq, outcome: StartOutcome::Started, changed: Vec::new() };
    let (mut in_the_way, mut ended) = (Vec::new(), 0);
    if let Some(overlap) = &new.spec.overlap {
        let (others, meeting) = overlap::answer(&rows(), overlap);
        in_the_way.extend(others.iter().map(|other| other.in_the_way(meeting)));
        match meeting {
            Meeting::Start => {}
            Meeting::Wait => anew.outcome = StartOutcome::Buffered,
            Meeting::Skip => {
                return Ok((tx, Begun::Other(StartOutcome::Skipped, others[0].seq), in_the_way));
            }
            Meeting::Full => return Err(overlap::full(overlap)),
            Meeting::Replace => {
                let still = overlap::replace(&mut tx, &others, &new.id, now).await.map_err(error::store)?;
                if still > 0 {
                    anew.outcome = StartOutcome::Buffered;
                }
                ended = others.len() - still;
                anew.changed.extend(others.iter().map(|other| other.seq));
            }
        }
    }
    let live = rows().first().map_or(0, |row| row.get::<i64, _>("live")) as usize - ended;
    // The new one is among them; it goes with the transaction.
    if live > store.limits.live_batches {
        return Err(CreateError::Quota { limit: store.limits.live_batches });
    }
    Ok((tx, Begun::Anew(anew), in_the_way))
}

/// Adds the batch's row, unless its name is taken: then nothing is answered.
fn insert(script: &mut Script, new: &NewBatch, now: DateTime<Utc>) -> Result<(), StoreError> {
    let spec = serde_json::to_string(&new.spec).map_err(|e| StoreError::Fault(format!("spec: {e}")))?;
    let (first, deadline_at) = match &new.spec.source {
        Source::Uploaded(uploaded) => (State::Open, Some(now + uploaded.open_ttl)),
        Source::Inline { .. } | Source::JpxListing(_) | Source::File(_) | Source::BatchItems { .. } => {
            (State::Queued, None)
        }
    };
    script
        .add(
            "INSERT INTO batch_executions
               (name, display_name, batch_type, status, spec, as_of_at, zone, created_at, state_since_at, kind, parent_seq,
                overlap_key, overlap_policy, priority, not_before_at, deadline_at, settings_sha256, revision)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
               1 + coalesce((SELECT max(revision) FROM purged_batches WHERE name = ?), 0))
             ON CONFLICT (name) DO NOTHING RETURNING seq",
        )
        .bind(new.id.as_str())
        .bind(&new.spec.display_name)
        .bind(&new.spec.batch_type)
        .bind(first.as_str())
        .bind(spec)
        .bind(ms(new.spec.as_of.time))
        .bind(new.spec.as_of.zone.name())
        .bind(ms(now))
        .bind(ms(now))
        .bind(new.kind.as_str())
        .bind(new.kind.parent().map(|parent| parent.0))
        .bind(new.spec.overlap.as_ref().map(|overlap| overlap.key.as_str()))
        .bind(new.spec.overlap.as_ref().map(|overlap| overlap.policy.as_str()))
        .bind(new.spec.priority)
        .bind(new.spec.not_before.map(ms))
        .bind(deadline_at.map(ms))
        .bind(settings_sha256(&new.spec.connector).as_slice())
        .bind(new.id.as_str());
    Ok(())
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
