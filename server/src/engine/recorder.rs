//! The recorder: commits a batch's outcomes in groups, by size, by age, or when nothing more is under way.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::Instant};

use super::{Engine, LEASE};
use crate::{
    clock,
    domain::{
        batch::Batch,
        id::{Epoch, SliceNo},
    },
    store::{Commit, Committed, Hold, LeaseWrite, Recording, StoreError},
};

/// Waits between repeats of a commit that found the store out of reach.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// What the runner tells the recorder.
pub(super) enum Message {
    /// An outcome, under the lease with this number.
    Record(Epoch, Box<Recording>),
    /// Nothing more is under way: whoever waits for company waits in vain.
    Flush,
}

/// What the recorder tells the runner.
pub(super) enum Answer {
    /// Committed, but for what was fenced.
    Committed {
        /// What was given.
        recordings: Vec<Recording>,
        /// Slices that were somebody else's.
        fenced: Vec<SliceNo>,
        /// Items whose records were refused: they are final.
        rejected: Vec<i64>,
    },
    /// Not committed, and a repeat won't help.
    Failed {
        /// What was given.
        recordings: Vec<Recording>,
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
        let mut group: Vec<(Epoch, Recording)> = Vec::with_capacity(size);
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
                Some(Message::Record(epoch, recording)) => {
                    if group.is_empty() {
                        due = Instant::now() + age;
                    }
                    group.push((epoch, *recording));
                    group.len() >= size || Instant::now() >= due
                }
                Some(Message::Flush) => !group.is_empty(),
                None => return,
            };
            if flush {
                let answer = self.commit(std::mem::take(&mut group)).await;
                if self.answers.send(answer).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn commit(&self, group: Vec<(Epoch, Recording)>) -> Answer {
        let mut leases: Vec<(SliceNo, Epoch)> =
            group.iter().map(|(epoch, recording)| (recording.slice, *epoch)).collect();
        leases.sort_unstable();
        leases.dedup();
        let mut commit = Commit {
            batch: self.batch.seq,
            node: self.engine.node.clone(),
            now: clock::now(),
            leases: Vec::with_capacity(leases.len()),
            attempts: group.into_iter().map(|(_, recording)| recording).collect(),
        };
        let mut wait = RETRY_MIN;
        loop {
            commit.now = clock::now();
            let hold = Hold::Until(commit.now + LEASE);
            commit.leases = leases.iter().map(|&(slice, epoch)| LeaseWrite { slice, epoch, hold }).collect();
            match self.engine.store.commit(&commit).await {
                Ok(committed) => return self.committed(commit.attempts, committed),
                Err(error) if error.is_transient() => {
                    tracing::warn!(batch_id = %self.batch.id, error = %error, "a commit is repeated");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RETRY_MAX);
                }
                Err(error) => {
                    tracing::error!(
                        batch_id = %self.batch.id, action = "data_save", status = "failed", error = %error,
                        "outcomes could not be stored; their items go back"
                    );
                    return Answer::Failed { recordings: commit.attempts, error };
                }
            }
        }
    }

    fn committed(&self, recordings: Vec<Recording>, mut committed: Committed) -> Answer {
        let fenced = std::mem::take(&mut committed.fenced);
        let rejected = std::mem::take(&mut committed.rejected);
        if !fenced.is_empty() {
            tracing::warn!(batch_id = %self.batch.id, slices = fenced.len(), "a late commit was refused: the lease was lost");
        }
        tracing::debug!(
            batch_id = %self.batch.id, action = "data_save", status = "success", items = recordings.len(),
            revision = committed.batch.revision,
        );
        let settled: Vec<i64> = recordings.iter().map(|recording| recording.item.index).collect();
        self.engine.publish(committed, &settled);
        Answer::Committed { recordings, fenced, rejected }
    }
}
