//! The upstreams that the open items of a batch lead to, where that is each item's own.

use std::{collections::BTreeMap, sync::LazyLock};

use tokio::time::Instant;

use super::Engine;
use crate::{
    clock,
    connector::{self, Origin},
    domain::{
        batch::Batch,
        filter::{Filter, ItemField},
        item::{Keyed, Subject},
    },
    store::{ItemQuery, StoreError},
};

/// Items that are read at once.
const PAGE: usize = 1_000;
/// Upstreams that are looked after for one batch.
const UPSTREAMS_MAX: usize = 1_000;
/// Items that one of them is asked with by turns: a single one may be a bad one.
const ITEMS_MAX: usize = 10;

static OPEN: LazyLock<Filter<ItemField>> =
    LazyLock::new(|| Filter::parse("state = PENDING OR state = RUNNING").unwrap_or(Filter::ALL));

/// Upstreams that are down.
pub(super) struct Down {
    /// Each with items that lead there; the first ones where there are very many.
    pub(super) upstreams: BTreeMap<Origin, Vec<Keyed>>,
    /// When the last of them went down.
    pub(super) since: Instant,
}

/// What a batch's open items lead to, if all of that is down. It ends with the first item that may go on.
pub(super) async fn if_all_down(engine: &Engine, batch: &Batch) -> Result<Option<Down>, StoreError> {
    let connector = connector::build(&batch.spec);
    let mut upstreams: BTreeMap<Origin, Vec<Keyed>> = BTreeMap::new();
    let (mut since, mut from) = (None, 0);
    loop {
        let query = ItemQuery { filter: OPEN.clone(), from, limit: PAGE };
        let items = engine.store.list_items(batch.seq, &query, clock::now()).await?;
        let Some(last) = items.last() else { return Ok(since.map(|since| Down { upstreams, since })) };
        from = last.index + 1;
        for item in items {
            let item = (item.key, item.columns);
            let request = connector.request(Subject::of(&item));
            // One that makes no request needs nobody.
            let Some(origin) = request.ok().and_then(|request| Origin::of_url(&request.url)) else {
                return Ok(None);
            };
            if let Some(items) = upstreams.get_mut(&origin) {
                if items.len() < ITEMS_MAX {
                    items.push(item);
                }
                continue;
            }
            let Some(down_since) = engine.gates.tripped_since(&origin.upstream()) else { return Ok(None) };
            since = since.max(Some(down_since));
            if upstreams.len() < UPSTREAMS_MAX {
                upstreams.insert(origin, vec![item]);
            }
        }
    }
}
