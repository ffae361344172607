//! What holds of every batch at every moment: CONTRACT 2.4 and 3.1, counted from its items.

use std::collections::HashSet;

use crate::domain::{
    batch::{Batch, State},
    failure::FailureClass,
    item::{self, Item},
};

/// Batches whose leases are not those of their state, an expired one that nobody has looked at being one.
pub(super) const LEASES: &str = "SELECT name || ' in ' || status FROM batch_executions b
  WHERE (source_lease_at IS NOT NULL OR EXISTS (SELECT 1 FROM batch_slices s WHERE s.batch_seq = b.seq AND s.status = 'LEASED'))
      <> (status IN ('PAUSING', 'STOPPING')) AND status <> 'RUNNING'
    OR status = 'STOPPING' AND EXISTS (SELECT 1 FROM batch_slices s WHERE s.batch_seq = b.seq AND s.status = 'READY')";

/// A batch and its items, read at one moment.
pub(super) fn batch(batch: &Batch, items: &[Item]) {
    let it = format!("{} in {} at revision {}", batch.id, batch.state.as_str(), batch.revision);
    let in_state = |state| items.iter().filter(|item| item.state == state).count() as i64;
    let counts = &batch.counts;

    assert_eq!(counts.total, items.len() as i64, "total of {it}");
    assert_eq!(counts.succeeded, in_state(item::State::Succeeded), "succeeded of {it}");
    assert_eq!(counts.failed, in_state(item::State::Failed), "failed of {it}");
    assert_eq!(counts.skipped, in_state(item::State::Skipped), "skipped of {it}");
    assert_eq!(counts.canceled, in_state(item::State::Canceled), "canceled of {it}");
    let (pending, running) = (in_state(item::State::Pending), in_state(item::State::Running));
    assert_eq!(counts.open(), pending + running, "open of {it}");
    assert_eq!(counts.records, items.iter().map(|item| item.records_written).sum::<i64>(), "records of {it}");
    assert_eq!(
        counts.records_changed,
        items.iter().map(|item| item.records_changed).sum::<i64>(),
        "changed of {it}"
    );
    let failed_as = |class| {
        let failed = items.iter().filter(|item| item.state == item::State::Failed);
        failed.filter(|item| item.failure.as_ref().unwrap().class == class).count() as i64
    };
    assert_eq!(counts.failed_items_by_class, FailureClass::ALL.map(failed_as), "failures by class of {it}");
    let retried: i64 = items.iter().map(|item| i64::from(item.attempts.saturating_sub(1))).sum();
    assert_eq!(counts.retried_attempts, retried, "retried attempts of {it}");
    // What waits is seen of items that nobody holds; a batch on its way to an end waits for nothing.
    let waiting = items.iter().filter(|item| item.not_before.is_some()).count() as i64;
    if batch.state != State::Stopping {
        assert!(
            (waiting..=waiting + running).contains(&counts.returned),
            "{} returned of {it}",
            counts.returned
        );
    }

    assert_eq!(batch.pause.is_some(), matches!(batch.state, State::Pausing | State::Paused), "pause of {it}");
    assert_eq!(
        batch.drain.is_some(),
        matches!(batch.state, State::Pausing | State::Stopping),
        "drain mode of {it}"
    );
    let ends = batch.state == State::Stopping || batch.state.is_terminal();
    assert_eq!(batch.end.is_some(), ends, "end of {it}");
    assert_eq!(batch.ended_at.is_some(), batch.state.is_terminal(), "end time of {it}");
    if batch.state.is_terminal() {
        assert_eq!(counts.open(), 0, "open of {it}");
        assert_eq!(batch.end.as_ref().unwrap().reason.end(), batch.state, "end reason of {it}");
    }
    match batch.state {
        State::Completed => {
            assert!(batch.expanded && counts.canceled == 0, "{it}");
            assert_eq!(batch.spec.failure.spent(counts.processed(), counts.failed), None, "{it}");
        }
        State::Open => assert!(!batch.expanded && counts.processed() == 0 && running == 0, "{it}"),
        State::Queued | State::Paused => assert_eq!(running, 0, "running of {it}"),
        State::Running | State::Pausing => assert_eq!(counts.canceled, 0, "canceled of {it}"),
        State::Stopping | State::Failed | State::Stopped => {}
    }

    assert!(items.iter().zip(0..).all(|(item, index)| item.index == index), "indexes of {it}");
    let keys: HashSet<&str> = items.iter().map(|item| item.key.as_str()).collect();
    assert_eq!(keys.len(), items.len(), "keys of {it}");
}

/// Every final item has its place in the order, once, and none that is open.
pub(super) fn results(batch: &Batch, items: &[Item], results: &[(i64, Item)]) {
    assert!(results.iter().zip(1..).all(|((no, _), expected)| *no == expected), "numbers of {}", batch.id);
    let mut told: Vec<&Item> = results.iter().map(|(_, item)| item).collect();
    told.sort_by_key(|item| item.index);
    let is_open = |item: &&Item| matches!(item.state, item::State::Pending | item::State::Running);
    let ended: Vec<&Item> = items.iter().filter(|item| !is_open(item)).collect();
    assert_eq!(told, ended, "results of {}", batch.id);
    assert_eq!(results.len() as i64, batch.counts.processed(), "results of {}", batch.id);
}
