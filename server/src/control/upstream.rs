//! Upstreams: how they stand, and what an operator wants of them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::Control;
use crate::{
    connector,
    domain::upstream::{Change, Configured, Upstream, UpstreamId},
    engine::gate::{Gate, LimitsError},
    store::StoreError,
};

/// Batches that are looked through at once.
const LIVE_PAGE: usize = 500;

/// Why an upstream is not told of, or not changed.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Nothing has used it, and nothing is set of it.
    #[error("no upstream {}", .0.name())]
    NotFound(UpstreamId),
    /// Its limits are others by now.
    #[error("the limits of {} are others by now", .0.name())]
    EtagMismatch(UpstreamId, Configured),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<LimitsError> for UpstreamError {
    fn from(error: LimitsError) -> Self {
        match error {
            LimitsError::EtagMismatch(upstream, configured) => Self::EtagMismatch(upstream, configured),
            LimitsError::Store(error) => error.into(),
        }
    }
}

/// Limits to be set.
#[derive(Debug)]
pub struct SetLimits {
    /// Of which one.
    pub id: UpstreamId,
    /// What they become.
    pub change: Change,
    /// Only if they have this etag.
    pub etag: Option<String>,
    /// Nothing may have used it yet.
    pub allow_missing: bool,
}

impl Control {
    /// One upstream as it stands.
    pub async fn upstream(&self, id: &UpstreamId) -> Result<Upstream, UpstreamError> {
        let gate = self.gate(id).await?;
        self.seen_gate(&gate).await
    }

    /// All upstreams as they stand, by name.
    pub async fn upstreams(&self) -> Result<Vec<Upstream>, StoreError> {
        let using = self.using().await?;
        let seen = |gate: &Arc<Gate>| with_batches(gate.upstream(), &using);
        Ok(self.engine.gates().all().await?.iter().map(seen).collect())
    }

    /// Sets limits. Durable before it answers, and in force.
    pub async fn set_limits(&self, set: SetLimits) -> Result<Upstream, UpstreamError> {
        let SetLimits { id, change, etag, allow_missing } = set;
        let gate = if allow_missing {
            self.engine.gates().found_or_made(&id).await?
        } else {
            self.gate(&id).await?
        };
        let changed = Arc::clone(&gate);
        self.engine.carry_out(async move { changed.set_limits(change, etag.as_deref()).await }).await?;
        self.seen_gate(&gate).await
    }

    /// Holds a gate, for a time or until it is released. Durable before it answers; nothing is sent any more.
    pub async fn hold_gate(
        &self,
        id: &UpstreamId,
        span: Option<Duration>,
        reason: String,
    ) -> Result<Upstream, UpstreamError> {
        let gate = self.gate(id).await?;
        let held = Arc::clone(&gate);
        self.engine.carry_out(async move { held.hold_by_operator(span, &reason).await }).await?;
        self.seen_gate(&gate).await
    }

    /// Ends whatever holds a gate. Durable before it answers.
    pub async fn release_gate(&self, id: &UpstreamId) -> Result<Upstream, UpstreamError> {
        let gate = self.gate(id).await?;
        let (engine, released) = (Arc::clone(&self.engine), Arc::clone(&gate));
        self.engine.carry_out(async move { engine.gates().release(&released).await }).await?;
        self.seen_gate(&gate).await
    }

    async fn gate(&self, id: &UpstreamId) -> Result<Arc<Gate>, UpstreamError> {
        self.engine.gates().find(id).await?.ok_or_else(|| UpstreamError::NotFound(id.clone()))
    }

    async fn seen_gate(&self, gate: &Gate) -> Result<Upstream, UpstreamError> {
        let using = self.using().await?;
        Ok(with_batches(gate.upstream(), &using))
    }

    /// How many live batches fetch all their items from each upstream.
    async fn using(&self) -> Result<HashMap<UpstreamId, i32>, StoreError> {
        let mut using = HashMap::new();
        let mut after = None;
        loop {
            let live = self.store.live_batches(after, LIVE_PAGE).await?;
            let Some(last) = live.last() else { return Ok(using) };
            after = Some(last.seq);
            for batch in live.iter().filter(|batch| batch.kind.is_fetched()) {
                if let Some(origin) = connector::build(&batch.spec).origin() {
                    *using.entry(origin.upstream()).or_insert(0) += 1;
                }
            }
        }
    }
}

fn with_batches(upstream: Upstream, using: &HashMap<UpstreamId, i32>) -> Upstream {
    Upstream { live_batches: using.get(&upstream.id).copied().unwrap_or(0), ..upstream }
}
