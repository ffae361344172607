//! The recorder: commits a batch's outcomes in groups, by size, by age, or when nothing more is under way.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio::{sync::mpsc, time::Instant};

use super::{Engine, LEASE, held::Lease};
use crate::{
    clock,
    domain::batch::Batch,
    failpoint,
    store::{Commit, Committed, Hold, LeaseWrite, Recording, StoreError},
};

/// Waits between repeats of a commit that found the store out of reach.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// What the runner tells the recorder.
pub(super) enum Message {
    /// An outcome, under this lease.
    Record(Lease, Box<Recording>),
    /// Nothing more is under way: whoever waits for company waits in vain.
    Flush,
}

/// What the recorder tells the runner.
pub(super) enum Answer {
    /// Committed, but for what was fenced.
    Committed {
        /// What was given.
        recordings: Vec<(Lease, Recording)>,
        /// Leases that were not ours any more.
        fenced: Vec<Lease>,
        /// Until when the others are ours now.
        until: DateTime<Utc>,
        /// Items that the store failed, whatever was asked for: they are final.
        rejected: Vec<i64>,
    },
    /// Not committed, and a repeat won't help.
    Failed {
        /// What was given.
        recordings: Vec<(Lease, Recording)>,
        /// Why.
        error: StoreError,
    },
}

pub(super) struct Recorder {
    engine: Arc<Engine>,
    batch: Arc<Batch>,
    incoming: mpsc::Receiver<Message>,
    answers: mpsc::Sender<Answer>,
}

impl Recorder {
    pub(super) fn new(
        engine: Arc<Engine>,
        batch: Arc<Batch>,
        incoming: mpsc::Receiver<Message>,
        answers: mpsc::Sender<Answer>,
    ) -> Self {
        Self { engine, batch, incoming, answers }
    }

    /// Runs until the runner is gone.
    pub(super) async fn run(mut self) {
        let size = self.batch.spec.fetch.commit_group_size as usize;
        let age = self.batch.spec.fetch.commit_group_interval;
        let mut group: Vec<(Lease, Recording)> = Vec::with_capacity(size);
        let mut due = Instant::now();
        loop {
            let message = if group.is_empty() {
                self.incoming.recv().await
            } else {
                tokio::select! {
                    biased;
                    message = self.incoming.recv() => message,
                    () = tokio::time::sleep_until(due) => Some(Message::Flush),
                }
            };
            let flush = match message {
                Some(Message::Record(lease, recording)) => {
                    // A commit names each slice once: what ended under an older lease of it goes alone.
                    let mixed =
                        |(other, _): &(Lease, Recording)| other.slice == lease.slice && *other != lease;
                    if group.iter().any(mixed) && !self.flush(&mut group).await {
                        return;
                    }
                    if group.is_empty() {
                        due = Instant::now() + age;
                    }
                    group.push((lease, *recording));
                    group.len() >= size || Instant::now() >= due
                }
                Some(Message::Flush) => !group.is_empty(),
                None => return,
            };
            if flush && !self.flush(&mut group).await {
                return;
            }
        }
    }

    /// Commits a group and answers for it. Says whether anybody is there to hear.
    async fn flush(&self, group: &mut Vec<(Lease, Recording)>) -> bool {
        let answer = self.commit(std::mem::take(group)).await;
        failpoint::reached("commit.published").await;
        self.answers.send(answer).await.is_ok()
    }

    async fn commit(&self, group: Vec<(Lease, Recording)>) -> Answer {
        let (under, attempts): (Vec<Lease>, Vec<Recording>) = group.into_iter().unzip();
        let mut leases = under.clone();
        leases.sort_unstable();
        leases.dedup();
        let mut commit = Commit {
            batch: self.batch.seq,
            node: self.engine.node.clone(),
            now: clock::now(),
            leases: Vec::new(),
            attempts,
        };
        for recording in &mut commit.attempts {
            recording.wait_anew(commit.now);
        }
        let mut wait = RETRY_MIN;
        failpoint::reached("commit.before").await;
        loop {
            commit.now = clock::now();
            let until = commit.now + LEASE;
            let write = |lease: &Lease| LeaseWrite {
                slice: lease.slice,
                epoch: lease.epoch,
                hold: Hold::Until(until),
            };
            commit.leases = leases.iter().map(write).collect();
            match self.engine.store.commit(&commit).await {
                Ok(committed) => return self.committed(&leases, under, commit.attempts, committed, until),
                Err(error) if error.is_transient() && !self.engine.abort.is_cancelled() => {
                    tracing::warn!(batch_id = %self.batch.id, error = %error, "a commit is repeated");
                    self.engine.hindered(self.batch.seq);
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = self.engine.abort.cancelled() => {}
                    }
                    wait = (wait * 2).min(RETRY_MAX);
                }
                Err(error) => {
                    tracing::error!(
                        batch_id = %self.batch.id, action = "data_save", status = "failed", error = %error,
                        "outcomes could not be stored; their items go back"
                    );
                    return Answer::Failed {
                        recordings: under.into_iter().zip(commit.attempts).collect(),
                        error,
                    };
                }
            }
        }
    }

    fn committed(
        &self,
        leases: &[Lease],
        under: Vec<Lease>,
        attempts: Vec<Recording>,
        mut committed: Committed,
        until: DateTime<Utc>,
    ) -> Answer {
        let fenced: Vec<Lease> =
            leases.iter().copied().filter(|lease| committed.fenced.contains(&lease.slice)).collect();
        let rejected = std::mem::take(&mut committed.rejected);
        if !fenced.is_empty() {
            tracing::warn!(batch_id = %self.batch.id, slices = fenced.len(), "a late commit was refused: the lease was lost");
        }
        tracing::debug!(
            batch_id = %self.batch.id, action = "data_save", status = "success", items = attempts.len(),
            revision = committed.batch.revision,
        );
        let settled: Vec<i64> = attempts.iter().map(|recording| recording.item.index).collect();
        self.engine.publish(committed, &settled);
        Answer::Committed { recordings: under.into_iter().zip(attempts).collect(), fenced, rejected, until }
    }
}
