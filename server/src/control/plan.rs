//! Plans: what a start would do. The same checks, the source read, and nothing written but what the limiter must remember
//! of the host that a list was fetched from.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};

use super::{Control, Redecode, Start, new_batch};
use crate::{
    clock,
    connector::{self, Connector, Origin},
    domain::{
        batch::Kind,
        id::BatchId,
        item::NewItem,
        listing::ListVersion,
        overlap::Meeting,
        plan::{CONFLICTS_MAX, ITEMS_MAX, Tally, WARNINGS_MAX},
        report,
        spec::{BatchSpec, Source},
        upstream::UpstreamId,
    },
    source::{self, SourceError},
    store::{Checked, CreateError, InTheWay, NewBatch, StoreError},
};

mod recent;

pub(super) use recent::Recent;
use recent::Recently;

/// Plans that are made at once. The others wait: each may hold the hashes of a million keys, or a list.
pub(super) const PLANS_MAX: usize = 4;

/// Upstreams that are told.
const UPSTREAMS_MAX: usize = 100;
/// Upstreams that requests are counted of.
const ORIGINS_MAX: usize = 10_000;
/// Live batches that are looked at together.
const LIVE_PAGE: usize = 500;

/// What a batch would do.
#[derive(Debug)]
pub struct Plan {
    /// How the batch would come about.
    pub kind: Kind,
    /// Its spec, defaults filled in.
    pub spec: BatchSpec,
    /// The list that was read, for a source that is one.
    pub list: Option<ListVersion>,
    /// What the source yields.
    pub tally: Tally,
    /// The source is longer than a plan reads.
    pub is_partial: bool,
    /// Where its requests go, most requests first.
    pub upstreams: Vec<PlannedUpstream>,
    /// The shortest time that they can take.
    pub floor: Duration,
    /// Live batches of the same overlap key, those that hold it first.
    pub in_the_way: Vec<InTheWay>,
    /// Other live batches that share an upstream's rate, oldest first.
    pub sharing: Vec<(BatchId, UpstreamId)>,
    /// What is allowed and yet looks wrong, in words.
    pub warnings: Vec<String>,
}

/// What a batch would ask of one upstream.
#[derive(Debug)]
pub struct PlannedUpstream {
    /// Which one.
    pub upstream: UpstreamId,
    /// Requests to it.
    pub requests: i64,
    /// The shortest time that they can take.
    pub floor: Duration,
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
        self.plan_of(new_batch(start), now).await
    }

    /// What a redecode would do. No request is sent for any of it.
    pub async fn plan_redecode(&self, redecode: Redecode) -> Result<Plan, PlanError> {
        let now = clock::now();
        let new = self.child(redecode, now).await?;
        self.plan_of(new, now).await
    }

    pub(super) async fn plan_of(&self, mut new: NewBatch, now: DateTime<Utc>) -> Result<Plan, PlanError> {
        // It is never closed.
        let _place = self.planning.acquire().await;
        let kind = new.kind;
        // The quota is said last: a source that cannot be read stays so when there is room again.
        let (checked, full) = match self.store.check_batch(&new, now).await {
            Err(full @ CreateError::Quota { .. }) => (None, Some(full)),
            checked => (Some(checked?), None),
        };
        let items = new.items.take();
        let spec = new.spec;
        let connector = connector::build(&spec);
        let Read { mut tally, asked, list, is_partial } = self.read(&spec, items, connector.as_ref()).await?;
        if let Some(full) = full {
            return Err(full.into());
        }
        let Checked { made_before, mut in_the_way } = checked.unwrap_or_default();
        let sends = !matches!(kind, Kind::Redecode { .. });
        if !sends {
            tally.send_nothing();
        }

        let fetch = &spec.fetch;
        let asked = match connector.origin() {
            Some(origin) => HashMap::from([(origin.clone(), tally.requests)]),
            None => asked,
        };
        let planned = |(origin, requests): (Origin, i64)| PlannedUpstream {
            upstream: origin.upstream(),
            requests,
            floor: report::floor(requests, fetch.rate_per_s, fetch.burst),
        };
        let mut upstreams: Vec<_> = asked.into_iter().map(planned).collect();
        upstreams.sort_by(|a, b| b.requests.cmp(&a.requests).then_with(|| a.upstream.cmp(&b.upstream)));
        let floor = upstreams.first().map_or(Duration::ZERO, |most| most.floor);
        let made_before = made_before.map(|id| {
            format!(
                "this request id made {} before: a start would answer with it and make nothing",
                id.name()
            )
        });
        let mut warnings: Vec<String> = made_before.into_iter().collect();
        if sends {
            warnings.extend(connector.advice(fetch, tally.requests, now));
        }
        if is_partial && tally.items == 0 {
            warnings.push("its items come by UploadItems after the start: no plan knows them".to_owned());
        } else {
            warnings.extend(tally.warnings(floor));
        }
        warnings.truncate(WARNINGS_MAX);
        in_the_way.truncate(CONFLICTS_MAX);
        let sharing = if sends { self.sharing(&upstreams, &in_the_way).await? } else { Vec::new() };
        upstreams.truncate(UPSTREAMS_MAX);
        tracing::info!(action = "batch_plan", total = tally.items, requests = tally.requests);
        Ok(Plan { kind, spec, list, tally, is_partial, upstreams, floor, in_the_way, sharing, warnings })
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
                read.tally.add(item, |item| {
                    let request = connector.request(item)?;
                    if connector.origin().is_none() {
                        count_origin(&mut read.asked, &request.url);
                    }
                    Ok(request)
                });
            }
            read.tally.items + read.tally.duplicates
        };
        if let Some(items) = items {
            count(items);
        }
        let mut tools = self.engine.tools_of_plan(spec);
        if matches!(spec.source, Source::JpxListing(_)) {
            let recent = Arc::clone(&self.recent);
            tools.download = Arc::new(Recently { recent, download: tools.download });
        }
        let Some(mut source) = source::open(spec, tools) else {
            read.is_partial = matches!(spec.source, Source::Uploaded(_));
            return Ok(read);
        };
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

    /// Live batches that send to one of these upstreams, oldest first; those that are told of already left out. `in_the_way` takes
    /// its places first.
    async fn sharing(
        &self,
        upstreams: &[PlannedUpstream],
        in_the_way: &[InTheWay],
    ) -> Result<Vec<(BatchId, UpstreamId)>, StoreError> {
        let asked: HashSet<&UpstreamId> = upstreams.iter().map(|planned| &planned.upstream).collect();
        let told: HashSet<&BatchId> = in_the_way
            .iter()
            .filter(|other| other.meeting != Meeting::Start)
            .map(|other| &other.batch)
            .collect();
        let mut sharing = Vec::new();
        let mut after = None;
        loop {
            let live = self.store.live_batches(after, LIVE_PAGE).await?;
            let Some(last) = live.last() else { return Ok(sharing) };
            after = Some(last.seq);
            for batch in live {
                if sharing.len() + told.len() >= CONFLICTS_MAX {
                    return Ok(sharing);
                }
                let sends = batch.kind == Kind::Fetch && !told.contains(&batch.id);
                // Of one with an upstream for each item it is not known.
                let upstream = || connector::build(&batch.spec).origin().map(Origin::upstream);
                if let Some(upstream) = sends.then(upstream).flatten().filter(|id| asked.contains(id)) {
                    sharing.push((batch.id, upstream));
                }
            }
        }
    }
}

/// Counts a request. Of origins that come after very many others nothing is known: figures are lower bounds then.
fn count_origin(asked: &mut HashMap<Origin, i64>, url: &str) {
    if let Some(origin) = Origin::of_url(url)
        && (asked.len() < ORIGINS_MAX || asked.contains_key(&origin))
    {
        *asked.entry(origin).or_default() += 1;
    }
}

#[derive(Default)]
struct Read {
    tally: Tally,
    /// Requests by origin, where that is each item's own.
    asked: HashMap<Origin, i64>,
    list: Option<ListVersion>,
    is_partial: bool,
}
