//! Leases that are renewed and given back without an outcome.

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::{
    super::{LEASE, held::Lease},
    POLL, Runner,
};
use crate::{
    clock,
    store::{Commit, Hold, LeaseWrite},
};

impl Runner {
    /// Renews what no commit has renewed for a third of the lease, and gives back what could not be before.
    pub(super) async fn renew(&mut self, now: DateTime<Utc>) {
        if self.return_at > Instant::now() {
            return;
        }
        let until = now + LEASE;
        let leases = self.held.to_renew(LEASE / 3, until - LEASE / 3);
        self.held.renewed(leases.iter().copied(), until);
        let hold = Hold::Until(until);
        let write = |lease: Lease| LeaseWrite { slice: lease.slice, epoch: lease.epoch, hold };
        let renewals = leases.into_iter().map(write);
        let unreturned = std::mem::take(&mut self.unreturned);
        self.write_leases(renewals.chain(unreturned).collect()).await;
    }

    pub(super) async fn write_leases(&mut self, leases: Vec<LeaseWrite>) {
        if leases.is_empty() {
            return;
        }
        let commit = Commit {
            batch: self.seq,
            node: self.engine.node.clone(),
            now: clock::now(),
            leases,
            attempts: Vec::new(),
        };
        match self.engine.store.commit(&commit).await {
            Ok(committed) => {
                for write in commit.leases.iter().filter(|write| committed.fenced.contains(&write.slice)) {
                    self.held.lose(Lease { slice: write.slice, epoch: write.epoch });
                }
                self.engine.publish(committed, &[]);
            }
            // Where nothing can be written for longer, they run out by themselves.
            Err(error) => {
                let is_given_back = |write: &LeaseWrite| matches!(write.hold, Hold::Release { .. });
                let (given_back, unwritten): (Vec<_>, Vec<_>) =
                    commit.leases.into_iter().partition(is_given_back);
                self.unreturned.extend(given_back);
                self.return_at = Instant::now() + POLL;
                // Those that are still held are renewed before anything is claimed (`return_at`): one that ran out
                // meanwhile is no other worker's, and what was done under it is yet to be committed.
                let lease = |write: &LeaseWrite| Lease { slice: write.slice, epoch: write.epoch };
                self.held.renewed(unwritten.iter().map(lease), commit.now);
                self.trouble(&error, "leases could not be written");
            }
        }
    }
}
