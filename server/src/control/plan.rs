//! Plans: what a start would do. The same checks, the source read, and nothing written but what the limiter must remember
//! of the host that a list was fetched from.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};

use super::{Control, Start, new_batch};
use crate::{
    connector::{self, Connector},
    domain::{
        id::BatchId,
        item::NewItem,
        listing::ListVersion,
        plan::{CONFLICTS_MAX, ITEMS_MAX, Tally, WARNINGS_MAX},
        report,
        spec::BatchSpec,
        upstream::UpstreamId,
    },
    source::{self, SourceError, Tools},
    store::{CreateError, NewBatch, StoreError},
};

mod recent;

pub(super) use recent::Recent;
use recent::Recently;

/// Plans that are made at once. The others wait: each may hold the hashes of a million keys, or a list.
pub(super) const PLANS_MAX: usize = 4;

/// What a batch would do.
#[derive(Debug)]
pub struct Plan {
    /// Its spec, defaults filled in.
    pub spec: BatchSpec,
    /// The list that was read, for a source that is one.
    pub list: Option<ListVersion>,
    /// What the source yields.
    pub tally: Tally,
    /// The source is longer than a plan reads.
    pub is_partial: bool,
    /// Where its requests go.
    pub upstream: UpstreamId,
    /// The shortest time that they can take.
    pub floor: Duration,
    /// Live batches that share the upstream's rate.
    pub sharing: Vec<BatchId>,
    /// What is allowed and yet looks wrong, in words.
    pub warnings: Vec<String>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The start would be refused.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The source cannot be read, for now or for good.
    #[error(transparent)]
    Source(#[from] SourceError),
}

impl From<StoreError> for PlanError {
    fn from(error: StoreError) -> Self {
        Self::Create(error.into())
    }
}

impl Control {
    /// What a start would do. Fails where the start would fail, and where the batch would for its source. Nobody's rate
    /// is changed by it, and no item is asked for.
    pub async fn plan(&self, start: Start) -> Result<Plan, PlanError> {
        let now = start.now;
        self.plan_new(new_batch(start), now).await
    }

    pub(super) async fn plan_new(&self, mut new: NewBatch, now: DateTime<Utc>) -> Result<Plan, PlanError> {
        // It is never closed.
        let _place = self.planning.acquire().await;
        let made_before = self.store.check_batch(&new, now).await?;
        let items = new.items.take();
        let spec = new.spec;
        let connector = connector::build(&spec);
        let Read { tally, list, is_partial } = self.read(&spec, items, connector.as_ref()).await?;

        let origin = connector.origin();
        let upstream = origin.upstream();
        let fetch = &spec.fetch;
        let floor = report::floor(tally.requests, fetch.rate_per_s, fetch.burst);
        let made_before = made_before.map(|id| {
            format!(
                "this request id made {} before: a start would answer with it and make nothing",
                id.name()
            )
        });
        let mut warnings: Vec<String> = made_before.into_iter().collect();
        warnings.extend(connector.advice(fetch, tally.requests, now));
        warnings.extend(tally.warnings(floor));
        warnings.truncate(WARNINGS_MAX);
        let sharing = self.at(&upstream);
        tracing::info!(action = "batch_plan", total = tally.items, requests = tally.requests);
        Ok(Plan { spec, list, tally, is_partial, upstream, floor, sharing, warnings })
    }

    async fn read(
        &self,
        spec: &BatchSpec,
        items: Option<Vec<NewItem>>,
        connector: &dyn Connector,
    ) -> Result<Read, PlanError> {
        let mut read = Read::default();
        let mut count = |items: Vec<NewItem>| {
            for item in items {
                read.tally.add(item, |key| connector.request(key));
            }
            read.tally.items + read.tally.duplicates
        };
        if let Some(items) = items {
            count(items);
        }
        let tools = self.engine.tools_of_plan(spec);
        let download = Recently { recent: Arc::clone(&self.recent), download: tools.download };
        let tools = Tools { download: Arc::new(download), ..tools };
        let Some(mut source) = source::open(spec, tools) else { return Ok(read) };
        let mut position = None;
        loop {
            let page = match source.page(position.as_deref()).await {
                Ok(page) => page,
                Err(error) => {
                    // What came may be no list: the next plan asks again.
                    *self.recent.lock().await = None;
                    return Err(error.into());
                }
            };
            let counted = count(page.items);
            read.list = page.list;
            position = page.next;
            if position.is_none() || counted >= ITEMS_MAX {
                read.is_partial = position.is_some();
                return Ok(read);
            }
        }
    }

    /// Live batches at an upstream, the earliest first.
    fn at(&self, upstream: &UpstreamId) -> Vec<BatchId> {
        let mut batches = self.engine.batches_at(upstream);
        batches.sort_unstable();
        let live = batches.into_iter().filter_map(|seq| self.hub.live(seq));
        live.take(CONFLICTS_MAX).map(|entry| Arc::clone(&entry.subscribe().borrow()).id.clone()).collect()
    }
}

#[derive(Default)]
struct Read {
    tally: Tally,
    list: Option<ListVersion>,
    is_partial: bool,
}
