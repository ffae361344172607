//! Slices that are leased ahead: while the last ready items are worked on, the store is asked for the next ones. It may
//! answer only after the commit before, and nobody's return waits for that.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio::{task::JoinHandle, time::Instant};

use super::{super::LEASE, POLL, Runner, due::asked_again};
use crate::{
    failpoint,
    store::{Claim, StoreError},
};

/// As long as a claim is not answered none is made; whatever gives a reason to ask again meanwhile brings that forward.
const UNANSWERED: Duration = Duration::from_hours(1);

/// A claim that the store has not answered yet.
pub(super) struct Claiming {
    asked_at: DateTime<Utc>,
    answer: JoinHandle<Result<Claim, StoreError>>,
}

impl Runner {
    /// Claims a slice, if the workers would run out of ready items before long.
    pub(super) fn claim_ahead(&mut self, now: DateTime<Utc>) {
        let is_due = self.claim_at.max(self.return_at) <= Instant::now();
        let workers = self.workers.len() + self.free_workers.len();
        if self.claiming.is_some() || !is_due || !self.may_ask() || self.held.ready() >= workers {
            return;
        }
        let (engine, seq) = (Arc::clone(&self.engine), self.seq);
        let claim = async move {
            let claim = engine.store.claim_slice(seq, &engine.node, now, now + LEASE).await?;
            if claim.slice.is_some() {
                failpoint::reached("slice.claimed").await;
            }
            Ok(claim)
        };
        self.claiming = Some(Claiming { asked_at: now, answer: self.engine.tasks.spawn(claim) });
        self.claim_at = Instant::now() + UNANSWERED;
    }

    /// Takes in what a claim came to.
    pub(super) fn claimed(&mut self, asked_at: DateTime<Utc>, answer: Result<Claim, StoreError>) {
        let Claim { slice, ready_at } = match answer {
            Ok(claim) => claim,
            Err(error) => {
                self.claim_at = Instant::now() + POLL;
                return self.trouble(&error, "no slice could be claimed");
            }
        };
        let is_there_more = slice.is_some() && ready_at.is_some_and(|at| at <= asked_at);
        let again = if is_there_more { Instant::now() } else { asked_again(ready_at, asked_at) };
        self.claim_at = self.claim_at.min(again);
        self.parked_until = ready_at.filter(|_| !is_there_more);
        let waiting = slice.iter().flat_map(|slice| &slice.items).filter_map(|item| item.not_before);
        if let Some(last) = waiting.chain(self.parked_until).max() {
            self.entry.wait_until(last);
        }
        if let Some(slice) = slice {
            self.held.insert(slice, asked_at + LEASE);
        }
    }
}

/// The answer to a claim; never, if there is none under way.
pub(super) async fn answer(claiming: &mut Option<Claiming>) -> (DateTime<Utc>, Result<Claim, StoreError>) {
    let Some(Claiming { asked_at, answer }) = claiming else { return std::future::pending().await };
    let answer = answer.await;
    let asked_at = *asked_at;
    *claiming = None;
    (asked_at, answer.unwrap_or_else(|error| Err(StoreError::Fault(format!("a claim was lost: {error}")))))
}
